"""Layouts as rows of data: which points of which data set stand for which keypoints, by source.

What the fields mean is told in `kinpose.layouts`. Sources of the names and orders stand beside
the rows; sources of the leans in `LEANS`.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kinpose.face import FACE
from kinpose.skeletons import HUMAN36M_KEYPOINTS


class Layout(NamedTuple):
    """Names of a data set's points.

    Attributes:
      sources: keypoint of the model -> points whose mean it is.
      order: names of the points of an array without names, in order; () where the file
        carries the names.
      face: names of the points that are nose, left eye, right eye, left ear and right ear, from
        which the keypoints "nose" and "head" are derived; () where there are none.
      marks: names that tell the data set from others, though they are not used.
      lean_deg: by how much, in a person who stands upright and looks ahead, lines between these
        points lean forward: from the hips to the neck, from the hips to the middle of the
        shoulders, and from neck to head against the first; None: as those of `human_17` do.
      surface: whether the points are markers on the skin with the names of Plug-in Gait, from
        which `kinpose.surface` places the keypoints; `sources` then are what each of them needs.
    """

    sources: Mapping[str, tuple[str, ...]]
    order: tuple[str, ...] = ()
    face: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    lean_deg: tuple[float, float, float] | None = None
    surface: bool = False


LEANS = {
    "smpl": (-3.6, -4.2, 41.9),
    "mixamo": (-3.5, -6.9, 20.4),
    "cmu": (-3.0, -4.0, 3.0),
    "cgspeed": (-2.5, -6.5, 4.0),
    "straight": (0.0, 0.0, 0.0),
    "vertex": (0.0, 0.0, 10.5),
    "nose": (0.0, 0.0, 44.3),
    "unknown": (0.0, 0.0, 15.0),
}
"""Leans of upright people.

