"""Carries a recording over to another skeleton: BVH A and the skeleton of BVH B to BVH C.

  python -m experiments.retarget --input=data/motions/walk.bvh --target=other.bvh --output=walk.bvh

Segments turn as in the recording, the root goes by the length of the legs, standing feet stay in
place; the target's bones stay as they are. See docs/retargeting.md.
"""

import json
import pathlib

import numpy as np
from absl import app, flags

from data.motion import DRIVERS
from experiments.program import run_program
from kinpose.footing import foot_contacts
from kinpose.io.bvh import load_bvh, save_bvh
from kinpose.retargeting import retarget
from kinpose.skeleton import Skeleton
from kinpose.standing import legs_of

_INPUT = flags.DEFINE_string("input", "data/motions/walk.bvh", "The recording, a .bvh file.")
_TARGET = flags.DEFINE_string("target", None, "A .bvh file whose skeleton gets the motion.")
_OUTPUT = flags.DEFINE_string("output", "runs/retargeted.bvh", "The .bvh file to write.")
_NAMES = flags.DEFINE_string(
    "names",
    None,
    "A .json file, joint of the target: joint of the recording; by default equal names, or those "
    f"of the layouts {', '.join(DRIVERS)}.",
)
_FEET = flags.DEFINE_bool("feet", True, "Keep standing feet in place and above the floor.")

_LAST = ("upper_trunk", "pelvis")
_FIRST = ("clavicle", "hand", "lower_trunk")


def match_names(source: Skeleton, target: Skeleton) -> dict[str, str]:
    """Joints that turn alike, by their names.

    Args:
      source: of the recording.
      target: of the file that gets the motion.

    Returns:
      Joint of the target -> joint of the source.

    Raises:
      ValueError: where the names tell nothing.
    """
    same = {name: name for name in target.names if name in source.names}
    drivers = []
    for skeleton in (target, source):
        known = [d for d in DRIVERS.values() if set(d.values()) <= set(skeleton.names)]
        drivers += known[:1]
    if len(same) == target.num_joints or (len(drivers) < 2 and 2 * len(same) > target.num_joints):
        return same
    if len(drivers) < 2:
        raise ValueError(
            "input and target have other names, and not both those of one of the layouts "
            f"{', '.join(DRIVERS)}; say which joints turn alike by --names."
        )
    own, theirs = drivers
    order = sorted(own, key=_decides)  # of segments that one joint moves, the last one decides
    return {own[segment]: theirs[segment] for segment in order}


def _decides(segment: str) -> int:
    return 2 if segment in _LAST else 0 if segment.endswith(_FIRST) else 1


def main(argv):
    """Reads two files, writes one."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}; give --input=FILE.")
    if _TARGET.value is None:
        raise ValueError("say whose skeleton gets the motion by --target=FILE.bvh.")
    source, params, frame_time_s = load_bvh(_INPUT.value)
    target = load_bvh(_TARGET.value).skeleton
    if _NAMES.value is None:
        names = match_names(source, target)
    else:
        names = json.loads(pathlib.Path(_NAMES.value).read_text(encoding="utf-8"))
    contacts = None
    if _FEET.value:
        ankles = tuple(names[leg.ankle] for leg in legs_of(target, names))
        contacts = foot_contacts(params, source, ankles, frame_time_s)
    found = retarget(params, source, target, names, contacts=contacts)
    output = pathlib.Path(_OUTPUT.value)
    output.parent.mkdir(parents=True, exist_ok=True)
    save_bvh(output, target, found, frame_time_s)
    share = 0.0 if contacts is None else np.mean(list(contacts.values()))
    stands = "" if contacts is None else f"; feet stand in {share:.0%} of the frames"
    print(f"{len(found)} frames, {len(names)} joints by name{stands}; written to {output}")


if __name__ == "__main__":
    run_program(main)
