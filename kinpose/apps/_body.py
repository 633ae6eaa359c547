"""A clip in the scene of the live viewer: how it is drawn, and dragged.

Shapes: B bones, D dofs.
"""

import numpy as np

from kinpose.apps._live import drag
from kinpose.clips import Clip, frame_at, poses_of, radii_of
from kinpose.drawing import COLORS
from kinpose.io.glb import bone_mesh

_GHOST, _HALO = 0.25, 0.45
"""Opacities of ghosts, and of recorded points around the keypoints that are fitted to them."""


class Body:
    """A clip in the scene: bones, joints and recorded points, each drawn as one thing."""

    def __init__(self, viewer, index: int, clip: Clip, shift, *, is_ghost: bool = False):
        self.viewer, self.clip, self.shift, self.is_ghost = viewer, clip, shift, is_ghost
        self.index, self.dots, self.parts, self.radii = index, None, [], radii_of(clip)
        self.label = clip.name if not index else f"{clip.name} ({index + 1})"
        self._first: dict[int, np.ndarray] = {}  # poses as they were before a person changed them
        self._before: tuple | None = None  # of a drag: keypoint, its grip, points, pose

    @property
    def frame(self) -> int:
        """Of the clip, at the viewer's time."""
        return frame_at(self.clip, self.viewer.time_s)

    @property
    def pose(self) -> np.ndarray:
        """(D,) the pose that is shown."""
        return self.clip.model.params[self.frame]

    @property
    def is_held(self) -> bool:
        """Whether somebody drags it."""
        return self._before is not None

    def set_pose(self, params: np.ndarray) -> None:
        """Changes the pose of the frame that is shown."""
        model, frame = self.clip.model, self.frame
        self._first.setdefault(frame, model.params[frame].copy())
        model.params[frame] = params
        self.clip.poses[frame] = poses_of(params[None], model)[0]

    def reset(self) -> None:
        """Brings back the frame that is shown as it was."""
        if self.frame in self._first:
            self.set_pose(self._first[self.frame])

    def add(self) -> None:
        """Puts the clip into the scene."""
        clip, scene = self.clip, self.viewer.server.scene
        name = f"/world/body_{self.index}"
        colors = {key: light(color) for key, color in COLORS.items()}
        sides = np.array([colors[side] for side in clip.sides], np.uint8).reshape(-1, 3)
        look = {"opacity": _GHOST if self.is_ghost else None, "cast_shadow": not self.is_ghost}
        self._ends = np.array(clip.bones, int).reshape(-1, 2).T
        self._bones = self._joints = None
        if len(clip.bones):
            points, _ = bone_mesh(np.zeros(3), np.eye(3)[2])
            self._bones = scene.add_batched_meshes_simple(
                f"{name}/bones",
                np.float32(points),
                np.arange(len(points)).reshape(-1, 3),
                *_zeros(len(clip.bones)),
                batched_scales=np.full(len(clip.bones), 1e-6, np.float32),
                batched_colors=sides[self._ends[0]],
                flat_shading=True,
                lod="off",
                **look,
            )
        if clip.names:
            self._joints = self._add_balls(f"{name}/joints", sides, look)
        if clip.points.shape[1]:
            pale = np.tile(np.uint8([colors["points"]]), (clip.points.shape[1], 1))
            if clip.has_halos:
                look = {"opacity": _HALO, "cast_shadow": False}
            self.dots = self._add_balls(f"{name}/points", pale, look)
        self.parts = [x for x in (self._bones, self._joints, self.dots) if x is not None]
        if clip.model and not self.is_ghost:
            self._joints.on_drag(self._dragged)
            self._joints.on_click(self._clicked)
        if len(self.viewer.bodies) > 1 and not self.is_ghost:
            self._name = scene.add_label(f"{name}/name", clip.name, anchor="top-center")
        else:
            self._name = None

    def _add_balls(self, name: str, colors, look):
        vertices, faces = _sphere()
        return self.viewer.server.scene.add_batched_meshes_simple(
            name,
            np.float32(vertices),
            faces,
            *_zeros(len(colors)),
            batched_scales=np.full(len(colors), 1e-6, np.float32),
            batched_colors=colors,
            lod="off",
            **look,
        )

    def draw(self, time_s: float) -> None:
        """Shows the clip at a time."""
        frame = frame_at(self.clip, time_s)
        pose = self.clip.poses[frame] + self.shift
        if self._bones is not None:
            ends, begins = pose[self._ends[0]], pose[self._ends[1]]
            lengths, turns = _along(ends - begins)
            self._bones.batched_positions = _finite(begins)
            self._bones.batched_wxyzs = turns
            self._bones.batched_scales = np.maximum(lengths, 1e-6)
        points = self.clip.points[frame] + self.shift
        for balls, places, radii in (
            (self._joints, pose, self.radii.joints),
            (self.dots, points, self.radii.points),
        ):
            if balls is not None:
                seen = np.isfinite(places).all(axis=-1)
                balls.batched_positions = _finite(places)
                balls.batched_scales = np.where(seen, radii, 1e-6).astype(np.float32)
        if self._name is not None and np.isfinite(pose).any():
            x, _, z = np.nanmean(pose, axis=0)
            self._name.position = (x, -2 * self.radii.usual, z)

    async def _clicked(self, event) -> None:
        """Axes of the joint, or of none where it has them."""
        self.viewer.ask("click", lambda: self.viewer.show_axes(self, event.instance_index))

    async def _dragged(self, event) -> None:
        """The newest place under the pointer, for the worker."""
        if event.instance_index is None:
            return
        place, phase = np.array(event.end_position), event.phase
        grip, keypoint = np.array(event.start_position), event.instance_index

        def follow() -> None:
            if phase == "start" or not self.is_held:
                self._take_hold(keypoint, grip)
            self._drag_to(place)

        self.viewer.ask(("drag", "start" if phase == "start" else "on"), follow)
        if phase == "end":
            self.viewer.ask(("drag", "end"), self._let_go)

    def _take_hold(self, keypoint: int, grip: np.ndarray) -> None:
        self.viewer.pause()
        clip = self.clip
        pose = clip.poses[self.frame].astype(np.float64)
        if not np.isfinite(pose).all():
            raise ValueError("this frame has no pose to drag.")
        offset = pose[keypoint] - self.viewer.from_viser(grip)
        self._before = keypoint, offset, clip.model.own(pose), self.pose.copy()

    def _drag_to(self, place: np.ndarray) -> None:
        keypoint, offset, points, before = self._before
        model = self.clip.model
        goal = model.own(self.viewer.from_viser(place) + offset)
        self.set_pose(drag(keypoint, goal, points, before, self.pose, model.skeleton))

    def _let_go(self) -> None:
        self._before = None


