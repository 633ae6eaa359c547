import numpy as np
import pytest
from matplotlib.colors import to_rgba
from PIL import Image

from data.toy import load_toy, toy_object
from experiments.toy_figures import draw_figure5, draw_predictions, draw_samples
from experiments.toy_scores import PAPER

METHODS = ("direct_joint", "kinematic_joint", "direct_parameter", "fitted_joint", "model_fit")
ERRORS = ("joint_error_px", "angle_error_deg")


def scores(methods=METHODS, counts=(3, 10), seeds=(0,)):
    """Errors that differ in method, number of parameters and seed."""
    return [
        {"method": method, "num_params": n, "seed": seed, "other": 0.0}
        | dict.fromkeys(ERRORS, 1.0 + i + 0.1 * n + 0.2 * seed)
        for i, method in enumerate(methods)
        for n in counts
        for seed in seeds
    ]


@pytest.fixture(scope="module")
def sets():
    return {n: load_toy(n, num_train=0, num_test=20)[1] for n in (3, 10)}


def labels(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def bars(ax):
    """(methods, counts, 2) lower and upper ends of the error bars."""
    ends = [[s[:, 1] for s in box[2][0].get_segments()] for box in ax.containers]
    return np.array(ends)


def check_picture(path, figure):
    """The file is the whole figure, and has something on it."""
    with Image.open(path) as picture:
        assert picture.size == tuple(np.rint(100 * figure.get_size_inches()))
        assert picture.convert("L").getextrema()[0] < 50


def test_samples_have_a_row_of_nine_panels_per_object(tmp_path, sets):
    figure = draw_samples(tmp_path / "samples.png", sets)
    check_picture(tmp_path / "samples.png", figure)
    assert len(figure.axes) == 2 * 9
    np.testing.assert_array_equal(figure.axes[10].images[0].get_array(), sets[10].images[0])


def test_every_parameter_of_the_largest_object_is_named(sets):
    (ax, *_) = draw_samples(None, {10: sets[10]}).axes
    names = {text.get_text() for text in ax.texts}
    limbs = {f"{side}{level}" for side in "LR" for level in (1, 2, 3)}
    assert names == {"x, y", "φ", "φ: orientation", "θ"} | limbs


def test_a_single_sample_is_enough_for_the_sheet():
    _, few = load_toy(3, num_train=0, num_test=1)
    assert len(draw_samples(None, {3: few}).axes) == 2


def test_figure5_draws_means_with_bars_from_least_to_greatest(tmp_path):
    figure = draw_figure5(tmp_path / "figure5.png", scores(seeds=(0, 1, 2)))
    check_picture(tmp_path / "figure5.png", figure)
    assert labels(figure) == [*(name.replace("_", " ") for name in METHODS), "paper"]
    for ax in figure.axes:
        means = [box[0].get_ydata() for box in ax.containers]
        want = 1.2 + np.arange(5)[:, None] + 0.1 * np.array([3, 10])
        np.testing.assert_allclose(means, want, rtol=1e-12)
        np.testing.assert_allclose(bars(ax), np.stack([want - 0.2, want + 0.2], -1), rtol=1e-12)


def test_figure5_of_one_seed_has_bars_without_length():
    for ax in draw_figure5(None, scores()).axes:
        assert np.ptp(bars(ax), axis=-1).max() == 0.0


def test_figure5_shows_the_figures_of_the_paper_and_no_others():
    joint, angle = (
        [y for line in ax.lines if line.get_fillstyle() == "none" for y in line.get_ydata()]
        for ax in draw_figure5(None, scores()).axes
    )
    assert joint == [PAPER[method, 3]["joint_error_px"] for method in METHODS[:3]]
    assert angle == []
    assert "paper" not in labels(draw_figure5(None, scores(counts=(6, 8))))


def test_figure5_hides_no_method_behind_another():
    """Where lines coincide, those below are wider."""
    for ax in draw_figure5(None, scores()).axes:
        widths = [box[0].get_linewidth() for box in ax.containers]
        assert (np.diff(widths) < -0.5).all()
        places = np.array([box[0].get_xdata() for box in ax.containers])
        assert (np.diff(places, axis=0) > 0).all()


def test_labels_of_parameters_keep_off_each_other(sets):
    figure = draw_samples(None, sets)
    figure.canvas.draw()
    for ax in figure.axes:
        boxes = [text.get_window_extent() for text in ax.texts if text.get_text()]
        for i, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:i])


def test_figure5_takes_what_there_is():
    rows = scores(("kinematic_joint",), (3,)) + scores(("kinematic_joint_cos_sin",), (6, 10))
    figure = draw_figure5(None, rows)
    assert labels(figure) == ["kinematic joint", "kinematic joint cos sin", "paper"]
    np.testing.assert_array_equal(figure.axes[0].get_xticks(), [3, 6, 10])


def test_methods_keep_order_and_colour_whatever_the_others():
    def colors(methods):
        figure = draw_figure5(None, scores(methods))
        lines = figure.legends[0].get_lines()
        return {line.get_label(): to_rgba(line.get_color()) for line in lines}

    every = colors(METHODS)
    assert len(set(every.values())) == len(every)
    some = colors(("model_fit", "direct_joint"))
    assert list(some) == ["direct joint", "model fit", "paper"]
    assert some.items() <= every.items()


def test_predictions_stand_beside_the_truth_with_their_error(tmp_path, sets):
    images, joints, _ = (x[:2] for x in sets[10])
    aside = np.array([3.0, 4.0], np.float32)
    predictions = {"any_thing": joints + aside, "direct_joint": joints}
    path = tmp_path / "predictions.png"
    figure = draw_predictions(path, images, joints, predictions, toy_object(10).skeleton)
    check_picture(path, figure)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["image", "truth", "direct joint", "any thing", "", "", "", ""]
    errors = [ax.get_xlabel() for ax in figure.axes]
    assert errors == 2 * ["", "", "0.0 px", "5.0 px"]


def test_predictions_of_a_wrong_shape_are_refused(sets):
    images, joints, _ = sets[10]
    with pytest.raises(ValueError, match=r"\(9, 2\), but got \(5, 2\)"):
        draw_predictions(None, images, joints, {"a": joints[:, :5]}, toy_object(10).skeleton)


def test_pictures_are_the_same_every_time(tmp_path):
    for name in ("a.png", "b.png"):
        draw_figure5(tmp_path / name, scores())
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
