"""Laws of ISB's angles, beside SciPy's sequences and by hand."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from kinpose import joint_transforms
from kinpose.isb import isb_angles, near_singularity
from kinpose.skeleton import remove_dofs
from kinpose.skeletons import human_17, toy

HUMAN = human_17()
FLOAT32_DEG = 1e-3
TO_ISB = np.array(
    [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]
)  # x left, y up, z forwards: forwards, up, right


def pose(**degrees):
    params = np.zeros((1, 27))
    for name, value in degrees.items():
        params[0, HUMAN.dof_names.index(name)] = np.radians(value)
    return params


def read(params, joint):
    """The three angles of a joint in degrees."""
    angles = isb_angles(params, HUMAN)
    columns = [i for i, name in enumerate(angles.names) if name.startswith(joint)]
    return np.degrees(angles.values[:, columns[:3]])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    ("joint", "degrees", "expected"),
    [
        ("shoulder", {"flexion": 90}, (90, -90, -90)),  # forwards
        ("shoulder", {"abduction": 60}, (0, -60, 0)),  # sideways
        ("shoulder", {"flexion": -40}, (-90, -40, 90)),  # backwards
        ("shoulder", {"abduction": 150}, (0, -150, 0)),  # sideways and up
        ("shoulder", {"rotation": 50}, (0, 0, 50)),  # inwards, hanging
        ("shoulder", {"abduction": 60, "rotation": 30}, (0, -60, 30)),
        ("hip", {"flexion": 40}, (40, 0, 0)),
        ("hip", {"abduction": 25}, (0, -25, 0)),
        ("hip", {"rotation": 20}, (0, 0, 20)),
        ("hip", {"flexion": 60, "abduction": 20, "rotation": 30}, (60, -20, 30)),
    ],
)
def test_limbs_read_alike_on_both_sides(side, joint, degrees, expected):
    params = pose(**{f"{side}_{joint}_{dof}": value for dof, value in degrees.items()})
    found = read(params, f"{side}_{joint}")
    np.testing.assert_allclose(found, [expected], atol=0.05)


def test_trunk_and_head_by_hand():
    np.testing.assert_allclose(read(pose(spine_yaw=30), "spine"), [[0, 30]], atol=0.05)
    np.testing.assert_allclose(read(pose(spine_roll=20), "spine"), [[20, 0]], atol=0.05)
    np.testing.assert_allclose(read(pose(neck_pitch=15), "neck"), [[-15, 0, 0]], atol=0.05)


def test_sequences_are_scipys():
    params = 0.5 * np.random.default_rng(0).normal(size=(20, 27))
    for joint, parent, sequence in (
        ("right_shoulder", "neck", "YXY"),
        ("right_hip", "pelvis", "ZXY"),
    ):
        angles = np.radians(read(params, joint))
        for row, frame in zip(angles, params, strict=True):
            rotations = np.asarray(joint_transforms(np.float32(frame), HUMAN)[0], float)
            before, after = (rotations[HUMAN.names.index(name)] for name in (parent, joint))
            relative = TO_ISB @ before.T @ after @ TO_ISB.T
            again = Rotation.from_euler(sequence, row).as_matrix()
            np.testing.assert_allclose(again, relative, atol=1e-5)


def test_the_reading_does_not_depend_on_the_models_own_triple():
    one = pose(right_hip_flexion=30, right_hip_abduction=20, right_hip_rotation=10)
    other = pose(right_hip_flexion=210, right_hip_abduction=160, right_hip_rotation=190)
    np.testing.assert_allclose(read(one, "right_hip"), read(other, "right_hip"), atol=0.05)


def test_angles_follow_the_frame_before():
    time = np.linspace(0, 2 * np.pi, 200)
    params = np.repeat(pose(right_shoulder_abduction=50), 200, axis=0)
    column = HUMAN.dof_names.index("right_shoulder_rotation")
    params[:, column] = np.radians(200) * np.sin(time)  # past half a turn and back
    assert np.abs(np.diff(read(params, "right_shoulder"), axis=0)).max() < 20


def test_hanging_arms_and_raised_arms_are_marked():
    hanging, raised = pose(), pose(right_shoulder_abduction=85)
    angles = isb_angles(np.concatenate([hanging, raised]), HUMAN)
    elevation = angles.names.index("right_shoulder_elevation")
    assert angles.near_singularity[:, elevation].tolist() == [True, False]
    flexion = HUMAN.dof_names.index("right_shoulder_flexion")
    own = near_singularity(np.concatenate([hanging, raised]), HUMAN)
    assert own[:, flexion].tolist() == [False, True]
    assert own.sum() == 2


def test_other_skeletons_and_shapes_are_refused():
    with pytest.raises(ValueError, match=r"joints of human_17.*missing"):
        isb_angles(np.zeros((1, 3)), toy(3))
    with pytest.raises(ValueError, match=r"\(T, 27\), but have \(27,\)"):
        isb_angles(np.zeros(27), HUMAN)
    without = remove_dofs(HUMAN, ["pelvis_tx"])
    assert isb_angles(np.zeros((2, 26)), without).values.shape == (2, 21)
