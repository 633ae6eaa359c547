"""Who does what in Human3.6M, seen from where, under the names that files bear.

One recording is a clip, "Directions 1"; a clip as one camera sees it is a view. Subject S1 has
actions under other names than all the others, and suffixes are irregular ("Directions",
"Directions 1", "Posing 2"); a clip here is named after its action as the protocol spells it and
keeps its suffix, so that a view has one name whatever its files are called.
"""

import re
from typing import NamedTuple

TRAIN_SUBJECTS = ("S1", "S5", "S6", "S7", "S8")
TEST_SUBJECTS = ("S9", "S11")
SUBJECTS = TRAIN_SUBJECTS + TEST_SUBJECTS
"""The subjects whose poses were published."""

CAMERAS = ("54138969", "55011271", "58860488", "60457274")

ACTIONS = (
    "Directions",
    "Discussion",
    "Eating",
    "Greeting",
    "Phoning",
    "Posing",
    "Purchases",
    "Sitting",
    "SittingDown",
    "Smoking",
    "TakingPhoto",
    "Waiting",
    "Walking",
    "WalkingDog",
    "WalkingTogether",
)
"""The fifteen, in the official order; Table 1 of the paper has another."""

_SPELLINGS = {action: action for action in ACTIONS} | {
    "Photo": "TakingPhoto",
    "WalkDog": "WalkingDog",
    "WalkTogether": "WalkingTogether",
}

KEYPOINTS_OF_32 = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
"""Which of a file's 32 joints are `kinpose.layouts.HUMAN36M_KEYPOINTS`, in their order."""


class View(NamedTuple):
    """A clip as one camera sees it.

    Attributes:
      subject: "S1".
      clip: the action and the suffix, "TakingPhoto 1".
      camera: the camera's number, "54138969".
    """

    subject: str
    clip: str
    camera: str

    @property
    def action(self) -> str:
        """One of `ACTIONS`."""
        return self.clip.split(" ")[0]

    def __str__(self):
        return f"{self.subject} {self.clip} {self.camera}"


BROKEN_VIEW = View("S11", "Directions", "54138969")
"""Its video is missing or damaged in the usual release."""

SHIFTED_CLIPS = (("S9", "Greeting"), ("S9", "SittingDown 1"), ("S9", "Waiting 1"))
SHIFT_MM = (200.0, 0.0, 0.0)
"""All positions of these clips are this much off in the world; here they are put back.

So are they by others (MeTRAbs, Sarandi et al., 2021). Scores of joints relative to the root are
the same; what differs is where in the image the person is looked for.
"""


def split_of(subject: str) -> str:
    """The split of a subject: "train" or "test"."""
    return "train" if subject in TRAIN_SUBJECTS else "test"


def clip_of(name: str) -> str | None:
    """The clip that a file is of.

    Args:
      name: as files and metadata.xml have it, "WalkDog 1".

    Returns:
      "WalkingDog 1"; None where the name is not of a clip, as for "_ALL 1".
    """
    match = re.fullmatch(r"([A-Za-z]+)(?:[ _](\d+))?", name)
    action = _SPELLINGS.get(match[1]) if match else None
    return action and action + (f" {match[2]}" if match[2] else "")
