"""An open data set of rendered people under Human3.6M's protocol; see the README beside this."""

from data import people
from kinpose.skeleton import Skeleton


def mean_skeleton() -> Skeleton:
    """The kinematic model's human with the mean bone lengths of the seven subjects (mm)."""
    return people.mean_skeleton(people.load_subjects())
