"""One sample of a data set of people: a picture cropped to a person, and the truth about them.

Both builders, `data.rendered_people` and `data.human36m`, write these features; whatever reads
samples needs to know nothing else of where they come from. tensorflow-datasets is for builders.
"""

import contextlib
import io
import sys
from collections.abc import Iterator
from unittest import mock

import numpy as np

from data.camera import Camera, project
from data.people import Photo

JPEG = {"format": "JPEG", "quality": 92, "subsampling": 0}
"""How pictures are saved, in Pillow's words."""


def sample_features(size: int):
    """What a sample consists of.

    Args:
      size: rows and columns of the crops (px).

    Returns:
      The features of a builder, in the frames and units of `data.camera`:

      image: (size, size, 3) uint8, the square crop around the person, JPEG on disk.
      joints: (17, 3) in the camera's frame (mm), as `kinpose.layouts.HUMAN36M_KEYPOINTS`.
      pixels: (17, 2) the joints in the crop (px).
      box: (4,) left, top, right, bottom of the person in the whole image (px).
      focal_px, center_px: of the crop's camera, () and (2,); a mean of two focal lengths.
      scale: () the subject's sum of bone lengths over the mean of all seven subjects.
      subject, action, clip, camera, frame: who did what, in which recording, seen from where,
        when; the five together are the sample's `key`, and `action` is what scores average over.
      params: (C,) the recording's own motion parameters at this frame, of its own skeleton (rad
        and the recording's unit of length), C = 0 where they are not known.
    """
    import tensorflow_datasets as tfds

    scalar, text = tfds.features.Scalar, tfds.features.Text
    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(size, size, 3), encoding_format="jpeg"),
            "joints": tfds.features.Tensor(shape=(17, 3), dtype=np.float32),
            "pixels": tfds.features.Tensor(shape=(17, 2), dtype=np.float32),
            "box": tfds.features.Tensor(shape=(4,), dtype=np.float32),
            "focal_px": scalar(np.float32),
            "center_px": tfds.features.Tensor(shape=(2,), dtype=np.float32),
            "scale": scalar(np.float32),
            "subject": text(),
            "action": text(),
            "clip": text(),
            "camera": text(),
            "frame": scalar(np.int32),
            "params": tfds.features.Tensor(shape=(None,), dtype=np.float32),
        }
    )


def sample_key(subject: str, clip: str, camera: str, frame: int) -> str:
    """What names a sample in a data set, in predictions and in scores: S9/walk/2/000064."""
    return f"{subject}/{clip}/{camera}/{frame:06d}"


def crop_features(camera: Camera) -> dict:
    """The features that say which camera sees the crop."""
    return {
        "focal_px": np.float32(camera.focal_px),
        "center_px": np.asarray(camera.center_px, np.float32),
    }


def photo_features(photo: Photo) -> dict:
    """The features that a photo gives: the picture as JPEG, joints, box and camera."""
    from PIL import Image

    image = io.BytesIO()
    Image.fromarray(photo.image).save(image, **JPEG)
    return {
        "image": image.getvalue(),
        "joints": photo.joints,
        "pixels": project(photo.joints, photo.camera),
        "box": np.array(photo.box, np.float32),
        **crop_features(photo.camera),
    }


def write_data_set(builder) -> None:
    """Writes what a builder generates; the data set appears when it is whole.

    Args:
      builder: of tensorflow-datasets, with a directory `parts_dir` of its own.
    """
    import tensorflow_datasets as tfds

    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    with _in_fixed_order(), contextlib.redirect_stdout(None):
        builder.download_and_prepare(download_dir=builder.parts_dir / "downloads")


@contextlib.contextmanager
def _in_fixed_order() -> Iterator[None]:
    """Within it a builder gives equal samples equal bytes.

    Otherwise the order of the features in a record differs from process to process.
    """
    from tensorflow_datasets.core.example_serializer import ExampleSerializer

    def serialize(serializer, example) -> bytes:
        return serializer.get_tf_example(example).SerializeToString(deterministic=True)

    with mock.patch.object(ExampleSerializer, "serialize_example", serialize):
        yield
