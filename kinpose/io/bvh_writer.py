"""Writing BVH files; what they hold is told in `kinpose.io.bvh`.

Shapes: T frames, C channels, D dofs.
"""

import itertools
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kinpose.frames import local_frames, values_of
from kinpose.io.files import write_atomically
from kinpose.skeleton import Skeleton

LARGEST = 1e30
"""Of any number in a file or for one: kinematics in float32 stays finite."""


def save_bvh(
    path: str | os.PathLike,
    skeleton: Skeleton,
    params: np.ndarray,
    frame_time_s: float,
    *,
    scale: float = 1.0,
) -> None:
    """Writes a recording as a BVH file that Blender, bvhio and pybvh open.

    Every joint has three rotation channels: its own rotations in their order, if they are
    about different coordinate axes, else Z X Y Euler angles that are continuous over time.
    The root has three position channels as well, and so has a joint that slides; a slide
    that never changes becomes part of the OFFSET. A joint `<parent>_end` without motions
    and children is written as an End Site. The file appears whole or not at all.

    Args:
      path: the file to write; an existing one is replaced.
      skeleton: any 3D skeleton; all joints are written, keypoints or not, depth first.
      params: (T, D) rad and the skeleton's length unit, one row per frame.
      frame_time_s: time from one frame to the next.
      scale: multiplies all lengths; 100 writes a skeleton in m into a file in cm.

    Raises:
      ValueError: for a skeleton that is not 3D or has a name that BVH cannot hold, for
        params of a wrong shape or not finite, for a frame time or scale not positive.
    """
    check_positive("frame_time_s", frame_time_s)
    check_positive("scale", scale)
    offsets, params = _checked_arrays(skeleton, params)
    tracks = {
        joint: _track(skeleton, joint, offsets[joint], params, scale)
        for joint in _depth_first(skeleton.parents)
    }
    ends = _end_sites(skeleton, offsets)
    lines = [*_hierarchy_lines(skeleton, tracks, ends), "MOTION", f"Frames: {len(params)}"]
    lines += [f"Frame Time: {float(frame_time_s)!r}"]
    values = np.hstack([track.values for joint, track in tracks.items() if joint not in ends])
    _write(path, lines, values)


def check_positive(name: str, value: float) -> None:
    """The gate of scales and frame times; `name` is for the error."""
    if not 0 < value <= LARGEST:
        raise ValueError(f"{name} must be positive and finite, but got {value}.")


class _Track(NamedTuple):
    """A joint as the file has it: an OFFSET, channels and their values (T, C)."""

    offset: np.ndarray
    channels: list[str]
    values: np.ndarray


def _track(skeleton: Skeleton, joint: int, offset, params, scale: float) -> _Track:
    motions = skeleton.motions[joint]
    turns = [(m.axis, values_of(m, skeleton, params)) for m in motions if m.kind == "r"]
    own, shifts = _own_angles(turns, len(params)), np.zeros((len(params), 3))
    if own is None or len(turns) < len(motions):
        # In float64: near x = 90 degrees, Euler angles of float32 matrices err by 0.03 degrees.
        rotations, shifts = local_frames(skeleton, joint, params)
    order, angles = own or ("ZXY", _euler_zxy(rotations))
    channels = [f"{axis}rotation" for axis in order]
    if joint > 0 and (shifts == shifts[:1]).all():
        fixed = shifts[:1].sum(axis=0)
        return _Track(scale * (offset + fixed), channels, np.rad2deg(angles))
    channels = [f"{axis}position" for axis in "XYZ"] + channels
    values = np.hstack([scale * (offset + shifts), np.rad2deg(angles)])
    return _Track(scale * offset, channels, values)


def _own_angles(turns: Sequence, num_frames: int) -> tuple[str, np.ndarray] | None:
    """Order and angles (T, 3) of rotations (axis, angle) that can be channels as they are."""
    axes = ["XYZ"[np.argmax(np.abs(axis))] for axis, _ in turns]
    aligned = all(sorted(map(abs, axis))[1] < 1e-9 for axis, _ in turns)
    if not aligned or len(set(axes)) < len(axes):
        return None
    angles = np.zeros((num_frames, 3))
    for k, (axis, angle) in enumerate(turns):
        angles[:, k] = np.sign(sum(axis)) * angle
    return "".join(dict.fromkeys([*axes, *"ZXY"])), angles


def _euler_zxy(rotations: np.ndarray) -> np.ndarray:
    """Angles z, x, y (T, 3) with R = Rz Rx Ry, continuous over time.

    At x = +-90 degrees only the sum or difference of z and y counts, and z stays as it was.
    """
    sin_z, cos_z = -rotations[:, 0, 1], rotations[:, 1, 1]
    known = np.where(np.hypot(sin_z, cos_z) > 1e-9, np.arange(len(rotations)), 0)
    z = np.arctan2(sin_z, cos_z)[np.maximum.accumulate(known)]
    c, s = np.cos(z)[:, None], np.sin(z)[:, None]
    row_x = c * rotations[:, 0] + s * rotations[:, 1]  # of Rx Ry: R turned back by z
    row_y = c * rotations[:, 1] - s * rotations[:, 0]
    x = np.arctan2(rotations[:, 2, 1], row_y[:, 1])
    y = np.arctan2(row_x[:, 2], row_x[:, 0])
    return _continuous(np.stack([z, x, y], axis=1))


