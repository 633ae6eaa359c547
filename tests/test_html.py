"""Laws of what notebooks show: what is there is said, small, whatever the size and the moment."""

import html.parser
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kinpose import Fit, Joint, Motion, build_skeleton, limit_skeleton, scale_skeleton
from kinpose.io.bvh import Recording, load_bvh
from kinpose.io.points import Points, load_points
from kinpose.skeletons import HUMAN_LIMITS, human_17, toy
from tests.conftest import ROOT

HUMAN = human_17()
WALK = ROOT / "data" / "motions" / "walk.bvh"
SMALL = 12_000  # characters


class Parsed(html.parser.HTMLParser):
    """Tags in order, texts, and the attribute `d` of paths; every tag must be closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.texts, self.paths = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open.append(tag)
        self.paths += [value for name, value in attrs if name == "d"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_data(self, data):
        self.texts.append(data)


def fits_of(count, **changes):
    rng = np.random.default_rng(0)
    fit = Fit(
        params=np.zeros((count, 27), np.float32),
        residuals=rng.random((count, 17), np.float32),
        iterations=np.full(count, 7, np.int32),
        converged=np.ones(count, bool),
        observability=1.0 + rng.random((count, 27), np.float32),
        status=np.zeros(count, np.int32),
        trust=np.ones((count, 17), np.float32),
    )
    return fit._replace(**changes)


def test_a_skeleton_shows_its_dofs_and_every_bone_in_two_views():
    found = Parsed(limit_skeleton(HUMAN, HUMAN_LIMITS)._repr_html_())
    assert {"left_knee_flexion", "-15 to 160", "turns about -x"} <= set(found.texts)
    assert sum(path.count("M") for path in found.paths) == 2 * 18  # bones, helpers' included
    assert found.tags.count("svg") == 2


def test_a_2d_object_is_shown_as_images_are():
    found = Parsed(toy(10)._repr_html_())
    assert found.tags.count("svg") == 1
    assert "x right, y down" in found.texts


def test_the_rest_pose_is_that_of_zero_parameters():
    bent = build_skeleton(
        [
            Joint("root", motions=[Motion("r", "z", "turn", bias=np.pi / 2)]),
            Joint("end", "root", (1.0, 0.0, 0.0)),
            Joint("side", "root", (0.0, 0.0, 0.2)),
        ]
    )
    (front, _) = Parsed(bent._repr_html_()).paths
    start, end = (tuple(map(float, x.split())) for x in front.split("M")[1].split("L"))
    assert start[0] == end[0]  # along y, where the bias turns the bone
    assert start[1] - end[1] == pytest.approx(134)


def test_names_are_text():
    evil = "<script>alert(1)</script>"
    shown = build_skeleton([Joint(evil, motions="tx ty tz"), Joint("a", evil)])._repr_html_()
    points = Points(np.ones((2, 1, 3)), (evil,), 0.1)._repr_html_()
    assert "script" not in Parsed(shown).tags + Parsed(points).tags
    assert evil in "".join(Parsed(points).texts)


@pytest.mark.filterwarnings("error")
def test_what_is_large_is_shown_small():
    chain = [Joint("j0", motions="tx ty tz")]
    chain += [Joint(f"j{i}", f"j{i - 1}", (0, 1, 0), "rx") for i in range(1, 3000)]
    skeleton = build_skeleton(chain)
    shown = skeleton._repr_html_()
    assert "and 2,976 more" in shown
    assert "... and 2,962 more" in shown
    assert max(len(shown), len(fits_of(300_000)._repr_html_())) < SMALL
    assert len(Points(np.zeros((9, 5000, 3)), (), None)._repr_html_()) < SMALL


def test_a_fit_says_how_far_off_it_is_and_what_the_points_leave_open():
    fit = fits_of(40)
    fit.residuals[0, :3], fit.status[:5], fit.observability[:, 21] = np.nan, 1, 0.25
    text = " ".join(Parsed(fit._repr_html_()).texts)
    seen = fit.residuals[np.isfinite(fit.residuals)]
    assert f"{np.median(seen):.3g} median" in text
    assert "35 solved, 5 at a limit" in text
    assert "3 of 680" in text
    assert "dof 21: 0.25" in text
    assert "points trusted" not in text
    assert "points trusted" in fit._replace(trust=0.1 * fit.trust)._repr_html_()


@pytest.mark.parametrize(
    "change", [np.mean, np.shape, lambda x: x.sum(axis=0), jax.typeof, lambda x: None]
)
def test_what_is_made_of_a_fit_s_leaves_is_shown_too(change):
    assert Parsed(jax.tree.map(change, fits_of(4))._repr_html_()).texts[0] == "Fit"


@pytest.mark.filterwarnings("error")
def test_fits_without_a_point_or_a_pose_are_shown():
    nothing = np.full((2, 17), np.nan, np.float32)
    for fit in (
        fits_of(0),
        fits_of(2, residuals=nothing),
        jax.tree.map(lambda x: x[0], fits_of(1)),
    ):
        assert Parsed(fit._repr_html_()).texts[0] == "Fit"


def test_traced_values_are_described_by_their_shapes():
    shown = []

    def look(fit, scale):
        shown.append(fit._repr_html_())
        shown.append(scale_skeleton(HUMAN, scale)._repr_html_())
        return scale

    jax.eval_shape(look, fits_of(3), jnp.float32(2.0))
    assert "float32[3, 27]" in shown[0]
    assert "float32[19, 3]" in shown[1]
    assert "left_knee_flexion" in shown[1]


def test_a_recording_of_points_says_what_the_file_says():
    points = load_points(WALK)._replace(unit_mm=10.0, up="y")
    points.positions[:, 0] = np.nan
    text = " ".join(Parsed(points._repr_html_()).texts)
    for said in ("39 at 30 per second, 1.3 s", "10 mm", f"{1 / 18:.2%}", "RightForeArm"):
        assert said in text
    assert "z right, y up" in text


def test_a_person_is_drawn_upright_whatever_the_axes():
    points = load_points(WALK)
    turned = points._replace(positions=points.positions[:, :, [2, 0, 1]])
    assert "y by the body" in points._repr_html_()
    assert "z by the body" in turned._repr_html_()
    assert "y right, z up" in turned._repr_html_()


def test_points_of_pictures_are_shown_as_pictures_are():
    names = load_points(WALK).names
    flat = Points(np.random.default_rng(0).random((3, len(names), 2)), names, 0.1)
    found = Parsed(flat._repr_html_())
    assert found.tags.count("svg") == 1
    assert "x right, y down" in found.texts


def test_a_recording_of_a_skeleton_shows_its_middle_frame():
    recording = load_bvh(WALK)
    found = Parsed(recording._repr_html_())
    assert "39 at 30 per second, 1.3 s" in found.texts
    assert sum(path.count("M") for path in found.paths) == 2 * 17
    assert recording._replace(params=recording.params[:1])._repr_html_() != recording._repr_html_()
    assert (
        "svg" not in Parsed(Recording(*recording[:1], recording.params[:0], 0.1)._repr_html_()).tags
    )


def test_the_text_has_the_colour_of_the_page():
    for shown in (HUMAN, fits_of(3), load_points(WALK), load_bvh(WALK)):
        text = shown._repr_html_()
        assert not any(color in text for color in ("white", "black", "#fff", "#000"))
        assert "currentColor" in text


def test_nothing_that_draws_is_imported():
    code = """
import sys
from kinpose.skeletons import human_17
human_17()._repr_html_()
assert not {"matplotlib", "PIL", "IPython"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
