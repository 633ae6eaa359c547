"""Files in the formats of Human3.6M, with all its quirks and nothing of its content.

Poses are made up, videos are noise with a bright square where the pelvis is, cameras see
100 x 100 pixels. Clips are a few frames long. What the real data set does, this one does:

- S1 alone says TakingPhoto and WalkingDog, the others Photo and WalkDog; names have spaces and
  irregular suffixes; `_ALL` files lie among the others;
- some videos are longer than their poses, one has twice as many frames, some have two rows more;
- the video of S11 Directions from camera 54138969 is missing;
- positions of S9 Greeting, SittingDown 1 and Waiting 1 are 200 mm off along the world's x.
"""

import pathlib
import tarfile

import av
import cdflib.cdfwrite
import numpy as np
from scipy.spatial.transform import Rotation

from data.camera import look_at, to_camera
from data.human36m.names import CAMERAS, SHIFTED_CLIPS, SUBJECTS, clip_of
from kinpose import forward_kinematics
from kinpose.skeletons import human_17

NUM_POSES = 6
CLIPS = {
    "S1": ("Directions 1", "TakingPhoto", "WalkingDog 1"),
    "S5": ("Photo 2", "WalkDog"),
    "S6": ("Posing 2", "WalkTogether"),
    "S7": ("Sitting", "Walking 1"),
    "S8": ("SittingDown", "Smoking 1"),
    "S9": ("Greeting", "SittingDown 1", "Waiting 1", "Phoning", "Directions"),
    "S11": ("Directions", "Photo"),
}
EXTRA_FRAMES = {("S9", "Greeting"): NUM_POSES, ("S9", "Phoning"): 3, ("S1", "TakingPhoto"): 1}
MISSING_VIDEO = ("S11", "Directions", CAMERAS[0])
TALL = CAMERAS[1]  # 102 rows

FOCAL, CENTER = (114.5, 114.3), (51.2, 51.5)
RADIAL, TANGENTIAL = (-0.21, 0.25, -0.002), (-0.0009, -0.0016)
PLACES_M = ((1.8, 4.9, 1.5), (1.7, -5.0, 1.6), (-1.9, 5.1, 1.5), (-1.8, -3.8, 1.6))
ARCHIVED = {
    "Poses_D3_Positions_mono": "MyPoseFeatures/D3_Positions_mono",
    "Poses_D3_Positions": "MyPoseFeatures/D3_Positions",
    "Poses_D2_Positions": "MyPoseFeatures/D2_Positions",
    "Videos": "Videos",
}


def camera(subject: str, index: int):
    """The camera without its lens; subjects see it a little elsewhere. The world has z up."""
    place = 1000.0 * np.array(PLACES_M[index]) + 10.0 * SUBJECTS.index(subject)
    upright = look_at(place[[0, 2, 1]] * [1, 1, -1], (0.0, 950.0, 0.0), 1.0, (0.0, 0.0))
    to_y_up = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    return upright._replace(rotation=upright.rotation @ to_y_up, position=place)


def poses(subject: str, clip: str) -> np.ndarray:
    """(T, 32, 3) in the world (mm), as they should be."""
    rng = np.random.default_rng([SUBJECTS.index(subject), len(clip)])
    params = 0.3 * rng.normal(size=(1, 27)) + 0.05 * np.arange(NUM_POSES)[:, None]
    params[:, :3] = [100.0, 950.0, -50.0]
    params[:, :3] += 10.0 * np.arange(NUM_POSES)[:, None]
    joints = np.stack([np.asarray(forward_kinematics(np.float32(p), human_17())) for p in params])
    all_joints = np.repeat(joints[:, :1], 32, axis=1)
    all_joints[:, [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]] = joints
    return all_joints[..., [0, 2, 1]] * [1.0, -1.0, 1.0]


def see(points, index: int) -> np.ndarray:
    """Pixels (..., 2) of points in the camera's frame, number by number."""
    flat = np.reshape(points, (-1, 3))
    pixels = []
    (k1, k2, k3), (p1, p2) = RADIAL, TANGENTIAL
    for x, y, z in flat:
        x, y = x / z, y / z
        r = x * x + y * y
        bend = 1 + k1 * r + k2 * r**2 + k3 * r**3 + p1 * y + p2 * x
        pixels.append(
            (FOCAL[0] * (x * bend + p2 * r) + CENTER[0], FOCAL[1] * (y * bend + p1 * r) + CENTER[1])
        )
    return np.reshape(pixels, (*np.shape(points)[:-1], 2))


