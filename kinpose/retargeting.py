"""Motion of one skeleton for another: what turns in the recording turns alike in the target.

Each mapped segment gets the source's rotation in the world, from the rest poses on, times a
constant one that lays arms and legs along the source's. The root is scaled by the length of
the legs; bones stay as they are. Both rest poses stand upright along their axes.

Shapes: T frames, J joints, D dofs; S segments.
"""

import itertools
import warnings
from collections.abc import Mapping

import numpy as np

from kinpose.footing import hold_feet
from kinpose.frames import checked_params, frames_of, groups_of, params_from, turn_about, turns_of
from kinpose.skeleton import Skeleton
from kinpose.standing import (
    Leg,
    Stand,
    chains_of,
    legs_of,
    lowest_of,
    parents_among,
    stand_of,
)

_BESIDE = 0.05
"""Parts of the leg's length beside the middle from which a chain of joints is a limb."""

_STRAIGHT = 0.1
"""Sine of a hinge's bend below which its limb counts as straight."""

_MOST_HELD = 5
"""Names of dofs in a warning."""


def retarget(
    params: np.ndarray,
    source: Skeleton,
    target: Skeleton,
    name_map: Mapping[str, str],
    *,
    contacts: Mapping[str, np.ndarray] | None = None,
    legs: tuple[Leg, Leg] | None = None,
    source_rest: np.ndarray | None = None,
    target_rest: np.ndarray | None = None,
) -> np.ndarray:
    """Carries a recording over to another skeleton.

    Angles stay within the target's limits; a warning says which are held there, in how many of the
    frames and by how much.

    Args:
      params: (T, D) recording of the source.
      source: a person or the like in 3D, any axes and unit.
      target: a skeleton whose root turns and slides; its bones stay as they are.
      name_map: joint of the target -> joint of the source, of segments that turn alike: pelvis,
        trunk, limbs. Others of the target stay as they are against their parents.
      contacts: ankle of the source -> (T,) whether that foot stands, as `foot_contacts` finds:
        then it stays where it is, and no foot goes below the floor. None leaves the feet to the
        angles.
      legs: of the target, by the names of hip, knee and ankle, all mapped. By default the two
        unbranched chains of mapped joints that begin at the root.
      source_rest: (D,) a pose in which the source stands as the target in its rest pose but for
        the directions of arms and legs; zeros by default.
      target_rest: the same of the target.

    Returns:
      (T, D of the target) parameters, float64.

    Raises:
      ValueError: for names that are no joints', wrong shapes, a root that cannot move, legs that
        are not found, and rest poses that do not stand along their axes.
    """
    params = checked_params(params, source)
    mapped = _mapped(source, target, name_map)
    theirs = legs or legs_of(target, name_map)
    source_legs = [[name_map.get(name, "") for name in leg] for leg in theirs]
    own = stand_of(target, mapped, theirs, target_rest, "target")
    given = stand_of(source, set(mapped.values()), source_legs, source_rest, "source")
    rotations, places = frames_of(params, source)
    wanted = _with_hinges(_carried(rotations, target, mapped, own, given), target, mapped)
    free = params_from(wanted, target, mapped, target_rest)
    found = _within_limits(free, target)
    beyond = _apart(found, free, target)
    rotations, at = frames_of(found, target)
    scale = own.leg / given.leg
    floor = np.percentile(lowest_of(places, source, given), 5)
    hips = places[:, given.legs.hips].mean(axis=1) @ given.axes.T
    hips = scale * (hips - _UP * (floor + given.ankle)) + _UP * (scale * floor + own.ankle)
    shift = hips @ own.axes - at[:, own.legs.hips].mean(axis=1)
    if contacts is not None:
        stands = _checked_contacts(contacts, [name_map[leg[2]] for leg in theirs], len(params))
        up, floor = own.axes[1], scale * floor
        held, lift = hold_feet(rotations, at + shift[:, None], target, own.legs, up, floor, stands)
        free = params_from(held, target, mapped, target_rest)
        found, shift = _within_limits(free, target), shift + lift
        beyond = np.maximum(beyond, _apart(found, free, target))
    _say_held(beyond, target)
    return _placed(found, shift, target)


