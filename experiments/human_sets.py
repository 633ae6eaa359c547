"""What the human experiment trains on and tests with: crops, targets, and what is known of people.

A network sees a crop and predicts in units of the crop: offsets from the root, divided by the
length that spans the crop at the root's depth (`crop_unit_mm`). The skeleton has the mean bone
lengths; its scale is the subject's in training and 1 in testing (Sec. 4.2).

Shapes: N samples, D = 24 dofs.
"""

import dataclasses
import pathlib
from typing import NamedTuple

import jax
import numpy as np

from data.camera import Camera, crop_unit_mm, to_crop_units
from experiments.progress import show_progress
from experiments.results import write_arrays
from kinpose import Skeleton, fit_params, forward_kinematics, limit_skeleton, rotate_skeleton
from kinpose.evaluation import Truth
from kinpose.io.arrays import read_arrays
from kinpose.methods import Targets
from kinpose.representations import ball_joints
from kinpose.skeleton import remove_dofs
from kinpose.skeletons import HUMAN_LIMITS, human_17
from kinpose.train import Source

_AT_ONCE = 8192
_BONES_MM = 0.1
"""Difference of a skeleton's bones beyond which it is another one."""
_TO_CAMERA = np.diag([1.0, -1.0, -1.0])  # upright, facing the camera


class People(NamedTuple):
    """What is known of people before any image is seen; from the training set.

    Attributes:
      skeleton: `human_17` with mean bone lengths (mm), in the camera's frame, at rest upright and
        facing the camera, without the translations of its root.
      mean_joints: (17, 3) in units of the crop.
      mean_params: (D,) of the training targets, angles on the circle (rad).
      unit_mm: mean unit of a crop, for where no depth is known.
      size: rows and columns of the crops (px).
    """

    skeleton: Skeleton
    mean_joints: np.ndarray
    mean_params: np.ndarray
    unit_mm: float
    size: int


def camera_skeleton(skeleton: Skeleton) -> Skeleton:
    """`human_17` as seen by a camera, root-relative: of `People`."""
    translations = [n for n, a in zip(skeleton.dof_names, skeleton.is_angle, strict=True) if not a]
    return remove_dofs(rotate_skeleton(skeleton, _TO_CAMERA), translations)


def plain_skeleton(skeleton: Skeleton) -> Skeleton:
    """The inverse of the turn of `camera_skeleton`: the same parameters, y up, z forward."""
    return rotate_skeleton(skeleton, _TO_CAMERA.T)


def units_mm(samples) -> np.ndarray:
    """(N,) the unit of each sample's crop; needs the depth of the root."""
    camera = Camera(None, None, np.asarray(samples.focal_px), None)
    return np.float32(crop_unit_mm(camera, samples.size, np.asarray(samples.joints)[:, 0, 2]))


def make_source(samples, params: np.ndarray, *, true_scale: bool) -> Source:
    """Samples as training and evaluation read them.

    Args:
      samples: of `data.pipeline`.
      params: (N, D) targets of direct parameter.
      true_scale: whether the scale is the subject's; else it is 1.

    Returns:
      The source; targets are in units of the crop.
    """
    unit = units_mm(samples)
    joints = np.float32(to_crop_units(samples.joints, samples.joints[:, 0], unit))
    scale = np.asarray(samples.scale if true_scale else np.ones_like(unit), np.float32) / unit

    def load(index):
        return samples.images(index), Targets(joints[index], params[index], scale[index])

    return Source(len(unit), load)


def make_truth(samples) -> Truth:
    """Samples as the evaluator reads them."""
    return Truth(samples.keys, samples.joints, samples.subject, samples.action, samples.frame)


def learn_people(path: pathlib.Path, sets, skeleton: Skeleton):
    """What is to be known of people, and the targets of direct parameter.

    The targets are ModelFit's parameters for the true joints at the subject's scale, within
    `HUMAN_LIMITS`, which leave one triple of angles for hips and neck. Of the ways to write
    the others, pelvis and shoulders, the one nearest the mean is taken, see `nearest_params`: a
    middle angle within a quarter turn would leave one triple, too, but is harder to learn.

    Args:
      path: a .npz for the result; where it is there, nothing is computed.
      sets: samples for training and for testing.
      skeleton: `human_17` with mean bone lengths, as `camera_skeleton` returns it.

    Returns:
      `People`, and for each set (N, D) parameters.

    Raises:
      ValueError: for a file that is of other data.
    """
    if not path.exists():
        limited = limit_skeleton(skeleton, HUMAN_LIMITS)
        labels = "training joints", "test joints"
        fits = [
            fit_poses(samples.joints, samples.scale, limited, label)
            for samples, label in zip(sets, labels, strict=True)
        ]
        mean = np.zeros(skeleton.num_dofs, np.float32)
        for _ in range(3):  # the mean depends on how poses are written, and the other way round
            mean = circular_mean(nearest_params(fits[0], mean, skeleton))
        train, unit = sets[0], units_mm(sets[0])
        arrays = {
            "train": nearest_params(fits[0], mean, skeleton),
            "test": nearest_params(fits[1], mean, skeleton),
            "offsets": skeleton.offsets,
            "mean_joints": np.float32(
                to_crop_units(train.joints, train.joints[:, 0], unit).mean(0)
            ),
            "mean_params": mean,
            "unit_mm": unit.mean(),
            "size": train.size,
        }
        if jax.process_index() == 0:
            write_arrays(path, arrays)
        return _people(arrays), (arrays["train"], arrays["test"])
    people, params = read_people(path)
    same_bones = np.allclose(people.skeleton.offsets, skeleton.offsets, atol=_BONES_MM)
    same_sizes = [len(p) for p in params] == [len(s) for s in sets]
    if not (same_bones and same_sizes and people.size == sets[0].size):
        raise ValueError(f"{path} is of other data; give another workdir.")
    return people, params


