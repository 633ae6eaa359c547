"""The skeleton in other packages: for tests of parity and for the benchmark.

Shapes: M motions, K keypoints, D dofs. Amounts (M,) are angles and distances of the motions in
the skeleton's order; see `MotionTree.amounts`.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple
from xml.etree import ElementTree

import jax.numpy as jnp
import numpy as np

from kinpose.skeleton import Motion, Skeleton

WORLD = -1


class MotionTree(NamedTuple):
    """A skeleton motion by motion; a rest pose has no rotations, so places are vectors.

    Attributes:
      motions: M in order.
      parents: (M,) the motion before each one, or `WORLD`.
      offsets: (M, 3) each motion's place in the frame of its parent.
      carriers: (K,) the motion that moves each keypoint, or `WORLD`.
      places: (K, 3) each keypoint's place in the frame of its carrier.
      dofs: (M,) which of D each motion reads,
      scales: (M,) what it multiplies that by, and
      biases: (M,) what it adds.
      matrix: (M, D) derivative of the amounts by the parameters.
    """

    motions: list[Motion]
    parents: np.ndarray
    offsets: np.ndarray
    carriers: np.ndarray
    places: np.ndarray
    dofs: np.ndarray
    scales: np.ndarray
    biases: np.ndarray
    matrix: np.ndarray

    def amounts(self, params):
        """Angles and distances (..., M) for parameters (..., D)."""
        return params[..., self.dofs] * self.scales + self.biases


class Engine(NamedTuple):
    """Kinematics of one pose.

    Attributes:
      positions: from amounts (M,) to keypoints (K, 3).
      jacobian: from amounts to keypoints and their derivative (K, 3, M) by amounts.
    """

    positions: Callable
    jacobian: Callable


def motion_tree(skeleton: Skeleton) -> MotionTree:
    motions, parents, offsets, ends = [], [], [], []
    for joint, offset in enumerate(in_space(skeleton)):
        carrier, place = ends[skeleton.parents[joint]] if ends else (WORLD, np.zeros(3))
        place = place + offset
        for motion in skeleton.motions[joint]:
            motions.append(motion)
            parents.append(carrier)
            offsets.append(place)
            carrier, place = len(motions) - 1, np.zeros(3)
        ends.append((carrier, place))
    carriers, places = zip(*(ends[j] for j in skeleton.keypoints), strict=True)
    dofs = np.array([skeleton.dof_names.index(motion.dof) for motion in motions])
    scales = np.array([motion.multiplier for motion in motions])
    return MotionTree(
        motions,
        np.array(parents),
        np.array(offsets),
        np.array(carriers),
        np.array(places),
        dofs,
        scales,
        np.array([motion.bias for motion in motions]),
        scales[:, None] * np.eye(skeleton.num_dofs)[dofs],
    )


def in_space(skeleton: Skeleton) -> np.ndarray:
    """Offsets (J, 3); a 2D object lies in the plane z = 0."""
    return np.pad(skeleton.offsets, ((0, 0), (0, 3 - skeleton.ndim)))


def mujoco_model(skeleton: Skeleton):
    """A body per joint.

    Returns:
      model: MuJoCo's.
      order: (M,) each motion's place in qpos, which is depth-first.
      bodies: (K,) body of each keypoint.
    """
    import mujoco

    kinds = {"r": mujoco.mjtJoint.mjJNT_HINGE, "t": mujoco.mjtJoint.mjJNT_SLIDE}
    spec, bodies, count = mujoco.MjSpec(), [], itertools.count()
    for j, offset in enumerate(in_space(skeleton)):
        parent = bodies[skeleton.parents[j]] if bodies else spec.worldbody
        body = parent.add_body(name=skeleton.names[j], pos=offset, mass=1, inertia=(1, 1, 1))
        body.explicitinertial = True
        for motion in skeleton.motions[j]:
            kind, name = kinds[motion.kind], str(next(count))
            body.add_joint(name=name, type=kind, axis=motion.axis, armature=1)
        bodies.append(body)
    model = spec.compile()
    order = [model.joint(str(m)).qposadr[0] for m in range(next(count))]
    return model, order, [model.body(name).id for name in skeleton.keypoint_names]


def mujoco_engine(skeleton: Skeleton) -> Engine:
    import mujoco

    model, order, bodies = mujoco_model(skeleton)
    data = mujoco.MjData(model)
    jacobians = np.zeros((len(bodies), 3, model.nv))

    def positions(amounts):
        data.qpos[order] = amounts
        mujoco.mj_kinematics(model, data)
        return data.xpos[bodies]

    def jacobian(amounts):
        points = positions(amounts)
        mujoco.mj_comPos(model, data)
        for body, rows in zip(bodies, jacobians, strict=True):
            mujoco.mj_jacBody(model, data, rows, None, body)
        return points, jacobians[:, :, order]

    return Engine(positions, jacobian)


def pinocchio_engine(skeleton: Skeleton) -> Engine:
    import pinocchio as pin

    kinds = {"r": pin.JointModelRevoluteUnaligned, "t": pin.JointModelPrismaticUnaligned}
    tree, model = motion_tree(skeleton), pin.Model()
    for m, motion in enumerate(tree.motions):
        kind, place = kinds[motion.kind](np.array(motion.axis)), pin.SE3(np.eye(3), tree.offsets[m])
        model.addJoint(int(tree.parents[m]) + 1, kind, place, str(m))  # its joint 0 is the world
    frames = [
        model.addFrame(pin.Frame(name, int(c) + 1, pin.SE3(np.eye(3), p), pin.FrameType.OP_FRAME))
        for name, c, p in zip(skeleton.keypoint_names, tree.carriers, tree.places, strict=True)
    ]
    data = model.createData()

    def places():
        pin.updateFramePlacements(model, data)
        return np.array([data.oMf[frame].translation for frame in frames])

    def positions(amounts):
        pin.forwardKinematics(model, data, amounts)
        return places()

    def jacobian(amounts):
        pin.computeJointJacobians(model, data, amounts)
        world, points = pin.ReferenceFrame.LOCAL_WORLD_ALIGNED, places()
        rows = [pin.getFrameJacobian(model, data, frame, world)[:3] for frame in frames]
        return points, np.array(rows)

    return Engine(positions, jacobian)


def mjx_positions(skeleton: Skeleton) -> Callable:
    """From amounts (M,) to keypoints (K, 3), in JAX."""
    from mujoco import mjx

    model, order, bodies = mujoco_model(skeleton)
    model = mjx.put_model(model)
    data = mjx.make_data(model)

    def positions(amounts):
        qpos = amounts[np.argsort(order)]
        return mjx.kinematics(model, data.replace(qpos=qpos)).xpos[np.array(bodies)]

    return positions


def brax_positions(skeleton: Skeleton) -> Callable:
    """As `mjx_positions`, of a link per motion: brax joins axes only if they are orthogonal."""
    import mujoco
    from brax import kinematics, math
    from brax.io import mjcf

    kinds = {"r": mujoco.mjtJoint.mjJNT_HINGE, "t": mujoco.mjtJoint.mjJNT_SLIDE}
    tree, spec, bodies = motion_tree(skeleton), mujoco.MjSpec(), []
    for m, motion in enumerate(tree.motions):
        parent = spec.worldbody if tree.parents[m] == WORLD else bodies[tree.parents[m]]
        body = parent.add_body(name=str(m), pos=tree.offsets[m], mass=1, inertia=(1, 1, 1))
        body.explicitinertial = True
        body.add_joint(name=str(m), type=kinds[motion.kind], axis=motion.axis)
        bodies.append(body)
    system = mjcf.load_model(spec.compile())
    links = [int(name) for name in system.link_names]
    carriers = np.argsort(links)[tree.carriers]

    def positions(amounts):
        links_x, _ = kinematics.forward(system, amounts[np.array(links)], jnp.zeros_like(amounts))
        turned = [
            math.rotate(jnp.asarray(place, amounts.dtype), links_x.rot[link])
            for link, place in zip(carriers, tree.places, strict=True)
        ]
        return links_x.pos[carriers] + jnp.stack(turned)

    return positions


def urdf(skeleton: Skeleton) -> str:
    """A joint per motion, named by its number; keypoints are fixed links named k0, k1, ..."""
    tree, robot = motion_tree(skeleton), ElementTree.Element("robot", name="skeleton")
    kinds = {"r": "continuous", "t": "prismatic"}

    def add(joint, kind, parent, child, place, axis):
        ElementTree.SubElement(robot, "link", name=child)
        node = ElementTree.SubElement(robot, "joint", name=joint, type=kind)
        above = "world" if parent == WORLD else f"m{parent}"
        ElementTree.SubElement(node, "parent", link=above)
        ElementTree.SubElement(node, "child", link=child)
        ElementTree.SubElement(node, "origin", xyz=" ".join(map(repr, map(float, place))))
        ElementTree.SubElement(node, "axis", xyz=" ".join(map(repr, axis)))
        ElementTree.SubElement(node, "limit", effort="1", velocity="1", lower="-1e9", upper="1e9")

    ElementTree.SubElement(robot, "link", name="world")
    for m, motion in enumerate(tree.motions):
        add(str(m), kinds[motion.kind], tree.parents[m], f"m{m}", tree.offsets[m], motion.axis)
    for k, carrier in enumerate(tree.carriers):
        add(f"to_k{k}", "fixed", carrier, f"k{k}", tree.places[k], (1.0, 0.0, 0.0))
    return ElementTree.tostring(robot, encoding="unicode")
