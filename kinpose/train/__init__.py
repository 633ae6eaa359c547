"""Training: a network of your own in one call, and what it is made of.

`train_network` trains with checkpoints, evaluation and metrics, on all devices of all processes;
`train` is the loop inside it, around the jitted step of `make_train_step`. What is random in a
step depends on the run's key and the step, so a resumed run repeats an uninterrupted one.

Shapes: B batch (over all processes), K keypoints, D dofs.
"""

from kinpose.train._loop import train
from kinpose.train._network import TrainedNetwork, count_steps, train_network
from kinpose.train._sources import Source, array_source, batch_indices
from kinpose.train._steps import (
    TrainState,
    epoch_means,
    evaluate,
    init_state,
    make_eval_step,
    make_train_step,
)

__all__ = [
    "Source",
    "TrainState",
    "TrainedNetwork",
    "array_source",
    "batch_indices",
    "count_steps",
    "epoch_means",
    "evaluate",
    "init_state",
    "make_eval_step",
    "make_train_step",
    "train",
    "train_network",
]
