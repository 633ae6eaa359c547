"""What a recording is, before anything is fitted: keypoints, sides, the axis up, the unit."""

import math
from typing import NamedTuple

import numpy as np

from kinpose import Skeleton, limit_skeleton
from kinpose.apps._reading import (
    Input,
    Settings,
    check_keypoint,
    check_settings,
    contradicted_rate,
    heard,
    layout_by_name,
)
from kinpose.io.bvh import hold_positions, load_bvh
from kinpose.io.points import Points, mark_missing
from kinpose.io.written import unit_name
from kinpose.layouts import (
    LAYOUTS,
    Layout,
    check_proportions,
    find_layout,
    find_layout_by_count,
    pick_confidence,
    pick_keypoints,
)
from kinpose.recordings import (
    UNITS_MM,
    UP,
    Unit,
    Up,
    find_noise,
    find_speed,
    find_unit,
    find_up,
)
from kinpose.shoulders import shoulder_direction
from kinpose.sides import Sides, exchange_sides, find_sides, find_toes, is_of_leg
from kinpose.skeletons import HUMAN_LIMITS, human_17

_USUAL_FPS, _LIKELY_FPS = 30.0, (1.0, 2000.0)
"""Frames per second, where nobody says, and at least and at most."""


class Recording(NamedTuple):
    """A recording that is understood: y up, right-handed, about its centre.

    Attributes:
      joints: (T, K, 3) float64 the model's keypoints in the input's unit; NaN where missing.
      weights: (T, K) confidences.
      center: (3,) what was taken off the joints.
      model: the skeleton, in its own unit.
      fps: frames per second.
      start_s: time of the first frame, as the file counts.
      layout: its name.
      up: the axis up.
      unit: the unit.
      noise: of a coordinate.
      speed: of the fastest limbs, rad/s.
      missing: the record of `mark_missing`.
      sides: left and right, or None where the model is no human.
      warnings: sentences.
    """

    joints: np.ndarray
    weights: np.ndarray
    center: np.ndarray
    model: Skeleton
    fps: float
    start_s: float
    layout: str
    up: Up
    unit: Unit
    noise: float
    speed: float
    missing: dict
    sides: Sides | None
    warnings: list[str]

    @property
    def seen(self) -> np.ndarray:
        """(T, K) which keypoints are there."""
        return np.isfinite(self.joints).all(axis=-1) & (self.weights > 0)


def understand(source: Input, settings: Settings) -> Recording:
    """Finds out what a recording is.

    Args:
      source: the file.
      settings: what is known of it.

    Returns:
      The recording in the axes of the model, with what was found and what is to be said.

    Raises:
      ValueError: where points, names and settings do not go together, or something must be asked.
    """
    check_settings(settings)
    model, model_said = _model(settings)
    points, missing = _marked(source, settings)
    layout_name, layout = _find_layout(source, points, model, settings)
    body = _Body(source, points.names or layout.order, layout_name, layout, model)
    points, flip, sides = _mended(points, body, settings)
    joints = body.pick(points.positions)
    if settings.is_human:
        model = _human(settings, shoulder_direction(joints, model.keypoint_names))
    warnings = [*source.warnings, *model_said, *_said_of_body(joints, model, sides, settings)]
    for keypoint in settings.ignore:
        check_keypoint(keypoint, model.keypoint_names)
        joints[:, model.keypoint_names.index(keypoint)] = np.nan
    if not np.isfinite(joints).all(axis=-1).any():
        raise ValueError(f"{source.name}: no keypoint of the model is there in any frame.")
    rest = None if source.rest is None else body.pick((source.rest * flip)[None])[0]
    up = _up(joints, model, rest, points.up, settings)
    unit, unit_said = _unit(joints, model, points.unit_mm, settings)
    warnings += [f"{up.doubt}: --up says better."] if up.doubt else []
    warnings += [f"{unit.reason}; no figure is in mm, unless --unit says."] if not unit.mm else []
    warnings += [unit_said] if unit_said else []
    joints = joints @ UP[up.axis].T
    center = np.nanmedian(joints, axis=(0, 1)) if root_slides(model) else np.zeros(3)
    weights = pick_confidence(points.confidence, body.names, layout, model.keypoint_names)
    sure = np.where((weights >= 0.5 * np.median(weights))[..., None], joints - center, np.nan)
    noise = find_noise(sure, model.bones)
    fps, fps_said = _fps(source.points.frame_time_s, settings)
    warnings += [fps_said] if fps_said else []
    return Recording(
        joints=joints - center,
        weights=weights,
        center=center,
        model=model,
        fps=fps,
        start_s=source.points.start_s,
        layout=layout_name,
        up=up,
        unit=unit,
        noise=noise,
        speed=find_speed(sure, model.bones, fps, noise),
        missing=missing,
        sides=sides,
        warnings=list(dict.fromkeys(warnings)),
    )


