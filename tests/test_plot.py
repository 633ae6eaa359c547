import base64
import html
import io
import json
import re
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.animation import FFMpegWriter
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from PIL import Image

from kinpose import Joint, build_skeleton, forward_kinematics, plot
from kinpose.plot import (
    COLORS,
    animate_poses,
    draw_pose,
    keypoint_sides,
    plot_poses,
    plot_skeleton,
)
from kinpose.skeletons import human_17, toy

HUMAN = human_17()
REST = np.asarray(forward_kinematics(np.zeros(27, np.float32), HUMAN))
EXACT = 1e-4  # mm, of float32 poses drawn in float64


def walking(num_frames):
    """(T, 17, 3): the rest pose, moved 100 mm forwards in each frame."""
    return REST + 100.0 * np.arange(num_frames)[:, None, None] * (0.0, 0.0, 1.0)


def bones_of(ax):
    return next(c for c in ax.collections if isinstance(c, LineCollection))


def bone(drawn, name):
    """The segment, from parent to child, of the bone that ends in a keypoint."""
    child = REST[HUMAN.keypoint_names.index(name), :2]
    ends = np.array(drawn.get_segments())[:, 1]
    return np.linalg.norm(ends - child, axis=1).argmin()


def skeleton_named(*names):
    root, *others = names
    return build_skeleton([Joint(root), *(Joint(name, root, (0, 1, 0)) for name in others)])


@pytest.mark.parametrize(
    ("names", "sides"),
    [
        (("Hips", "RightArm", "LeftArm"), ("", "right", "left")),
        (("root", "lfemur", "rfemur", "lowerback"), ("", "left", "right", "")),
        (("pelvis", "thigh.L", "thigh.R"), ("", "left", "right")),
        (("lwrist", "ring"), ("", "")),
    ],
)
def test_sides_are_read_from_names(names, sides):
    assert keypoint_sides(skeleton_named(*names)) == sides


def test_every_bone_is_drawn_in_the_colour_of_its_side():
    drawn = draw_pose(Figure().subplots(), REST, HUMAN)
    assert len(drawn.get_segments()) == len(HUMAN.bones) == 16
    for name, side in (("right_knee", "right"), ("left_wrist", "left"), ("head", "")):
        assert tuple(drawn.get_color()[bone(drawn, name)]) == to_rgba(COLORS[side])


def test_bones_with_a_missing_end_are_left_out():
    joints = REST.copy()
    joints[HUMAN.keypoint_names.index("right_knee")] = np.nan
    assert len(draw_pose(Figure().subplots(), joints, HUMAN).get_segments()) == 14


@pytest.mark.parametrize("up", ["y", "z"])
def test_a_person_stands_upright_and_is_seen_from_the_front_and_from_their_right(up):
    joints = REST if up == "y" else REST[:, [2, 0, 1]]  # forward, left, up
    front = draw_pose(Figure().subplots(), joints, HUMAN, up=up)
    side = draw_pose(Figure().subplots(), joints, HUMAN, view="side", up=up)
    order = np.argsort(np.array(front.get_segments())[:, 1, 1])
    np.testing.assert_allclose(
        np.array(front.get_segments())[order, 1, 1], np.sort(REST[1:, 1]), atol=EXACT
    )
    nose = REST[HUMAN.keypoint_names.index("nose")]
    ends = np.array(side.get_segments())[:, 1]
    assert abs(ends - nose[[2, 1]]).sum(axis=1).min() < EXACT  # faces the right edge
    wrist = REST[HUMAN.keypoint_names.index("left_wrist")]
    ends = np.array(front.get_segments())[:, 1]
    assert wrist[0] > 0
    assert abs(ends - wrist[:2]).sum(axis=1).min() < EXACT  # on the viewer's right


def test_a_person_on_3d_axes_stands_along_their_vertical():
    ax = Figure().add_subplot(projection="3d")
    segments = draw_pose(ax, REST, HUMAN)._segments3d
    assert np.max(segments[..., 2]) == pytest.approx(REST[:, 1].max())
    assert np.max(segments[..., 1]) == pytest.approx(REST[:, 0].max())


def test_image_coordinates_point_down():
    ax = Figure().subplots()
    draw_pose(ax, [[0, 0], [-3, -4], [3, -4]], toy(3))
    assert ax.yaxis.get_inverted()


def test_a_sheet_shows_the_person_s_own_front_whichever_way_they_face():
    turned = walking(2) @ np.array([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]])  # faces x
    for poses in (walking(2), turned):
        figure = plot_poses(poses, HUMAN, frames=[0])
        front = np.array(bones_of(figure.axes[0]).get_segments())[:, 1]
        np.testing.assert_allclose(np.sort(front[:, 0]), np.sort(REST[1:, 0]), atol=EXACT)


