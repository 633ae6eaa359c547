"""Robots: MJCF and URDF files through MuJoCo's compiler, and URDF out.

Bodies are joints of the same name. MuJoCo's frames may be turned in the rest pose, where ours are
parallel to the world's: so axes and offsets are turned into the world's axes, and
`Robot.rest_rotations` keeps the frames for who asks for orientations. A body that turns about a
point which is not its origin hangs on a helper joint at that point.

MuJoCo's coordinates `qpos` are our `params`, but for quaternions, which become three angles, and
for coordinates that follow others, which are no dofs of their own.

Shapes: J joints, D dofs, Q numbers of `qpos`.
"""

import math
import os
import pathlib
import re
import warnings
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from kinpose._kinematics.scalars import at_least_float32
from kinpose.io.mujoco_reader import (
    Coordinate,
    Robot,
    mujoco_module,
    refusal,
    robot_of,
    unique_name,
)
from kinpose.io.text import is_number
from kinpose.io.urdf_writer import save_urdf
from kinpose.representations import params_to_quaternion, quaternion_to_params
from kinpose.skeleton import Skeleton

__all__ = [
    "Coordinate",
    "Robot",
    "load_mjcf",
    "load_urdf",
    "params_to_qpos",
    "qpos_to_params",
    "robot_of",
    "save_urdf",
]
_IN_FILES = ("skins", "meshes", "hfields", "materials", "textures")
_STILL = re.compile(
    r"<!--.*?-->|<(inertial|visual|collision)(?=[\s/>])(?:[^>]*/>|.*?</\1\s*>)", re.DOTALL
)
"""What moves no link of a URDF."""


def load_mjcf(path: str | os.PathLike) -> Robot:
    """Reads a model in MuJoCo's own format, as `robot_of` does.

    Only kinematics are read: files of meshes and textures need not be there.

    Args:
      path: the file.

    Returns:
      The robot.

    Raises:
      ValueError: for a file that MuJoCo refuses, and for what a skeleton cannot say.
    """
    return _load(path, floating=False)


def load_urdf(path: str | os.PathLike, *, floating: bool = False) -> Robot:
    """Reads a robot in ROS's format, as `robot_of` does.

    Only kinematics are read: files of meshes need not be there. Links on fixed joints stay. An end
    that limits do not say is 0.

    Args:
      path: the file.
      floating: whether the root link moves freely, by a free joint of the name "root", or "root_2"
        where one has it, as those of walking robots do; URDF does not say. Else it stands still
        at the origin.

    Returns:
      The robot.

    Raises:
      ValueError: for a file that MuJoCo refuses, for what a skeleton cannot say, and where the root
        link is "world", several links are on it, and they are to float.

    Warns of limits without a range, which MuJoCo takes for none.
    """
    limits = _limits_of(path)
    robot = _load(path, floating, _kinematics_of(path), limits)
    for joint, low, high in limits:
        if low >= high:
            warnings.warn(
                f"{os.fspath(path)}: joint {joint!r} has limits of {low:g} to {high:g}, which "
                "leave it no way, so it has none; fix it if it is locked.",
                stacklevel=2,
            )
    return robot


def _kinematics_of(path) -> str:
    """A URDF without what moves no link, each line where it was; nothing of another file."""
    text = pathlib.Path(path).read_text(encoding="utf-8", errors="replace")
    return _STILL.sub(lambda found: "\n" * found[0].count("\n"), text) if "<robot" in text else ""


def _limits_of(path) -> list[tuple[str, float, float]]:
    """Joints of a URDF with limits, of which each end is 0 by default."""
    try:
        joints = ElementTree.parse(path).findall(".//{*}joint")
    except (ElementTree.ParseError, LookupError, ValueError):  # MuJoCo asks for less
        return []
    found = []
    for joint in joints:
        limit = joint.find("{*}limit")
        ends = [] if limit is None else [limit.get(end, "0") for end in ("lower", "upper")]
        if joint.get("type") in ("revolute", "prismatic") and ends and all(map(is_number, ends)):
            found.append((joint.get("name"), *(float(end.replace(",", ".")) for end in ends)))
    return found


def qpos_to_params(qpos: ArrayLike, robot: Robot) -> jax.Array:
    """MuJoCo's coordinates as parameters.

    Args:
      qpos: (..., Q) metres, rad and quaternions w, x, y, z; those of coordinates that follow others
        are not read.
      robot: the robot.

    Returns:
      (..., D).

    Raises:
      ValueError: for a wrong shape or type.
    """
    qpos = at_least_float32(jnp.asarray(qpos), "qpos")
    sizes = [_size(coordinate) for coordinate in robot.coordinates]
    if qpos.shape[-1:] != (sum(sizes),):
        raise ValueError(f"qpos must have shape (..., {sum(sizes)}), but got {qpos.shape}.")
    skeleton, values = robot.skeleton, {}
    parts = jnp.split(qpos, np.cumsum(sizes)[:-1], axis=-1)
    for coordinate, part in zip(robot.coordinates, parts, strict=True):
        if coordinate.dof:
            if coordinate.name == coordinate.dof:  # and follows no other
                values[coordinate.dof] = part[..., 0]
            continue
        turn = jnp.matmul(
            part[..., -4:], _into_world(coordinate, robot).T.astype(qpos.dtype), precision="highest"
        )
        angles = quaternion_to_params(turn, skeleton, coordinate.joint)
        numbers = jnp.concatenate([part[..., :-4], angles], axis=-1)
        values |= zip(_own_dofs(coordinate, skeleton), jnp.moveaxis(numbers, -1, 0), strict=True)
    if not values:
        return qpos
    return jnp.stack([values[name] for name in skeleton.dof_names], axis=-1)


