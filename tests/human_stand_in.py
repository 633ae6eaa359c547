"""The human experiment on a stand-in for a data set and a small network; a program.

  python -m tests.human_stand_in {human | evaluate | predict} FLAGS

Without flags it reads lines of flags and runs each in a process of its own that imports nothing
again; a line "exit CODE" follows what each has said. Pictures are noise with the joints' pixels
in them, of 16 x 16.
"""

import os
import sys

import numpy as np

SIZE, DEPTH_MM, FOCAL_PX = 16, 4000.0, 32.0


def open_samples(name, split, *, data_dir, memory_bytes=0):
    """16 samples for training, 11 for testing, of two actions; data sets that there are, too."""
    import jax

    from data import pipeline
    from data.pipeline import Samples
    from experiments.human_sets import camera_skeleton
    from kinpose import forward_kinematics
    from kinpose.skeletons import human_17

    if not name.endswith("stand_in"):
        return pipeline.open_samples(name, split, data_dir=data_dir)
    num, rng = {"train": (16, np.random.default_rng(0)), "test": (11, np.random.default_rng(1))}[
        split
    ]
    params = rng.uniform(-0.4, 0.6, (num, 24)).astype(np.float32)
    skeleton, scale = camera_skeleton(human_17()), rng.uniform(0.95, 1.05, num)
    joints = jax.vmap(forward_kinematics, in_axes=(0, None))(params, skeleton)
    joints = np.asarray(joints) * np.float32(scale[:, None, None]) + np.float32([0, 0, DEPTH_MM])
    pixels = joints[..., :2] / joints[..., 2:] * FOCAL_PX + SIZE / 2
    images = rng.integers(0, 100, (num, SIZE, SIZE, 3)).astype(np.uint8)
    row, column = np.clip(np.int32(pixels[..., ::-1]), 0, SIZE - 1).transpose(2, 0, 1)
    images[np.arange(num)[:, None], row, column] = 255
    subjects = {"train": ["S1", "S5"], "test": ["S9", "S11"]}[split]
    return Samples(
        joints=joints,
        pixels=pixels,
        box=np.zeros((num, 4), np.float32),
        focal_px=np.full(num, FOCAL_PX, np.float32),
        center_px=np.full((num, 2), SIZE / 2, np.float32),
        scale=np.float32(scale),
        frame=np.arange(num, dtype=np.int32),
        subject=np.array([subjects[i % 2] for i in range(num)]),
        action=np.array([("Walking", "TakingPhoto")[i % 3 == 0] for i in range(num)]),
        clip=np.array([("Walking", "TakingPhoto")[i % 3 == 0] for i in range(num)]),
        camera=np.array(["1"] * num),
        size=SIZE,
        images=images.__getitem__,
    )


def small_net(num_outputs: int, depth: int, init_from: str | None):
    """In the place of a ResNet: one hidden layer, normalised over the batch."""
    import flax.linen as nn
    import jax.numpy as jnp

    class Net(nn.Module):
        @nn.compact
        def __call__(self, images, *, train=False):
            x = images.astype(jnp.float32).reshape(len(images), -1) / 255
            x = nn.BatchNorm(use_running_average=not train)(nn.Dense(32)(x))
            return nn.Dense(num_outputs, kernel_init=nn.initializers.normal(0.001))(nn.relu(x))

    return Net()


def main():
    """Runs a program with the stand-ins in it."""
    import importlib

    module = importlib.import_module(f"experiments.{sys.argv.pop(1)}")
    stand_ins = {"open_samples": open_samples, "make_network": small_net}
    for name in stand_ins.keys() & vars(module).keys():
        setattr(module, name, stand_ins[name])
    if len(sys.argv) > 1:
        module.run_program(module.main)
    for line in sys.stdin:
        if not os.fork():
            sys.argv[1:] = line.split()
            module.run_program(module.main)
        print(f"exit {os.waitstatus_to_exitcode(os.wait()[1])}", flush=True)


if __name__ == "__main__":
    main()