def test_a_sheet_has_a_labelled_panel_per_frame_and_view(tmp_path):
    path = tmp_path / "sheet.png"
    poses = walking(30)
    poses[4] = np.nan
    points = poses[:, :5].copy()
    points[3, 2] = np.nan
    figure = plot_poses(poses, HUMAN, path=path, points=points, frames=[3, 4], frame_time_s=0.5)
    assert [ax.get_title() for ax in figure.axes[:2]] == ["frame 3\n1.50 s", "frame 4\n2.00 s"]
    assert [ax.get_ylabel() for ax in figure.axes[::2]] == ["front", "side"]
    assert [len(bones_of(ax).get_segments()) for ax in figure.axes] == [16, 0, 16, 0]
    assert [np.isfinite(ax.lines[0].get_xdata()).sum() for ax in figure.axes] == [4, 0, 4, 0]
    with Image.open(path) as image:
        assert image.format == "PNG"
    assert list(tmp_path.iterdir()) == [path]


def test_a_legend_names_the_sides_that_there_are():
    kinds = {("left_toe", "right_toe"): ["right", "left"], ("left_toe",): ["left"], ("tip",): []}
    for names, sides in kinds.items():
        poses = np.zeros((2, 1 + len(names), 3)) + np.arange(1.0 + len(names))[:, None]
        figure = plot_poses(poses, skeleton_named("root", *names), points=poses)
        shown = [text.get_text() for text in figure.texts if text.get_text()]
        assert shown == [*(sides or ["model"]), "points"]


def test_a_sheet_has_room_for_the_titles_that_it_has():
    plain, timed, titled = (
        plot_poses(walking(2), HUMAN, **options).get_figheight()
        for options in ({}, {"frame_time_s": 0.1}, {"title": "a walk"})
    )
    assert plain < timed < titled


def test_notebooks_get_a_picture_of_a_figure_that_nobody_saved():
    """Without pyplot, whose backend would tell IPython how."""
    for figure in (plot_poses(walking(2), HUMAN), plot_skeleton(toy(3))):
        with Image.open(io.BytesIO(figure._repr_png_())) as image:
            assert image.size == tuple(figure.canvas.get_width_height())


