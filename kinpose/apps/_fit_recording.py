"""From a recording that is understood to joint angles: whose bones, the fit, what it is worth."""

from concurrent import futures
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from kinpose import Fit, Skeleton, calibrate_skeleton, fit_params, fit_sequence, scale_skeleton
from kinpose.apps._reading import Settings
from kinpose.apps._understand import Recording
from kinpose.apps.progress import show_progress
from kinpose.calibration import guess_scale
from kinpose.fitting import units
from kinpose.frames import slides_of
from kinpose.gaps import determined_dofs, interpolate
from kinpose.tracking import compile_sequence, holds_of, mean_weight, root_dofs

_CHUNKS = (128, 512)
"""Frames fitted between two signs of progress: of few shapes, as each is compiled once."""

_FAR, _NOISES = 0.6, 6.0
"""A point begins to lose its weight at this part of the model's size (about 150 mm of a person),
and not before so many times the noise."""

LEFT_OUT = 0.05
"""Weight in a robust fit below which a point is as good as missing: twice as far off as that."""

_WALK, _FIRMER = 3.0, 2.0
"""Speed of limbs (rad/s) below which frames are held more firmly together, and how much at most:
what is held too firmly cannot leave a wrong pose."""

_LIMBS = ("hip_", "knee_", "shoulder_", "elbow_")


class Fitted(NamedTuple):
    """Joint angles of a recording.

    Attributes:
      fit: all frames, about the recording's centre.
      skeleton: the model in the input's unit, with this person's lengths.
      params: (T, D) float64 about the origin; interpolated where asked, else held.
      known: (T, D) what the points that are there tell.
      filled: (T, D) what is interpolated.
      robust: distance at which points begin to lose their weight, or None.
      cost_of_scale: what one scale costs against lengths of every bone, mean distance in the
        input's unit and mean angle in degrees; None where it was not asked for.
    """

    fit: Fit
    skeleton: Skeleton
    params: np.ndarray
    known: np.ndarray
    filled: np.ndarray
    robust: float | None
    cost_of_scale: dict | None


def fit_recording(
    recording: Recording, settings: Settings, compiled: futures.Future | None = None
) -> Fitted:
    """Fits every frame of a recording.

    Args:
      recording: what was understood.
      settings: `lengths`, `robust` and `fill` are used.
      compiled: of `compile_ahead` in another thread.

    Returns:
      The angles.

    Raises:
      ValueError: when no bone has both its ends among the points, or for lengths that are to stay
        while the unit is not known.
    """
    robust = _robust(recording, settings)
    skeleton = _calibrated(recording, settings, robust)
    futures.wait([compiled] if compiled else [])  # or both would compile it
    fit = _fit_all(recording, skeleton, robust)
    params = np.asarray(fit.params, np.float64)
    ways = np.zeros((skeleton.num_joints, 3))
    ways[0] = recording.center  # the root goes back to where it was
    params = params + slides_of(skeleton, ways)
    known = determined_dofs(recording.seen & (fit.trust > LEFT_OUT), skeleton)
    filled = np.zeros_like(known)
    if settings.fill == "interpolate":
        params, filled = interpolate(params, known)
    cost = None
    if settings.is_human and settings.lengths == "scale":
        cost = _cost_of_scale(recording, skeleton, robust)
    return Fitted(fit, skeleton, params, known, filled, robust, cost)


def compile_ahead(recording: Recording) -> None:
    """Compiles the tracking, which `fit_recording` comes to last."""
    compile_sequence(_piece_size(recording), recording.model)


def _robust(recording: Recording, settings: Settings) -> float | None:
    if settings.robust != "auto":
        return float(settings.robust) or None
    size = float(units(recording.model, jnp.float32)[0]) * _scale(recording, settings)
    return max(_FAR * size, _NOISES * recording.noise)


def _scale(recording: Recording, settings: Settings) -> float:
    """From the model's unit to the input's."""
    if settings.is_human or settings.lengths != "none":
        return guess_scale(recording.joints, recording.model)
    return 1.0


def _calibrated(recording: Recording, settings: Settings, robust: float | None) -> Skeleton:
    """The model in the input's unit, with this person's lengths."""
    model, unit = recording.model, recording.unit
    if settings.lengths == "none":
        if not settings.is_human:
            return model
        if unit.mm is None:
            raise ValueError(f"{unit.reason}; --lengths=none needs --unit.")
        return scale_skeleton(model, 1.0 / unit.mm)
    return _with_lengths(recording, settings.lengths, robust)


