"""Forward kinematics and its derivative, written slowly and literally as in the paper (Eq. 2).

Homogeneous coordinates: every factor is an (n + 1) x (n + 1) matrix. Everything is float64
NumPy, and no product is used twice.
"""

from functools import reduce

import numpy as np

from kinpose import Joint, Motion, build_skeleton


def generator(motion, ndim):
    """The constant matrix G that makes G exp(t G) the derivative of the motion exp(t G)."""
    x, y, z = motion.axis
    matrix = np.zeros((ndim + 1, ndim + 1))
    if motion.kind == "r":
        matrix[:ndim, :ndim] = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])[:ndim, :ndim]
    else:
        matrix[:ndim, ndim] = motion.axis[:ndim]
    return matrix


def elementary(motion, amount, ndim):
    """exp(amount G): Rot by Rodrigues' formula, or Trans."""
    one, G = np.eye(ndim + 1), generator(motion, ndim)
    if motion.kind == "r":
        return one + np.sin(amount) * G + (1 - np.cos(amount)) * G @ G
    return one + amount * G


def chain(params, skeleton, joint):
    """The factors of Eq. 2 from the root to a joint, and for each motion its place among them."""
    path = [joint]
    while skeleton.parents[path[0]] >= 0:
        path.insert(0, skeleton.parents[path[0]])
    factors, places = [], []
    for j in path:
        bone = np.eye(skeleton.ndim + 1)
        bone[:-1, -1] = skeleton.offsets[j]
        factors.append(bone)
        for motion in skeleton.motions[j]:
            amount = motion.multiplier * params[skeleton.dof_names.index(motion.dof)] + motion.bias
            places.append((len(factors), motion))
            factors.append(elementary(motion, amount, skeleton.ndim))
    return factors, places


def frames(params, skeleton):
    """(J, n + 1, n + 1) homogeneous frames of all joints, after their own motions."""
    return np.array(
        [reduce(np.matmul, chain(params, skeleton, j)[0]) for j in range(skeleton.num_joints)]
    )


def positions(params, skeleton):
    """(K, n) positions of the keypoints."""
    return frames(params, skeleton)[list(skeleton.keypoints), :-1, -1]


def jacobian(params, skeleton):
    """(K, n, D): replace one matrix by its derivative, keep the rest; sum over a dof's motions."""
    result = np.zeros((skeleton.num_keypoints, skeleton.ndim, skeleton.num_dofs))
    for k, joint in enumerate(skeleton.keypoints):
        factors, places = chain(params, skeleton, joint)
        for place, motion in places:
            derivative = motion.multiplier * generator(motion, skeleton.ndim) @ factors[place]
            changed = reduce(np.matmul, [*factors[:place], derivative, *factors[place + 1 :]])
            result[k, :, skeleton.dof_names.index(motion.dof)] += changed[:-1, -1]
    return result


def random_skeleton(rng, ndim, num_joints):
    """A random tree: shared dofs with multipliers and biases, fixed joints, zero-length bones."""

    def random_motion(name):
        kind = "rrt"[rng.integers(3)]
        letters = {"r2": "z", "t2": "xy"}.get(f"{kind}{ndim}", "xyz")
        axis = letters[rng.integers(len(letters))]
        if rng.random() < 0.4:
            axis = tuple(rng.normal() * (letter in letters) for letter in "xyz")
        if rng.random() < 0.3:
            return Motion(kind, axis, f"shared_{rng.integers(2)}", rng.normal(), rng.normal())
        return Motion(kind, axis, name)

    joints = []
    for j in range(num_joints):
        parent = f"joint_{rng.integers(j)}" if j else None
        offset = rng.normal(size=ndim) * (rng.random() < 0.8)
        motions = [random_motion(f"dof_{j}_{m}") for m in range(rng.integers(4))]
        joints.append(Joint(f"joint_{j}", parent, offset, motions))
    names = rng.permutation([joint.name for joint in joints])[: -(-2 * num_joints // 3)]
    return build_skeleton(joints, keypoints=[str(name) for name in names])
