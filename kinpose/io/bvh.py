"""BVH files: recordings of motion capture as text (Biovision Hierarchy).

A list of channels is a list of motions, one dof each. What readers agree on, though the
format does not say so: a joint's rotations act in the order listed; its position channels
act before them, wherever they are listed, along the parent's axes, and they replace the
OFFSET (in Blender, bvhio and pybvh; three.js adds the two). Our dofs are zero in the rest
pose, so the dof of a position channel is its value minus the OFFSET.

Shapes: T frames, C channels, D dofs.
"""

import dataclasses
import itertools
import math
import os
import pathlib
import re
import uuid
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from kinpose.skeleton import Joint, Motion, Skeleton, build_skeleton

_CHANNELS = {(a + kind).lower(): a + kind for a in "XYZ" for kind in ("position", "rotation")}
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_LARGEST = 1e30  # kinematics in float32 stays finite


class Recording(NamedTuple):
    """A skeleton and how it moved.

    Attributes:
      skeleton: one joint per joint of the file, one dof per channel.
      params: (T, D) float64, rad and the skeleton's length unit.
      frame_time_s: time from one frame to the next.
    """

    skeleton: Skeleton
    params: np.ndarray
    frame_time_s: float


def load_bvh(path: str | os.PathLike, *, scale: float = 1.0) -> Recording:
    """Reads a BVH file.

    Dofs have names like `Hips_Xposition` and the order of the channels, except that a
    joint's positions come before its rotations. The End Site of a joint becomes a joint
    without motions, `<parent>_end`; one of zero length is left out. Of joints with equal
    names, the later ones become `name_2`, `name_3`, ... The up axis stays as it is; to
    change it, see `kinpose.rotate_skeleton`.

    Args:
      path: the file, UTF-8 text with one line per frame.
      scale: multiplies all lengths; 0.01 reads a file in cm into a skeleton in m.

    Returns:
      The recording; all joints are keypoints.

    Raises:
      ValueError: for a malformed file, saying where, what was expected and what was found;
        for a scale that is not positive.
    """
    _check_positive("scale", scale)
    text = _Text(path)
    nodes = _read_hierarchy(text)
    num_frames, frame_time_s = _read_header(text)
    values = _read_frames(text, num_frames, sum(len(node.channels) for node in nodes))
    skeleton, params = _to_dofs(nodes, values, scale)
    return Recording(skeleton, params, frame_time_s)


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
    _check_positive("frame_time_s", frame_time_s)
    _check_positive("scale", scale)
    offsets, params = _checked_arrays(skeleton, params)
    tracks = {
        joint: _track(skeleton, joint, offsets[joint], params, scale)
        for joint in _depth_first(skeleton.parents)
    }
    ends = _end_sites(skeleton, offsets)
    lines = [*_hierarchy_lines(skeleton, tracks, ends), "MOTION", f"Frames: {len(params)}"]
    lines += [f"Frame Time: {float(frame_time_s)!r}"]
    values = np.hstack([track.values for joint, track in tracks.items() if joint not in ends])
    _write_atomically(path, lines, values)


@dataclasses.dataclass
class _Node:
    """A joint or an End Site, as the file has it."""

    name: str
    parent: "_Node | None"
    is_end: bool
    offset: list[float]
    channels: list[str] = dataclasses.field(default_factory=list)


class _Text:
    """The text of a file, taken word by word, and the errors about it."""

    def __init__(self, path):
        self.path, data = os.fspath(path), pathlib.Path(path).read_bytes()
        self.line = 0
        self.words: list[str] = []  # those left of this line, the next one last
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            found, line = data[error.start : error.end], data.count(b"\n", 0, error.start) + 1
            raise self.error("UTF-8 text", repr(found), line) from None
        self.lines = text.replace("\r\n", "\n").replace("\r", "\n").rstrip().split("\n")

    def error(self, expected: str, found: str, line: int | None = None) -> ValueError:
        where = f"{self.path}, line {line or self.line}"
        return ValueError(f"{where}: expected {expected}, but found {found}.")

    def word(self, expected: str) -> str:
        while not self.words:
            if self.line == len(self.lines):
                raise self.error(expected, "the end of the file")
            self.words = re.sub("[{}]", r" \g<0> ", self.lines[self.line]).split()[::-1]
            self.line += 1
        return self.words.pop()

    def keyword(self, *choices: str) -> str:
        expected = " or ".join(choices)
        word = self.word(expected)
        if word.upper() not in choices:
            raise self.error(expected, repr(word[:40]))
        return word.upper()

    def name(self) -> str:
        """The words up to a brace or to the end of the line."""
        words = []
        while self.words and self.words[-1] not in ("{", "}"):
            words.append(self.words.pop())
        if not words:
            raise self.error("the name of a joint", "none")
        return " ".join(words)

    def number(self, expected: str = "a number") -> float:
        return self.parse(self.word(expected), expected, self.line)

    def count(self, expected: str) -> int:
        value = self.number(expected)
        if value < 0 or not value.is_integer():
            raise self.error(expected, f"{value}")
        return int(value)

    def parse(self, word: str, expected: str, line: int) -> float:
        """Stricter than `float`, which takes "nan" and "1_000" for numbers."""
        value = float(word) if _NUMBER.fullmatch(word) else math.nan
        if not abs(value) <= _LARGEST:
            raise self.error(expected, repr(word[:40]), line)
        return value


