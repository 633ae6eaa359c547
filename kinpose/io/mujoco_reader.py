"""From a compiled MuJoCo model to a skeleton; what is read is told in `kinpose.io.robots`.

Shapes: J joints.
"""

import math
import types
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from kinpose.builder import build_skeleton
from kinpose.extras import needs
from kinpose.io.urdf_writer import UNLIMITED
from kinpose.skeleton import Joint, Motion, Skeleton

_KINDS = ("free", "ball", "slide", "hinge")  # by MuJoCo's numbers
_NUMBERS = ("body_pos", "body_quat", "jnt_pos", "jnt_axis", "site_pos", "eq_data", "qpos0")
_CLOSE = 1e-9  # points of a body that are one, in metres


class Coordinate(NamedTuple):
    """A joint of the file.

    Attributes:
      name: in the file, or made up from the body's.
      kind: "free", "ball", "slide" or "hinge".
      joint: the skeleton's joint that carries its motions.
      dof: the dof that a slide or hinge reads, "" for the others.
      multiplier: a slide's or hinge's number in `qpos` is multiplier * dof + bias.
      bias: 0 unless it follows another one.
    """

    name: str
    kind: str
    joint: str
    dof: str = ""
    multiplier: float = 1.0
    bias: float = 0.0


class Robot(NamedTuple):
    """A robot, or any other mechanism of rigid bodies.

    Attributes:
      skeleton: in metres; bodies and named sites are keypoints.
      rest_rotations: (J, 3, 3) each joint's frame in the rest pose; the file's frame in a pose is
        `joint_transforms(params, skeleton)[0] @ rest_rotations`.
      coordinates: the file's joints, in the order of `qpos`.
    """

    skeleton: Skeleton
    rest_rotations: np.ndarray
    coordinates: tuple[Coordinate, ...]


def robot_of(model: Any) -> Robot:
    """The robot of a compiled MuJoCo model.

    Bodies and named sites become joints and keypoints, in MuJoCo's order; a site that has the name
    of a body becomes `<name>_site`, a body without a name `body_<number>`. Slides and hinges become
    dofs of the same name that count as `qpos` does, with their limits; a ball gets `<name>_rx`,
    `_ry`, `_rz` about the body's own axes, a free joint before them `_tx`, `_ty`, `_tz`, its place
    in the world. A slide or hinge that an equality constraint ties to another follows it; one that
    is tied to a number reads another's dof 0 times.

    Args:
      model: a `mujoco.MjModel`.

    Returns:
      The robot.

    Raises:
      ValueError: for what a skeleton cannot say, by name: constraints that close a loop or are not
        linear, mocap bodies, and limits of balls. Take it out of the model's `MjSpec`.
    """
    return _Reader(model).robot()


def mujoco_module() -> types.ModuleType:
    """MuJoCo, or the error that says which extra brings it."""
    with needs("robots"):
        import mujoco
    return mujoco


