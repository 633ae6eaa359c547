"""Says what is in a built data set of people, and how near the kinematic model comes to it.

  python -m experiments.describe_data --dataset=rendered_people/small_64 --data_dir=datasets

Prints what the splits consist of, the error of ModelFit on true joints (the mean skeleton, scaled
as each subject is: the floor under a model with rigid shoulders and a straight trunk), and how
many pictures a second can be read. `--sheet=samples.jpg` draws samples with their joints.
"""

import collections
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from data.augment import Augmentation, augment, view_of
from data.pipeline import Samples, open_samples
from data.rendered_people import mean_skeleton
from data.show_people import draw_joints
from experiments.program import run_program
from kinpose import Skeleton, fit_params, forward_kinematics, scale_skeleton
from kinpose.drawing import new_figure, save_figure
from kinpose.skeletons import human_17

_DATASET = flags.DEFINE_string("dataset", "rendered_people/small_64", "Name and configuration.")
_DATA_DIR = flags.DEFINE_string("data_dir", "datasets", "Where data sets are built.")
_NUM_POSES = flags.DEFINE_integer("num_poses", 512, "Test poses to fit the model to.", 1)
_SHEET = flags.DEFINE_string("sheet", None, "Where a sheet of samples goes; none by default.")

_NAMES = 60
_ROWS, _COLUMNS, _INCHES = 4, 7, 2.24
_BATCH, _BATCHES = 64, 20
_ALL = Augmentation(flip=0.5, turn_deg=30, zoom=1.2, color=0.2)


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    name, data_dir = _DATASET.value, _DATA_DIR.value
    splits = {split: open_samples(name, split, data_dir=data_dir) for split in ("train", "test")}
    for split, samples in splits.items():
        print(f"{split}: {len(samples)} pictures of {samples.size} px")
        for column in ("subject", "action", "clip"):
            print(f"  {column}: {format_counts(getattr(samples, column))}")
    test = splits["test"]
    skeleton = mean_skeleton() if name.startswith("rendered_people/") else human_17()
    index = np.linspace(0, len(test) - 1, min(_NUM_POSES.value, len(test))).astype(int)
    errors = fit_errors(test, index, skeleton)
    print(f"ModelFit on the true joints of {len(index)} test pictures: {errors.mean():.1f} mm")
    for keypoint, error in zip(skeleton.keypoint_names, errors.mean(axis=0), strict=True):
        print(f"  {keypoint}: {error:.1f}")
    on_demand = open_samples(name, "train", data_dir=data_dir, memory_bytes=0)
    rates = {
        "in memory": (splits["train"], Augmentation()),
        "in memory, augmented": (splits["train"], _ALL),
        "on demand": (on_demand, Augmentation()),
    }
    for how, (samples, augmentation) in rates.items():
        print(f"pictures per s, {how}: {pictures_per_s(samples, augmentation):,.0f}")
    if _SHEET.value:
        save_figure(draw_samples(test), _SHEET.value)


def format_counts(names: np.ndarray) -> str:
    """How often each name occurs, the most frequent first; where there are many, some of them."""
    counts = collections.Counter(names)
    text = ", ".join(f"{name} {count}" for name, count in counts.most_common(_NAMES))
    return text if len(counts) <= _NAMES else f"{text} and {len(counts) - _NAMES} more"


def fit_errors(samples: Samples, index: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """(B, K) distances (mm) of a fitted model from the true joints of samples (B,)."""
    errors = np.empty((len(index), skeleton.num_keypoints))
    for scale in np.unique(samples.scale[index]):
        own = samples.scale[index] == scale
        joints, body = jnp.asarray(samples.joints[index[own]]), scale_skeleton(skeleton, scale)
        params = fit_params(joints, body).params
        found = jax.vmap(forward_kinematics, in_axes=(0, None))(params, body)
        errors[own] = np.linalg.norm(found - joints, axis=-1)
    return errors


def pictures_per_s(samples: Samples, augmentation: Augmentation) -> float:
    """Speed of random access in batches."""
    index = np.random.default_rng(0).integers(len(samples), size=(_BATCHES + 1, _BATCH))
    for step, batch in enumerate(index):
        if step == 1:
            start = time.monotonic()
        augment(view_of(samples, batch), batch, augmentation, seed=0, step=step)
    return _BATCHES * _BATCH / (time.monotonic() - start)


def draw_samples(samples: Samples):
    """A figure of evenly spread samples, each with its joints."""
    figure = new_figure(_COLUMNS * _INCHES, _ROWS * _INCHES)
    axes = figure.subplots(_ROWS, _COLUMNS).ravel()
    figure.subplots_adjust(0, 0, 1, 1, wspace=0, hspace=0)
    index = np.linspace(0, len(samples) - 1, len(axes)).astype(int)
    edges = (-0.5, samples.size - 0.5)
    for ax, image, pixels in zip(axes, samples.images(index), samples.pixels[index], strict=True):
        ax.imshow(image)
        draw_joints(ax, pixels)
        ax.set(xlim=edges, ylim=edges[::-1])
        ax.axis("off")
    return figure


if __name__ == "__main__":
    run_program(main)
