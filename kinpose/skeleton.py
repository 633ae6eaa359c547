"""An articulated object: a tree of joints moved by elementary motions.

Convention: a joint's frame is its parent's frame, moved by the joint's offset and
then by the joint's motions in the order written. Rotations are active, right-handed
and in radians; a joint's own rotations move its children and not itself. In the rest
pose all parameters are zero and all frames are parallel to the world's.

Shapes: J joints, K keypoints, M motions, D degrees of freedom (dofs), n space dimension.
"""

import dataclasses
import difflib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from kinpose._html import MOST_ROWS, numbers, skeleton_html


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
        shape = getattr(self.offsets, "shape", ())  # jax.tree.map may have made other leaves
        return (
            f"<Skeleton {self.names[0]!r}: {self.num_joints} joints, {self.num_keypoints} "
            f"keypoints, {self.num_dofs} dofs, {f'{shape[-1]}D' if shape else self.offsets}>"
        )

    @property
    def _structure(self) -> tuple:
        return self.names, self.parents, self.motions, self.dof_names, self.keypoints

    def table(self) -> str:
        """The dofs for a person: what each moves, about or along which axis, within which limits.

        Angles are in degrees, lengths in the skeleton's unit.
        """
        header = ("dof", "joint", "moves", "limits", "unit")
        rows = [header, *self._dof_rows(self.num_dofs)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
        return "\n".join([repr(self), *lines])

    def _dof_rows(self, most: int) -> list[tuple[str, str, str, str, str]]:
        """The rows of `table`, of the first `most` dofs; without limits where they are traced."""
        limits = numbers(self.limits)
        if limits is None or limits.ndim != 2:
            limits = np.full((self.num_dofs, 2), np.inf)
        rows = []
        for name, turns, bounds in zip(self.dof_names[:most], self.is_angle, limits, strict=False):
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
        return rows

    def _repr_html_(self) -> str:
        return skeleton_html(self, self._dof_rows(MOST_ROWS))

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


def check_fittable(skeleton: Skeleton) -> None:
    """The gate of skeletons that are fitted: with dofs, and one length per bone for all poses."""
    if not skeleton.num_dofs:
        raise ValueError("the skeleton must have a dof, or there is nothing to fit.")
    if np.ndim(skeleton.offsets) > 2:
        raise ValueError(
            f"skeleton must have one length per bone, but its offsets have shape "
            f"{np.shape(skeleton.offsets)}; jax.vmap over skeletons takes bones of each pose's own."
        )


def scale_skeleton(skeleton: Skeleton, scale: jax.typing.ArrayLike) -> Skeleton:
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


def rotate_skeleton(skeleton: Skeleton, rotation: jax.typing.ArrayLike) -> Skeleton:
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
