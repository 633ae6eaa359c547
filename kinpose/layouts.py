"""Layouts: which points of a data set stand for which keypoints of the human model.

A layout maps each keypoint of `human_17` to the names of one or more points, whose mean it
is. A keypoint that the data set does not have is left out and counts as missing. Where the
data set's joint lies elsewhere on the body, the entry is an approximation of ours.
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from kinpose.skeletons import HUMAN36M_KEYPOINTS


class Layout(NamedTuple):
    """Names of a data set's points.

    Attributes:
      sources: keypoint of the model -> points whose mean it is.
      order: names of the points of an array without names, in order; () where the file
        carries the names.
    """

    sources: Mapping[str, tuple[str, ...]]
    order: tuple[str, ...] = ()


def _limbs(**words: str) -> dict[str, tuple[str, ...]]:
    """Six joints a side; in a pattern, * is replaced by the name of the side."""
    left = words.pop("left")
    right = words.pop("right")
    return {
        f"{side}_{joint}": (pattern.replace("*", word),)
        for side, word in (("left", left), ("right", right))
        for joint, pattern in words.items()
    }


_COCO_LIMBS = _limbs(
    left="left",
    right="right",
    hip="*_hip",
    knee="*_knee",
    ankle="*_ankle",
    shoulder="*_shoulder",
    elbow="*_elbow",
    wrist="*_wrist",
)
_COCO_HUMAN = {
    "pelvis": ("left_hip", "right_hip"),
    "neck": ("left_shoulder", "right_shoulder"),
    "head": ("left_ear", "right_ear"),
    **_COCO_LIMBS,
}
_PAIRED = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_COCO_ORDER = ("nose", *(f"{side}_{name}" for name in _PAIRED for side in ("left", "right")))
_MEDIAPIPE_ORDER = (
    "nose",
    *(f"{side}_eye{part}" for side in ("left", "right") for part in ("_inner", "", "_outer")),
    *(
        f"{side}_{name}"
        for name in ("ear", "mouth", "shoulder", "elbow", "wrist", "pinky", "index", "thumb")
        for side in ("left", "right")
    ),
    *(
        f"{side}_{name}"
        for name in ("hip", "knee", "ankle", "heel", "foot_index")
        for side in ("left", "right")
    ),
)
_HIPS_LIMBS = _limbs(
    left="Left",
    right="Right",
    hip="*UpLeg",
    knee="*Leg",
    ankle="*Foot",
    shoulder="*Arm",
    elbow="*ForeArm",
    wrist="*Hand",
)
_HIPS = ("LeftUpLeg", "RightUpLeg")

LAYOUTS = {
    "human36m_17": Layout({name: (name,) for name in HUMAN36M_KEYPOINTS}, HUMAN36M_KEYPOINTS),
    "coco_17": Layout(_COCO_HUMAN, _COCO_ORDER),
    "mediapipe_33": Layout(_COCO_HUMAN, _MEDIAPIPE_ORDER),
    "cmu": Layout(
        {
            "pelvis": ("lfemur", "rfemur"),
            "torso": ("upperback",),
            "neck": ("lowerneck",),
            "nose": ("upperneck", "head"),
            "head": ("head_end",),
            **_limbs(
                left="l",
                right="r",
                hip="*femur",
                knee="*tibia",
                ankle="*foot",
                shoulder="*humerus",
                elbow="*radius",
                wrist="*wrist",
            ),
        }
    ),
    "cgspeed": Layout(
        {
            "pelvis": _HIPS,
            "torso": ("Spine",),
            "neck": ("Neck1",),
            "nose": ("Head",),
            **_HIPS_LIMBS,
        }
    ),
    "humanoid3d": Layout(
        {
            "pelvis": _HIPS,
            "torso": ("Chest",),
            "neck": ("Neck",),
            "nose": ("Neck", "Head"),
            "head": ("Head",),
            **_HIPS_LIMBS,
        }
    ),
}
"""Known layouts.

human36m_17: the 17 joints in the order of the Human3.6M protocol. coco_17: COCO keypoints;
mediapipe_33: MediaPipe Pose landmarks; both have neither torso nor the nose joint (the base
of the skull), and the ears stand for the head. cmu: BVH with the bone names of the CMU
database's ASF files (lfemur, lhumerus, ...). cgspeed: BVH with the names of B. Hahne's
conversion of that database (Hips, LeftUpLeg, LeftArm, ...). humanoid3d: the recordings under
data/motions, whose Head is the top of the head.
"""


def find_layout(names: Sequence[str]) -> str:
    """Name of the known layout whose points are all among `names`.

    Args:
      names: names of a recording's points.

    Returns:
      A key of `LAYOUTS`, the one with the most keypoints.

    Raises:
      ValueError: when there is none.
    """
    known = set(names)
    fitting = {
        key: len(layout.sources)
        for key, layout in LAYOUTS.items()
        if known.issuperset(point for points in layout.sources.values() for point in points)
    }
    if not fitting:
        raise ValueError(
            f"no known layout ({', '.join(LAYOUTS)}) has all its points among the names "
            f"{list(names)}; give a name map."
        )
    return max(fitting, key=fitting.get)


def load_layout(path: str | os.PathLike) -> Layout:
    """Reads a layout from a JSON file.

    The file holds an object: keypoint of the model -> name of a point, or a list of names
    whose mean it is. The key "order" is optional: the list of the points' names, for arrays.

    Args:
      path: the file.

    Returns:
      The layout.

    Raises:
      ValueError: when the file is not such an object.
    """
    with open(path, encoding="utf-8") as file:
        try:
            content = json.load(file)
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)}: not a JSON file: {error}.") from None
    entries = content if isinstance(content, dict) else {"": content}
    lists = {key: [x] if isinstance(x, str) else x for key, x in entries.items()}
    if not all(
        isinstance(x, list) and all(isinstance(name, str) for name in x) for x in lists.values()
    ):
        raise ValueError(
            f"{os.fspath(path)}: a layout maps keypoints to a name or a list of names, but got "
            f"{json.dumps(content)[:200]}."
        )
    order = tuple(lists.pop("order", ()))
    return Layout({key: tuple(names) for key, names in lists.items()}, order)


def pick_keypoints(
    points: np.ndarray, names: Sequence[str], layout: Layout, keypoints: Sequence[str]
) -> np.ndarray:
    """Takes a model's keypoints from a recording's points.

    Args:
      points: (T, N, n) all points of the recording.
      names: N names.
      layout: which points stand for which keypoint.
      keypoints: K names of the model's keypoints.

    Returns:
      (T, K, n) float64; NaN for keypoints that the layout does not have.

    Raises:
      ValueError: when the layout names a keypoint or a point that does not exist, or gives the
        model no keypoint at all.
    """
    index = {name: i for i, name in enumerate(names)}
    picked = np.full((len(points), len(keypoints), points.shape[-1]), np.nan)
    unknown = [key for key in layout.sources if key not in keypoints]
    absent = [s for source in layout.sources.values() for s in source if s not in index]
    if unknown or absent or not layout.sources:
        what = f"keypoints {unknown}" if unknown else f"points {absent}"
        known = list(keypoints) if unknown else list(names)
        raise ValueError(f"the layout names {what}, which are not among {known}.")
    for key, source in layout.sources.items():
        picked[:, list(keypoints).index(key)] = np.mean(
            [points[:, index[name]] for name in source], axis=0
        )
    return picked