def test_every_panel_holds_its_person():
    figure = plot_poses(walking(100), HUMAN)
    assert len(figure.axes) == 12
    for ax in figure.axes:
        ends = np.array(bones_of(ax).get_segments()).reshape(-1, 2)
        (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
        assert ((ends > (left, bottom)) & (ends < (right, top))).all()


def test_a_page_plays_what_it_is_given_and_notebooks_show_it(tmp_path):
    poses = walking(5)
    poses[2] = np.nan
    page = plot.play_poses(poses, HUMAN, 0.04, points=poses[:, :3], path=tmp_path / "walk.html")
    assert (tmp_path / "walk.html").read_text(encoding="utf-8") == page.html
    (frame,) = re.findall(r'<iframe srcdoc="([^"]*)"', page._repr_html_())
    assert html.unescape(frame) == page.html
    (scene,) = re.findall(r'<script id="scene"[^>]*>(.*?)</script>', page.html)
    (clip,) = json.loads(scene)["clips"]
    assert (clip["frames"], clip["frame_time_s"], clip["point_count"]) == (5, 0.04, 3)
    found = np.frombuffer(base64.b64decode(clip["poses"]["data"]), "<i2").reshape(5, 17, 3)
    assert (found[2] == -32768).all()
    found = (found + 32767.0) * clip["poses"]["step"] + clip["poses"]["low"]
    size = np.ptp(found[0], axis=0).max() / np.ptp(REST, axis=0).max()
    np.testing.assert_allclose(found[4] - found[0], size * (poses[4] - poses[0]), atol=1e-3)
    assert np.ptp(found[0], axis=0).max() == pytest.approx(1.7, abs=1e-3)


@pytest.mark.parametrize(("skeleton", "up"), [(toy(10), "y"), (HUMAN, "z")])
def test_what_is_up_is_up_on_a_page(skeleton, up):
    zeros = np.zeros((2, skeleton.num_dofs), np.float32)
    poses = np.asarray(forward_kinematics(zeros, skeleton))
    poses = poses if up == "y" else poses[..., [2, 0, 1]]  # forward, left, up
    page = plot.play_poses(poses, skeleton, 0.1, up=up)
    (scene,) = re.findall(r'<script id="scene"[^>]*>(.*?)</script>', page.html)
    packed = json.loads(scene)["clips"][0]["poses"]
    found = np.frombuffer(base64.b64decode(packed["data"]), "<i2").astype(int)
    found = found.reshape(2, -1, 3)[0, :, 1]
    order = np.argsort(-poses[0, :, 1] if skeleton.ndim == 2 else poses[0, :, 2])
    assert (np.diff(found[order]) >= 0).all()
    assert np.ptp(found) > 0


def test_a_failed_picture_leaves_the_old_one(tmp_path):
    path = tmp_path / "walk.gif"
    path.write_text("old")

    def interrupted(frames):
        yield from frames[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        animate_poses(path, walking(5), HUMAN, 0.04, progress=interrupted)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("num_frames", "frame_time_s", "durations_ms"),
    [
        (5, 0.1, [100] * 5),
        (25, 1 / 110, [50, 40, 50, 40, 50]),  # every fifth, 45.5 ms apart, in steps of 10 ms
    ],
)
def test_an_animation_runs_in_real_time(tmp_path, num_frames, frame_time_s, durations_ms):
    path = tmp_path / "walk.gif"
    poses = walking(num_frames)
    animate_poses(path, poses, HUMAN, frame_time_s, points=poses + 20)
    with Image.open(path) as image:
        shown = []
        for frame in range(image.n_frames):
            image.seek(frame)
            shown.append(image.info["duration"])
        assert shown == durations_ms
        assert max(image.size) == 480
    assert list(tmp_path.iterdir()) == [path]


def test_an_animation_of_2d_poses_is_written(tmp_path):
    path = tmp_path / "toy.gif"
    poses = np.array([[[0, 0], [-3, -4], [3, -4]]]) + np.arange(3)[:, None, None]
    animate_poses(path, poses, toy(3), 0.1)
    with Image.open(path) as image:
        assert image.n_frames == 3


def test_a_movie_is_written_or_ffmpeg_is_named(tmp_path):
    path = tmp_path / "walk.mp4"
    if FFMpegWriter.isAvailable():
        animate_poses(path, walking(3), HUMAN, 0.1)
        assert path.stat().st_size > 0
    else:
        with pytest.raises(ValueError, match="needs ffmpeg"):
            animate_poses(path, walking(3), HUMAN, 0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: animate_poses("walk.avi", walking(2), HUMAN, 0.1), r"suffix '\.avi'"),
        (lambda: animate_poses("walk.gif", walking(2), HUMAN, 0.0), "positive, but got 0.0"),
        (lambda: plot_poses(walking(2), HUMAN, path="sheet.abc"), "abc"),
        (lambda: plot.play_poses(walking(2), HUMAN, 0.0), "positive, but got 0.0"),
        (lambda: plot.play_poses(walking(2), HUMAN, 0.1, up="x"), "'y' or 'z', but got 'x'"),
        (lambda: plot.play_poses(walking(2) * np.nan, HUMAN, 0.1), "finite"),
        (lambda: plot_poses(walking(2), HUMAN, frames=[2]), r"0 \.\.\. 1, but got \[2\]"),
        (lambda: plot_poses(walking(2), HUMAN, views=["back"]), "but got 'back'"),
        (lambda: plot_poses(walking(2), HUMAN, up="x"), "'y' or 'z', but got 'x'"),
        (lambda: plot_poses(walking(2) * np.nan, HUMAN), "finite"),
        (lambda: draw_pose(Figure().subplots(), REST[:4], HUMAN), r"\(17, 3\), but got \(4, 3\)"),
    ],
)
def test_wrong_arguments_are_named(call, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        call()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("skeleton", [HUMAN, toy(3), toy(10), skeleton_named("root", "tip")])
def test_a_drawing_names_every_keypoint_and_dof_within_the_picture(skeleton):
    figure = plot_skeleton(skeleton)
    figure.canvas.draw()
    texts = [text for ax in figure.axes for text in ax.texts if text.get_text()]
    shown = " ".join(text.get_text() for text in texts)
    assert all(name in shown for name in skeleton.keypoint_names)
    assert all(dof.rpartition("_")[2] in shown for dof in skeleton.dof_names)
    for text in texts:
        box = text.get_window_extent()
        assert min(box.x0, box.y0) >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1


def test_the_labels_of_a_drawing_do_not_overlap():
    figure = plot_skeleton(HUMAN)
    figure.canvas.draw()
    boxes = [t.get_window_extent() for ax in figure.axes for t in ax.texts if t.get_text()]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])


