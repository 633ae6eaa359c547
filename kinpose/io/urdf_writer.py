"""Writing skeletons as URDF, the robot format of ROS.

A joint becomes a link of the same name. A motion becomes a joint of URDF, named after its dof
where it reads it as it is; one that multiplies or shares its dof mimics another. URDF asks for
masses, which a skeleton has not: each link weighs a kilogram.
"""

import math
import os
from xml.etree import ElementTree

import numpy as np

from kinpose.io.files import write_atomically
from kinpose.skeleton import Motion, Skeleton

UNLIMITED = 1e9
"""A limit as far as this is none: URDF's slides must have some."""


def save_urdf(
    path: str | os.PathLike, skeleton: Skeleton, *, name: str = "skeleton", scale: float = 1.0
) -> None:
    """Writes a skeleton as a URDF file that MuJoCo, Pinocchio and ROS read.

    Every joint becomes a link whose frame is the joint's, parallel to the world's in the rest pose;
    motions that are not the last of their joint get links of their own between. The file appears
    whole or not at all.

    Args:
      path: the file to write; an existing one is replaced.
      skeleton: any skeleton; a 2D one lies in the plane z = 0.
      name: of the robot.
      scale: multiplies all lengths; 0.001 writes a skeleton in mm, as URDF counts in metres.

    Raises:
      ValueError: for names that XML cannot hold, offsets of several poses or that are not finite,
        a scale that is not positive, and a joint "world" that is not the root, still at the origin.

    Example:
      >>> import tempfile
      >>> from kinpose.skeletons import human_17
      >>> with tempfile.TemporaryDirectory() as directory:
      ...     save_urdf(os.path.join(directory, "human.urdf"), human_17(), scale=0.001)
    """
    if not 0 < scale < math.inf:
        raise ValueError(f"scale must be positive and finite, but got {scale}.")
    offsets = np.asarray(skeleton.offsets, np.float64) * scale
    if offsets.shape != (skeleton.num_joints, skeleton.ndim) or not np.isfinite(offsets).all():
        raise ValueError(
            f"URDF holds one skeleton of finite offsets, but they have shape {offsets.shape}."
        )
    for text in (name, *skeleton.names, *skeleton.dof_names):
        if not text or not text.isprintable():
            raise ValueError(f"URDF cannot hold the name {text!r}.")
    still = not skeleton.motions[0] and not offsets[0].any()
    if "world" in skeleton.names[1 if still else 0 :]:
        raise ValueError(
            "URDF's link 'world' is the world itself, so that a joint of this name must be the "
            "root, at the origin and without motions, but it is another one; rename it."
        )
    writer = _Writer(skeleton, name, scale)
    for joint, offset in enumerate(np.pad(offsets, ((0, 0), (0, 3 - skeleton.ndim)))):
        writer.add_joint(joint, offset)
    tree = ElementTree.ElementTree(writer.robot)
    ElementTree.indent(tree)
    with write_atomically(path) as temporary:
        tree.write(temporary, encoding="utf-8", xml_declaration=True)


