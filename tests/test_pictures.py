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