smpl: rest joints of the mean neutral body (Loper et al., 2015). mixamo: the T-pose of its BVH
exports. cmu, cgspeed: between the rest poses and the medians of upright frames of 45 clips, which
differ by 3 degrees in the trunk. straight: the recordings under data/motions. vertex, nose: top of
the head and tip of the nose against the middles of shoulders and hips, of Pose2Sim's markers on
OpenSim's model in its neutral pose (Markers_Halpe26.xml on Model_Pose2Sim_simple.osim). unknown: of
rigs and sensors whose heads were not looked at, a guess of ours amid the others.
"""


def _limbs(**words: str) -> dict[str, tuple[str, ...]]:
    """Six joints a side; in a pattern, * is replaced by the name of the side."""
    left = words.pop("left")
    right = words.pop("right")
    return {
        f"{side}_{joint}": (pattern.replace("*", word),)
        for side, word in (("left", left), ("right", right))
        for joint, pattern in words.items()
    }


def _words(left: str, right: str, joints: str) -> dict[str, str]:
    """Of the sides, and patterns of hip, knee, ankle, shoulder, elbow and wrist."""
    names = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
    patterns = zip(names, joints.split(", "), strict=True)
    return {"left": left, "right": right} | dict(patterns)


def _body(pelvis, neck, head=(), torso=(), **words: str) -> dict[str, tuple[str, ...]]:
    """Sources of trunk and limbs; hips and shoulders as pelvis or neck mean their middle."""
    limbs = _limbs(**words)
    trunk = {"pelvis": pelvis, "torso": torso, "neck": neck, "head": head}
    middles = {
        part: limbs[f"left_{part[:-1]}"] + limbs[f"right_{part[:-1]}"]
        for part in ("hips", "shoulders")
    }
    trunk = {key: middles.get(x, (x,) if isinstance(x, str) else x) for key, x in trunk.items()}
    return {key: points for key, points in (trunk | limbs).items() if points}


def _opencap(side: str, capital: str, letter: str) -> dict[str, tuple[str, ...]]:
    """Middles of markers on both sides of a joint."""
    pairs = {"knee": ("", "m"), "ankle": ("", "m"), "elbow": ("l", "m"), "wrist": ("l", "m")}
    limbs = {
        f"{side}_{joint}": tuple(f"{letter}_{x}{joint}_study" for x in both)
        for joint, both in pairs.items()
    }
    own = {"hip": f"{capital}HJC_study", "shoulder": f"{capital}Shoulder"}
    return limbs | {f"{side}_{joint}": (name,) for joint, name in own.items()}


def _sides(*names: str, of: Sequence[str] = ("left_", "right_")) -> tuple[str, ...]:
    """Each name of the left, then of the right."""
    return tuple(f"{side}{name}" for name in names for side in of)


_PELVIS = ("LASI", "RASI", "LPSI", "RPSI")
_TRUNK = ("LSHO", "RSHO", "C7", "T10", "CLAV", "STRN")
_LEGS = {"pelvis": _PELVIS} | {
    f"{side}_{joint}": (*_PELVIS, *(f"{side[0].upper()}{x}" for x in own))
    for side in ("left", "right")
    for joint, own in (
        ("hip", ()),
        ("knee", ("THI", "KNE")),
        ("ankle", ("THI", "KNE", "TIB", "ANK")),
    )
}
_ARMS = {"neck": _TRUNK, "head": (*_TRUNK, "LFHD", "RFHD", "LBHD", "RBHD")} | {
    f"{side}_{joint}": (*_TRUNK, *(f"{side[0].upper()}{x}" for x in own))
    for side in ("left", "right")
    for joint, own in (
        ("shoulder", ()),
        ("elbow", ("ELB", "WRA", "WRB")),
        ("wrist", ("WRA", "WRB")),
    )
}
_NAMED = _words("left", "right", "*_hip, *_knee, *_ankle, *_shoulder, *_elbow, *_wrist")
_SHORT = _words("L", "R", "*Hip, *Knee, *Ankle, *Shoulder, *Elbow, *Wrist")
_UPLEG = _words("Left", "Right", "*UpLeg, *Leg, *Foot, *Arm, *ForeArm, *Hand")
_COCO = _body("hips", "shoulders", **_NAMED)
_COCO_ORDER = ("nose", *_sides("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"))
_FINGERS = ("thumb", "index", "middle", "ring", "pinky")
_HAND = ("root", *(f"{finger}{i}" for finger in _FINGERS for i in range(1, 5)))
_WHOLE_BODY_ORDER = (
    *_COCO_ORDER,
    *(f"{side}_{x}" for side in ("left", "right") for x in ("big_toe", "small_toe", "heel")),
    *(f"face_{i}" for i in range(68)),
    *(f"{side}_hand_{x}" for side in ("left", "right") for x in _HAND),
)
_MEDIAPIPE_ORDER = (
    "nose",
    *(f"{side}_eye{part}" for side in ("left", "right") for part in ("_inner", "", "_outer")),
    *_sides("ear", "mouth", "shoulder", "elbow", "wrist", "pinky", "index", "thumb"),
    *_sides("hip", "knee", "ankle", "heel", "foot_index"),
)
_SHORT_FACE = ("Nose", "LEye", "REye", "LEar", "REar")
_SHORT_BODY = _body("hips", "shoulders", **_SHORT)
_HALPE_ORDER = (
    "Nose",
    *_sides("Eye", "Ear", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", of="LR"),
    *("Head", "Neck", "Hip"),
    *_sides("BigToe", "SmallToe", "Heel", of="LR"),
)
_BODY_25_ORDER = (
    *("Nose", "Neck", "RShoulder", "RElbow", "RWrist", "LShoulder", "LElbow", "LWrist", "MidHip"),
    *("RHip", "RKnee", "RAnkle", "LHip", "LKnee", "LAnkle", "REye", "LEye", "REar", "LEar"),
    *("LBigToe", "LSmallToe", "LHeel", "RBigToe", "RSmallToe", "RHeel"),
)
_PANOPTIC_ORDER = (
    *("Neck", "Nose", "BodyCenter", "LShoulder", "LElbow", "LWrist", "LHip", "LKnee", "LAnkle"),
    *("RShoulder", "RElbow", "RWrist", "RHip", "RKnee", "RAnkle", "LEye", "LEar", "REye", "REar"),
)
_MPI_INF_ORDER = (
    *("spine3", "spine4", "spine2", "spine", "pelvis", "neck", "head", "head_top"),
    *(f"left_{x}" for x in ("clavicle", "shoulder", "elbow", "wrist", "hand")),
    *(f"right_{x}" for x in ("clavicle", "shoulder", "elbow", "wrist", "hand")),
    *(f"left_{x}" for x in ("hip", "knee", "ankle", "foot", "toe")),
    *(f"right_{x}" for x in ("hip", "knee", "ankle", "foot", "toe")),
)
_KINECT_ARM, _KINECT_LEG = ("Shoulder", "Elbow", "Wrist", "Hand"), ("Hip", "Knee", "Ankle", "Foot")
_KINECT_ORDER = (
    *("SpineBase", "SpineMid", "Neck", "Head"),
    *(f"{x}{side}" for side in ("Left", "Right") for x in _KINECT_ARM),
    *(f"{x}{side}" for side in ("Left", "Right") for x in _KINECT_LEG),
    *("SpineShoulder", "HandTipLeft", "ThumbLeft", "HandTipRight", "ThumbRight"),
)
_KINECT = _words("Left", "Right", "Hip*, Knee*, Ankle*, Shoulder*, Elbow*, Wrist*")


def _azure(name: str) -> str:
    return name.upper().replace("*", "_*")


_AZURE_ARM = ("CLAVICLE", "SHOULDER", "ELBOW", "WRIST", "HAND", "HANDTIP", "THUMB")
_AZURE_ORDER = (
    *("PELVIS", "SPINE_NAVEL", "SPINE_CHEST", "NECK"),
    *(f"{x}_{side}" for side in ("LEFT", "RIGHT") for x in _AZURE_ARM),
    *(f"{x}_{side}" for side in ("LEFT", "RIGHT") for x in ("HIP", "KNEE", "ANKLE", "FOOT")),
    *("HEAD", "NOSE", "EYE_LEFT", "EAR_LEFT", "EYE_RIGHT", "EAR_RIGHT"),
)
_HUMAN36M_32_ORDER = tuple(
    f"h36m_{name}"
    for name in (
        *("Hips", "RightUpLeg", "RightLeg", "RightFoot", "RightToeBase", "RightToeBase_end"),
        *("LeftUpLeg", "LeftLeg", "LeftFoot", "LeftToeBase", "LeftToeBase_end"),
        *("Spine", "Spine1", "Neck", "Head", "Head_end"),
        *("LeftShoulder", "LeftArm", "LeftForeArm", "LeftHand", "LeftHandThumb"),
        *("LeftHandThumb_end", "LeftWrist_end", "LeftWrist_end_2"),
        *("RightShoulder", "RightArm", "RightForeArm", "RightHand", "RightHandThumb"),
        *("RightHandThumb_end", "RightWrist_end", "RightWrist_end_2"),
    )
)
_HUMAN36M_32 = _body(
    "h36m_Hips",
    "h36m_Neck",
    "h36m_Head_end",
    "h36m_Spine1",
    **{key: x if key in ("left", "right") else f"h36m_{x}" for key, x in _UPLEG.items()},
) | {"nose": ("h36m_Head",)}
_SMPL_ORDER = (
    *("pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2"),
    *("left_ankle", "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar"),
    *("right_collar", "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow"),
    *("left_wrist", "right_wrist"),
)
_SMPL = _body("hips", "neck", "head", **_NAMED)

ROWS: dict[str, Layout] = {
    # C. Ionescu et al., Human3.6M, 2014: the protocol's 17 joints, and the 32 of its files
    "human36m_17": Layout({name: (name,) for name in HUMAN36M_KEYPOINTS}, HUMAN36M_KEYPOINTS),
    "human36m_32": Layout(_HUMAN36M_32, _HUMAN36M_32_ORDER),
    # cocodataset.org; S. Jin et al., COCO-WholeBody, 2020
    "coco_17": Layout(_COCO, _COCO_ORDER, FACE),
    "coco_wholebody_133": Layout(_COCO, _WHOLE_BODY_ORDER, FACE, ("face_0", "left_hand_root")),
    # developers.google.com/mediapipe: pose landmarker (BlazePose)
    "mediapipe_33": Layout(_COCO, _MEDIAPIPE_ORDER, FACE, ("left_foot_index",)),
    # H.-S. Fang et al., AlphaPose, 2022
    "halpe_26": Layout(_SHORT_BODY, _HALPE_ORDER, _SHORT_FACE, ("LBigToe", "Head")),
    # Z. Cao et al., OpenPose, 2019
    "body_25": Layout(_SHORT_BODY, _BODY_25_ORDER, _SHORT_FACE, ("LBigToe",)),
    # H. Joo et al., CMU Panoptic Studio, 2017
    "panoptic_19": Layout(_SHORT_BODY, _PANOPTIC_ORDER, _SHORT_FACE, ("BodyCenter",)),
    # D. Pagnon et al., Pose2Sim, 2021: what it writes of HALPE, COCO and BODY_25 points
    "pose2sim": Layout(
        _SHORT_BODY | {"head": ("Head",)}, marks=("Nose",), lean_deg=LEANS["vertex"]
    ),
    "pose2sim_nose": Layout(_SHORT_BODY | {"head": ("Nose",)}, lean_deg=LEANS["nose"]),
    # S. Uhlrich et al., OpenCap, 2023: augmented markers, means of both sides of a joint
    "opencap": Layout(
        {
            "pelvis": ("LHJC_study", "RHJC_study"),
            "neck": ("LShoulder", "RShoulder"),
            **_opencap("left", "L", "L"),
            **_opencap("right", "R", "r"),
        }
    ),
    # D. Mehta et al., MPI-INF-3DHP, 2017
    "mpi_inf_3dhp_28": Layout(
        _body("hips", "neck", "head_top", **_NAMED),
        _MPI_INF_ORDER,
        marks=("left_clavicle",),
        lean_deg=LEANS["unknown"],
    ),
    # learn.microsoft.com: Kinect for Windows v2 (NTU RGB+D), Azure Kinect
    "kinect_25": Layout(
        _body("hips", "SpineShoulder", "Head", **_KINECT), _KINECT_ORDER, lean_deg=LEANS["unknown"]
    ),
    "azure_kinect_32": Layout(
        _body("hips", "shoulders", **{key: _azure(x) for key, x in _KINECT.items()}),
        _AZURE_ORDER,
        ("NOSE", "EYE_LEFT", "EYE_RIGHT", "EAR_LEFT", "EAR_RIGHT"),
        ("SPINE_NAVEL",),
    ),
    # M. Loper et al., SMPL, 2015; C. Guo et al., HumanML3D, 2022 (its 22 joints)
    "smpl_22": Layout(_SMPL, _SMPL_ORDER, marks=("spine3", "left_collar"), lean_deg=LEANS["smpl"]),
    "smpl_24": Layout(
        _SMPL,
        (*_SMPL_ORDER, "left_hand", "right_hand"),
        marks=("spine3", "left_collar", "left_hand"),
        lean_deg=LEANS["smpl"],
    ),
    "smpl_names": Layout(
        _body("hips", "Neck", "Head", **_SHORT),
        marks=("Spine3", "L_Collar"),
        lean_deg=LEANS["smpl"],
    ),
    # mocap.cs.cmu.edu: the names of its ASF files; B. Hahne's conversion (cgspeed)
    "cmu": Layout(
        _body(
            ("lfemur", "rfemur"),
            "lowerneck",
            "head_end",
            "upperback",
            **_words("l", "r", "*femur, *tibia, *foot, *humerus, *radius, *wrist"),
        ),
        lean_deg=LEANS["cmu"],
    ),
    "cgspeed": Layout(
        _body("hips", "Neck1", "Head", **_UPLEG), marks=("Spine",), lean_deg=LEANS["cgspeed"]
    ),
    # data/motions, whose Head is the top of the head
    "humanoid3d": Layout(
        _body("hips", "Neck", "Head", "Chest", **_UPLEG), lean_deg=LEANS["straight"]
    ),
    # Vicon, Plug-in Gait Reference Guide: markers of the whole body, and of the legs alone
    "plug_in_gait": Layout(_LEGS | _ARMS, surface=True),
    "plug_in_gait_legs": Layout(_LEGS | {"torso": _PELVIS}, surface=True),
    # mixamo.com
    "mixamo": Layout(
        _body("hips", "Neck", "Head", **_UPLEG),
        marks=("HeadTop_End", "Spine1"),
        lean_deg=LEANS["mixamo"],
    ),
    # Autodesk MotionBuilder's names: LAFAN1, Rokoko, OptiTrack's BVH, Noitom, MakeHuman's CMU rig
    "motionbuilder": Layout(
        _body("hips", "Neck", "Head", **_UPLEG), marks=("Spine",), lean_deg=LEANS["unknown"]
    ),
    # M. Kobayashi et al., Bandai-Namco-Research-Motiondataset, 2023
    "bandai_namco": Layout(
        _body(
            "hips",
            "Neck",
            "Head",
            **_words("L", "R", "UpperLeg_*, LowerLeg_*, Foot_*, UpperArm_*, LowerArm_*, Hand_*"),
        ),
        lean_deg=LEANS["unknown"],
    ),
    # Movella MVN: segments, by the joint they begin at; and its BVH
    "xsens": Layout(
        _body(
            "hips",
            "Neck",
            "Head",
            **_words("Left", "Right", "*UpperLeg, *LowerLeg, *Foot, *UpperArm, *ForeArm, *Hand"),
        ),
        marks=("T8",),
        lean_deg=LEANS["unknown"],
    ),
    "biovision": Layout(
        _body("hips", "Neck", "Head", **(_NAMED | {"left": "Left", "right": "Right"})),
        marks=("Hips", "Chest", "LeftCollar"),
        lean_deg=LEANS["unknown"],
    ),
    # OptiTrack Motive: bones of its CSV
    "optitrack": Layout(
        _body(
            "hips",
            "Neck",
            "Head",
            **_words("L", "R", "*Thigh, *Shin, *Foot, *UArm, *FArm, *Hand"),
        ),
        marks=("Ab",),
        lean_deg=LEANS["unknown"],
    ),
    # makehumancommunity.org: its default rig; its game engine rig is that of Epic's mannequin
    "makehuman": Layout(
        _body(
            "hips",
            "neck01",
            "head",
            **_words(
                "L", "R", "upperleg01.*, lowerleg01.*, foot.*, upperarm01.*, lowerarm01.*, wrist.*"
            ),
        ),
        lean_deg=LEANS["unknown"],
    ),
    "unreal": Layout(
        _body(
            "hips",
            "neck_01",
            "head",
            **_words("l", "r", "thigh_*, calf_*, foot_*, upperarm_*, lowerarm_*, hand_*"),
        ),
        lean_deg=LEANS["unknown"],
    ),
    # Unity's humanoid avatar and VRM
    "unity": Layout(
        _body(
            "hips",
            "Neck",
            "Head",
            **_words("Left", "Right", "*UpperLeg, *LowerLeg, *Foot, *UpperArm, *LowerArm, *Hand"),
        ),
        lean_deg=LEANS["unknown"],
    ),
    # Autodesk 3ds Max's Biped; Poser and Second Life
    "biped": Layout(
        _body(
            "hips",
            "Neck",
            "Head",
            **_words("L", "R", "* Thigh, * Calf, * Foot, * UpperArm, * Forearm, * Hand"),
        ),
        lean_deg=LEANS["unknown"],
    ),
    "poser": Layout(
        _body(
            "hips",
            "neck",
            "head",
            **_words("l", "r", "*Thigh, *Shin, *Foot, *Shldr, *ForeArm, *Hand"),
        ),
        lean_deg=LEANS["unknown"],
    ),
}
"""Known layouts; the earlier of two that fit as well is taken."""