def _read_hierarchy(text: _Text) -> list[_Node]:
    """Joints and End Sites in file order, with unique names."""
    text.keyword("HIERARCHY")
    root = _read_node(text, text.keyword("ROOT"), None)
    nodes, stack, taken = [root], [root], {root.name: 1}
    while stack:
        node = stack[-1]
        fresh = node is nodes[-1] and not node.channels
        inside = () if node.is_end else ("CHANNELS",) * fresh + ("JOINT", "END")
        keyword = text.keyword(*inside, "}")
        if keyword == "}":
            stack.pop()
        elif keyword == "CHANNELS":
            node.channels = _read_channels(text)
        else:
            child = _read_node(text, keyword, node)
            stack.append(child)
            if not child.is_end or any(child.offset):
                child.name = _unique(child.name, taken)
                nodes.append(child)
    return nodes


def _read_node(text: _Text, keyword: str, parent: _Node | None) -> _Node:
    if keyword == "END":
        text.keyword("SITE")
    name = f"{parent.name}_end" if keyword == "END" else text.name()
    text.keyword("{")
    text.keyword("OFFSET")
    return _Node(name, parent, keyword == "END", [text.number() for _ in range(3)])


def _unique(name: str, taken: dict[str, int]) -> str:
    """The first of `name`, `name_2`, `name_3`, ... that is not taken."""
    unique = name
    while unique in taken:
        taken[name] += 1
        unique = f"{name}_{taken[name]}"
    taken[unique] = 1
    return unique


def _read_channels(text: _Text) -> list[str]:
    count = text.count("a number of channels")
    channels: list[str] = []
    while len(channels) < count:
        expected = f"{count} different channels, such as Xposition or Zrotation"
        word = text.word(expected)
        channel = _CHANNELS.get(word.lower())
        if channel is None or channel in channels:
            raise text.error(expected, repr(word[:40]))
        channels.append(channel)
    return channels


def _read_header(text: _Text) -> tuple[int, float]:
    text.keyword("MOTION")
    text.keyword("FRAMES:")
    num_frames = text.count("a number of frames")
    text.keyword("FRAME")
    text.keyword("TIME:")
    frame_time_s = text.number("a frame time in seconds")
    if frame_time_s <= 0:
        raise text.error("a positive frame time in seconds", f"{frame_time_s}")
    if text.words:
        raise text.error("the end of the line", repr(text.words[-1][:40]))
    return num_frames, frame_time_s


def _read_frames(text: _Text, num_frames: int, num_channels: int) -> np.ndarray:
    """Values (T, C): the lines below the header, one frame each."""
    frames = [n for n in range(text.line, len(text.lines)) if text.lines[n].strip()]
    values = np.zeros((0, num_channels))
    if frames:
        try:
            values = np.loadtxt([text.lines[n] for n in frames], comments=None, ndmin=2)
        except ValueError:
            values = np.full((1, 1), np.nan)
        if values.shape[1] != num_channels or not (np.abs(values) <= _LARGEST).all():
            values = np.array([_read_frame(text, n, num_channels) for n in frames])
    if len(frames) != num_frames:
        n = [*frames, len(text.lines) - 1][min(num_frames, len(frames))]
        raise text.error(f"{num_frames} frames", f"{len(frames)}", n + 1)
    return values


def _read_frame(text: _Text, n: int, num_channels: int) -> list[float]:
    """One frame, slowly: says what is wrong with it."""
    words = text.lines[n].split()
    if len(words) != num_channels:
        raise text.error(f"{num_channels} values, one per channel", f"{len(words)}", n + 1)
    return [text.parse(word, "a number", n + 1) for word in words]


