"""Evaluation of 3D human poses under a protocol that is spelt out.

The names of protocols clash between papers; a `Protocol` says what it does. Predictions are
matched to samples by key, never by order.

Shapes: N samples, K = 17 keypoints of Human3.6M.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from kinpose.metrics import auc, bone_lengths, mpjpe, pa_mpjpe, pck
from kinpose.skeletons import HUMAN36M_KEYPOINTS, human_17

_ALIGNMENTS = {"root": "root-aligned MPJPE", "procrustes": "PA-MPJPE"}
_AVERAGES = {"actions": "the unweighted mean over actions", "frames": "the mean over frames"}
_AT_ONCE = 16_384  # samples; the AUC of one takes 2 kB

_DRAWN = 1_000_000
"""Values of a bootstrap that are drawn at the same time."""


class Protocol(NamedTuple):
    """What is predicted from what, on which samples, and how the errors become one number.

    Attributes:
      test_subjects: whose samples count; the others of a data set are left out.
      train_subjects: whom the method may have learnt from.
      keypoints: those that count. The root is the pelvis, also where it does not count.
      every: of each recording and camera, the frames whose number is a multiple of it.
      alignment: "root", both pelves at the origin, or "procrustes", the similarity of least
        squares per sample.
      averaging: "actions", per action first and then over actions, unweighted, or "frames".
      known: what a method is told at test time beside the image.
    """

    test_subjects: tuple[str, ...] = ("S9", "S11")
    train_subjects: tuple[str, ...] = ("S1", "S5", "S6", "S7", "S8")
    keypoints: tuple[str, ...] = HUMAN36M_KEYPOINTS
    every: int = 1
    alignment: str = "root"
    averaging: str = "actions"
    known: tuple[str, ...] = (
        "the bounding box",
        "the depth of the root",
        "mean bone lengths, not the subject's scale",
    )


PAPER = Protocol()
"""Of Table 1. The text leaves open which depth turns units of the box into mm: the true one."""


class Truth(NamedTuple):
    """The test samples of a data set.

    Attributes:
      keys: N different names.
      joints: (N, 17, 3) in any frame that is common to a sample's joints (mm).
      subjects: N names.
      actions: N names.
      frames: (N,) numbers within the recordings.
    """

    keys: Sequence[str]
    joints: np.ndarray
    subjects: Sequence[str]
    actions: Sequence[str]
    frames: np.ndarray


def describe(protocol: Protocol) -> str:
    """A protocol in words, to stand above its numbers."""
    count = len(protocol.keypoints)
    frames = (
        "all frames that the data set has"
        if protocol.every == 1
        else f"every {protocol.every}th frame"
    )
    return (
        f"Trained on {', '.join(protocol.train_subjects)}, tested on "
        f"{', '.join(protocol.test_subjects)}, {frames}, each camera's view a sample; "
        f"{_ALIGNMENTS[protocol.alignment]} of {count} joints in mm, "
        f"{_AVERAGES[protocol.averaging]}. Known at test time: "
        f"{'; '.join(protocol.known) or 'nothing'}."
    )


def evaluate(
    keys: Sequence[str], joints: np.ndarray, truth: Truth, protocol: Protocol = PAPER
) -> dict:
    """Scores predictions.

    Args:
      keys: of the predictions, in any order. Samples of the data set that the protocol leaves
        out may be among them.
      joints: (N, 17, 3) predictions (mm), each in any place: relative to the root or not.
      truth: the data set's test samples.
      protocol: which of them count, and how.

    Returns:
      Numbers by name, such as JSON can hold: `score_mm`, the protocol's number, and
      `score_by_action_mm`, which `score_by_subject_mm` has for each subject; `mpjpe_mm`,
      `pa_mpjpe_mm`, `pck_percent` (150 mm) and `auc_percent` as mean over actions in
      `over_actions` and over frames in `over_frames`; `mpjpe_by_joint_mm`; `frames_by_action`; and
      of the predicted bones, over frames: `bone_length_error_mm`, the mean absolute difference
      from the true length, `bone_length_spread_mm`, the standard deviation of a bone within a
      subject's samples, mean over bones and subjects, `asymmetry_mm`, the mean absolute
      difference of left and right.

    Raises:
      ValueError: for samples that are missing, unknown, or there more than once, by name; for
        joints, true ones, too, of a wrong shape or not finite; for a protocol that no sample fits.
    """
    _check_protocol(protocol)
    counts = np.isin(truth.subjects, protocol.test_subjects)
    counts = np.flatnonzero(counts & (np.asarray(truth.frames) % protocol.every == 0))
    if not len(counts):
        raise ValueError(
            f"the protocol tests every {protocol.every}th frame of "
            f"{', '.join(protocol.test_subjects)}, but the data set has none of them."
        )
    wanted = np.asarray(truth.keys)[counts]
    if np.shape(truth.joints)[1:] != (len(HUMAN36M_KEYPOINTS), 3):
        raise ValueError(
            f"true joints must have shape (N, {len(HUMAN36M_KEYPOINTS)}, 3), but have "
            f"{np.shape(truth.joints)}."
        )
    joints = np.asarray(joints)
    if joints.shape != (len(keys), *np.shape(truth.joints)[1:]):
        raise ValueError(
            f"joints must have shape ({len(keys)}, {len(HUMAN36M_KEYPOINTS)}, 3), one pose per "
            f"key, but got {joints.shape}."
        )
    joints = joints[match_keys(keys, wanted, truth.keys)]
    lost = wanted[~np.isfinite(joints).all(axis=(1, 2))]
    if len(lost):
        raise ValueError(f"joints must be finite, but those of {_some(lost)} are not.")
    true = np.asarray(truth.joints)[counts]
    lost = wanted[~np.isfinite(true).all(axis=(1, 2))]
    if len(lost):
        raise ValueError(f"true joints must be finite, but those of {_some(lost)} are not.")
    actions, subjects = (np.asarray(x)[counts] for x in (truth.actions, truth.subjects))
    return _scores(joints, true, actions, subjects, protocol)


def mean_interval(values: ArrayLike, *, level: float = 0.95) -> tuple[float, float]:
    """Confidence interval of a mean, by the bootstrap (Efron, 1979): percentiles of 10,000 means.

    Errors of frames that follow each other are nearly the same error, and so are those of
    networks that differ by their seeds; give one value for each subject and action, the mean over
    frames and seeds. Of two methods give the differences: what is hard for both cancels.

    Args:
      values: (N,) independent of each other.
      level: the share of the means that is inside, between 0 and 1.

    Returns:
      The lower and the upper end, the same for the same values.

    Raises:
      ValueError: for values that are fewer than two or not finite, and for another level.
    """
    if not 0 < level < 1:
        raise ValueError(f"level must be a share between 0 and 1, such as 0.95, but got {level}.")
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"values must be two or more finite numbers, but got {values}.")
    rng, means = np.random.default_rng(0), np.empty(10_000)
    for some in np.array_split(means, -(-means.size * values.size // _DRAWN)):
        some[:] = values[rng.integers(len(values), size=(len(some), len(values)))].mean(axis=1)
    ends = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(ends[0]), float(ends[1])


def match_keys(found: Sequence[str], wanted: Sequence[str], known: Sequence[str]) -> np.ndarray:
    """Where the wanted samples are among those found.

    Args:
      found: keys of predictions.
      wanted: keys that must be there.
      known: keys that may be there.

    Returns:
      Indices into `found`, one per wanted key.

    Raises:
      ValueError: naming what is missing, unknown, or there more than once.
    """
    names, counts = np.unique(np.asarray(found, str), return_counts=True)
    wrong = {
        "missing": np.setdiff1d(wanted, names),
        "unknown": np.setdiff1d(names, known),
        "there more than once": names[counts > 1],
    }
    if any(map(len, wrong.values())):
        said = [f"{len(keys)} {what} ({_some(keys)})" for what, keys in wrong.items() if len(keys)]
        raise ValueError(
            f"predictions must have each of the {len(wanted)} test samples once, but "
            f"{', '.join(said)}."
        )
    place = {key: i for i, key in enumerate(found)}
    return np.array([place[key] for key in wanted], int)


def _some(keys, most: int = 3) -> str:
    return ", ".join(keys[:most]) + (f" and {len(keys) - most} more" if len(keys) > most else "")


def _check_protocol(protocol: Protocol):
    for name, known in (("alignment", _ALIGNMENTS), ("averaging", _AVERAGES)):
        if getattr(protocol, name) not in known:
            raise ValueError(
                f"{name} must be one of {list(known)}, but got {getattr(protocol, name)!r}."
            )
    unknown = set(protocol.keypoints) - set(HUMAN36M_KEYPOINTS)
    if unknown or not protocol.keypoints or protocol.every < 1:
        raise ValueError(f"a protocol needs known keypoints and every >= 1, but got {protocol}.")


def _scores(joints, true, actions, subjects, protocol: Protocol) -> dict:
    chosen = [HUMAN36M_KEYPOINTS.index(name) for name in protocol.keypoints]
    parts = [slice(i, i + _AT_ONCE) for i in range(0, len(joints), _AT_ONCE)]

    def measure(metric, factor=1.0):
        """(N, keypoints that count): they alone are aligned."""
        rows = [metric(joints[p][:, chosen], true[p][:, chosen], axis=()) for p in parts]
        return factor * np.concatenate(rows).astype(np.float64)

    joints, true = (np.asarray(x - x[:, :1], np.float32) for x in (joints, true))
    errors = {
        "mpjpe_mm": measure(mpjpe),
        "pa_mpjpe_mm": measure(pa_mpjpe),
        "pck_percent": measure(pck, 100.0),
        "auc_percent": measure(auc, 100.0),
    }
    by_action = {name: _by_action(error.mean(axis=1), actions) for name, error in errors.items()}
    over_actions = {name: float(np.mean(list(x.values()))) for name, x in by_action.items()}
    over_frames = {name: float(error.mean()) for name, error in errors.items()}
    score = {"root": "mpjpe_mm", "procrustes": "pa_mpjpe_mm"}[protocol.alignment]
    return {
        "score_mm": {"actions": over_actions, "frames": over_frames}[protocol.averaging][score],
        "score_by_action_mm": by_action[score],
        "score_by_subject_mm": {
            str(name): _by_action(
                errors[score][subjects == name].mean(axis=1), actions[subjects == name]
            )
            for name in np.unique(subjects)
        },
        "over_actions": over_actions,
        "over_frames": over_frames,
        "mpjpe_by_joint_mm": dict(
            zip(protocol.keypoints, errors["mpjpe_mm"].mean(axis=0).tolist(), strict=True)
        ),
        "frames_by_action": {name: int(np.sum(actions == name)) for name in by_action["mpjpe_mm"]},
        **_bone_scores(joints, true, subjects),
    }


def _by_action(values: np.ndarray, actions: np.ndarray) -> dict[str, float]:
    return {str(name): float(values[actions == name].mean()) for name in np.unique(actions)}


def _bone_scores(joints, true, subjects) -> Mapping[str, float]:
    skeleton = human_17()
    lengths, right = (np.asarray(bone_lengths(x, skeleton), np.float64) for x in (joints, true))
    spreads = [lengths[subjects == name].std(axis=0).mean() for name in np.unique(subjects)]
    order = {skeleton.keypoint_names[child]: i for i, (child, _) in enumerate(skeleton.bones)}
    pairs = [(i, order[n.replace("left", "right")]) for n, i in order.items() if "left" in n]
    left, other = lengths[:, np.array(pairs).T].transpose(1, 0, 2)
    return {
        "bone_length_error_mm": float(np.abs(lengths - right).mean()),
        "bone_length_spread_mm": float(np.mean(spreads)),
        "asymmetry_mm": float(np.abs(left - other).mean()),
    }
