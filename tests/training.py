"""A small training for the tests of kinpose/train.py; as a program, one process of it.

  python -m tests.training OUT DEVICES [--processes=N --index=I --port=P] [--workdir=D]

Writes the final parameters to OUT (.npz).
"""

import argparse
import os
import pathlib


def run(
    num_steps=8, batch_size=16, *, workdir, save_every=2, slow_s=0.0, poison=None, on_step=None
):
    """Trains a small network with dropout on the toy; returns the final state and losses."""
    import time

    import flax.linen as nn
    import jax
    import numpy as np

    from kinpose import forward_kinematics
    from kinpose.checkpoint import Checkpoints
    from kinpose.mesh import make_mesh
    from kinpose.methods import Targets, kinematic_joint
    from kinpose.optimisers import caffe_sgd
    from kinpose.skeletons import toy
    from kinpose.train import batch_indices, init_state, make_train_step, train

    class Net(nn.Module):
        @nn.compact
        def __call__(self, images, *, train=False):
            x = nn.relu(nn.Dense(64)(images))
            x = nn.BatchNorm(use_running_average=not train)(x)
            x = nn.Dropout(0.3, deterministic=not train)(x)
            return nn.Dense(6, kernel_init=nn.initializers.normal(0.001))(x)

    skeleton = toy(6)
    params = np.random.default_rng(0).uniform(0.1, 0.9, (40, 6)).astype(np.float32)
    joints = np.asarray(jax.vmap(forward_kinematics, in_axes=(0, None))(params, skeleton))
    images = joints.reshape(40, -1) / 45
    mesh = make_mesh()
    method = kinematic_joint(skeleton, params.mean(0), np.ones(6, np.float32), 45.0)
    optimiser = caffe_sgd(0.02)
    model = Net()
    state = init_state(jax.random.key(0), model, optimiser, images[:1], mesh)
    step_fn = make_train_step(model, method, optimiser, mesh)

    def load_batch(step):
        time.sleep(slow_s)
        index = batch_indices(40, batch_size, step, seed=0)
        batch = images[index]
        if step == poison:
            batch = np.full_like(batch, np.nan)
        return batch, Targets(joints[index], params[index])

    losses = {}
    checkpoints = Checkpoints(pathlib.Path(workdir) / "checkpoints")
    _, state = checkpoints.restore(state) or (0, state)
    for step, state, metrics in train(  # noqa: B020 - the last state is returned
        state,
        step_fn,
        load_batch,
        jax.random.key(1),
        mesh,
        num_steps=num_steps,
        checkpoints=checkpoints,
        save_every=save_every,
        ends_epoch=lambda step: step % 5 == 0,
    ):
        losses[step] = metrics.get("loss")
        print(f"step {step}", flush=True)
        if on_step:
            on_step(step, state)
    return state, losses


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("devices", type=int)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--index", type=int, default=0)
    parser.add_argument("--port", type=int)
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--slow_s", type=float, default=0.0)
    args = parser.parse_args()
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={args.devices}"
    import jax
    import numpy as np

    if args.processes > 1:
        jax.distributed.initialize(f"127.0.0.1:{args.port}", args.processes, args.index)
    state, _ = run(args.steps, workdir=args.workdir, slow_s=args.slow_s)
    leaves = [np.asarray(x) for x in jax.tree.leaves(state)]
    np.savez(args.out, *leaves)


if __name__ == "__main__":
    main()
