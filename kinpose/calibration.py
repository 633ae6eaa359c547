"""Calibration: the bone lengths of the person in a recording."""

import dataclasses
import re
import warnings
from collections.abc import Sequence

import jax
import numpy as np

from kinpose.fitting._problem import units
from kinpose.fitting.fit import check_stop, checked_points, fit_params
from kinpose.frames import frames_of, jacobian_of
from kinpose.skeleton import Motion, Skeleton, scale_skeleton

_STEPS = 20

_STRIDE = 0.2
"""Most that the logarithm of a length changes in one step."""

_PULL = 1e-4
"""Weight (squared sizes) of what holds the logarithms where they began."""

_KNOWN = 1e-8
"""Square of how little a change of the pose moves the points, against the one that moves them most,
to count as moving nothing."""

_FRAMES = 128
"""At a time: memory is bounded."""


def calibrate_skeleton(
    joints: jax.Array,
    skeleton: Skeleton,
    *,
    lengths: str = "scale",
    weights: jax.Array | None = None,
    robust: float | None = None,
    max_frames: int = 128,
    tolerance: float = 1e-4,
) -> Skeleton:
    """Finds the bone lengths that fit a whole recording, together with its poses.

    Gauss-Newton on the logarithms of the lengths; the poses are eliminated from every step
    (Schur complement), so it takes few. Bones that the points do not determine keep theirs.

    Args:
      joints: (T, K, n) points in any length unit; NaN marks a missing one.
      skeleton: the tree, in any length unit: the result is in that of the points.
      lengths: what may change: "scale", one factor for all bones (the paper's); "symmetric",
        every bone, left as right (names say which: "left_hip", "LeftLeg", "l_hip", "Hip.L",
        "lfemur" and the like); or "bones", every bone by itself.
      weights: (K,) or (T, K) factors of the squared distances.
      robust: as in `fit_params`, in the unit of the points.
      max_frames: frames used, evenly spread over the recording.
      tolerance: stop when no length changes by more than this part.

    Returns:
      The skeleton with the lengths found.

    Raises:
      ValueError: for arguments of wrong shape, no frames, an unknown `lengths`, a tolerance that
        is negative or not finite, `max_frames` below 1, or when no bone has both its ends among
        the points.
    """
    if lengths not in ("scale", "symmetric", "bones"):
        raise ValueError(f"lengths must be 'scale', 'symmetric' or 'bones', but got {lengths!r}.")
    if np.ndim(joints) != 3:
        raise ValueError(f"joints must have shape (T, K, n), but got {np.shape(joints)}.")
    check_stop(tolerance)
    if not isinstance(max_frames, int | np.integer) or max_frames < 1:
        raise ValueError(f"max_frames must be a number from 1 on, but got {max_frames}.")
    joints = np.asarray(joints)
    if not len(joints):
        raise ValueError("a recording must have a frame, but has none.")
    frames = np.linspace(0, len(joints) - 1, min(len(joints), max_frames)).round().astype(int)
    joints = joints[frames]
    checked, weights = checked_points(joints, _rows(weights, frames), skeleton)
    joints = np.where((weights > 0)[..., None], joints, np.nan)
    joints = (_centred(joints) if _slides_freely(skeleton) else joints).astype(checked.dtype)
    skeleton = _in_unit(skeleton, guess_scale(joints, skeleton))
    groups, count = _groups(skeleton, lengths)
    logs, found = np.zeros(count), skeleton
    for _ in range(_STEPS):
        fit = fit_params(joints, found, weights=weights, robust=robust)
        trusted, params = weights * np.asarray(fit.trust), np.asarray(fit.params, np.float64)
        change = _step(joints, trusted, params, found, logs, groups)
        logs = logs + np.clip(change, -_STRIDE, _STRIDE)
        if lengths == "scale":
            found = _in_unit(skeleton, float(np.exp(logs[0])))
        else:
            offsets = skeleton.offsets * np.exp(logs)[groups][:, None]
            found = dataclasses.replace(skeleton, offsets=offsets)
        if np.abs(change).max() < tolerance:
            break
    return found


def _in_unit(skeleton: Skeleton, factor: float) -> Skeleton:
    """The skeleton with all lengths, those of slides and their limits included, times a factor."""
    angles = dict(zip(skeleton.dof_names, skeleton.is_angle, strict=True))

    def changed(motion: Motion) -> Motion:
        length = factor if motion.kind == "t" else 1.0
        unit = 1.0 if angles[motion.dof] else factor
        multiplier = motion.multiplier * (length / unit)
        return dataclasses.replace(motion, multiplier=multiplier, bias=motion.bias * length)

    factors = np.where(skeleton.is_angle, 1.0, factor)[:, None]
    motions = tuple(tuple(map(changed, own)) for own in skeleton.motions)
    limits = np.asarray(skeleton.limits) * factors
    return dataclasses.replace(scale_skeleton(skeleton, factor), motions=motions, limits=limits)


def _slides_freely(skeleton: Skeleton) -> bool:
    """Whether the root moves along all axes without end, so that points may be anywhere."""
    ends = np.isfinite(np.asarray(skeleton.limits)).any(axis=1)
    slides = [motion for motion in skeleton.motions[0] if motion.kind == "t"]
    axes = [motion.axis for motion in slides if not ends[skeleton.dof_index(motion.dof)]]
    return bool(axes) and np.linalg.matrix_rank(np.array(axes)) == skeleton.ndim


