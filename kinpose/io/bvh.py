"""BVH files: recordings of motion capture as text (Biovision Hierarchy).

A list of channels is a list of motions, one dof each. What readers agree on, though the
format does not say so: a joint's rotations act in the order listed; its position channels
act before them, wherever they are listed, along the parent's axes, and they replace the
OFFSET (in Blender, bvhio and pybvh; three.js adds the two). Our dofs are zero in the rest
pose, so the dof of a position channel is its value minus the OFFSET.

Shapes: T frames, C channels, D dofs.
"""

import dataclasses
import math
import os
import pathlib
import re
import warnings
from typing import NamedTuple

import numpy as np

from kinpose._html import recording_html
from kinpose.builder import build_skeleton
from kinpose.frames import frames_of, slides_of
from kinpose.io.bvh_writer import LARGEST, check_positive, save_bvh
from kinpose.skeleton import Joint, Motion, Skeleton, remove_dofs

__all__ = ["Recording", "channel_values", "hold_positions", "load_bvh", "save_bvh"]

_CHANNELS = {(a + kind).lower(): a + kind for a in "XYZ" for kind in ("position", "rotation")}
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NAN = re.compile(r"[+-]?(nan.*|1\.#(ind|qnan).*)", re.ASCII | re.IGNORECASE)
_CUT_NUMBER = re.compile(r"[+-]?(\d*(\.\d*)?)([eE][+-]?\d*)?", re.ASCII)


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

    def _repr_html_(self) -> str:
        middle = len(self.params) // 2
        _, places = frames_of(self.params[middle : middle + 1], self.skeleton)
        return recording_html(self, places.reshape(-1, 3))


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
      The recording; all joints are keypoints. Where one frame more or less is there than the
      header says, or the last one is cut short, it has the whole ones that are there and warns.

    Raises:
      ValueError: for a malformed file, saying where, what was expected and what was found;
        for a scale that is not positive.
    """
    check_positive("scale", scale)
    text = _Text(path)
    nodes = _read_hierarchy(text)
    num_frames, frame_time_s = _read_header(text)
    values = _read_frames(text, num_frames, _idle_channels(nodes))
    skeleton, params = _to_dofs(nodes, values, scale)
    return Recording(skeleton, params, frame_time_s)


def hold_positions(skeleton: Skeleton, params: np.ndarray | None = None) -> Skeleton:
    """Leaves only the root its position: bones keep their lengths.

    Many exporters write position channels for every joint. As a model such a skeleton could
    stretch to anything, so positions of other joints are held where the recording has them.

    Args:
      skeleton: of a BVH file.
      params: (T, D) its recording: bones get the median of what they are there, and the root is
        the first joint on the way from the skeleton's root whose position changes. Without it
        bones are the file's OFFSETs.

    Returns:
      The skeleton without the dofs that move other joints than the root.
    """
    slides = [[m for m in motions if m.kind == "t"] for motions in skeleton.motions]
    values = np.zeros((1, skeleton.num_dofs)) if params is None or not len(params) else params
    smallest = 1e-3 * np.abs(skeleton.offsets).max()  # below it is rounding
    moves = np.ptp(values, axis=0) > smallest
    dofs = {name: d for d, name in enumerate(skeleton.dof_names)}
    carriers = [j for j, motions in enumerate(slides) if motions]
    root = next((j for j in _trunk(skeleton) if any(moves[dofs[m.dof]] for m in slides[j])), None)
    root = carriers[0] if root is None and carriers else root
    offsets = np.array(skeleton.offsets, np.float64)
    held = []
    for joint in set(carriers) - {root}:
        for motion in slides[joint]:
            held.append(motion.dof)
            offsets[joint] += np.median(values[:, dofs[motion.dof]]) * np.asarray(motion.axis)
    return dataclasses.replace(remove_dofs(skeleton, held), offsets=offsets)


def channel_values(params: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """Parameters with positions as channels of BVH files count them: offsets included.

    Args:
      params: (T, D) of the skeleton, zero at rest.
      skeleton: of a BVH file.

    Returns:
      (T, D) rad and the skeleton's length unit.
    """
    return np.asarray(params, np.float64) + slides_of(skeleton, np.asarray(skeleton.offsets))


def _trunk(skeleton: Skeleton) -> list[int]:
    """Joints from the root to the first where the tree branches."""
    joints = [0]
    while skeleton.parents.count(joints[-1]) == 1:
        joints.append(skeleton.parents.index(joints[-1]))
    return joints


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
            raise self.error("UTF-8 text", f"{found!r}; save the file as UTF-8", line) from None
        if "\0" in text:
            raise self.error("UTF-8 text", "bytes that are 0; save the file as UTF-8", 1)
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
        if not abs(value) <= LARGEST:
            raise self.error(expected, repr(word[:40]) + _cure(word), line)
        return value


def _cure(word: str) -> str:
    if "," in word:
        return "; write decimals with points and spaces between numbers"
    if _NAN.fullmatch(word):
        return "; fill the gap in the program that wrote the file, or leave these frames out"
    return ""


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


def _idle_channels(nodes: list[_Node]) -> list[bool]:
    """For each channel, whether it moves nothing: it turns a joint below which there is none."""
    parents = {id(node.parent) for node in nodes}
    return [
        channel.endswith("rotation") and id(node) not in parents
        for node in nodes
        for channel in node.channels
    ]


def _read_frames(text: _Text, num_frames: int, idle: list[bool]) -> np.ndarray:
    """Values (T, C): the lines below the header, one frame each."""
    frames = [n for n in range(text.line, len(text.lines)) if text.lines[n].strip()]
    found = f"{len(frames)}"
    if frames and _is_cut(text.lines[frames[-1]].split(), len(idle)):
        found = f"{len(frames) - 1} and a line cut short"
        del frames[-1]
    values = np.zeros((0, len(idle)))
    if frames:
        try:
            values = np.loadtxt([text.lines[n] for n in frames], comments=None, ndmin=2)
        except ValueError:
            values = np.full((1, 1), np.nan)
        if values.shape[1] != len(idle) or not (np.abs(values) <= LARGEST).all():
            values = np.array([_read_frame(text, n, idle) for n in frames])
    if found != f"{num_frames}":
        if not frames or abs(len(frames) - num_frames) > 1:
            n = [*frames, len(text.lines) - 1][min(num_frames, len(frames))]
            cure = f"{found}; if these are all, write Frames: {len(frames)} and whole lines only"
            raise text.error(f"{num_frames} frames", cure, n + 1)
        warnings.warn(
            f"{text.path}: the header says {num_frames} frames, but {found} follow; "
            f"the {len(frames)} that are there are used.",
            stacklevel=3,
        )
    return values


def _is_cut(words: list[str], num_channels: int) -> bool:
    """Whether a line may be the beginning of a frame, as a killed recorder leaves it."""
    *whole, last = words
    return (
        all(_NUMBER.fullmatch(word) for word in whole)
        and _CUT_NUMBER.fullmatch(last) is not None
        and (len(words) < num_channels or _NUMBER.fullmatch(last) is None)
        and len(words) <= num_channels
    )


def _read_frame(text: _Text, n: int, idle: list[bool]) -> list[float]:
    """One frame, slowly: says what is wrong with it; NaN that moves nothing is 0."""
    words = text.lines[n].split()
    if len(words) != len(idle):
        raise text.error(f"{len(idle)} values, one per channel", f"{len(words)}", n + 1)
    return [
        0.0 if still and _NAN.fullmatch(word) else text.parse(word, "a number", n + 1)
        for word, still in zip(words, idle, strict=True)
    ]


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