def read_people(path: pathlib.Path):
    """The file of `learn_people`: `People`, and (N, D) parameters for each set.

    Raises:
      ValueError: naming the file, for one that is damaged or something else.
    """
    arrays = read_arrays(path)
    try:
        people, params = _people(arrays), (arrays["train"], arrays["test"])
        names, dofs = people.skeleton.num_keypoints, people.skeleton.num_dofs
        shapes = people.mean_joints.shape, people.mean_params.shape, *(x.shape[1:] for x in params)
        whole = shapes == ((names, 3), *[(dofs,)] * 3)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not of experiments.human ({error!r}).") from None
    if not whole:
        raise ValueError(f"{path} is not of experiments.human (its shapes are {shapes}).")
    return people, params


def _people(arrays) -> People:
    skeleton = dataclasses.replace(camera_skeleton(human_17()), offsets=arrays["offsets"])
    means = arrays["mean_joints"], arrays["mean_params"]
    return People(skeleton, *means, float(arrays["unit_mm"]), int(arrays["size"]))


def fit_poses(joints, scale, skeleton: Skeleton, label: str) -> np.ndarray:
    """(N, D) ModelFit's parameters for joints (N, 17, 3) of subjects with scales (N,)."""
    points = np.asarray(joints - joints[:, :1], np.float32)
    points = points / np.asarray(scale, np.float32)[:, None, None]
    size = min(_AT_ONCE, 1 << (len(points) - 1).bit_length())  # few sizes, few compilations
    found = []
    starts = range(0, len(points), size)
    for start in show_progress(starts, f"fitting {label}", unit="batches"):
        index = np.minimum(np.arange(start, start + size), len(points) - 1)
        found.append(np.asarray(fit_params(points[index], skeleton).params))
    return np.concatenate(found)[: len(points)]


def pose_joints(params, scale, skeleton: Skeleton) -> np.ndarray:
    """(N, 17, 3) root-relative joints (mm) of parameters at scales (N,)."""
    joints = jax.vmap(forward_kinematics, in_axes=(0, None))(np.float32(params), skeleton)
    return np.asarray(joints) * np.asarray(scale, np.float32)[:, None, None]


def nearest_params(params, center, skeleton: Skeleton) -> np.ndarray:
    """The same poses, written with the angles that are nearest to a center.

    An angle has its full turns. And of three angles about axes at right angles, a, b, c in this
    order, a + pi, pi - b, c + pi are the same rotation.

    Args:
      params: (N, D) of a skeleton whose dofs are all angles (rad).
      center: (D,) angles.
      skeleton: says which angles are three of one joint.

    Returns:
      (N, D) angles, within a half turn of the center.
    """
    params, half = np.asarray(params, np.float64), np.pi
    near = center + circular_difference(params, center)
    for ball, _ in ball_joints(skeleton):
        dofs = list(ball)
        other = params[:, dofs] * [1, -1, 1] + half
        other = center[dofs] + circular_difference(other, center[dofs])
        squares = [((x - center[dofs]) ** 2).sum(axis=1) for x in (near[:, dofs], other)]
        near[:, dofs] = np.where((squares[1] < squares[0])[:, None], other, near[:, dofs])
    return np.float32(near)


def circular_difference(first, second) -> np.ndarray:
    """What to add to the second to get the first, within a half turn of zero (rad)."""
    return (np.asarray(first) - second + np.pi) % (2 * np.pi) - np.pi


def circular_mean(angles) -> np.ndarray:
    """(D,) the directions of the mean vectors of (N, D) angles (rad)."""
    angles = np.asarray(angles, np.float64)
    return np.float32(np.arctan2(np.sin(angles).mean(axis=0), np.cos(angles).mean(axis=0)))
