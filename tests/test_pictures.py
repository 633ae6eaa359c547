"""Laws of reading pictures of people: which, in what order, turned and cropped how."""

import numpy as np
import pytest
from PIL import Image

from data.camera import Box
from experiments.pictures import Pictures, open_pictures, read_boxes, read_crops


def crops_of(*arrays, boxes=None, size=8):
    images = [(str(i), Image.fromarray(np.uint8(array))) for i, array in enumerate(arrays)]
    return read_crops(Pictures(images, len(images), None), boxes or {}, size)[1]


def test_pictures_of_a_directory_are_read_in_order_and_others_passed_over(tmp_path):
    for name in ("b.png", "a.JPG", "c.txt"):
        Image.new("RGB", (4, 4)).save(tmp_path / name, format="png")
    pictures = open_pictures([tmp_path])
    assert (pictures.num, pictures.fps) == (2, None)
    assert [name for name, _ in pictures.images] == ["a.JPG", "b.png"]


def test_a_picture_is_turned_as_its_camera_was(tmp_path):
    upright = np.zeros((6, 4, 3), np.uint8)
    upright[0] = 255
    rotated, exif = Image.fromarray(np.rot90(upright)), Image.Exif()
    exif[0x0112] = 6  # of TIFF: to be turned right by a quarter
    rotated.save(tmp_path / "x.png", exif=exif)
    ((_, image),) = open_pictures([tmp_path / "x.png"]).images
    np.testing.assert_array_equal(image, upright)


def test_a_box_is_cropped_with_a_margin_and_black_beyond_the_picture():
    white = np.full((40, 60, 3), 255)
    (crop,) = crops_of(white, boxes={"0": Box(9.5, -10.5, 29.5, 9.5)})  # 22 px, y from -11.5
    assert (crop[0] == 0).all()
    assert (crop[-2:] == 255).all()
    assert (crop[:, 0] == crop[:, -1]).all()


def test_without_a_box_all_of_the_picture_is_in_the_middle_of_the_crop():
    (crop,) = crops_of(np.full((16, 32, 3), 255))
    assert (crop[2:6] > 200).all()
    assert (crop[[0, 7]] == 0).all()


def test_a_large_picture_is_averaged_and_not_sampled():
    checkers = 255 * (np.indices((128, 128)).sum(axis=0) % 2)
    (crop,) = crops_of(np.stack([checkers] * 3, axis=-1))
    assert np.abs(crop.astype(int) - 127)[1:-1, 1:-1].max() < 8


def test_a_panorama_takes_no_more_memory_than_its_picture():
    """Its square has 400 million pixels, most of them black."""
    panorama = np.zeros((800, 20_000, 3), np.uint8)
    panorama[:, 10_000:] = 255
    (crop,) = crops_of(panorama, size=100)
    assert (crop[[49, 50], 51:] > 200).all()
    assert (crop[[49, 50], :49] == 0).all()
    assert (crop[:47] == 0).all()
    assert (crop[53:] == 0).all()
    (crop,) = crops_of(panorama, boxes={"0": Box(-1e6, -1e6, 1e6, 1e6)})
    assert crop.max() < 16


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["nowhere.png"], "input must be there, but .*nowhere.png is not"),
        (["empty"], "input must have pictures"),
        (["a.png", "empty/../a.png"], "must have different names"),
        (["a.png", "a.jpg"], "must have different names"),
        (["torn.mp4"], "torn.mp4 cannot be read as a video"),
        (["torn.png"], "torn.png cannot be read as a picture"),
    ],
)
def test_a_wrong_input_is_named(names, message, tmp_path):
    if "torn.mp4" in names:
        pytest.importorskip("av", reason="PyAV is not installed")
    (tmp_path / "empty").mkdir()
    for name in ("a.png", "a.jpg"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    for name in ("torn.mp4", "torn.png"):
        (tmp_path / name).write_bytes((tmp_path / "a.png").read_bytes()[:20])
    with pytest.raises(ValueError, match=message):
        read_crops(open_pictures([tmp_path / name for name in names]), {}, 8)


def test_boxes_are_of_pictures_that_are_there_and_have_four_sides(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text("image,left,top,right,bottom\n0,1,2,3,4.5\n")
    assert read_boxes(path) == {"0": Box(1, 2, 3, 4.5)}
    with pytest.raises(ValueError, match="boxes name '7', which is not in the input"):
        crops_of(np.zeros((4, 4, 3)), boxes={"7": Box(0, 0, 1, 1)})
    path.write_text("image,left,top,right\n0,1,2,3\n")
    with pytest.raises(ValueError, match=r"boxes\.csv must have the columns .* line 2 has not"):
        read_boxes(path)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_grey_of_16_bits_is_as_bright_as_of_8(suffix, tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / "8.png")
    Image.fromarray(grey * np.uint16(257)).save(tmp_path / f"16.{suffix}")
    ((_, few),) = open_pictures([tmp_path / "8.png"]).images
    ((_, many),) = open_pictures([tmp_path / f"16.{suffix}"]).images
    assert many.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(many), np.asarray(few))


@pytest.mark.parametrize("array", [np.full((2, 2), 7, np.int32) * 10**5, np.ones((2, 2), "f4")])
def test_pixels_that_no_camera_writes_are_refused(array, tmp_path):
    Image.fromarray(array).save(tmp_path / "x.tif")
    with pytest.raises(ValueError, match=r"x\.tif cannot be read as a picture \(its pixels are"):
        list(open_pictures([tmp_path / "x.tif"]).images)


def test_a_small_file_cannot_be_a_picture_beyond_memory(tmp_path):
    Image.new("1", (30_000, 30_000)).save(tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"x\.png cannot be read as a picture"):
        list(open_pictures([tmp_path / "x.png"]).images)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a,1,2,3,4", "a has a box already"),
        ("b,1,2,1,2", "one pixel wide"),
        ("b,500,100,100,300", "from left to right"),
        ("b,100,300,500,100", "top to bottom"),
        ("b,0.2,0.1,0.8,0.9", "one pixel wide"),
        ("b,nan,2,5,9", "numbers up to"),
        ("b,1,nan,5,9", "numbers up to"),
        ("b,1,2,nan,9", "numbers up to"),
        ("b,1,2,5,nan", "numbers up to"),
        ("b,1,2,1e300,9", "numbers up to 1000000"),
    ],
)
def test_a_box_is_given_once_and_has_a_size_in_pixels(line, reason, tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text(f"image,left,top,right,bottom\na,1,2,3,4\n{line}\n")
    with pytest.raises(ValueError, match=rf"boxes\.csv .* line 3 has not \(.*{reason}"):
        read_boxes(path)


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffimage,left,top,right,bottom\na,1,2,3,4\n",
        "image, left, top, right, bottom\na, 1, 2, 3, 4\n",
    ],
    ids=["mark", "spaces"],
)
def test_boxes_are_read_as_other_programs_write_them(text, tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text(text, encoding="utf-8")
    assert read_boxes(path) == {"a": Box(1, 2, 3, 4)}


@pytest.mark.parametrize("box", [Box(50, 5, 60, 9), Box(5, -20, 9, -1), Box(-9, 1, -0.5, 5)])
def test_a_box_beyond_its_picture_is_refused(box):
    with pytest.raises(ValueError, match=r"box of '0' must be in the picture, of 40 x 20 pixels"):
        crops_of(np.zeros((20, 40, 3)), boxes={"0": box})