def _continuous(angles: np.ndarray) -> np.ndarray:
    """Of the two triples that mean the same rotation, always the one nearer to the last."""
    other = angles * (1, -1, 1) + np.pi
    keep, swap = (np.cos(new[1:] - angles[:-1]).sum(axis=1) for new in (angles, other))
    swapped = np.cumsum(swap > keep) % 2 == 1  # a swap is as long from either triple
    rest = np.where(swapped[:, None], other[1:], angles[1:])
    return np.unwrap(np.concatenate([angles[:1], rest]), axis=0)


def _checked_arrays(skeleton: Skeleton, params) -> tuple[np.ndarray, np.ndarray]:
    offsets, params = np.asarray(skeleton.offsets, float), np.asarray(params, float)
    if offsets.shape != (skeleton.num_joints, 3):
        raise ValueError(f"BVH holds one 3D skeleton, but the offsets have shape {offsets.shape}.")
    if params.ndim != 2 or params.shape[1] != skeleton.num_dofs:
        want = f"(T, {skeleton.num_dofs}), one row per frame"
        raise ValueError(f"params must have shape {want}, but got {params.shape}.")
    for name, array in (("offsets", offsets), ("params", params)):
        if not (np.abs(array) <= LARGEST).all():
            raise ValueError(f"{name} must be finite, but got {array}.")
    for name in skeleton.names:
        if not name or name != " ".join(name.split()) or set(name) & set("{}"):
            raise ValueError(f"BVH cannot hold a joint of the name {name!r}.")
    return offsets, params


def _depth_first(parents: Sequence[int]) -> list[int]:
    children: list[list[int]] = [[] for _ in parents]
    for joint in range(len(parents) - 1, 0, -1):
        children[parents[joint]].append(joint)
    order, stack = [], [0]
    while stack:
        order.append(stack.pop())
        stack += children[order[-1]]
    return order


def _end_sites(skeleton: Skeleton, offsets: np.ndarray) -> set[int]:
    """Joints that `load_bvh` will find again in an End Site."""
    names, parents = skeleton.names, skeleton.parents
    leaves = set(range(1, skeleton.num_joints)) - set(parents)
    still = {j for j in leaves if not skeleton.motions[j] and offsets[j].any()}
    return {j for j in still if names[j] == f"{names[parents[j]]}_end"}


def _hierarchy_lines(skeleton: Skeleton, tracks: dict[int, _Track], ends: set[int]) -> list[str]:
    depths = [0]
    for parent in skeleton.parents[1:]:
        depths.append(depths[parent] + 1)
    lines = ["HIERARCHY"]
    for joint, following in itertools.pairwise([*tracks, None]):
        depth, next_depth = depths[joint], 0 if following is None else depths[following]
        title = f"{'JOINT' if joint else 'ROOT'} {skeleton.names[joint]}"
        offset, channels, _ = tracks[joint]
        if joint in ends:
            lines += _block(depth, "End Site", offset)
        else:
            lines += _block(depth, title, offset, f"CHANNELS {len(channels)} {' '.join(channels)}")
        if next_depth <= depth and joint not in ends:
            lines += [*_block(depth + 1, "End Site", np.zeros(3)), "\t" * (depth + 1) + "}"]
        lines += ["\t" * level + "}" for level in range(depth, next_depth - 1, -1)]
    return lines


def _block(depth: int, title: str, offset: np.ndarray, *inside: str) -> list[str]:
    """The lines of a joint or End Site, without the closing brace."""
    inside = ("OFFSET " + " ".join(f"{x:.12g}" for x in offset + 0.0), *inside)
    return ["\t" * depth + line for line in (title, "{", *("\t" + line for line in inside))]


def _write(path, lines: list[str], values: np.ndarray) -> None:
    """The lines, then the frames with six decimals."""
    with write_atomically(path) as temporary, open(temporary, "wb") as file:
        file.write("".join(line + "\n" for line in lines).encode())
        for start in range(0, len(values), _AT_ONCE):
            file.write(_as_text(values[start : start + _AT_ONCE]))


_AT_ONCE = 1000  # frames


def _as_text(values: np.ndarray) -> bytes:
    """A line for each frame (T, C): numbers with six decimals, zeros at their ends left out.

    Digits of all numbers are found side by side; by one at a time this takes five times as long.
    """
    if not (np.abs(values) < 1e9).all():
        rows = (np.round(values, 6) + 0.0).tolist()  # no -0
        lines = (" ".join(f"{x:.6f}".rstrip("0").rstrip(".") for x in row) for row in rows)
        return "".join(line + "\n" for line in lines).encode()
    millionths = np.rint(1e6 * values).astype(np.int64)
    whole, fraction = (x.astype(np.uint32) for x in np.divmod(np.abs(millionths), 10**6))
    # A number's places: its sign, ten digits, the point, six digits, and what parts it.
    text, keep = (np.empty((19, *values.shape), kind) for kind in (np.uint8, bool))
    text[0], keep[0] = ord("-"), millionths < 0
    for place in range(10, 0, -1):
        keep[place] = (whole > 0) | (place == 10)
        whole, text[place] = _last_digit(whole)
    text[11], keep[11] = ord("."), fraction > 0
    not_zero = np.zeros(values.shape, bool)
    for place in range(17, 11, -1):
        fraction, text[place] = _last_digit(fraction)
        keep[place] = not_zero = not_zero | (text[place] != ord("0"))
    text[18], keep[18] = ord(" "), True
    text[18, :, -1] = ord("\n")
    in_order = (1, 2, 0)
    return text.transpose(in_order)[keep.transpose(in_order)].tobytes()


def _last_digit(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers without it, and it as a character."""
    rest = numbers // 10
    return rest, numbers - 10 * rest + ord("0")
