"""Inverse kinematics beside mink: an arm's hand to places that it can reach, limits held.

Both begin at the same pose and stay near it in the dofs that a place leaves open.
"""

import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark_suite import Contender, Suite
from kinpose import Joint, Motion, Skeleton, build_skeleton, forward_kinematics
from kinpose.inverse import inverse_kinematics
from kinpose.io.urdf_writer import save_urdf

READY = np.float32([0, -np.pi / 4, 0, -3 * np.pi / 4, 0, np.pi / 2, np.pi / 4])
"""The Panda's usual pose."""

_STEPS, _CLOSE_M = 200, 1e-4


def panda() -> Skeleton:
    """Franka Emika's Panda: Denavit-Hartenberg parameters and limits of its data sheet.

    Returns:
      The skeleton, 7 dofs, in metres; keypoints are the hand and two points before it.
    """
    rows = (  # metres and turns by pi, in Craig's convention; then the limits (rad)
        (0, 0.333, 0, -2.8973, 2.8973),
        (0, 0, -0.5, -1.7628, 1.7628),
        (0, 0.316, 0.5, -2.8973, 2.8973),
        (0.0825, 0, 0.5, -3.0718, -0.0698),
        (-0.0825, 0.384, -0.5, -2.8973, 2.8973),
        (0, 0, 0.5, -0.0175, 3.7525),
        (0.088, 0, 0.5, -2.8973, 2.8973),
    )
    joints, frame, limits = [Joint("base", None, (0, 0, 0))], np.eye(3), {}
    for a, d, half_turns, low, high in rows:
        name = f"joint{len(joints)}"
        sin, cos = round(np.sin(half_turns * np.pi)), round(np.cos(half_turns * np.pi))
        tilt = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
        offset = frame @ ([a, 0, 0] + tilt @ [0, 0, d])
        frame = frame @ tilt
        axis = Motion("r", tuple(frame[:, 2]), name)
        joints.append(Joint(name, joints[-1].name, tuple(offset), [axis]))
        limits[name] = (low, high)
    tips = {"hand": (0, 0, 0.107), "one": (0.1, 0, 0.2), "two": (0, 0.1, 0.2)}
    joints += [Joint(tip, "joint7", tuple(frame @ at)) for tip, at in tips.items()]
    return build_skeleton(joints, keypoints=list(tips), limits=limits)


PANDA = panda()
POSITIONS = jax.jit(jax.vmap(forward_kinematics, in_axes=(0, None)))


def draw_places(batch: int) -> dict[str, np.ndarray]:
    """Places (batch, 3) of the hand in poses within the limits."""
    low, high = PANDA.limits.T
    params = np.random.default_rng(0).uniform(low, high, (batch, PANDA.num_dofs))
    return {"panda": np.asarray(POSITIONS(params.astype(np.float32), PANDA)[:, 0])}


def judge(places: np.ndarray, results: dict[str, np.ndarray]) -> dict[str, dict]:
    """Share of places reached within the limits, and how far the arm went from its usual pose."""
    low, high = PANDA.limits.T
    columns = {}
    for name, params in results.items():
        hands = np.asarray(POSITIONS(params.astype(np.float32), PANDA)[:, 0])
        within = ((params > low - 1e-4) & (params < high + 1e-4)).all(axis=1)
        miss = np.linalg.norm(hands - places[: len(hands)], axis=1)
        columns[name] = {
            "under 0.2 mm": float(np.mean((miss < 2 * _CLOSE_M) & within)),
            "rad from rest": float(np.median(np.linalg.norm(params - READY, axis=1))),
        }
    return columns


def kinpose_ik(places):
    targets = {"hand": jnp.asarray(places)}
    return lambda: inverse_kinematics(targets, PANDA, rest=READY).params


def mink_ik(places):
    """Its differential steps of a second, with a weak posture task, until the hand is there."""
    import mink
    import mujoco

    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "panda.urdf")
        save_urdf(path, PANDA)
        model = mujoco.MjModel.from_xml_path(str(path))
    configuration = mink.Configuration(model)
    hand = mink.FrameTask("hand", "body", position_cost=1.0, orientation_cost=0.0)
    posture = mink.PostureTask(model, cost=1e-3)
    posture.set_target(READY.astype(float))
    limits = [mink.ConfigurationLimit(model)]

    def one(place):
        configuration.update(READY.astype(float))
        hand.set_target(mink.SE3.from_translation(place.astype(float)))
        for _ in range(_STEPS):
            if np.linalg.norm(hand.compute_error(configuration)[:3]) < _CLOSE_M:
                break
            velocity = mink.solve_ik(configuration, [hand, posture], 1.0, "daqp", limits=limits)
            configuration.integrate_inplace(velocity, 1.0)
        return configuration.q.copy()

    return lambda: np.array([one(place) for place in places])


IK = Suite(
    draw_places,
    {"kinpose": Contender(kinpose_ik), "mink": Contender(mink_ik, "mink", True)},
    judge,
)