def _rgb(color: str) -> tuple[int, int, int]:
    return tuple(bytes.fromhex(color[1:]))


def light(color: str) -> tuple[int, int, int]:
    """A colour of meshes and lines, which viser takes as linear in light."""
    return tuple(round(255 * (c / 255) ** 2.2) for c in _rgb(color))


def _sphere(rows: int = 8, columns: int = 14) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces of a ball of radius 1; viser's own need a package that takes a second."""
    polar, around = np.meshgrid(
        np.linspace(0, np.pi, rows + 1), np.arange(columns) * 2 * np.pi / columns, indexing="ij"
    )
    flat = np.sin(polar)
    vertices = np.stack([flat * np.cos(around), flat * np.sin(around), np.cos(polar)], axis=-1)
    index = np.arange(vertices[..., 0].size).reshape(rows + 1, columns)
    a, b = index[:-1], np.roll(index, -1, axis=1)[:-1]
    c, d = index[1:], np.roll(index, -1, axis=1)[1:]
    faces = np.concatenate([np.stack([a, c, d], axis=-1), np.stack([a, d, b], axis=-1)])
    return vertices.reshape(-1, 3), faces.reshape(-1, 3)


def _zeros(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Turns (count, 4) and places (count, 3) of things that are not yet shown."""
    turns = np.zeros((count, 4), np.float32)
    turns[:, 0] = 1.0
    return turns, np.zeros((count, 3), np.float32)


def _finite(places: np.ndarray) -> np.ndarray:
    return np.nan_to_num(places).astype(np.float32)


def _along(ways: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths (B,) of ways (B, 3), and quaternions (B, 4) that turn z along them."""
    ways = np.nan_to_num(ways).astype(np.float32)
    lengths = np.linalg.norm(ways, axis=-1)
    x, y, z = (ways / np.maximum(lengths, 1e-12)[:, None]).T
    turns = np.stack([1.0 + z, -y, x, np.zeros_like(x)], axis=-1)
    turns[z < -1.0 + 1e-6] = (0.0, 1.0, 0.0, 0.0)
    return lengths, turns / np.linalg.norm(turns, axis=-1, keepdims=True)
