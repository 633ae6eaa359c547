"""Clips in a browser, live: `kinpose view`, by viser.

One thread does all the work: what people ask for, by slider, pointer or button, is put down under
a key, and what is asked later under the same key replaces it, so that the newest wins.

Shapes: T frames, K keypoints, B bones, D dofs.
"""

import contextlib
import functools
import io
import logging
import math
import pathlib
import tempfile
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from kinpose.apps._live import drag, observability
from kinpose.apps._scene import Slider, frame_at, joint_axes, poses_of, sliders_of
from kinpose.clips import Clip, eye_of, place_side_by_side, radii_of, reach_of, track_of
from kinpose.drawing import AXIS_COLORS, COLORS
from kinpose.extras import needs
from kinpose.io.bvh import save_bvh
from kinpose.io.glb import bone_mesh
from kinpose.io.gltf import save_glb
from kinpose.skeleton import rotate_skeleton

with needs("view"):
    import viser
    from PIL import Image

_TICK_S = 1 / 40
"""Between two pictures of a clip that plays."""

_SLOW_S = 0.25
"""Between two moves of the sliders, while a clip plays or somebody drags."""

_SPEEDS = ("0.1", "0.25", "0.5", "1", "2", "4")

_WORLD = np.roll(np.eye(3), 1, axis=0)
"""From our axes, y up, to viser's, z up: to have viser turn its world races with its camera."""

_GHOST, _HALO = 0.25, 0.45
"""Opacities of ghosts, and of recorded points around the keypoints that are fitted to them."""

_OPEN_FOLDERS = 14
"""Dofs, up to which the folders of joints are open at the beginning."""

_LEVELS = ((0.02, "#c92a2a", "hardly"), (0.08, "#f08c00", "weakly"), (math.inf, "#2b8a3e", "well"))
"""Observability, in the skeleton's sizes per rad, below which points tell an angle so: 0.08 is
20 mm per rad of a person, where 1 mm of noise makes 3 degrees."""