class _Reader:
    """From a compiled model to joints."""

    def __init__(self, model):
        self.model = model
        self.sites = _site_names(model)
        self.names = _body_names(model, self.sites.values())
        self.joint_names = _joint_names(model, self.names)
        self.rest = [np.eye(3)]  # of bodies, in the world
        self.tied = _tied(model, self.joint_names)
        self.joints: list[Joint] = []
        self.rotations: list[np.ndarray] = []
        self.coordinates: dict[int, Coordinate] = {}
        self.limits: dict[str, tuple[float, float]] = {}
        self.taken, self.dofs = {*self.names, *self.sites.values()}, set(self.joint_names)

    def robot(self) -> Robot:
        model = self.model
        for name in _NUMBERS:
            if not np.isfinite(getattr(model, name)).all():
                raise refusal(f"{name} has numbers that are not finite")
        keypoints = list(self.names[1:])
        if list(model.body_parentid[1:]).count(0) != 1:
            self.add(Joint(self.names[0]), np.eye(3))
        for body in range(1, model.nbody):
            self.read_body(body)
        keypoints += self.read_sites()
        skeleton = build_skeleton(
            self.joints, keypoints=keypoints or [self.names[0]], limits=self.limits
        )
        if not skeleton.num_dofs:
            raise refusal("nothing in it moves")
        ordered = tuple(self.coordinates[j] for j in range(model.njnt))
        return Robot(skeleton, np.array(self.rotations), ordered)

    def add(self, joint: Joint, rotation: np.ndarray) -> str:
        self.joints.append(joint)
        self.rotations.append(rotation)
        return joint.name

    def read_body(self, body: int) -> None:
        model, name = self.model, self.names[body]
        if model.body_mocapid[body] >= 0:
            raise refusal(f"body {name!r} is moved by mocap and not by a joint")
        above = model.body_parentid[body]
        offset = self.rest[above] @ model.body_pos[body]
        rest = self.rest[above] @ _matrix(model.body_quat[body])
        self.rest.append(rest)
        first = model.body_jntadr[body]
        joints = range(first, first + model.body_jntnum[body])
        if model.body_jntnum[body] and model.jnt_type[first] == 0:
            offset = np.zeros(3)  # a free body's coordinates are its place in the world
        parent = self.names[above] if self.joints else None
        at, pending = np.zeros(3), []  # where in the body its motions act, and those that do
        for j in joints:
            kind = _KINDS[model.jnt_type[j]]
            anchor = rest @ model.jnt_pos[j] if kind in ("hinge", "ball") else at
            there = {_KINDS[model.jnt_type[p]] for p in pending}
            apart = "ball" in there or (kind == "ball" and "hinge" in there)  # a ball is alone
            if np.abs(anchor - at).max() > _CLOSE or apart:
                if pending:
                    parent = self.add_helper(name, parent, offset + at, pending, rest)
                    offset, pending = -at, []
                at = anchor
            pending.append(j)
        if np.abs(at).max() > _CLOSE:
            parent = self.add_helper(name, parent, offset + at, pending, rest)
            offset, pending = -at, []
        motions = [motion for j in pending for motion in self.motions(j, name, rest)]
        self.add(Joint(name, parent, tuple(offset), motions), rest)

    def add_helper(self, body: str, parent, offset, joints, rest) -> str:
        name = unique_name(f"{body}_pivot", self.taken)
        motions = [motion for j in joints for motion in self.motions(j, name, rest)]
        return self.add(Joint(name, parent, tuple(offset), motions), rest)

    def motions(self, j: int, carrier: str, rest: np.ndarray) -> list[Motion]:
        """Of MuJoCo's joint j, whose skeleton joint is the carrier."""
        model, name, kind = self.model, self.joint_names[j], _KINDS[self.model.jnt_type[j]]
        if kind in ("hinge", "slide"):
            dof, multiplier, bias = self.tied.get(j, (name, 1.0, 0.0))
            self.coordinates[j] = Coordinate(name, kind, carrier, dof, multiplier, bias)
            if j not in self.tied and model.jnt_limited[j]:
                self.limits[name] = tuple(
                    end if abs(end) < UNLIMITED else math.copysign(math.inf, end)
                    for end in model.jnt_range[j]
                )
            letter, axis = "r" if kind == "hinge" else "t", tuple(rest @ model.jnt_axis[j])
            start = model.qpos0[model.jnt_qposadr[j]]
            return [Motion(letter, axis, dof, multiplier, bias - start)]
        if kind == "ball" and model.jnt_limited[j]:
            raise refusal(f"ball joint {name!r} limits its whole turn, of which no angle tells")
        self.coordinates[j] = Coordinate(name, kind, carrier)
        moves = [("t", x, x) for x in "xyz" if kind == "free"]
        moves += [("r", x, tuple(axis)) for x, axis in zip("xyz", rest.T, strict=True)]
        return [
            Motion(letter, axis, unique_name(f"{name}_{letter}{x}", self.dofs))
            for letter, x, axis in moves
        ]

    def read_sites(self) -> list[str]:
        """Joints of the named sites that bodies carry."""
        model, names = self.model, []
        for site, name in self.sites.items():
            body = model.site_bodyid[site]
            names.append(unique_name(f"{name}_site", self.taken) if name in self.names else name)
            offset = tuple(self.rest[body] @ model.site_pos[site])
            frame = self.rest[body] @ _matrix(model.site_quat[site])
            self.add(Joint(names[-1], self.names[body], offset), frame)
        return names