@pytest.mark.parametrize(
    ("skeleton", "meanings"),
    [
        (HUMAN, {"x left", "y up", "z forward"}),
        (skeleton_named("wrist", "finger"), {"x", "y up", "z"}),
        (toy(3), {"x", "y"}),
    ],
)
def test_left_and_forward_are_known_of_a_skeleton_with_sides(skeleton, meanings):
    texts = {text.get_text() for ax in plot_skeleton(skeleton).axes for text in ax.texts}
    assert {text for text in texts if text[:1] in ("x", "y", "z") and "_" not in text} >= meanings
    assert ("x left" in texts) == ("x left" in meanings)
    assert ("y up" in texts) == ("y up" in meanings)


@pytest.mark.parametrize(("offset", "turns"), [((0, 1), -1), ((0, 1, 0), 1)])
def test_the_arrow_of_a_dof_turns_as_the_dof_does(offset, turns):
    """About z: clockwise (-1) in an image with y down, counter-clockwise seen from the front."""
    root, tip = Joint("root", None, (0,) * len(offset), "rz"), Joint("tip", "root", offset)
    ax = plot_skeleton(build_skeleton([root, tip])).axes[0]
    arrow = next(line for line in ax.lines if len(line.get_xdata()) == 40)
    steps = np.diff(arrow.get_xydata(), axis=0)
    assert (turns * (steps[:-1, 0] * steps[1:, 1] - steps[:-1, 1] * steps[1:, 0]) > 0).all()


def test_matplotlib_s_global_state_is_left_alone(tmp_path):
    before = dict(mpl.rcParams)
    plot_poses(walking(2), HUMAN, path=tmp_path / "sheet.png")
    animate_poses(tmp_path / "walk.gif", walking(2), HUMAN, 0.1)
    assert dict(mpl.rcParams) == before
    code = "import sys, kinpose.plot; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def curves(label="", **changes):
    times = np.arange(20) / 10
    names = ("pelvis_tilt", "left_knee_flexion", "right_knee_flexion", "neck_yaw")
    degrees = np.stack([times, 30 * np.sin(times), 30 * np.cos(times), np.nan * times], axis=1)
    return plot.Curves(times, names, degrees, np.full_like(degrees, 2.0), label)._replace(**changes)


def test_left_and_right_share_a_panel_and_what_is_unknown_has_none():
    figure = plot.plot_angles(curves(), title="walk")
    panels = {ax.get_title(): ax for ax in figure.axes if ax.get_visible()}
    assert list(panels) == ["pelvis tilt", "knee flexion"]
    colors = [line.get_color() for line in panels["knee flexion"].lines]
    assert colors == [plot.COLORS["left"], plot.COLORS["right"]]
    assert len(panels["knee flexion"].collections) == 2  # bands
    np.testing.assert_allclose(panels["pelvis tilt"].lines[0].get_ydata(), np.arange(20) / 10)


def test_several_runs_differ_in_style_and_are_named():
    other = curves("b", spread=None)
    figure = plot.plot_angles([curves("a"), other])
    (knee,) = [ax for ax in figure.axes if ax.get_title() == "knee flexion"]
    assert [line.get_linestyle() for line in knee.lines] == ["-", "-", "--", "--"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == ["left", "right", "trunk", "a", "b"]


def test_a_band_does_not_flatten_the_curves():
    wide = curves(spread=np.full((20, 4), 180.0))
    for ax in plot.plot_angles(wide).axes:
        assert np.ptp(ax.get_ylim()) < 100


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([], "runs must be 1 to 4, but are 0"),
        ([curves()] * 5, "runs must be 1 to 4, but are 5"),
        (curves(degrees=np.zeros((20, 3))), r"shape \(T, D\), here \(20, 4\)"),
        (curves(degrees=np.full((20, 4), np.nan)), "must be known in some frame"),
    ],
)
def test_curves_that_cannot_be_drawn_are_named(runs, message):
    with pytest.raises(ValueError, match=message):
        plot.plot_angles(runs)


def test_poses_without_an_extent_or_without_a_point_are_shown():
    point = build_skeleton([Joint("x", None, (0, 0, 0), "tx ty tz")])
    moved = np.zeros((50, 1, 3))
    moved[:, 0, 0] = np.linspace(0, 2, 50)
    (scene,) = re.findall(
        r'<script id="scene"[^>]*>(.*?)</script>', plot.play_poses(moved, point, 0.04).html
    )
    assert json.loads(scene)["distance"] > 0
    plot_poses(np.zeros((1, 17, 3)), HUMAN)
    ax = Figure().add_subplot(projection="3d")
    assert not len(draw_pose(ax, np.full((17, 3), np.nan), HUMAN).get_segments())