class Viewer:
    """Clips in a browser.

    Args:
      clips: they stand side by side.
      ghosts: shown pale, where the first clip is.
      host: the address that browsers ask.
      port: the first that is tried.
    """

    def __init__(self, clips: Sequence[Clip], ghosts: Sequence[Clip], host: str, port: int):
        logging.getLogger("websockets").setLevel(logging.WARNING)
        with contextlib.redirect_stdout(io.StringIO()):  # a banner; the caller says the address
            self.server = viser.ViserServer(host, port, label="kinpose", verbose=False)
        self.time_s, self.speed, self.playing, self.follow = 0.0, 1.0, False, True
        self.tick_s = min(clip.frame_time_s for clip in clips)
        self.duration_s = max((len(c.poses) - 1) * c.frame_time_s for c in clips)
        shifts = place_side_by_side(clips)
        self._bodies = [_Body(self, i, clip, shifts[i]) for i, clip in enumerate(clips)]
        self._bodies += [
            _Body(self, len(clips) + i, ghost, shifts[0], is_ghost=True)
            for i, ghost in enumerate(ghosts)
        ]
        self._track = track_of(clips[0])
        self._asked: dict[object, Callable[[], None]] = {}
        self._lock, self._wake, self._closed = threading.Lock(), threading.Event(), False
        self._posed: _Panel | None = None
        self._add_scene(clips, shifts)
        self._add_controls()
        self._worker = threading.Thread(target=self._work, daemon=True)
        self._worker.start()
        self.ask("draw", lambda: None)

    @property
    def port(self) -> int:
        """Of the server."""
        return self.server.get_port()

    @property
    def frame(self) -> int:
        """Of the timeline, whose step is the shortest frame time."""
        return int(self.time_s / self.tick_s + 1e-6)

    @property
    def bodies(self) -> list["_Body"]:
        """Of the clips, and then of the ghosts."""
        return self._bodies

    def from_viser(self, place: np.ndarray) -> np.ndarray:
        """A place (3,) of viser's world in that of the clips."""
        return _WORLD.T @ (place - np.asarray(self._world.position))

    def ask(self, key: object, what: Callable[[], None]) -> None:
        """Has something done by the worker, in place of what was asked under the same key."""
        with self._lock:
            self._asked[key] = what
        self._wake.set()

    def close(self) -> None:
        """Ends the server."""
        self._closed = True
        self._wake.set()
        self._worker.join()
        self.server.stop()

    def _work(self) -> None:
        before, slow, stale = time.monotonic(), 0.0, False
        while not self._closed:
            self._wake.wait(_TICK_S if self.playing else _SLOW_S if stale else None)
            self._wake.clear()
            with self._lock:
                asked, self._asked = list(self._asked.values()), {}
            for what in asked:
                try:
                    what()
                except (ValueError, OSError) as error:
                    self._say(str(error))
            now = time.monotonic()
            if self.playing:
                on = self.time_s + (now - before) * self.speed
                self.time_s = on if on <= self.duration_s + 1e-9 else 0.0
            before = now
            self._draw()
            stale = (self.playing or bool(asked)) and now - slow < _SLOW_S
            if not stale:
                slow = now
                self._follow_sliders()
            time.sleep(max(0.0, _TICK_S - (time.monotonic() - now)))  # pictures, not more

    def _draw(self) -> None:
        moved = -self._track[frame_at(self._bodies[0].clip, self.time_s)] * self.follow
        with self.server.atomic():
            self._world.position = _WORLD @ moved
            for body in self._bodies:
                body.draw(self.time_s)
            if self._posed:
                self._posed.draw()

    def _follow_sliders(self) -> None:
        self._frame.value = self.frame
        self._clock.content = f"{self.time_s:.2f} s of {self.duration_s:.2f} s"
        if self._posed:
            self._posed.show()

    def _say(self, sentence: str) -> None:
        for client in self.server.get_clients().values():
            client.add_notification("", sentence, color="red", auto_close_seconds=8)

    # The scene.

    def _add_scene(self, clips, shifts) -> None:
        scene = self.server.scene
        low, high = reach_of(clips, shifts)
        extent = float((high - low).max()) or 1.0
        cell = 10.0 ** math.floor(math.log10(extent) - 0.2)
        scene.add_grid(
            "/world/floor",
            plane="xz",
            infinite_grid=True,
            cell_size=cell,
            section_size=10 * cell,
            cell_color=(225, 229, 233),
            section_color=(206, 212, 218),
            fade_distance=12 * extent,
            shadow_opacity=0.2,
        )
        self._world = scene.add_frame("/world", show_axes=False, wxyz=(0.5, 0.5, 0.5, 0.5))
        center, camera = 0.5 * (low + high), self.server.initial_camera
        yaw, above = eye_of(clips[0])
        way = [math.sin(yaw) * math.cos(above), math.sin(above), math.cos(yaw) * math.cos(above)]
        camera.fov = math.radians(35)
        camera.look_at = _WORLD @ center
        camera.position = _WORLD @ (center + 2.4 * extent * np.array(way))
        for body in self._bodies:
            body.add()

    # The controls.

    def _add_controls(self) -> None:
        gui = self.server.gui
        gui.configure_theme(
            control_width="large",
            show_logo=False,
            show_share_button=False,  # which would send the scene out
            brand_color=(52, 58, 64),
        )
        with gui.add_folder("Time", visible=self.duration_s > 0):
            last = max(1, round(self.duration_s / self.tick_s))
            self._frame = gui.add_slider("Frame", 0, last, 1, 0)
            self._clock = gui.add_markdown("")
            self._play = gui.add_button("Play", icon=viser.Icon.PLAYER_PLAY, hint="space")
            step = gui.add_button_group("Step", ("-10", "-1", "+1", "+10"), hint="arrow keys")
            speed = gui.add_dropdown("Speed", _SPEEDS, initial_value="1")
        with gui.add_folder("Show"):
            follow = gui.add_checkbox("Follow", True, hint="The body stays in the middle.")
            points = gui.add_checkbox(
                "Recorded points", True, visible=any(b.clip.points.shape[1] for b in self._bodies)
            )
            ghosts = gui.add_checkbox(
                "Ghost", True, visible=any(body.is_ghost for body in self._bodies)
            )
        posed = [body for body in self._bodies if body.clip.model and not body.is_ghost]
        names = [body.label for body in posed]
        chosen = gui.add_dropdown("Pose of", names or ["none"], visible=len(posed) > 1)
        self._on(chosen, "posed", lambda: self.pose_of(posed[names.index(chosen.value)]))
        self._chosen = chosen
        self._on(self._frame, "frame", lambda: self.go_to(self._frame.value * self.tick_s))
        self._on(speed, "speed", lambda: setattr(self, "speed", float(speed.value)))
        self._on(follow, "follow", lambda: setattr(self, "follow", follow.value))
        for box, chosen_ones in (
            (points, [b.dots for b in self._bodies]),
            (ghosts, [part for b in self._bodies if b.is_ghost for part in b.parts]),
        ):
            self._on(box, box, functools.partial(_set_visible, chosen_ones, box))
        self._play.on_click(lambda _: self.ask("play", self.toggle))
        step.on_click(lambda event: self.step(int(event.target.value)))
        for label, key, what in (
            ("Play or pause", "space", lambda: self.ask("play", self.toggle)),
            ("A frame back", "arrowleft", lambda: self.step(-1)),
            ("A frame on", "arrowright", lambda: self.step(1)),
        ):
            command = gui.add_command(label, hotkey=key)
            command.on_trigger(lambda _, what=what: what())
        if posed:
            self.pose_of(posed[0])
        self._add_writers()

    def _on(self, control, key: object, what: Callable[[], None]) -> None:
        """Has something done when a person, and not this program, moves a control."""

        async def moved(event) -> None:  # in order, as threads of viser's pool would not be
            if event.client is not None:
                self.ask(key, what)

        control.on_update(moved)

    def _add_writers(self) -> None:
        gui = self.server.gui
        with gui.add_folder("Write", order=1e12):
            what = gui.add_dropdown("What", ("pose", "clip"), visible=self.duration_s > 0)
            row = gui.add_button_group("As", ("BVH", "GLB", "PNG"))

        def write(event) -> None:
            client = event.client
            if event.target.value == "PNG":
                self._send_picture(client)
            elif self._posed is None:
                self._say("nothing here has angles to write: no skeleton poses these points.")
            else:
                body, suffix = self._posed.body, event.target.value.lower()
                whole = what.value == "clip"
                self.ask("write", lambda: _send_clip(client, body, suffix, self.time_s, whole))

        row.on_click(write)

    def _send_picture(self, client) -> None:
        """On a thread of viser's, which waits for the browser."""
        camera = client.camera
        pixels = client.get_render(camera.image_height, camera.image_width, timeout=20.0)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        name = f"{_stem(self._bodies[0].clip)}_{self.frame}.png"
        client.send_file_download(name, file.getvalue(), save_immediately=True)

    # What is asked for; all but `step` run on the worker.

    def go_to(self, time_s: float) -> None:
        """Shows a time, and stays there."""
        self._set_playing(False)
        self.time_s = min(max(time_s, 0.0), self.duration_s)

    def step(self, frames: int) -> None:
        """Goes some frames on, or back."""
        self.ask(object(), lambda: self.go_to((self.frame + frames) * self.tick_s))

    def toggle(self) -> None:
        """Plays, or pauses."""
        self._set_playing(not self.playing and self.duration_s > 0)

    def _set_playing(self, playing: bool) -> None:
        if playing and self.time_s >= self.duration_s - 1e-9:
            self.time_s = 0.0
        self.playing = playing
        self._play.label = "Pause" if playing else "Play"
        self._play.icon = viser.Icon.PLAYER_PAUSE if playing else viser.Icon.PLAYER_PLAY

    def show_axes(self, body: "_Body", keypoint: int) -> None:
        """Shows the axes of a joint, or no more if they are there."""
        self.pose_of(body)
        self._posed.show_axes(body.clip.names[keypoint])

    def pose_of(self, body: "_Body") -> None:
        """Gives the sliders to a clip's model."""
        if self._posed and self._posed.body is body:
            return
        if self._posed:
            self._posed.remove()
        self._posed, self._chosen.value = _Panel(self, body), body.label


