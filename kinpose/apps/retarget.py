"""A recording for another skeleton: the same angles, other bones.

  kinpose retarget walk.bvh other.bvh walk_of_other.bvh

Takes the motion of the first BVH file and the skeleton of the second one and writes the third.
Segments turn as in the recording, the root goes by the length of the legs, standing feet stay in
place; the target's bones stay as they are. Joints are matched by the names of known layouts or,
where these tell nothing, by equal names, or by --names. The target may be human_17, too.
"""

import json
import pathlib

import numpy as np
from absl import app, flags

from kinpose.apps._outputs import refuse_existing
from kinpose.apps._reading import heard
from kinpose.footing import foot_contacts
from kinpose.io.bvh import load_bvh, save_bvh
from kinpose.people import match_people
from kinpose.retargeting import retarget
from kinpose.skeleton import Skeleton
from kinpose.skeletons import human_17
from kinpose.standing import Leg, legs_of


def define_flags() -> None:
    """Of this verb; not at import, as those of others have the same names."""
    flags.DEFINE_string("names", None, "A .json file, joint of the target: joint of the recording.")
    flags.DEFINE_bool("feet", True, "Keep standing feet in place and above the floor.")
    flags.DEFINE_bool("overwrite", False, "Replace the output, if it is there.")


def main(argv: list[str]) -> None:
    """Reads two files, writes one."""
    if len(argv) != 4:
        raise app.UsageError("give the recording, whose skeleton gets it, and the file to write.")
    recorded, target_path, output = argv[1:]
    if not output.lower().endswith(".bvh"):
        raise ValueError(f"{output} must end in .bvh; kinpose convert makes other files of that.")
    refuse_existing(output, flags.FLAGS.overwrite)
    (source, params, frame_time_s), said = heard(load_bvh, recorded)
    target = human_17() if target_path == "human_17" else heard(load_bvh, target_path)[0].skeleton
    for sentence in said:
        print(f"warning: {sentence}")
    names, legs = _matched(source, target)
    contacts = None
    if flags.FLAGS.feet:
        ankles = [names[leg.ankle] for leg in legs]
        contacts = foot_contacts(params, source, ankles, frame_time_s)
    found, said = heard(retarget, params, source, target, names, contacts=contacts, legs=legs)
    for sentence in said:
        print(f"warning: {sentence}")
    pathlib.Path(output).parent.mkdir(parents=True, exist_ok=True)
    save_bvh(output, target, found, frame_time_s)
    share = 0.0 if contacts is None else np.mean(list(contacts.values()))
    stands = "" if contacts is None else f"; feet stand in {share:.0%} of the frames"
    print(f"{output}: {len(found)} frames, {len(names)} joints by name{stands}")


def _matched(source: Skeleton, target: Skeleton) -> tuple[dict[str, str], tuple[Leg, Leg]]:
    """Joint of the target -> joint of the recording, and the target's legs."""
    if flags.FLAGS.names:
        names = _load_names(flags.FLAGS.names)
        return names, legs_of(target, names)
    same = {name: name for name in target.names if name in source.names}
    try:
        names, legs = match_people(source, target)  # who knows where legs begin
        return (same if len(same) == target.num_joints else names), legs
    except ValueError as error:
        if 2 * len(same) > target.num_joints:
            return same, legs_of(target, same)
        raise ValueError(f"{error} Or say which joints turn alike by --names.") from None


def _load_names(path: str) -> dict[str, str]:
    try:
        names = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: expected JSON, but {error}.") from None
    if not isinstance(names, dict) or not all(isinstance(x, str) for x in names.values()):
        raise ValueError(f"{path}: expected an object, joint of the target: joint recorded.")
    return names
