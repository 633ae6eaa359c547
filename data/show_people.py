"""Draws a sheet of samples with their joints, right limbs in one colour, left in another.

python -m data.show_people --output=docs/people.jpg
python -m data.show_people --varied --columns=7 --rows=5 --size=160 \
    --output=docs/rendered_people_varied.jpg
"""

import numpy as np
from absl import app, flags
from matplotlib.collections import LineCollection

from data.camera import four_cameras, project
from data.motion import MOTION_DIR, find_motions, read_motion
from data.people import Photo, load_subjects, photograph, place_in_room
from data.poses import collect_moments
from data.retarget import retarget
from data.varied import draw_shot, load_crowd
from kinpose.drawing import COLORS, keypoint_sides, new_figure, save_figure
from kinpose.skeletons import human_17

_MOTION_DIR = flags.DEFINE_string("motion_dir", str(MOTION_DIR), "directory of BVH files.")
_OUTPUT = flags.DEFINE_string("output", "people.jpg", "where the picture goes.")
_COLUMNS = flags.DEFINE_integer("columns", 7, "subjects, one column each.", 1, 7)
_ROWS = flags.DEFINE_integer("rows", 4, "pictures of each subject.", 1)
_SIZE = flags.DEFINE_integer("size", 224, "rows and columns of a picture (px).", 16)
_SEED = flags.DEFINE_integer("seed", 0, "of motions, frames, cameras and backgrounds.", 0)
_VARIED = flags.DEFINE_bool("varied", False, "people of `data.varied`, in place of the subjects.")

_DPI = 100  # of `save_figure`


def draw_sheet(photos: list[list[Photo]]):
    """A figure of photos in rows and columns, each with its joints."""
    size = len(photos[0][0].image)
    figure = new_figure(len(photos[0]) * size / _DPI, len(photos) * size / _DPI)
    axes = figure.subplots(len(photos), len(photos[0]), squeeze=False)
    figure.subplots_adjust(0, 0, 1, 1, wspace=0, hspace=0)
    for ax, photo in zip(axes.flat, (photo for row in photos for photo in row), strict=True):
        ax.imshow(photo.image)
        draw_joints(ax, project(photo.joints, photo.camera))
        ax.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))
        ax.axis("off")
    return figure


def draw_joints(ax, pixels: np.ndarray) -> None:
    """Bones and joints (17, 2) over a picture."""
    skeleton = human_17()
    bones = np.array(skeleton.bones)
    sides = np.array(keypoint_sides(skeleton))[bones[:, 0]]
    colors = [COLORS[side] if side else "white" for side in sides]
    ax.add_collection(LineCollection(pixels[bones], colors=colors, linewidth=1.5))
    ax.plot(*pixels.T, "o", color="white", markeredgecolor="black", markersize=2.5, mew=0.4)


def draw_photos(rng, paths, *, rows: int, columns: int, size: int) -> list[list[Photo]]:
    """Photos of random frames; row r has camera r, column c subject c."""
    subjects, cameras = list(load_subjects().values())[:columns], four_cameras()
    sheet = []
    for row in range(rows):
        sheet.append([])
        for subject in subjects:
            motion = read_motion(paths[rng.integers(len(paths))])
            yaw = rng.uniform(-np.pi, np.pi)
            rotations, root = place_in_room(*retarget(motion, subject.body), yaw_rad=yaw)
            t, seed = rng.integers(len(root)), int(rng.integers(2**31))
            camera = cameras[row % len(cameras)]
            sheet[-1].append(
                photograph(subject, rotations[t], root[t], camera, size=size, seed=seed)
            )
    return sheet


def draw_varied(seed: int, paths, *, rows: int, columns: int, size: int) -> list[list[Photo]]:
    """Photos of people who are varied in everything, in poses of recordings."""
    motions = [read_motion(path) for path in paths]
    crowd, moments = load_crowd(), collect_moments(motions, [path.stem for path in paths])
    numbers = np.arange(rows * columns).reshape(rows, columns)
    return [
        [draw_shot(crowd, moments, seed=(seed, int(i)), size=size).photo for i in row]
        for row in numbers
    ]


def main(_) -> None:
    """Draws the sheet."""
    shape = {"rows": _ROWS.value, "columns": _COLUMNS.value, "size": _SIZE.value}
    paths = find_motions(_MOTION_DIR.value)
    if _VARIED.value:
        photos = draw_varied(_SEED.value, paths, **shape)
    else:
        photos = draw_photos(np.random.default_rng(_SEED.value), paths, **shape)
    save_figure(draw_sheet(photos), _OUTPUT.value)


if __name__ == "__main__":
    app.run(main)
