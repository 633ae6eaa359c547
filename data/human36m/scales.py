"""Subjects' sizes: sum of bone lengths over the mean sum of all seven (Sec. 4.2 of the paper)."""

import numpy as np

from kinpose.skeletons import HUMAN36M_LENGTHS_MM

SUMS_MM = {
    "S1": 4150.0,
    "S5": 4003.1,
    "S6": 4354.5,
    "S7": 4073.9,
    "S8": 4229.0,
    "S9": 4329.1,
    "S11": 4246.6,
}
"""Sums of the 16 bone lengths, from the measurements in metadata.xml (Ionescu et al., 2014)."""

_LEG, _ARM = ("pelvis-hip", "hip-knee", "knee-ankle"), ("shoulder-elbow", "elbow-wrist")
_TRUNK = ("pelvis-torso", "torso-neck", "neck-nose", "nose-head")
_BONES = (*_LEG, *_LEG, *_TRUNK, *2 * ("neck-shoulder", *_ARM))
_ROUNDED_MM = 0.1
_SUM_ROUNDED_MM = 1.0  # of 16 numbers rounded to 0.1


def subject_scales(bone_lengths: dict[str, np.ndarray]) -> tuple[dict[str, float], list[str]]:
    """Each subject's scale, compared with the table.

    Args:
      bone_lengths: subject -> (16,) (mm), see `data.human36m.metadata.Metadata`; {} where they
        are not known.

    Returns:
      Subject -> scale, from the bone lengths where they are known and from `SUMS_MM` where not;
      and what differs from the table, a sentence each.
    """
    sums = {subject: float(lengths.sum()) for subject, lengths in bone_lengths.items()} or SUMS_MM
    differences = [
        f"the bones of {subject} sum to {sums[subject]:.1f} mm, the published ones to {known:.1f}."
        for subject, known in SUMS_MM.items()
        if not abs(sums[subject] - known) <= _SUM_ROUNDED_MM
    ]
    if bone_lengths:
        means = np.mean(list(bone_lengths.values()), axis=0)
        differences += [
            f"the mean length of {bone} is {mean:.1f} mm, the published one "
            f"{HUMAN36M_LENGTHS_MM[bone]:.1f}."
            for bone, mean in zip(_BONES, means, strict=True)
            if not abs(mean - HUMAN36M_LENGTHS_MM[bone]) <= _ROUNDED_MM
        ]
    mean = np.mean(list(sums.values()))
    return {subject: float(total / mean) for subject, total in sums.items()}, differences