def _centred(joints: np.ndarray) -> np.ndarray:
    """(T, K, n) about the middle of each frame: far from the origin float32 has few digits."""
    seen = np.isfinite(joints).all(axis=-1, keepdims=True)
    count = np.maximum(seen.sum(axis=1, keepdims=True), 1)
    middle = np.where(seen, joints, 0.0).sum(axis=1, keepdims=True) / count
    return (joints - middle).astype(np.result_type(joints.dtype, np.float32))


def _rows(weights, frames):
    """The weights of some frames; those that all frames share stay as they are."""
    return weights if np.ndim(weights) < 2 else np.asarray(weights)[frames]


def guess_scale(joints: jax.typing.ArrayLike, skeleton: Skeleton) -> float:
    """Median, over bones and frames, of the points' distance to the skeleton's bone length.

    Args:
      joints: (T, K, n) points; NaN marks a missing one.
      skeleton: the tree.

    Returns:
      The factor from the skeleton's unit to that of the points.

    Raises:
      ValueError: when no bone has both its ends among the points.
    """
    joints = np.asarray(joints, np.float64)
    _, places = frames_of(np.zeros((1, skeleton.num_dofs)), skeleton)
    rest = places[0, list(skeleton.keypoints)]
    ends = np.array(skeleton.bones, int).reshape(-1, 2).T
    length = np.linalg.norm(rest[ends[0]] - rest[ends[1]], axis=-1)
    seen = np.linalg.norm(joints[:, ends[0]] - joints[:, ends[1]], axis=-1)
    seen, length = seen[:, length > 0], length[length > 0]
    ratio = (seen / length)[np.isfinite(seen) & (seen > 0)]
    if not len(ratio):
        raise ValueError("no bone of the skeleton has both its ends among the points.")
    return float(np.median(ratio))


def _groups(skeleton: Skeleton, lengths: str) -> tuple[np.ndarray, int]:
    """(J,) index of the length that a joint's offset follows, and how many there are."""
    if lengths == "scale":
        keys = ["all"] * skeleton.num_joints
    elif lengths == "bones":
        keys = list(skeleton.names)
    else:
        keys = [min(name, other_side(name, skeleton.names) or name) for name in skeleton.names]
        if keys == list(skeleton.names):
            warnings.warn(
                "lengths='symmetric' finds no left and right among the joints "
                f"{list(skeleton.names)}: every bone gets a length of its own.",
                stacklevel=3,
            )
    index = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    return np.array([index[key] for key in keys]), len(index)


_SIDES = (("left", "right"), ("Left", "Right"), ("LEFT", "RIGHT"), ("l", "r"), ("L", "R"))


def other_side(name: str, names: Sequence[str]) -> str | None:
    """The name of the same joint on the other side of the body.

    Args:
      name: of a joint.
      names: of all joints.

    Returns:
      The name among them that differs by left and right, written out anywhere, or as one letter
      at the beginning, at the end or between separators; None where there is none.
    """
    for pair in _SIDES:
        for one, other in (pair, pair[::-1]):
            anywhere = one if len(one) > 1 else rf"^{one}|(?<=[ _.:-]){one}(?=[ _.:-])|{one}$"
            for match in re.finditer(anywhere, name):
                swapped = name[: match.start()] + other + name[match.end() :]
                if swapped in names:
                    return swapped
    return None


def _step(joints, weights, params, skeleton: Skeleton, logs, groups) -> np.ndarray:
    """Change of the logarithms of the lengths, every pose following as it likes best."""
    count = len(logs)
    normal, gradient = np.zeros((count, count)), np.zeros(count)
    for start in range(0, len(joints), _FRAMES):
        rows = (x[start : start + _FRAMES] for x in (joints, weights, params))
        beyond, residual = _beyond_poses(*rows, skeleton, groups[:, None] == np.arange(count))
        normal += beyond.T @ beyond
        gradient += beyond.T @ residual
    normal, gradient = normal / len(joints), gradient / len(joints)
    return -np.linalg.solve(normal + _PULL * np.eye(count), gradient + _PULL * logs)


def _beyond_poses(joints, weights, params, skeleton: Skeleton, follows) -> tuple:
    """Of the points' derivatives by the lengths what no change of the pose can reach.

    (T * K * n, L), and the residuals (T * K * n,).
    """
    size, _ = units(skeleton, np.float64)
    seen = np.isfinite(joints).all(axis=-1)
    root = np.sqrt(np.where(seen, weights, 0.0))[..., None] / size
    positions, by_pose, by_length = jacobian_of(params, skeleton)
    residual = np.where(seen[..., None], positions - joints, 0.0) * root
    by_pose, by_length = (
        (x * root[..., None]).reshape(len(x), -1, x.shape[-1])
        for x in (by_pose, by_length @ follows)
    )
    strength, basis = np.linalg.eigh(by_pose.swapaxes(1, 2) @ by_pose)
    known = strength > _KNOWN * strength[:, -1:]
    scale = np.where(known, 1.0 / np.sqrt(np.where(known, strength, 1.0)), 0.0)
    reach = by_pose @ (basis * scale[:, None, :])
    beyond = by_length - reach @ (reach.swapaxes(1, 2) @ by_length)
    return beyond.reshape(-1, beyond.shape[-1]), residual.ravel()