def _to_dofs(nodes: list[_Node], values, scale: float) -> tuple[Skeleton, np.ndarray]:
    """From channels (T, C) in the file's order to params (T, D), which are zero at rest."""
    channels = [(j, channel) for j, node in enumerate(nodes) for channel in node.channels]
    columns = sorted(range(len(channels)), key=lambda c: (channels[c][0], channels[c][1][1:]))
    motions: list[list[Motion]] = [[] for _ in nodes]
    rest, unit = np.zeros(len(columns)), np.full(len(columns), math.pi / 180)
    for d, column in enumerate(columns):  # a joint's "position" sorts before its "rotation"
        j, channel = channels[column]
        slides, axis, dof = channel[1:] == "position", channel[0], f"{nodes[j].name}_{channel}"
        motions[j].append(Motion("t" if slides else "r", axis.lower(), dof))
        if slides:
            rest[d], unit[d] = nodes[j].offset["XYZ".index(axis)], scale
    joints = [
        Joint(node.name, node.parent and node.parent.name, [scale * x for x in node.offset], ms)
        for node, ms in zip(nodes, motions, strict=True)
    ]
    return build_skeleton(joints), (values[:, columns] - rest) * unit


class _Track(NamedTuple):
    """A joint as the file has it: an OFFSET, channels and their values (T, C)."""

    offset: np.ndarray
    channels: list[str]
    values: np.ndarray


def _track(skeleton: Skeleton, joint: int, offset, params, scale: float) -> _Track:
    motions = skeleton.motions[joint]
    dofs = [skeleton.dof_names.index(m.dof) for m in motions]
    amounts = [m.multiplier * params[:, d] + m.bias for m, d in zip(motions, dofs, strict=True)]
    rotations, shifts = _local_frames(motions, amounts, len(params))
    turns = [(m.axis, a) for m, a in zip(motions, amounts, strict=True) if m.kind == "r"]
    order, angles = _own_angles(turns, len(params)) or ("ZXY", _euler_zxy(rotations))
    channels = [f"{axis}rotation" for axis in order]
    if joint > 0 and (shifts == shifts[:1]).all():
        fixed = shifts[:1].sum(axis=0)
        return _Track(scale * (offset + fixed), channels, np.rad2deg(angles))
    channels = [f"{axis}position" for axis in "XYZ"] + channels
    values = np.hstack([scale * (offset + shifts), np.rad2deg(angles)])
    return _Track(scale * offset, channels, values)


def _local_frames(motions, amounts, num_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (T, 3, 3) and shifts (T, 3) by a joint's motions, along its parent's axes.

    In float64: near x = 90 degrees, Euler angles of float32 matrices err by 0.03 degrees.
    """
    rotations, shifts = np.tile(np.eye(3), (num_frames, 1, 1)), np.zeros((num_frames, 3))
    for motion, amount in zip(motions, amounts, strict=True):
        if motion.kind == "t":
            shifts += amount[:, None] * (rotations @ motion.axis)
            continue
        cross, angle = np.cross(np.eye(3), motion.axis), amount[:, None, None]
        turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross)
        rotations = rotations @ turn
    return rotations, shifts


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


def _check_positive(name: str, value: float) -> None:
    if not 0 < value <= _LARGEST:
        raise ValueError(f"{name} must be positive and finite, but got {value}.")


def _checked_arrays(skeleton: Skeleton, params) -> tuple[np.ndarray, np.ndarray]:
    offsets, params = np.asarray(skeleton.offsets, float), np.asarray(params, float)
    if offsets.shape != (skeleton.num_joints, 3):
        raise ValueError(f"BVH holds one 3D skeleton, but the offsets have shape {offsets.shape}.")
    if params.ndim != 2 or params.shape[1] != skeleton.num_dofs:
        want = f"(T, {skeleton.num_dofs}), one row per frame"
        raise ValueError(f"params must have shape {want}, but got {params.shape}.")
    for name, array in (("offsets", offsets), ("params", params)):
        if not (np.abs(array) <= _LARGEST).all():
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


def _write_atomically(path, lines: list[str], values: np.ndarray) -> None:
    """Six decimals, and beside the target first: whoever reads it never finds half a file."""
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    row = " ".join(["%.15g"] * values.shape[1]) + "\n"
    try:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.writelines(line + "\n" for line in lines)
            for frame in values:
                file.write(row % tuple((np.round(frame, 6) + 0.0).tolist()))  # no -0
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