def root_slides(model: Skeleton) -> bool:
    """Whether the root moves along x, y and z before all else, so that a centre can be put back."""
    first = model.motions[0][:3]
    axes = np.abs([motion.axis for motion in first if motion.kind == "t"])
    return len(axes) == 3 and np.array_equal(np.sort(axes, axis=0), np.sort(np.eye(3), axis=0))


class _Body(NamedTuple):
    """How a recording's points become a model's keypoints."""

    source: Input
    names: tuple[str, ...]
    layout_name: str
    layout: Layout
    model: Skeleton

    def pick(self, positions: np.ndarray) -> np.ndarray:
        if len(self.names) != positions.shape[1]:
            raise ValueError(
                f"{self.source.name}: {positions.shape[1]} points do not fit the "
                f"{len(self.names)} names of layout {self.layout_name}; give --layout."
            )
        return pick_keypoints(positions, self.names, self.layout, self.model.keypoint_names)


def _model(settings: Settings) -> tuple[Skeleton, tuple[str, ...]]:
    """The model, and what its file made the reader say."""
    if settings.is_human:
        return _human(settings), ()
    recording, said = heard(load_bvh, settings.skeleton)
    return hold_positions(recording.skeleton, recording.params), said


def _human(settings: Settings, shoulder: np.ndarray | None = None) -> Skeleton:
    """The human, with shoulders where a recording has them."""
    human = human_17() if shoulder is None else human_17(directions={"neck-shoulder": shoulder})
    return limit_skeleton(human, HUMAN_LIMITS) if settings.limits else human


def _marked(source: Input, settings: Settings) -> tuple[Points, dict]:
    """Points, NaN where they are missing and with confidences; the record."""
    is_computed = source.rest is not None and settings.missing == "auto"  # all joints are there
    missing = "none" if is_computed else settings.missing
    positions, record = mark_missing(source.points.positions, missing)
    if not np.isfinite(positions).any():
        raise ValueError(f"{source.name}: every point is missing; --missing says what marks them.")
    confidence = source.points.confidence
    confidence = np.ones(positions.shape[:2]) if confidence is None else confidence
    return source.points._replace(positions=positions, confidence=confidence), record


def _find_layout(source, points: Points, model: Skeleton, settings) -> tuple[str, Layout]:
    if settings.layout != "auto":
        return settings.layout, layout_by_name(settings.layout)
    names = points.names
    if not names:
        try:
            name = find_layout_by_count(points.positions)
        except ValueError as error:
            raise ValueError(
                f"{source.name} has no names: {error} Say by --layout what its points are."
            ) from None
        return name, LAYOUTS[name]
    shared = [name for name in model.keypoint_names if name in names]
    if not settings.is_human or len(shared) == model.num_keypoints:
        if len(shared) < 3:
            raise ValueError(
                f"{settings.skeleton} and {source.name} share the names {shared}: too few; give a "
                "name map by --layout=FILE.json."
            )
        return "shared names", Layout({name: (name,) for name in shared})
    name = find_layout(names, points.positions)
    return name, LAYOUTS[name]


def _mended(points: Points, body: _Body, settings) -> tuple[Points, np.ndarray, Sides | None]:
    """Points with the axes and labels that settings and time tell, the axes' signs, the sides."""
    axis = "xyz".index(settings.up[-1]) if settings.up != "auto" else 1
    flip = np.where(np.arange(3) == (1 if axis == 0 else 0), -1.0 if settings.mirror else 1.0, 1.0)
    points = points._replace(positions=points.positions * flip)
    if settings.swap_sides:
        points = _exchanged(points, body, True)
    if not settings.is_human:
        return points, flip, None
    joints, positions = body.pick(points.positions), points.positions
    face = [positions[:, body.names.index(x)] for x in body.layout.face if x in body.names]
    sides = find_sides(
        joints,
        body.model.keypoint_names,
        toes=find_toes(positions, body.names),
        face=face[0] - 0.5 * (face[3] + face[4]) if len(face) == 5 else None,
        noise=find_noise(joints, body.model.bones),
    )
    if sides.exchanged.any():
        points = _exchanged(points, body, sides.exchanged)
    return points, flip, sides


