"""What `experiments.why` compares: kinematic joint with one thing changed at a time.

All are for the toy object of 10 parameters. Shapes: B batch, K keypoints, n = 2, D = 10.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from data.toy import ToySet, param_units, read_params, toy_object
from experiments.toy_methods import HALF_IMAGE, make_method
from kinpose import forward_kinematics, joint_jacobian
from kinpose.losses import joint_loss
from kinpose.methods import Method, Prediction, kinematic_joint

TOY = toy_object(10)
UNITS = param_units(TOY.skeleton)
DAMPING = 0.1
"""Of the preconditioned gradient, in parts of the mean of J'J's diagonal."""


def make_variant(name: str, train: ToySet) -> Method:
    """A method by its name here, or in `experiments.toy_methods`.

    Args:
      name: preconditioned, whitened, read_off, read_off_half, beside, or another.
      train: the training set.

    Returns:
      The method.
    """
    return _OWN[name](train) if name in _OWN else make_method(name, TOY, train)


def _jacobian(params) -> jax.Array:
    """(B, K * n, D) of joints in half images by outputs."""
    _, jacobian = joint_jacobian(params, TOY.skeleton)
    return jacobian.reshape(len(params), -1, len(UNITS)) * (UNITS / HALF_IMAGE)[None, None]


def _preconditioned(train: ToySet) -> Method:
    """Gauss and Newton's step in place of the outputs' gradient: (J'J + damping)^-1 J'r."""
    plain = make_method("kinematic_joint", TOY, train)

    def loss(outputs, targets):
        found, value = plain.predict(outputs), plain.loss(outputs, targets)
        jacobian = _jacobian(found.params)
        wrong = ((found.joints - targets.joints) / HALF_IMAGE).reshape(len(outputs), -1, 1)
        square = jacobian.mT @ jacobian
        damping = DAMPING * jnp.trace(square, axis1=1, axis2=2) / len(UNITS)
        square += damping[:, None, None] * jnp.eye(len(UNITS))[None]
        step = jnp.linalg.solve(square, jacobian.mT @ wrong)[..., 0]
        along = jnp.sum(jax.lax.stop_gradient(step) * outputs, axis=-1)
        return jax.lax.stop_gradient(value - along) + along

    return Method(plain.num_outputs, plain.predict, loss)


def _whitened(train: ToySet) -> Method:
    """Outputs that are mixtures of angles, all with the same effect on joints on average."""
    jacobian = np.asarray(_jacobian(jnp.asarray(train.params[:2000])), np.float64)
    values, vectors = np.linalg.eigh((jacobian.mT @ jacobian).mean(axis=0))
    units = UNITS[:, None] * ((vectors * values**-0.5) @ vectors.T)
    mean = np.mean(train.params, axis=0, dtype=np.float64).astype(np.float32)
    return kinematic_joint(TOY.skeleton, mean, units.astype(np.float32), HALF_IMAGE)


def _read_off(train: ToySet, before: float = 0.0) -> Method:
    """Outputs are joints, angles are read off them bone by bone, the loss sits on what these give.

    A share of it may sit before.
    """
    direct = make_method("direct_joint", TOY, train)

    def predict(outputs, scale=None):
        read = jax.vmap(functools.partial(read_params, skeleton=TOY.skeleton))
        params = read(direct.predict(outputs).joints)
        return Prediction(forward_kinematics(params, TOY.skeleton), params)

    def loss(outputs, targets):
        behind = joint_loss(predict(outputs).joints / HALF_IMAGE, targets.joints / HALF_IMAGE)
        return (1 - before) * behind + before * direct.loss(outputs, targets)

    return Method(direct.num_outputs, predict, loss)


def _beside(train: ToySet) -> Method:
    """Outputs are angles, and joints that count for half the loss and for nothing else."""
    direct, kinematic = (make_method(f"{x}_joint", TOY, train) for x in ("direct", "kinematic"))
    num = direct.num_outputs

    def loss(outputs, targets):
        before, behind = outputs[:, :num], outputs[:, num:]
        return 0.5 * direct.loss(before, targets) + 0.5 * kinematic.loss(behind, targets)

    return Method(
        num + kinematic.num_outputs,
        lambda outputs, scale=None: kinematic.predict(outputs[:, num:]),
        loss,
    )


_OWN = {
    "preconditioned": _preconditioned,
    "whitened": _whitened,
    "read_off": _read_off,
    "read_off_half": functools.partial(_read_off, before=0.5),
    "beside": _beside,
}


def conditioning(poses: ToySet) -> list[list[str]]:
    """By how much an error of each output counts in Eq. 3, and how unlike its directions are."""
    jacobian = np.asarray(_jacobian(jnp.asarray(poses.params)), np.float64)
    square = jacobian.mT @ jacobian
    counts = np.diagonal(square, axis1=1, axis2=2).mean(axis=0)
    values = np.linalg.eigvalsh(square)
    condition = float(np.median(values[:, -1] / values[:, 0]))
    rows = [[name, f"{x:.3g}"] for name, x in zip(TOY.skeleton.dof_names, counts, strict=True)]
    return [
        ["output", "diagonal of J'J, mean"],
        *rows,
        ["condition of J'J, median", f"{condition:.0f}"],
    ]