def _with_lengths(recording: Recording, lengths: str, robust: float | None) -> Skeleton:
    some = recording.seen.sum(axis=1) >= 3
    some = some if some.any() else np.ones_like(some)
    return calibrate_skeleton(
        recording.joints[some].astype(np.float32),
        recording.model,
        lengths=lengths,
        weights=recording.weights[some].astype(np.float32),
        robust=robust,
    )


def _piece_size(recording: Recording) -> int:
    return next((n for n in _CHUNKS if n >= len(recording.joints)), _CHUNKS[-1])


def _fit_all(recording: Recording, skeleton: Skeleton, robust: float | None) -> Fit:
    """Fits the recording piece by piece, each continuing the one before."""
    joints, weights = (x.astype(np.float32) for x in (recording.joints, recording.weights))
    size = _piece_size(recording)
    holds = _holds(recording, skeleton)

    def fit_piece(frames: np.ndarray, last) -> Fit:
        filled = _filled(frames, size)  # one shape, one compilation
        firmer = np.sqrt(mean_weight(weights) / mean_weight(weights[filled]))
        fit = fit_sequence(
            joints[filled],
            skeleton,
            weights=weights[filled],
            init=jnp.asarray(last),
            robust=robust,
            **{name: float(firmer * value) for name, value in holds.items()},
        )
        return Fit(*(np.asarray(field)[: len(frames)] for field in fit))

    usual, params = _usual_pose(recording, skeleton, robust)
    on = min(usual + max(size - usual, 0) // 2, len(joints) - 1)  # and back to the first frame
    way = np.concatenate([np.arange(usual, on), np.arange(on, -1, -1)])[:size]
    last = fit_piece(way, params).params[-1]
    pieces = []
    for start in show_progress(
        range(0, len(joints), size),
        "fitting",
        unit="frames",
        count=lambda start: min(size, len(joints) - start),
        total=len(joints),
    ):
        pieces.append(fit_piece(np.arange(start, min(start + size, len(joints))), last))
        last = pieces[-1].params[-1]
    return Fit(*map(np.concatenate, zip(*pieces, strict=True)))


def _filled(frames: np.ndarray, size: int) -> np.ndarray:
    """Frames, and after them these backwards and forwards again as often as it takes."""
    return np.pad(frames, (0, size - len(frames)), mode="symmetric")


def _usual_pose(recording: Recording, skeleton: Skeleton, robust) -> tuple[int, np.ndarray]:
    """Where tracking begins: of the first frames, fitted from nothing each, the most usual one.

    A frame alone may be fitted by a wrong pose, which those that follow would be held to.
    """
    frames = _filled(np.arange(min(len(recording.joints), _CHUNKS[0])), _CHUNKS[0])
    joints, weights = (x[frames].astype(np.float32) for x in (recording.joints, recording.weights))
    params = np.asarray(fit_params(joints, skeleton, weights=weights, robust=robust).params)
    seen = recording.seen[frames].sum(axis=1)
    angles = params[:, ~root_dofs(skeleton)]
    apart = np.abs(angles - np.median(angles[seen >= np.median(seen)], axis=0)).sum(axis=1)
    usual = int(np.argmin(np.where(seen >= np.median(seen), apart, np.inf)))
    return int(frames[usual]), params[usual]


def _holds(recording: Recording, skeleton: Skeleton) -> dict:
    """How firmly to hold frames: to go half as fast is to have twice the frames."""
    firmer = min(max(_WALK / max(recording.speed, 1e-6), 1.0), _FIRMER)
    return holds_of(recording.noise, recording.fps * firmer, skeleton)


def _cost_of_scale(recording: Recording, scaled: Skeleton, robust: float | None) -> dict:
    """Mean distance of points and mean difference of angles, one scale against own lengths."""
    frames = np.linspace(0, len(recording.joints) - 1, 128).round().astype(int)
    joints, weights = (x[frames].astype(np.float32) for x in (recording.joints, recording.weights))
    own = _with_lengths(recording, "symmetric", robust)
    fits = [
        fit_params(joints, skeleton, weights=weights, robust=robust) for skeleton in (scaled, own)
    ]
    limbs = [any(limb in dof for limb in _LIMBS) for dof in own.dof_names]
    known = determined_dofs(recording.seen[frames], own)[:, limbs]
    apart = np.abs(np.subtract(*(np.asarray(fit.params)[:, limbs] for fit in fits)))
    means = [float(np.nanmean(np.asarray(fit.residuals))) for fit in fits]
    return {
        "residual_with_scale": means[0],
        "residual_with_lengths": means[1],
        "angles_apart_deg": float(np.degrees(apart[known].mean())) if known.any() else None,
    }