class _Writer:
    def __init__(self, skeleton: Skeleton, name: str, scale: float):
        self.skeleton, self.scale = skeleton, scale
        self.robot = ElementTree.Element("robot", name=name)
        compiler = ElementTree.SubElement(self.robot, "mujoco")
        ElementTree.SubElement(compiler, "compiler", fusestatic="false")  # else it drops links
        self.links, self.joints = set(skeleton.names), set(skeleton.dof_names)
        self.leaders = self.choose_leaders()

    def choose_leaders(self) -> dict[str, Motion]:
        """For each dof the motion that reads it as it is; the others mimic that one."""
        leaders: dict[str, Motion] = {}
        for motion in self.skeleton.flat_motions:
            as_it_is = motion.multiplier == 1.0
            turns = self.skeleton.is_angle[self.skeleton.dof_index(motion.dof)]
            if as_it_is and (motion.kind == "r") == turns:
                leaders.setdefault(motion.dof, motion)
        return leaders

    def add_joint(self, joint: int, offset: np.ndarray) -> None:
        skeleton = self.skeleton
        name, parent = skeleton.names[joint], skeleton.parents[joint]
        motions = skeleton.motions[joint]
        if parent < 0:
            above = self.free_name("world", self.links)
            self.add_link(above)
            for dof in skeleton.dof_names:
                if dof not in self.leaders:
                    self.add_handle(dof, above)
        else:
            above = skeleton.names[parent]
        if not motions:
            self.add_link(name)
            self.connect(self.free_name(f"{name}_fixed", self.joints), "fixed", above, name, offset)
        for number, motion in enumerate(motions):
            last = number == len(motions) - 1
            link = name if last else self.free_name(f"{name}_{number + 1}", self.links)
            self.add_link(link)
            self.add_motion(motion, above, link, offset)
            above, offset = link, np.zeros(3)

    def add_motion(self, motion: Motion, above: str, link: str, offset: np.ndarray) -> None:
        leads = self.leaders.get(motion.dof) is motion
        if leads:
            self.leaders[motion.dof] = None  # an equal motion further on mimics this one
        joint = motion.dof if leads else self.free_name(f"{link}_{motion.dof}", self.joints)
        slides = motion.kind == "t"
        length = self.scale if slides else 1.0
        turn = np.zeros(3)
        bias = motion.bias * length
        if leads and slides:
            offset = offset + bias * np.array(motion.axis)
        elif leads and bias:
            turn = _roll_pitch_yaw(motion.axis, bias)
        node = self.connect(joint, self.kind(motion), above, link, offset, turn)
        ElementTree.SubElement(node, "axis", xyz=_numbers(motion.axis))
        if leads:
            self.add_limit(node, motion.dof)
            return
        self.add_range(node, -UNLIMITED, UNLIMITED)
        is_angle = self.skeleton.is_angle[self.skeleton.dof_index(motion.dof)]
        unit = length if is_angle else length / self.scale
        ElementTree.SubElement(
            node,
            "mimic",
            joint=motion.dof,
            multiplier=repr(motion.multiplier * unit),
            offset=repr(bias),
        )

    def add_handle(self, dof: str, above: str) -> None:
        """A link that moves nothing else, for a dof that no motion reads as it is."""
        link = self.free_name(f"{dof}_handle", self.links)
        self.add_link(link)
        turns = self.skeleton.is_angle[self.skeleton.dof_index(dof)]
        kind = self.kind(Motion("r" if turns else "t", "x", dof))
        node = self.connect(dof, kind, above, link, np.zeros(3))
        ElementTree.SubElement(node, "axis", xyz="1 0 0")
        self.add_limit(node, dof)

    def kind(self, motion: Motion) -> str:
        if motion.kind == "t":
            return "prismatic"
        limits = self.skeleton.limits[self.skeleton.dof_index(motion.dof)]
        return "revolute" if np.isfinite(limits).any() else "continuous"

    def add_limit(self, node, dof: str) -> None:
        index = self.skeleton.dof_index(dof)
        unit = 1.0 if self.skeleton.is_angle[index] else self.scale
        low, high = np.asarray(self.skeleton.limits[index], float) * unit
        self.add_range(node, max(low, -UNLIMITED), min(high, UNLIMITED))

    def add_range(self, node, low: float, high: float) -> None:
        ends = {"lower": repr(float(low)), "upper": repr(float(high))}
        ElementTree.SubElement(node, "limit", effort="1", velocity="1", **ends)

    def add_link(self, name: str) -> None:
        link = ElementTree.SubElement(self.robot, "link", name=name)
        inertial = ElementTree.SubElement(link, "inertial")
        ElementTree.SubElement(inertial, "mass", value="1")
        moments = {"ixx": "1", "iyy": "1", "izz": "1", "ixy": "0", "ixz": "0", "iyz": "0"}
        ElementTree.SubElement(inertial, "inertia", **moments)

    def connect(self, name, kind, above, link, offset, turn=(0.0, 0.0, 0.0)):
        node = ElementTree.SubElement(self.robot, "joint", name=name, type=kind)
        ElementTree.SubElement(node, "parent", link=above)
        ElementTree.SubElement(node, "child", link=link)
        ElementTree.SubElement(node, "origin", xyz=_numbers(offset), rpy=_numbers(turn))
        return node

    def free_name(self, name: str, taken: set[str]) -> str:
        while name in taken:
            name += "_"
        taken.add(name)
        return name


def _numbers(values) -> str:
    return " ".join(repr(float(value)) for value in values)


def _roll_pitch_yaw(axis, angle: float) -> tuple[float, float, float]:
    """URDF's angles of a turn: about the fixed x, then y, then z."""
    x, y, z = np.asarray(axis) * math.sin(angle / 2)
    w = math.cos(angle / 2)
    return (
        math.atan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y)),
        math.asin(max(-1.0, min(1.0, 2 * (w * y - x * z)))),
        math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)),
    )