def params_to_qpos(params: ArrayLike, robot: Robot) -> jax.Array:
    """Parameters as MuJoCo's coordinates.

    Args:
      params: (..., D).
      robot: the robot.

    Returns:
      (..., Q) metres, rad and unit quaternions w, x, y, z.

    Raises:
      ValueError: for a wrong shape or type.
    """
    params, skeleton = at_least_float32(jnp.asarray(params), "params"), robot.skeleton
    if params.shape[-1:] != (skeleton.num_dofs,):
        raise ValueError(
            f"params must have shape (..., {skeleton.num_dofs}), but got {params.shape}."
        )
    parts = [params[..., :0]]
    for coordinate in robot.coordinates:
        if coordinate.dof:
            value = params[..., skeleton.dof_index(coordinate.dof)]
            parts.append((coordinate.multiplier * value + coordinate.bias)[..., None])
            continue
        places = [skeleton.dof_index(dof) for dof in _own_dofs(coordinate, skeleton)[:-3]]
        turn = params_to_quaternion(params, skeleton, coordinate.joint)
        back = _into_world(coordinate, robot).astype(params.dtype)
        quaternion = jnp.matmul(turn, back, precision="highest")
        parts += [params[..., np.array(places, int)], quaternion]
    return jnp.concatenate(parts, axis=-1)


def _load(path, floating: bool, text: str = "", limits=()) -> Robot:
    name = os.fspath(path)
    with pathlib.Path(path).open("rb"):
        pass  # what is not there is not malformed
    try:
        with warnings.catch_warnings(action="ignore"):  # about masses and the like
            specs = mujoco_module().MjSpec
            spec = _asked(specs.from_string, text) if text else _asked(specs.from_file, name)
            _strip(spec)
            for joint, *ends in limits:  # MuJoCo drops those with one end
                if (found := spec.joint(joint)) and ends[0] < ends[1]:
                    found.range, found.limited = ends, True
            if floating:
                _float(spec)
            model = _asked(spec.compile)
        return robot_of(model)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _asked(function, *arguments):
    """What MuJoCo answers; its errors are of several types and lines."""
    try:
        return function(*arguments)
    except Exception as error:
        raise ValueError(f"MuJoCo cannot read it: {' '.join(str(error).split())}") from None


def _float(spec) -> None:
    tops = [body.name for body in spec.worldbody.bodies]
    if len(tops) != 1:
        raise ValueError(f"one tree can float, but the root link 'world' carries {tops}.")
    name = unique_name("root", {joint.name for joint in spec.joints})
    _asked(lambda: spec.worldbody.first_body().add_freejoint(name=name))


def _strip(spec) -> None:
    """Takes out what is in other files, and what does not move bodies."""
    spec.compiler.fusestatic = False
    for equality in list(spec.equalities):
        if not equality.active:
            spec.delete(equality)
        elif equality.type == mujoco_module().mjtEq.mjEQ_TENDON:
            raise refusal(f"the constraint {equality.name!r} ties tendons {equality.name1!r}")
    for element in (*spec.geoms, *spec.sites, *spec.tendons, *spec.flexes):
        element.material = ""
    for light in spec.lights:
        light.texture = ""
    for geom in spec.geoms:
        if geom.meshname or geom.hfieldname:
            geom.meshname = geom.hfieldname = ""
            geom.type, geom.size = mujoco_module().mjtGeom.mjGEOM_SPHERE, (1.0, 1.0, 1.0)
    for kind in _IN_FILES:
        for element in list(getattr(spec, kind)):
            spec.delete(element)
    for body in spec.bodies[1:]:  # masses that a compiler asks for
        body.explicitinertial = True
        body.mass, body.inertia = 1.0, (1.0, 1.0, 1.0)
        body.fullinertia = [math.nan] * 6  # not given


def _size(coordinate: Coordinate) -> int:
    return {"free": 7, "ball": 4}.get(coordinate.kind, 1)


def _own_dofs(coordinate: Coordinate, skeleton: Skeleton) -> list[str]:
    """Of a ball or free joint, in order."""
    motions = skeleton.motions[skeleton.names.index(coordinate.joint)]
    return [motion.dof for motion in motions][-6 if coordinate.kind == "free" else -3 :]


def _into_world(coordinate: Coordinate, robot: Robot) -> np.ndarray:
    """(4, 4) orthogonal: from the file's quaternion to that of the skeleton's joint.

    A ball's turn is said in the body's frame, a free body's leads from the world's axes to its own.
    """
    rest = robot.rest_rotations[robot.skeleton.names.index(coordinate.joint)]
    matrix = np.eye(4)
    if coordinate.kind == "ball":
        matrix[1:, 1:] = rest
        return matrix
    mujoco, back = mujoco_module(), np.zeros(4)
    mujoco.mju_mat2Quat(back, rest.T.ravel())
    columns = np.zeros((4, 4))
    for column, one in zip(columns, matrix, strict=True):
        mujoco.mju_mulQuat(column, one, back)
    return columns.T