def segment_turns(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Rotations that lay segments along others, of a person with x to the side, y up, z forward.

    About the directions, they align the axes of elbows and knees, which bend forwards in both.

    Args:
      old: (S, 3) directions in one rest pose.
      new: (S, 3) directions in another.

    Returns:
      (S, 3, 3) rotations.
    """
    return _frames(new) @ _frames(old).swapaxes(1, 2)


_UP = np.array([0.0, 1.0, 0.0])
_FORWARD = np.array([0.0, 0.0, 1.0])


def _frames(directions) -> np.ndarray:
    """(S, 3, 3) columns: a direction, the axis about which it bends forwards, the third."""
    directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    is_forward = np.abs(directions @ _FORWARD) >= 0.9
    axes = np.cross(directions, np.where(is_forward[:, None], _UP, _FORWARD))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    return np.stack([directions, axes, np.cross(directions, axes)], axis=2)


def _checked_contacts(contacts, ankles: list[str], num_frames: int) -> np.ndarray:
    """(2, T) of the legs' ankles."""
    for name in ankles:
        if np.shape(contacts.get(name)) != (num_frames,):
            raise ValueError(
                f"contacts must have ({num_frames},) flags for each of {ankles}, but for {name!r} "
                f"have {np.shape(contacts[name]) if name in contacts else 'none'}."
            )
    return np.array([contacts[name] for name in ankles], bool)


def _mapped(source: Skeleton, target: Skeleton, name_map) -> dict[int, int]:
    """The gate of names: joint of the target -> joint of the source, in the target's order."""
    for skeleton, names, what in (
        (target, name_map.keys(), "target"),
        (source, name_map.values(), "source"),
    ):
        if skeleton.ndim != 3:
            raise ValueError(f"the {what} must be 3D, but is {skeleton!r}.")
        for name in names:
            if name not in skeleton.names:
                raise ValueError(f"name_map names {name!r}, which is no joint of the {what}.")
    index = {target.names.index(t): source.names.index(s) for t, s in name_map.items()}
    return dict(sorted(index.items()))


def _limb_turns(target: Skeleton, mapped, own: Stand, given: Stand) -> dict[int, np.ndarray]:
    """For joints of arms and legs, what lays the target's segment along the source's."""
    turns: dict[int, np.ndarray] = {}
    for start, *chain in chains_of(target, mapped):
        for joint, after in itertools.zip_longest(chain, chain[1:]):
            beside = own.axes[0] @ (own.places[joint] - own.places[start])
            if joint in own.legs.ankles:
                break  # soles lie flat in both rest poses
            if after is None:
                turns[joint] = turns.get(chain[-2], np.eye(3)) if len(chain) > 1 else np.eye(3)
            elif abs(beside) > _BESIDE * own.leg:
                old = _segment(own, joint, after)
                new = _segment(given, mapped[joint], mapped[after])
                if min(np.linalg.norm(old), np.linalg.norm(new)) > 0:
                    turns[joint] = segment_turns(old[None], new[None])[0]
    return turns


def _segment(stand: Stand, joint: int, after: int) -> np.ndarray:
    """(3,) from where one limb begins to turn to where the next one does, along the axes."""
    start, end = (stand.places[stand.starts[j]] for j in (joint, after))
    return stand.axes @ (end - start)


def _carried(rotations, target: Skeleton, mapped, own: Stand, given: Stand) -> np.ndarray:
    """(T, J, 3, 3) rotations in the world that the target's mapped joints should have."""
    turns = _limb_turns(target, mapped, own, given)
    wanted = np.tile(np.eye(3), (len(rotations), target.num_joints, 1, 1))
    for joint, theirs in mapped.items():
        change = rotations[:, theirs] @ given.rotations[theirs].T
        change = given.axes @ change @ given.axes.T @ turns.get(joint, np.eye(3))
        wanted[:, joint] = own.axes.T @ change @ own.axes @ own.rotations[joint]
    return wanted


def _with_hinges(wanted: np.ndarray, target: Skeleton, mapped) -> np.ndarray:
    """Turns limbs about themselves so that the hinges below, elbows and knees, can follow.

    A limb that is almost straight does not tell how: there its own turn counts.
    """
    wanted, groups = wanted.copy(), {g.joint: g for g in groups_of(target, mapped)}
    rest, places = (x[0] for x in frames_of(np.zeros((1, target.num_dofs)), target))
    starts = {joint: places[group.path[0]] for joint, group in groups.items()}
    parents = parents_among(target, mapped)
    for joint, parent in parents.items():
        hinge = turns_of(target, *groups[joint].path)
        if len(hinge) != 1 or parent < 0 or len(turns_of(target, *groups[parent].path)) < 3:
            continue
        after = next((c for c, above in parents.items() if above == joint), None)
        if after is None:
            continue
        limb = rest[parent].T @ (starts[joint] - starts[parent])  # in the joints' own frames
        bone = rest[joint].T @ (starts[after] - starts[joint])
        axis = np.cross(limb, np.cross(np.array(hinge[0].axis), limb))
        if min(map(np.linalg.norm, (limb, bone, axis))) == 0:
            continue
        limb, bone, axis = (x / np.linalg.norm(x) for x in (limb, bone, axis))
        frame = wanted[:, parent]
        seen = np.einsum("tji,tj->ti", frame, wanted[:, joint] @ bone)
        off, in_plane = seen @ axis, seen @ np.cross(limb, axis)
        square = off**2 + in_plane**2
        angle = np.arctan2(-off * np.where(in_plane < 0, -1, 1), np.abs(in_plane))
        wanted[:, parent] = frame @ turn_about(limb, angle * square / (square + _STRAIGHT**2))
    return wanted


def _within_limits(params: np.ndarray, target: Skeleton) -> np.ndarray:
    """The nearest within the limits, of angles after as many whole turns as bring them nearest."""
    low, high = np.asarray(target.limits, np.float64).T
    beyond = (params < low) | (params > high)
    turns = np.array(target.is_angle) & np.isfinite(low) & np.isfinite(high)
    middle = np.where(turns, low, 0.0) / 2 + np.where(turns, high, 0.0) / 2
    around = params - 2 * np.pi * np.round((params - middle) / (2 * np.pi))
    return np.clip(np.where(beyond & turns, around, params), low, high)


def _apart(params: np.ndarray, others: np.ndarray, target: Skeleton) -> np.ndarray:
    """(T, D) how far they are apart, but for whole turns."""
    apart = np.abs(params - others)
    return np.where(target.is_angle, np.abs((apart + np.pi) % (2 * np.pi) - np.pi), apart)


def _say_held(apart: np.ndarray, target: Skeleton) -> None:
    """Warns of what limits change, by (T, D) how much."""
    held, angles = apart > 1e-6, target.is_angle
    if not held.any():
        return
    worst = np.argsort(-held.mean(axis=0), kind="stable")[: min(_MOST_HELD, held.any(axis=0).sum())]
    said = [
        f"{target.dof_names[d]} in {held[:, d].mean():.0%}, by up to "
        + (
            f"{np.degrees(apart[:, d].max()):.0f} degrees"
            if angles[d]
            else f"{apart[:, d].max():g}"
        )
        for d in worst
    ]
    more = held.any(axis=0).sum() - len(worst)
    warnings.warn(
        f"the target's limits hold {held.any(axis=1).mean():.0%} of the frames: {'; '.join(said)}"
        + (f"; and {more} more." if more else "."),
        stacklevel=3,
    )


def _placed(params: np.ndarray, shift: np.ndarray, target: Skeleton) -> np.ndarray:
    """Slides the root by a shift (T, 3)."""
    movers = [j for j, motions in enumerate(target.motions) if motions]
    own = target.motions[movers[0]] if movers else ()
    slides = list(itertools.takewhile(lambda motion: motion.kind == "t", own))
    axes = np.array([motion.axis for motion in slides])
    if len(slides) != 3 or abs(np.linalg.det(axes)) < 1e-6:
        raise ValueError(
            f"the target's root must slide along three axes before it turns, but {target!r} "
            "does not."
        )
    amounts = np.linalg.solve(axes.T, shift.T)
    params = params.copy()
    for motion, amount in zip(slides, amounts, strict=True):
        params[:, target.dof_index(motion.dof)] = (amount - motion.bias) / motion.multiplier
    return params
