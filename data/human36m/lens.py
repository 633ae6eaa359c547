"""Human3.6M's camera model: a pinhole camera whose lens distorts."""

from typing import NamedTuple

import numpy as np

from data.camera import Camera


class Lens(NamedTuple):
    """A camera with distortion.

    Attributes:
      camera: the nearest camera without; its focal length is the mean of the two.
      focal_px: (2,) along x and y.
      radial: (3,) factors of r^2, r^4 and r^6.
      tangential: (2,).
    """

    camera: Camera
    focal_px: np.ndarray
    radial: np.ndarray
    tangential: np.ndarray


def read_lens(extrinsics, intrinsics) -> Lens:
    """A camera from the numbers of metadata.xml.

    Args:
      extrinsics: 3 angles (rad) and a position (mm); the rotation from the world to the camera's
        frame is Rx(a) Ry(b) Rz(c).
      intrinsics: 2 focal lengths, 2 of the centre (px), 3 radial and 2 tangential factors.

    Returns:
      The camera. The world of Human3.6M has z up.
    """
    extrinsics, intrinsics = (np.asarray(x, np.float64) for x in (extrinsics, intrinsics))
    x, y, z = (_turn(axis, angle) for axis, angle in enumerate(extrinsics[:3]))
    focal, center, radial, tangential = np.split(intrinsics, [2, 4, 7])
    camera = Camera(x @ y @ z, extrinsics[3:], float(focal.mean()), center)
    return Lens(camera, focal, radial, tangential)


def project_through(points, lens: Lens) -> np.ndarray:
    """Where points appear in the image.

    With (x, y) = (X, Y) / Z and r^2 = x^2 + y^2,

        (u, v) = focal * ((x, y) radial + (p2, p1) r^2) + centre
        radial = 1 + k1 r^2 + k2 r^4 + k3 r^6 + p1 y + p2 x

    as in the data set's own code. OpenCV has 2 (p1 y + p2 x) in its place; the D2 files agree
    with this.

    Args:
      points: (..., 3) in the camera's frame (mm), z > 0.
      lens: the camera.

    Returns:
      (..., 2) x and y (px).
    """
    points = np.asarray(points, np.float64)
    across = points[..., :2] / points[..., 2:]
    square = np.sum(across**2, axis=-1, keepdims=True)
    radial = square * np.polynomial.polynomial.polyval(square, lens.radial)
    sideways = across @ lens.tangential[::-1]
    bent = across * (1 + radial + sideways[..., None]) + lens.tangential[::-1] * square
    return lens.focal_px * bent + lens.camera.center_px


def _turn(axis: int, angle: float) -> np.ndarray:
    """(3, 3) rotation about an axis."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[[i, j], [i, j]] = np.cos(angle)
    matrix[j, i], matrix[i, j] = np.sin(angle), -np.sin(angle)
    return matrix