def _site_names(model) -> dict[int, str]:
    """Those of sites that bodies carry."""
    carried = [site for site in range(model.nsite) if model.site_bodyid[site]]
    return {site: model.site(site).name for site in carried if model.site(site).name}


def _body_names(model, sites: Iterable[str]) -> list[str]:
    given = [model.body(b).name for b in range(model.nbody)]
    taken = {*given, *sites}
    return [name or unique_name(f"body_{b}", taken) for b, name in enumerate(given)]


def _joint_names(model, bodies: list[str]) -> list[str]:
    given = [model.joint(j).name for j in range(model.njnt)]
    taken = set(given)
    owners = [bodies[body] for body in model.jnt_bodyid]
    return [
        name or unique_name(f"{owner}_joint", taken)
        for name, owner in zip(given, owners, strict=True)
    ]


def unique_name(name: str, taken: set[str]) -> str:
    """The first of `name`, `name_2`, `name_3`, ... that is not taken; now it is."""
    unique, count = name, 1
    while unique in taken:
        count += 1
        unique = f"{name}_{count}"
    taken.add(unique)
    return unique


def _tied(model, names: list[str]) -> dict[int, tuple[str, float, float]]:
    """Joint -> the dof, multiplier and bias in terms of `qpos`, of those that follow others."""
    leaders: dict[int, tuple[int, float, float]] = {}
    followers = set(model.eq_obj1id[model.eq_active0 != 0])
    for e in range(model.neq):
        if not model.eq_active0[e]:
            continue
        kind = mujoco_module().mjtEq(model.eq_type[e]).name.removeprefix("mjEQ_").lower()
        label = f"{kind} constraint {model.equality(e).name or e!r}"
        if kind != "joint":
            raise refusal(f"the {label} closes a loop, and a tree has none")
        follower, leader = model.eq_obj1id[e], model.eq_obj2id[e]
        constant, slope, *rest = map(float, model.eq_data[e, :5])
        if leader < 0:  # it is still: 0 times any other of its kind
            alike = np.flatnonzero(model.jnt_type == model.jnt_type[follower])
            leader, slope = next((j for j in alike if j not in followers), -1), 0.0
        if leader < 0 or any(rest):
            raise refusal(f"the {label} of {names[follower]!r} is not a multiple of another joint")
        if follower in leaders:
            raise refusal(f"joint {names[follower]!r} follows two others")
        starts = [float(model.qpos0[model.jnt_qposadr[j]]) for j in (follower, leader)]
        leaders[follower] = (leader, slope, starts[0] + constant - slope * starts[1])
    return {follower: _followed(follower, leaders, names) for follower in leaders}


def _followed(joint: int, leaders, names: list[str]) -> tuple[str, float, float]:
    """The dof at the end of a chain of leaders."""
    multiplier, bias, leader = 1.0, 0.0, joint
    for _ in range(len(leaders) + 1):
        if leader not in leaders:
            return names[leader], multiplier, bias
        leader, slope, constant = leaders[leader]
        multiplier, bias = multiplier * slope, multiplier * constant + bias
    raise refusal(f"joint {names[joint]!r} follows itself")


def refusal(what: str) -> ValueError:
    """The error about what a skeleton has no word for."""
    return ValueError(f"expected what a skeleton can say, but {what}.")


def _matrix(quaternion) -> np.ndarray:
    matrix = np.zeros(9)
    mujoco_module().mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)