def make_tree(directory) -> pathlib.Path:
    """Writes the unpacked data set and metadata.xml, and returns the directory."""
    directory = pathlib.Path(directory)
    for subject, names in CLIPS.items():
        for name in names:
            _write_clip(directory / subject, subject, name)
        features = directory / subject / "MyPoseFeatures"
        for kind in ("D3_Positions_mono", "D2_Positions"):
            (features / kind / f"_ALL 1.{CAMERAS[0]}.cdf").write_bytes(b"of all clips")
    (directory / "metadata.xml").write_text(metadata(), encoding="utf-8")
    return directory


def archive(tree: pathlib.Path, directory) -> pathlib.Path:
    """Packs a tree into archives as they are downloaded, and returns their directory."""
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for subject in CLIPS:
        for name, place in ARCHIVED.items():
            with tarfile.open(directory / f"{name}_{subject}.tgz", "w:gz") as packed:
                packed.add(tree / subject / place, f"{subject}/{place}")
    (directory / "metadata.xml").write_bytes((tree / "metadata.xml").read_bytes())
    return directory


def metadata() -> str:
    """metadata.xml in the schema of the data set's own code."""
    columns = [f"S{i}" for i in range(1, 12)]
    longest = max(map(len, CLIPS.values()))
    rows = [["", "", *columns], *[["1", "1", *["_ALL 1"] * 11]]]
    for i in range(longest):
        names = [CLIPS.get(s, ())[i] if i < len(CLIPS.get(s, ())) else "" for s in columns]
        rows.append([str(i + 2), "1", *names])
    frames = []
    for subject in columns:
        counts = [f"[{' '.join(['9'] * 4)} {4 * NUM_POSES + 2}]"] * longest
        frames.append(["", "", *counts] if subject in CLIPS else [])
    numbers = []
    for index in range(len(CAMERAS)):
        for subject in columns:
            known = camera(subject if subject in CLIPS else "S1", index)
            angles = Rotation.from_matrix(known.rotation).as_euler("XYZ")
            numbers += [*angles, *known.position]
    for _ in CAMERAS:
        numbers += [*FOCAL, *CENTER, *RADIAL, *TANGENTIAL]
    values = " ".join(f"{x:.17g}" for x in numbers)
    return (
        f"<metadata><mapping>{_table(rows)}</mapping><frames>{_table(frames)}</frames>"
        f"<w0>[{values}]</w0></metadata>"
    )


def _table(rows) -> str:
    return "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)


def _write_clip(directory: pathlib.Path, subject: str, name: str):
    true = poses(subject, name)
    shifted = (subject, clip_of(name)) in SHIFTED_CLIPS
    given = true + np.array([200.0, 0.0, 0.0]) * shifted
    features = directory / "MyPoseFeatures"
    write_cdf(features / "D3_Positions" / f"{name}.cdf", given)
    for index, number in enumerate(CAMERAS):
        known = camera(subject, index)
        file_name = f"{name}.{number}"
        in_camera = to_camera(given, known)
        write_cdf(features / "D3_Positions_mono" / f"{file_name}.cdf", in_camera)
        write_cdf(features / "D2_Positions" / f"{file_name}.cdf", see(in_camera, index))
        if (subject, name, number) != MISSING_VIDEO:
            pelvis = see(to_camera(true, known), index)[:, 0]
            extra = EXTRA_FRAMES.get((subject, name), 0)
            rows = 102 if number == TALL else 100
            write_video(directory / "Videos" / f"{file_name}.mp4", pelvis, extra, rows)


def write_cdf(path: pathlib.Path, points: np.ndarray):
    """Joints (T, 32, n) as a variable `Pose` of one record (T, 32 n)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = np.float64(points).reshape(1, len(points), -1)
    file = cdflib.cdfwrite.CDF(path, delete=True)
    spec = {
        "Variable": "Pose",
        "Data_Type": file.CDF_DOUBLE,
        "Num_Elements": 1,
        "Rec_Vary": True,
        "Dim_Sizes": list(rows.shape[1:]),
    }
    file.write_var(spec, var_data=rows)
    file.close()


def write_video(path: pathlib.Path, pelvis: np.ndarray, extra: int, rows: int):
    """Dark frames with a bright square at the pelvis (T, 2); more of them than poses."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=50)
        stream.width, stream.height, stream.bit_rate = 100, rows, 2_000_000
        for x, y in [*pelvis, *[(0.0, 0.0)] * extra]:
            image = rng.integers(0, 40, (rows, 100, 3), dtype=np.uint8)
            i, j = round(float(y)), round(float(x))
            image[max(i - 3, 0) : i + 4, max(j - 3, 0) : j + 4] = 255
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
