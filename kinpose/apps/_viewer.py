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

from kinpose.apps._body import Body
from kinpose.apps._panel import Panel
from kinpose.clips import (
    Clip,
    eye_of,
    frame_at,
    place_side_by_side,
    reach_of,
    track_of,
)
from kinpose.extras import needs
from kinpose.io.bvh import save_bvh
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
"""From our axes, y up, to viser's, z up."""


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
        self._bodies = [Body(self, i, clip, shifts[i]) for i, clip in enumerate(clips)]
        self._bodies += [
            Body(self, len(clips) + i, ghost, shifts[0], is_ghost=True)
            for i, ghost in enumerate(ghosts)
        ]
        self._track = track_of(clips[0])
        self._asked: dict[object, Callable[[], None]] = {}
        self._lock, self._wake, self._closed = threading.Lock(), threading.Event(), False
        self.posed: Panel | None = None
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
    def bodies(self) -> list[Body]:
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
            if self.posed:
                self.posed.draw()

    def _follow_sliders(self) -> None:
        self._frame.value = self.frame
        self._clock.content = f"{self.time_s:.2f} s of {self.duration_s:.2f} s"
        if self.posed:
            self.posed.show()

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
            step = gui.add_button_group("Step", ("-10", "-1", "+1", "+10"), hint="b and n")
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
        self.on(chosen, "posed", lambda: self.pose_of(posed[names.index(chosen.value)]))
        self._chosen = chosen
        self.on(self._frame, "frame", lambda: self.go_to(self._frame.value * self.tick_s))
        self.on(speed, "speed", lambda: setattr(self, "speed", float(speed.value)))
        self.on(follow, "follow", lambda: setattr(self, "follow", follow.value))
        for box, chosen_ones in (
            (points, [b.dots for b in self._bodies]),
            (ghosts, [part for b in self._bodies if b.is_ghost for part in b.parts]),
        ):
            self.on(box, box, functools.partial(_set_visible, chosen_ones, box))
        self._play.on_click(lambda _: self.ask("play", self.toggle))
        step.on_click(lambda event: self.step(int(event.target.value)))
        for label, key, what in (
            ("Play or pause", "space", lambda: self.ask("play", self.toggle)),
            ("A frame back", "B", lambda: self.step(-1)),
            ("A frame on", "N", lambda: self.step(1)),
        ):
            command = gui.add_command(label, hotkey=key)
            command.on_trigger(lambda _, what=what: what())
        if posed:
            self.pose_of(posed[0])
        self._add_writers()

    def on(self, control, key: object, what: Callable[[], None]) -> None:
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
            elif self.posed is None:
                self._say("nothing here has angles to write: no skeleton poses these points.")
            else:
                body, suffix = self.posed.body, event.target.value.lower()
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
        self.pause()
        self.time_s = min(max(time_s, 0.0), self.duration_s)

    def step(self, frames: int) -> None:
        """Goes some frames on, or back."""
        self.ask(object(), lambda: self.go_to((self.frame + frames) * self.tick_s))

    def pause(self) -> None:
        """Stays at the frame that is shown."""
        self._set_playing(False)

    def toggle(self) -> None:
        """Plays, or pauses."""
        self._set_playing(not self.playing and self.duration_s > 0)

    def _set_playing(self, playing: bool) -> None:
        if playing and self.time_s >= self.duration_s - 1e-9:
            self.time_s = 0.0
        self.playing = playing
        self._play.label = "Pause" if playing else "Play"
        self._play.icon = viser.Icon.PLAYER_PAUSE if playing else viser.Icon.PLAYER_PLAY

    def show_axes(self, body: Body, keypoint: int) -> None:
        """Shows the axes of a joint, or no more if they are there."""
        self.pose_of(body)
        self.posed.show_axes(body.clip.names[keypoint])

    def pose_of(self, body: Body) -> None:
        """Gives the sliders to a clip's model."""
        if self.posed and self.posed.body is body:
            return
        if self.posed:
            self.posed.remove()
        self.posed, self._chosen.value = Panel(self, body), body.label


def _set_visible(parts, box) -> None:
    for part in parts:
        if part is not None:
            part.visible = box.value


def _send_clip(client, body: Body, suffix: str, time_s: float, whole: bool) -> None:
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
