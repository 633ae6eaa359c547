"""An articulated object: a tree of joints moved by elementary motions.

Convention: a joint's frame is its parent's frame, moved by the joint's offset and
then by the joint's motions in the order written. Rotations are active, right-handed
and in radians; a joint's own rotations move its children and not itself. In the rest
pose all parameters are zero and all frames are parallel to the world's.

Shapes: J joints, K keypoints, M motions, D degrees of freedom (dofs), n space dimension.
"""

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

_AXES = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}


@dataclasses.dataclass(frozen=True)
class Motion:
    """One elementary motion, driven by one dof.

    The motion's angle (rad) or distance is `multiplier * params[dof] + bias`.

    Attributes:
      kind: "r", a rotation about `axis`, or "t", a translation along it.
      axis: "x", "y", "z", or a vector of any length but zero. A built skeleton holds unit
        vectors of 3 numbers. A 2D object rotates about "z" and translates along "x", "y".
      dof: the dof that it reads; several motions may read the same one. Empty for the
        default name, such as "knee_rx".
      multiplier: angle or distance per unit of the dof.
      bias: angle or distance where the dof is zero.
    """

    kind: str
    axis: str | tuple[float, ...]
    dof: str = ""
    multiplier: float = 1.0
    bias: float = 0.0


@dataclasses.dataclass(frozen=True)
class Joint:
    """A joint as `build_skeleton` reads it.

    Attributes:
      name: unique among the joints.
      parent: the parent's name; None for the root.
      offset: the bone from the parent to this joint in the rest pose, n numbers.
      motions: in order of application; a string such as "tx ty rz" is short for motions
        with default names.
    """

    name: str
    parent: str | None = None
    offset: Sequence[float] = (0.0, 0.0, 0.0)
    motions: str | Sequence[Motion] = ()


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Skeleton:
    """A kinematic tree, built by `build_skeleton`: numbers are leaves, structure is static.

    Being static, the structure is compared by value: an equal skeleton built anew does
    not compile again. The leaves can be differentiated and batched. Skeletons are equal, too,
    if all of them is; so one may be a static argument, or a key.

    Attributes:
      offsets: (J, n) bones in the rest pose, in the skeleton's length unit.
      limits: (D, 2) lowest and highest value of each dof, infinite where there is none.
      names: J joint names, parents before their children.
      parents: J joint indices, -1 for the root.
      motions: for each joint, its motions in order.
      dof_names: D names, the entries of `params` in order.
      keypoints: K joint indices, the joints that forward kinematics reports.
    """

    offsets: Any
    limits: Any
    names: tuple[str, ...] = dataclasses.field(metadata={"static": True})
    parents: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    motions: tuple[tuple[Motion, ...], ...] = dataclasses.field(metadata={"static": True})
    dof_names: tuple[str, ...] = dataclasses.field(metadata={"static": True})
    keypoints: tuple[int, ...] = dataclasses.field(metadata={"static": True})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Skeleton):
            return NotImplemented
        leaves = (self.offsets, other.offsets), (self.limits, other.limits)
        return self._structure == other._structure and all(map(_same, *zip(*leaves, strict=True)))

    def __hash__(self) -> int:
        return hash(self._structure)  # numbers may be traced

    def __repr__(self) -> str:
        return (
            f"<Skeleton {self.names[0]!r}: {self.num_joints} joints, {self.num_keypoints} "
            f"keypoints, {self.num_dofs} dofs, {self.ndim}D>"
        )

    @property
    def _structure(self) -> tuple:
        return self.names, self.parents, self.motions, self.dof_names, self.keypoints

    def table(self) -> str:
        """The dofs for a person: what each moves, about or along which axis, within which limits.

        Angles are in degrees, lengths in the skeleton's unit.
        """
        rows = [("dof", "joint", "moves", "limits", "unit")]
        limits = np.asarray(self.limits, float)
        for name, turns, bounds in zip(self.dof_names, self.is_angle, limits, strict=True):
            own = [
                (j, m)
                for j, ms in zip(self.names, self.motions, strict=True)
                for m in ms
                if m.dof == name
            ]
            moves = ", ".join(_written(m) for _, m in own)
            low, high = np.degrees(bounds) if turns else bounds
            span = f"{low:.4g} to {high:.4g}" if np.isfinite(bounds).any() else ""
            joints = ", ".join(dict.fromkeys(joint for joint, _ in own))
            rows.append((name, joints, moves, span, "deg" if turns else "length"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
        return "\n".join([repr(self), *lines])

    def dof_index(self, name: str) -> int:
        """Where a dof stands in `params`.

        Args:
          name: of the dof.

        Raises:
          ValueError: for a name that is no dof's, naming the nearest ones.
        """
        if name not in self.dof_names:
            near = difflib.get_close_matches(name, self.dof_names, 3, 0.0)
            raise ValueError(f"{name!r} is no dof of {self!r}; the nearest are {near}.")
        return self.dof_names.index(name)

    @property
    def flat_motions(self) -> tuple[Motion, ...]:
        """M motions, joint by joint."""
        return tuple(motion for joint in self.motions for motion in joint)

    @property
    def num_joints(self) -> int:
        """J, helper joints included."""
        return len(self.names)

    @property
    def num_dofs(self) -> int:
        """D, the length of `params`."""
        return len(self.dof_names)

    @property
    def is_angle(self) -> tuple[bool, ...]:
        """D, whether a dof is in rad and not in the length unit."""
        slides = {motion.dof for joint in self.motions for motion in joint if motion.kind == "t"}
        return tuple(name not in slides for name in self.dof_names)

    @property
    def num_keypoints(self) -> int:
        """K, the number of reported joints."""
        return len(self.keypoints)

    @property
    def ndim(self) -> int:
        """n, 2 or 3."""
        return self.offsets.shape[-1]

    @property
    def keypoint_names(self) -> tuple[str, ...]:
        """K names of the reported joints, in order."""
        return tuple(self.names[j] for j in self.keypoints)

    @property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """Pairs (keypoint, its nearest ancestor that is a keypoint), in keypoint order."""
        order = {joint: k for k, joint in enumerate(self.keypoints)}
        pairs = []
        for joint, k in order.items():
            ancestor = self.parents[joint]
            while ancestor >= 0 and ancestor not in order:
                ancestor = self.parents[ancestor]
            if ancestor >= 0:
                pairs.append((k, order[ancestor]))
        return tuple(pairs)


def pose(skeleton: Skeleton, **values: float) -> np.ndarray:
    """Parameters by the names of dofs.

    Args:
      skeleton: any skeleton.
      **values: rad or length by dof name; the others are zero.

    Returns:
      (D,) float32.

    Raises:
      ValueError: for a name that is no dof's, or a value that is no number.

    Example:
      >>> from kinpose.skeletons import human_17
      >>> pose_dict(pose(human_17(), left_knee_flexion=0.5), human_17())["left_knee_flexion"]
      0.5
    """
    params = np.zeros(skeleton.num_dofs, np.float32)
    for name, value in values.items():
        if np.ndim(value) or not np.issubdtype(np.asarray(value).dtype, np.number):
            raise ValueError(f"{name} must be a number, but is {value!r}.")
        params[skeleton.dof_index(name)] = value
    return params


def pose_dict(params: Any, skeleton: Skeleton) -> dict[str, Any]:
    """Parameters (..., D) as a dict: dof name -> float, or array of the leading dimensions.

    Args:
      params: of the skeleton.
      skeleton: any skeleton.

    Raises:
      ValueError: for parameters of a wrong shape.
    """
    params = np.asarray(params)
    if params.shape[-1:] != (skeleton.num_dofs,):
        raise ValueError(
            f"params must have shape (..., {skeleton.num_dofs}), but have {params.shape}."
        )
    columns = zip(skeleton.dof_names, np.moveaxis(params, -1, 0), strict=True)
    return {name: x if x.ndim else x.item() for name, x in columns}


def build_skeleton(
    joints: Sequence[Joint],
    *,
    keypoints: Sequence[str] | None = None,
    limits: Mapping[str, tuple[float, float]] | None = None,
) -> Skeleton:
    """Checks a list of joints and builds the skeleton.

    Dofs are numbered in the order in which the motions first name them.

    Args:
      joints: the tree, the root first and every parent before its children.
      keypoints: names of the joints to report, in order; all joints by default.
      limits: (lowest, highest) for the dofs that have limits, by name; rad or length.

    Returns:
      The skeleton, with float64 NumPy leaves.

    Raises:
      ValueError: for names that are missing, repeated or out of order, for offsets of
        different or wrong dimension, and for unknown or unusable motions and limits.

    Example:
      >>> arm = build_skeleton([
      ...     Joint("shoulder", None, (0, 0), "rz"),
      ...     Joint("elbow", "shoulder", (1, 0), "rz"),
      ...     Joint("wrist", "elbow", (1, 0)),
      ... ])
      >>> arm.dof_names
      ('shoulder_rz', 'elbow_rz')
    """
    if not joints:
        raise ValueError("a skeleton needs at least one joint, but joints is empty.")
    ndim = np.size(joints[0].offset)
    index: dict[str, int] = {}
    parents, motions = [], []
    for joint in joints:
        if joint.name in index:
            raise ValueError(f"joint names must be unique, but {joint.name!r} occurs twice.")
        parents.append(_parent_index(joint, index))
        motions.append(_joint_motions(joint, ndim))
        index[joint.name] = len(index)
    dof_names = tuple(dict.fromkeys(m.dof for ms in motions for m in ms))
    reported = tuple(index) if keypoints is None else tuple(keypoints)
    for name in reported:
        if name not in index:
            raise ValueError(f"keypoint {name!r} is not a joint; the joints are {list(index)}.")
    if len(set(reported)) < len(reported):
        raise ValueError(f"keypoints must be unique, but got {list(reported)}.")
    return Skeleton(
        offsets=_offset_array(joints, ndim),
        limits=_limit_array(limits or {}, dof_names),
        names=tuple(index),
        parents=tuple(parents),
        motions=tuple(motions),
        dof_names=dof_names,
        keypoints=tuple(index[name] for name in reported),
    )


def scale_skeleton(skeleton: Skeleton, scale) -> Skeleton:
    """Multiplies every bone length by `scale`, the paper's l' = s l (Sec. 3.1).

    Args:
      skeleton: any skeleton.
      scale: a number, or a scalar array (differentiable).

    Returns:
      The scaled skeleton; dofs and limits are unchanged.

    Raises:
      ValueError: for what is no scalar.
    """
    if np.ndim(scale):
        raise ValueError(
            f"scale must be a number or a scalar array, but has shape {np.shape(scale)}."
        )
    return dataclasses.replace(skeleton, offsets=skeleton.offsets * scale)


def rotate_skeleton(skeleton: Skeleton, rotation) -> Skeleton:
    """Turns rest pose and axes, so that the same parameters give the turned pose.

    Changes the convention of which axis is up, for instance; with `rotation` the matrix Q,
    forward kinematics of the result is Q times that of the argument.

    Args:
      skeleton: any skeleton.
      rotation: (n, n) proper rotation, constant.

    Returns:
      The turned skeleton; dofs and limits are unchanged.

    Raises:
      ValueError: if `rotation` is not a proper rotation of the skeleton's dimension.
    """
    n, turn = skeleton.ndim, np.eye(3)
    rotation = np.asarray(rotation, np.float64)
    if (
        rotation.shape != (n, n)
        or not np.allclose(rotation @ rotation.T, np.eye(n), atol=1e-6)
        or np.linalg.det(rotation) < 0
    ):
        raise ValueError(f"rotation must be a proper {n} x {n} rotation, but got {rotation}.")
    turn[:n, :n] = rotation
    motions = tuple(
        tuple(dataclasses.replace(m, axis=tuple(map(float, turn @ m.axis))) for m in joint)
        for joint in skeleton.motions
    )
    return dataclasses.replace(skeleton, offsets=skeleton.offsets @ rotation.T, motions=motions)


def limit_skeleton(
    skeleton: Skeleton, limits: Mapping[str, tuple[float, float]] | None
) -> Skeleton:
    """Replaces the limits of a skeleton.

    Args:
      skeleton: any skeleton.
      limits: (lowest, highest) by dof name, rad or length; dofs not named, or all of them
        for None, become unlimited.

    Returns:
      The skeleton with these limits.

    Raises:
      ValueError: for an unknown dof, or a lowest value that is not below the highest.
    """
    return dataclasses.replace(skeleton, limits=_limit_array(limits or {}, skeleton.dof_names))


def remove_dofs(skeleton: Skeleton, names: Sequence[str]) -> Skeleton:
    """Leaves out dofs: their motions stay where they are at zero.

    Args:
      skeleton: any skeleton.
      names: dofs to leave out, such as the root's translations for root-relative joints.

    Returns:
      The skeleton with the other dofs, in their order.

    Raises:
      ValueError: for a name that is no dof, or of one whose motions have a bias.
    """
    for name in names:
        if name not in skeleton.dof_names:
            raise ValueError(f"names must be dofs, {list(skeleton.dof_names)}, but got {name!r}.")
    kept = [i for i, name in enumerate(skeleton.dof_names) if name not in names]
    biased = [m.dof for joint in skeleton.motions for m in joint if m.dof in names and m.bias]
    if biased:
        raise ValueError(f"a dof with a bias cannot be left out, but got {biased[0]!r}.")
    return dataclasses.replace(
        skeleton,
        limits=skeleton.limits[np.array(kept, int)],
        motions=tuple(tuple(m for m in joint if m.dof not in names) for joint in skeleton.motions),
        dof_names=tuple(skeleton.dof_names[i] for i in kept),
    )


def _same(one: Any, other: Any) -> bool:
    """Whether leaves are the same numbers; traced ones are only themselves."""
    if any(isinstance(x, jax.core.Tracer) for x in (one, other)):
        return one is other
    return np.array_equal(np.asarray(one), np.asarray(other), equal_nan=False)


def _written(motion: Motion) -> str:
    """Such as "turns about -x" or "slides along (0.6, 0.8, 0)"."""
    axis = np.array(motion.axis)
    along = "xyz"[int(np.argmax(np.abs(axis)))]
    plain = np.abs(axis).max() == 1.0
    sign = "-" if axis.sum() < 0 else ""
    words = f"{sign}{along}" if plain else f"({', '.join(f'{x:.3g}' for x in motion.axis)})"
    amount = "" if motion.multiplier == 1.0 else f" times {motion.multiplier:.4g}"
    return f"{'turns about' if motion.kind == 'r' else 'slides along'} {words}{amount}"


def _frozen(array: np.ndarray) -> np.ndarray:
    """The array, which nobody changes behind a skeleton's back any more."""
    array.flags.writeable = False
    return array


def _parent_index(joint: Joint, index: Mapping[str, int]) -> int:
    if joint.parent is None:
        if index:
            raise ValueError(
                f"a skeleton has one root, but {joint.name!r} has no parent and comes after "
                f"the root {next(iter(index))!r}."
            )
        return -1
    if joint.parent not in index:
        raise ValueError(
            f"the parent of joint {joint.name!r} must be listed before it, but {joint.parent!r} "
            f"is not among {list(index)}."
        )
    return index[joint.parent]


def _joint_motions(joint: Joint, ndim: int) -> tuple[Motion, ...]:
    motions = joint.motions
    if isinstance(motions, str):
        motions = [Motion(word[:1], word[1:]) for word in motions.split()]
    if not isinstance(motions, Sequence) or not all(isinstance(m, Motion) for m in motions):
        raise ValueError(
            f"the motions of joint {joint.name!r} must be a string such as 'tx ty rz' or "
            f"a sequence of Motion, but got {motions!r}."
        )
    checked = tuple(_checked_motion(motion, joint.name, ndim) for motion in motions)
    unnamed = [new.dof for old, new in zip(motions, checked, strict=True) if not old.dof]
    for dof in unnamed:
        if unnamed.count(dof) > 1:
            raise ValueError(
                f"two motions of joint {joint.name!r} have the default name {dof!r} and would "
                "share one dof; give them names of their own by Motion(..., dof=...)."
            )
    return checked


def _checked_motion(motion: Motion, joint: str, ndim: int) -> Motion:
    """Gives a motion its default name and a unit axis of 3 numbers."""
    letter = motion.axis if isinstance(motion.axis, str) else ""
    axis = _AXES.get(letter, ()) if letter else tuple(np.ravel(motion.axis))
    axis = (*axis, 0.0) if ndim == 2 and motion.kind == "t" and len(axis) == 2 else axis
    is_vector = len(axis) == 3 and all(isinstance(a, int | float | np.number) for a in axis)
    norm = math.hypot(*axis) if is_vector else 0.0
    if motion.kind not in ("r", "t") or not 0 < norm < math.inf:
        raise ValueError(
            f"a motion of joint {joint!r} must be of kind 'r' or 't' about 'x', 'y', 'z' or a "
            f"vector other than zero, but got kind {motion.kind!r} and axis {motion.axis!r}."
        )
    axis = tuple(float(a) / norm for a in axis)
    in_plane = axis[2] == 0.0 if motion.kind == "t" else axis[:2] == (0.0, 0.0)
    if ndim == 2 and not in_plane:
        raise ValueError(
            f"a 2D joint rotates about 'z' and translates along 'x' and 'y', but joint {joint!r} "
            f"has kind {motion.kind!r} and axis {motion.axis!r}."
        )
    if not (math.isfinite(motion.multiplier) and math.isfinite(motion.bias)):
        raise ValueError(f"multiplier and bias must be finite, but joint {joint!r} has {motion}.")
    dof = motion.dof or f"{joint}_{motion.kind}{letter or 'a'}"
    return dataclasses.replace(
        motion,
        axis=axis,
        dof=dof,
        multiplier=float(motion.multiplier),
        bias=float(motion.bias),
    )


def _offset_array(joints: Sequence[Joint], ndim: int) -> np.ndarray:
    want = ndim if ndim in (2, 3) else "2 or 3"
    for joint in joints:
        try:
            offset = np.asarray(joint.offset, dtype=np.float64)
        except (TypeError, ValueError):
            offset = np.array(np.nan)
        if ndim not in (2, 3) or offset.shape != (ndim,) or not np.isfinite(offset).all():
            raise ValueError(
                f"the offset of joint {joint.name!r} must be {want} "
                f"finite numbers, but got {joint.offset!r}."
            )
    return _frozen(np.array([joint.offset for joint in joints], dtype=np.float64))


def _limit_array(limits: Mapping[str, tuple[float, float]], dof_names) -> np.ndarray:
    array = np.full((len(dof_names), 2), (-np.inf, np.inf))
    for name, bounds in limits.items():
        if name not in dof_names:
            raise ValueError(f"limits name the dof {name!r}, which is not in {list(dof_names)}.")
        if np.shape(bounds) != (2,) or not bounds[0] < bounds[1]:
            raise ValueError(f"the limits of {name!r} must be (low, high), but got {bounds!r}.")
        array[dof_names.index(name)] = bounds
    return _frozen(array)
