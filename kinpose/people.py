"""Which joints of a person's skeleton turn what, by the names of a layout and by the tree."""

from collections.abc import Sequence

from kinpose.layouts import LAYOUTS, find_layout, single_points
from kinpose.skeleton import Skeleton
from kinpose.standing import Leg

_LEGS = ("hip", "knee", "ankle")
_ARMS = ("shoulder", "elbow", "wrist")
_SIDES = ("left", "right")


def body_parts(skeleton: Skeleton) -> dict[str, str]:
    """The joints that turn the parts of a person.

    Legs and arms are found by name (`kinpose.layouts`). The pelvis is turned by the joint where the
    legs meet, the chest by the one where the arms meet; spine, collar bones, neck and head by those
    between and beside them, where there are any.

    Args:
      skeleton: of a recording of a person.

    Returns:
      Part -> name of its joint: "pelvis", "spine", "chest", "neck", "head", and for each side
      "left_clavicle", "left_shoulder", "left_elbow", "left_wrist", "left_hip", "left_knee" and
      "left_ankle".

    Raises:
      ValueError: for names that belong to no layout, or a layout whose legs are no joints.
    """
    names = skeleton.names
    layout = find_layout(names)
    points = single_points(names, LAYOUTS[layout])
    limbs = [f"{side}_{joint}" for side in _SIDES for joint in (*_LEGS, *_ARMS)]
    parts = {limb: points[limb] for limb in limbs if limb in points}
    lacking = [f"{s}_{joint}" for s in _SIDES for joint in _LEGS if f"{s}_{joint}" not in parts]
    if lacking:
        raise ValueError(f"expected joints for legs, but layout {layout} has none for {lacking}.")
    hips, shoulders = (
        [parts[f"{s}_{joint}"] for s in _SIDES if f"{s}_{joint}" in parts]
        for joint in ("hip", "shoulder")
    )
    parts["pelvis"] = pelvis = _meeting(skeleton, hips)
    if len(shoulders) == 2:
        parts |= _trunk(skeleton, pelvis, shoulders)
    return {part: names[joint] for part, joint in parts.items()}


def match_people(source: Skeleton, target: Skeleton) -> tuple[dict[str, str], tuple[Leg, Leg]]:
    """What `kinpose.retargeting.retarget` needs to know of two people.

    Args:
      source: of the recording.
      target: of who gets the motion.

    Returns:
      Joint of the target -> joint of the source, and the target's legs.

    Raises:
      ValueError: as `body_parts`.
    """
    own, theirs = body_parts(target), body_parts(source)
    names = {own[part]: theirs[part] for part in own if part in theirs}
    left, right = (Leg(*(own[f"{side}_{joint}"] for joint in _LEGS)) for side in _SIDES)
    return names, (left, right)


def _trunk(skeleton: Skeleton, pelvis: int, shoulders: Sequence[int]) -> dict[str, int]:
    chest = _meeting(skeleton, shoulders)
    parts, above = {}, {joint: _path(skeleton, chest, joint) for joint in shoulders}
    for side, path in zip(_SIDES, above.values(), strict=True):
        if len(path) > 1:
            parts[f"{side}_clavicle"] = path[0]
    beside = {path[0] for path in above.values() if path}
    others = [j for j, up in enumerate(skeleton.parents) if up == chest and j not in beside]
    others = [j for j in others if j in skeleton.parents]  # an end turns nothing
    if len(others) > 1:
        named = [j for j in others if any(x in skeleton.names[j].lower() for x in ("neck", "head"))]
        others = named or others
    if others:
        head = _last(skeleton, others[0])
        parts |= {"head": head} | ({"neck": others[0]} if head != others[0] else {})
    spine = _path(skeleton, pelvis, chest)
    turns = any(motion.kind == "r" for motion in skeleton.motions[chest])
    if turns and len(spine) > 1:
        parts["spine"] = spine[0]
    return parts | ({"chest": chest} if chest != pelvis else {})


def _last(skeleton: Skeleton, joint: int) -> int:
    """The last joint of a chain that turns something."""
    last = joint
    while True:
        children = [c for c, up in enumerate(skeleton.parents) if up == joint]
        if len(children) != 1 or children[0] not in skeleton.parents:
            return last
        joint = children[0]
        last = joint if any(m.kind == "r" for m in skeleton.motions[joint]) else last


def _meeting(skeleton: Skeleton, joints: Sequence[int]) -> int:
    """The last joint that is above all of them."""
    ancestors = [set(_path(skeleton, -1, joint)[:-1]) for joint in joints]
    return max(set.intersection(*ancestors), default=0)


def _path(skeleton: Skeleton, above: int, joint: int) -> list[int]:
    """From the child of one joint down to another below it."""
    path: list[int] = []
    while joint not in (above, -1):
        path.insert(0, joint)
        joint = skeleton.parents[joint]
    return path