def _set_visible(parts, box) -> None:
    for part in parts:
        if part is not None:
            part.visible = box.value


class _Body:
    """A clip in the scene: bones, joints and recorded points, each drawn as one thing."""

    def __init__(self, viewer: Viewer, index: int, clip: Clip, shift, *, is_ghost: bool = False):
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
        colors = {key: _light(color) for key, color in COLORS.items()}
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
        viewer, body = self.viewer, self
        place, phase = np.array(event.end_position), event.phase
        grip, keypoint = np.array(event.start_position), event.instance_index

        def follow() -> None:
            if phase == "start" or body._before is None:
                body._take_hold(keypoint, grip)
            body._drag_to(place)

        if phase == "start":
            viewer.ask(("drag", "start"), follow)
        else:
            viewer.ask(("drag", "on"), follow)
        if phase == "end":
            viewer.ask(("drag", "end"), self._let_go)

    def _take_hold(self, keypoint: int, grip: np.ndarray) -> None:
        self.viewer._set_playing(False)
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


class _Panel:
    """Sliders of a model's dofs, by joint, and what else belongs to one model."""

    def __init__(self, viewer: Viewer, body: _Body):
        self.viewer, self.body, self._shown = viewer, body, None
        gui, model = viewer.server.gui, body.clip.model
        sliders = sliders_of(model)
        self._folder = gui.add_folder(f"Pose of {body.label}", order=1e11)
        self._controls: list[tuple[Slider, object, object]] = []
        with self._folder:
            gui.add_markdown("Drag a joint, or move a slider (degrees).")
            self._status = gui.add_markdown("")
            self._axes = gui.add_dropdown("Axes of", ("none", *model.skeleton.names))
            self._reset = gui.add_button("Reset this frame")
            for joint in dict.fromkeys(slider.joint for slider in sliders):
                own = [slider for slider in sliders if slider.joint == joint]
                with gui.add_folder(joint, expand_by_default=len(sliders) <= _OPEN_FOLDERS):
                    self._controls += [self._add_slider(slider) for slider in own]
        viewer._on(self._axes, "axes", lambda: None)
        self._reset.on_click(lambda _: viewer.ask("reset", body.reset))
        self._arrows = viewer.server.scene.add_line_segments(
            "/world/axes",
            np.zeros((3, 2, 3), np.float32),
            np.repeat(np.uint8([[_light(color)] for color in AXIS_COLORS]), 2, axis=1),
            thickness=0.4 * body.radii.usual,
            visible=False,
        )
        self._ready = self._removed = False
        threading.Thread(target=self._prepare, daemon=True).start()

    def _prepare(self) -> None:
        """Compiles what the first drag would wait for."""
        self._status.content = "*Preparing to drag ...*"
        model = self.body.clip.model
        pose = model.params[0]
        points = model.own(poses_of(pose[None], model)[0])
        points = np.where(np.isfinite(points), points, 0.0)
        drag(0, points[0], points, pose, pose, model.skeleton)
        observability(pose, np.ones(len(points)), model.skeleton)
        if self._removed:
            return
        self._ready = True
        self._status.content = "Points tell an angle: " + ", ".join(
            f'<span style="color:{color}">{word}</span>' for _, color, word in _LEVELS
        )
        self.viewer.ask("ready", lambda: None)

    def _add_slider(self, slider: Slider):
        gui = self.viewer.server.gui
        step = 0.1 if slider.turns else 10.0 ** math.floor(math.log10(slider.high / 500))
        value = self._value_of(slider)
        low, high = round(slider.low, 3), round(slider.high, 3)
        control = gui.add_slider(slider.label, low, high, step, value, hint=self._hint(slider))
        mark = gui.add_html(_mark(None))

        def move() -> None:
            pose = self.body.pose.copy()
            pose[slider.dof] = control.value / slider.per_unit
            self.viewer._set_playing(False)
            self.body.set_pose(pose)

        self.viewer._on(control, ("dof", slider.dof), move)
        return slider, control, mark

    def _hint(self, slider: Slider) -> str:
        return self.body.clip.model.skeleton.dof_names[slider.dof]

    def _value_of(self, slider: Slider) -> float:
        value = self.body.pose[slider.dof] * slider.per_unit
        return round(float(np.clip(value, slider.low, slider.high)), 1 if slider.turns else 3)

    def show_axes(self, joint: str) -> None:
        """Chooses a joint, or none if it is chosen."""
        self._axes.value = "none" if self._axes.value == joint else joint

    def draw(self) -> None:
        """The axes of the chosen joint."""
        joint, body = self._axes.value, self.body
        self._arrows.visible = joint != "none"
        if joint != "none":
            model = body.clip.model
            place, axes = joint_axes(body.pose, model.skeleton.names.index(joint), model)
            ends = np.stack([np.tile(place, (3, 1)), place + 8 * body.radii.usual * axes], axis=1)
            self._arrows.points = np.float32(ends + body.shift)

    def show(self) -> None:
        """Moves the sliders to the pose, and their marks to what its points tell."""
        body = self.body
        for slider, control, _ in self._controls:
            control.value = self._value_of(slider)
        at_rest = not self.viewer.playing and not body.is_held
        if not (self._ready and at_rest) or np.array_equal(body.pose, self._shown):
            return
        self._shown = body.pose.copy()
        told = observability(body.pose, body.clip.seen(body.frame), body.clip.model.skeleton)
        for slider, _, mark in self._controls:
            mark.content = _mark(float(told[slider.dof]))

    def remove(self) -> None:
        """Takes it out of the page."""
        self._removed = True
        self._arrows.remove()
        self._folder.remove()


