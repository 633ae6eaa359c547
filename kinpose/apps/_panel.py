"""Sliders of the live viewer: a model's dofs by joint, and how well points tell each."""

import math
import threading

import numpy as np

from kinpose.apps._body import Body, light
from kinpose.apps._live import drag, observability
from kinpose.clips import Slider, joint_axes, poses_of, sliders_of
from kinpose.drawing import AXIS_COLORS

_OPEN_FOLDERS = 14
"""Dofs, up to which the folders of joints are open at the beginning."""

_LEVELS = ((0.02, "#c92a2a", "hardly"), (0.08, "#f08c00", "weakly"), (math.inf, "#2b8a3e", "well"))
"""Observability, in the skeleton's sizes per rad, below which points tell an angle so: 0.08 is
20 mm per rad of a person, where 1 mm of noise makes 3 degrees."""


class Panel:
    """Sliders of a model's dofs, by joint, and what else belongs to one model."""

    def __init__(self, viewer, body: Body):
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
        viewer.on(self._axes, "axes", lambda: None)
        self._reset.on_click(lambda _: viewer.ask("reset", body.reset))
        self._arrows = viewer.server.scene.add_line_segments(
            "/world/axes",
            np.zeros((3, 2, 3), np.float32),
            np.repeat(np.uint8([[light(color)] for color in AXIS_COLORS]), 2, axis=1),
            thickness=0.4 * body.radii.usual,
            visible=False,
        )
        self.is_ready = self._removed = False
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
        self.is_ready = True
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
            self.viewer.pause()
            self.body.set_pose(pose)

        self.viewer.on(control, ("dof", slider.dof), move)
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
        if not (self.is_ready and at_rest) or np.array_equal(body.pose, self._shown):
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