def _exchanged(points: Points, body: _Body, where) -> Points:
    sources = body.layout.sources.items()
    legs = {name for keypoint, names in sources if is_of_leg(keypoint) for name in names}
    return points._replace(
        positions=exchange_sides(points.positions, body.names, where, legs),
        confidence=exchange_sides(points.confidence, body.names, where, legs),
    )


def _said_of_body(joints, model: Skeleton, sides: Sides | None, settings: Settings) -> list[str]:
    if not settings.is_human:
        return []
    said = [f"unlike a person: {x}." for x in check_proportions(joints, model.keypoint_names)]
    counts = sides.exchanged.sum(axis=0)
    if counts.any():
        whose = [f"{part} in {n}" for part, n in zip(("legs", "arms"), counts, strict=True) if n]
        frames = np.flatnonzero(sides.exchanged.any(axis=1))
        said.append(
            f"left and right were exchanged, and are exchanged back: {' and '.join(whose)} of "
            f"{len(joints)} frames ({frame_ranges(frames)})."
        )
    if sides.are_wrong:
        said.append(
            f"left and right are the wrong way round in {sides.contradicting:.0%} of the frames "
            "that tell (knees, elbows, toes or face): left-handed axes need --mirror, exchanged "
            "labels --swap_sides; without, the angles are wrong."
        )
    return said


def frame_ranges(frames: np.ndarray, most: int = 8) -> str:
    """Frames as "3-7, 12, ...", counted from 0."""
    runs = np.split(frames, np.flatnonzero(np.diff(frames) > 1) + 1)
    texts = [f"{r[0]}" if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs if len(r)]
    return ", ".join(texts[:most] + ["..."] * (len(texts) > most))


def _up(joints, model: Skeleton, rest, of_file: str | None, settings: Settings) -> Up:
    if settings.up != "auto":
        return Up(settings.up, "as --up says")
    try:
        found = find_up(joints, model.keypoint_names, rest)
    except ValueError:
        if of_file:
            return Up(of_file, "as the file says")
        if settings.is_human:
            raise
        return Up("y", "the axes are left as they are, since nothing tells")
    if of_file is None:
        return found
    differs = found.axis != of_file
    doubt = f"the file says that {of_file} is up, but {found.reason}" if differs else ""
    return Up(of_file, "as the file says", doubt)


def _fps(frame_time_s: float | None, settings: Settings) -> tuple[float, str]:
    """Frames per second, and what is to be said of them."""
    fps = settings.fps or (1.0 / frame_time_s if frame_time_s else _USUAL_FPS)
    if not settings.fps and frame_time_s is None:
        return fps, f"the file says no rate; {fps:g} frames/s are taken: --fps says better."
    if said := contradicted_rate(settings.fps, frame_time_s):
        return fps, said
    slow = not _LIKELY_FPS[0] < fps <= _LIKELY_FPS[1]
    return fps, f"{fps:g} frames/s are unlikely: --fps says better." if slow else ""


def _unit(joints, model: Skeleton, of_file: float | None, settings: Settings) -> tuple[Unit, str]:
    """The unit, and what is to be said of it."""
    if settings.unit != "auto":
        mm = UNITS_MM.get(settings.unit) or float(settings.unit)
        return Unit(mm, settings.unit, "as --unit says"), ""
    found = find_unit(joints, model)
    if of_file is None:
        return found, ""
    if found.mm is None or math.isclose(found.mm, of_file):
        return Unit(of_file, unit_name(of_file) or f"{of_file:g} mm", "as the file says"), ""
    said = f"the file says that 1 unit is {of_file:g} mm, but in {found.name} {found.reason}"
    return found, f"{said}; {found.name} is taken, unless --unit says."