def _mark(told: float | None) -> str:
    """A bar below a slider: its colour and length are the observability."""
    color, part = "#dee2e6", 0.0
    if told is not None:
        color = next(color for most, color, _ in _LEVELS if told < most)
        part = min(max((math.log10(max(told, 1e-9)) + 3) / 3, 0.02), 1.0)
    return (
        '<div style="height:3px;margin:-7px 17% 5px 27%;border-radius:2px;background:#f1f3f5">'
        f'<div style="height:3px;width:{100 * part:.0f}%;border-radius:2px;background:{color}">'
        "</div></div>"
    )


def _send_clip(client, body: _Body, suffix: str, time_s: float, whole: bool) -> None:
    """Writes a pose or clip as a file, and has the browser save it."""
    clip, model = body.clip, body.clip.model
    frame = frame_at(clip, time_s)
    params = model.params if whole else model.params[frame : frame + 1]
    name = f"{_stem(clip)}{'' if whole else f'_{frame}'}.{suffix}"
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, name)
        if suffix == "bvh":
            save_bvh(path, model.skeleton, params, clip.frame_time_s)
        else:
            upright = rotate_skeleton(model.skeleton, _proper(model.turn))
            save_glb(path, upright, params, clip.frame_time_s, scale=model.unit_mm / 1000.0)
        client.send_file_download(name, path.read_bytes(), save_immediately=True)


def _proper(turn: np.ndarray) -> np.ndarray:
    if np.linalg.det(turn) < 0:
        raise ValueError("what is mirrored can be written as BVH, as its file is, but not as GLB.")
    return turn


def _stem(clip: Clip) -> str:
    return pathlib.Path(clip.name).stem


def _rgb(color: str) -> tuple[int, int, int]:
    return tuple(bytes.fromhex(color[1:]))


def _light(color: str) -> tuple[int, int, int]:
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
