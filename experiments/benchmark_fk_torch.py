"""Forward kinematics in torch: formulas written out for a skeleton, and pytorch_kinematics.

Inside, the batch is the last axis and a frame is three columns (3, B), so that an elementary
rotation about a coordinate axis mixes two of them.
"""

import functools

import numpy as np
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from experiments.peers import WORLD, motion_tree, urdf

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
torch.set_default_device(DEVICE)  # as JAX takes the accelerator where there is one


def as_tensor(array) -> torch.Tensor:
    return torch.from_numpy(np.array(array, np.float32)).to(DEVICE)


def finished(result: torch.Tensor) -> torch.Tensor:
    """The result when it is there; it stays on its device, as those of JAX do."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return result.detach()


def combine(columns, weights) -> torch.Tensor | float:
    """The sum of columns times weights, without those that are zero."""
    used = [scale(c, w) for c, w in zip(columns, weights, strict=True) if w]
    return sum(used[1:], used[0]) if used else 0.0


def scale(column, weight) -> torch.Tensor:
    return column if weight == 1 else float(weight) * column


def turn(columns, axis, sine, cosine):
    """The columns of a frame turned about an axis of its own."""
    along = np.flatnonzero(axis)
    if len(along) > 1:
        world = combine(columns, axis)
        crossed = [torch.linalg.cross(*torch.broadcast_tensors(world, c), dim=0) for c in columns]
        return [
            cosine * c + sine * x + (1 - cosine) * (float(a) * world)
            for c, x, a in zip(columns, crossed, axis, strict=True)
        ]
    i = int(along[0])
    j, k = (i + 1) % 3, (i + 2) % 3
    sine, turned = scale(sine, axis[i]), list(columns)
    turned[j] = cosine * columns[j] + sine * columns[k]
    turned[k] = cosine * columns[k] - sine * columns[j]
    return turned


def trace(params, tree):
    """Frames by motion, each (columns, origin), and the keypoints, K of (3, B)."""
    amounts = params.T[torch.from_numpy(tree.dofs)]
    if (tree.scales != 1).any() or tree.biases.any():
        amounts = amounts * as_tensor(tree.scales)[:, None] + as_tensor(tree.biases)[:, None]
    sines, cosines = amounts.sin(), amounts.cos()
    frames = {WORLD: (torch.eye(3)[:, :, None].unbind(1), torch.zeros(3, 1))}
    for m, motion in enumerate(tree.motions):
        columns, origin = frames[tree.parents[m]]
        origin = origin + combine(columns, tree.offsets[m])
        if motion.kind == "r":
            columns = turn(columns, motion.axis, sines[m], cosines[m])
        else:
            origin = origin + amounts[m] * combine(columns, motion.axis)
        frames[m] = columns, origin
    points = []
    for carrier, place in zip(tree.carriers, tree.places, strict=True):
        columns, origin = frames[carrier]
        points.append((origin + combine(columns, place)).expand(3, len(params)))
    return frames, points


def positions(params, tree, ndim: int):
    """Keypoints (B, K, n)."""
    _, points = trace(params, tree)
    return torch.stack(points).permute(2, 0, 1)[..., :ndim].contiguous()


def jacobian(params, tree, ndim: int):
    """Derivative (B, K, n, D): a rotation moves what hangs below by axis x arm."""
    frames, points = trace(params, tree)
    columns = [[torch.zeros_like(points[0])] * len(points) for _ in params[0]]
    for k, motion in ((k, m) for k, c in enumerate(tree.carriers) for m in path(tree, c)):
        frame, pivot = frames[motion]
        slope = combine(frame, tree.motions[motion].axis).expand_as(points[k])
        if tree.motions[motion].kind == "r":
            slope = torch.linalg.cross(slope, points[k] - pivot, dim=0)
        dof = tree.dofs[motion]
        columns[dof][k] = columns[dof][k] + scale(slope, tree.scales[motion])
    stacked = torch.stack([torch.stack(column) for column in columns])  # (D, K, 3, B)
    return stacked.permute(3, 1, 2, 0)[:, :, :ndim].contiguous()


def path(tree, motion):
    """A motion and those it hangs from."""
    while motion != WORLD:
        yield motion
        motion = tree.parents[motion]


def build(work, wrap=lambda function: function):
    """The formulas, eager or compiled."""
    tree, ndim = motion_tree(work.skeleton), work.skeleton.ndim
    function = jacobian if work.measure == "Jacobian" else positions
    return measure(functools.partial(function, tree=tree, ndim=ndim), work, wrap)


def build_compiled(work):
    """The formulas as a graph of operations, compiled.

    Compiled without the graph, every call takes milliseconds to see whether the numbers of the
    skeleton are still the same.
    """
    return build(work, lambda function: torch.compile(make_fx(function)(as_tensor(work.params))))


def measure(function, work, wrap=lambda function: function):
    """What to time, given positions or Jacobian (B, ...) of params (B, D)."""
    params, targets = as_tensor(work.params), as_tensor(work.targets)
    if work.measure != "value and gradient":
        function = torch.no_grad()(wrap(function))
        return lambda: finished(function(params))
    params.requires_grad_()
    loss = wrap(lambda params: 0.5 * ((function(params) - targets) ** 2).sum())

    def run():
        value = loss(params)
        (gradient,) = torch.autograd.grad(value, params)
        return value.item(), finished(gradient)

    return run


def build_pytorch_kinematics(work):
    """Its chain, read from URDF."""
    import pytorch_kinematics

    skeleton, tree = work.skeleton, motion_tree(work.skeleton)
    chain = pytorch_kinematics.build_chain_from_urdf(urdf(skeleton)).to(dtype=torch.float32)
    order = [int(name) for name in chain.get_joint_parameter_names()]
    dofs = torch.from_numpy(tree.dofs[order])
    scales, biases = as_tensor(tree.scales[order]), as_tensor(tree.biases[order])
    names = [f"k{k}" for k in range(skeleton.num_keypoints)]
    frames = chain.get_frame_indices(*names)

    def function(params):
        found = chain.forward_kinematics(params[:, dofs] * scales + biases, frames)
        places = [found[name].get_matrix()[:, : skeleton.ndim, 3] for name in names]
        return torch.stack(places, dim=1)

    return measure(function, work)
