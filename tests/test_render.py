import numpy as np

from data.camera import look_at, project, to_camera
from data.render import rasterise, render, shade

SHAPE = (40, 56)


def slow_nearest(places, depths, faces):
    """Face seen at each pixel (-1: none) and its depth, pixel by pixel in float64.

    Also whether the pixel is well inside of all triangles' edges or well outside.
    """
    seen, depth = np.full(SHAPE, -1), np.full(SHAPE, np.inf)
    clear = np.ones(SHAPE, bool)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(float)
    for f, face in enumerate(faces):
        (ax, ay), (bx, by), (cx, cy) = places[face]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if area >= 0:
            continue  # clockwise on the screen, where y points down, is its outside
        b = ((columns - ax) * (cy - ay) - (cx - ax) * (rows - ay)) / area
        c = ((bx - ax) * (rows - ay) - (columns - ax) * (by - ay)) / area
        shares = np.stack([1 - b - c, b, c])
        clear &= np.abs(shares).min(axis=0) > 1e-3
        here = 1 / (shares / depths[face][:, None, None]).sum(axis=0)
        wins = (shares.min(axis=0) >= 0) & (here < depth)
        seen[wins], depth[wins] = f, here[wins]
    return seen, depth, clear


def random_mesh(rng, num):
    places = rng.uniform((-10, -10), (SHAPE[1] + 10, SHAPE[0] + 10), (3 * num, 2))
    return places, rng.uniform(1000, 5000, 3 * num), np.arange(3 * num).reshape(num, 3)


def test_the_nearest_triangle_is_seen_at_each_pixel_as_the_slow_way_says():
    rng = np.random.default_rng(0)
    for num in (1, 5, 40):
        places, depths, faces = random_mesh(rng, num)
        seen = rasterise(places, depths, faces, SHAPE)
        face = np.full(SHAPE[0] * SHAPE[1], -1)
        face[seen.pixels] = seen.vertices[0] // 3
        depth = np.full(face.shape, np.inf)
        depth[seen.pixels] = (seen.shares * depths[seen.vertices]).sum(axis=0)
        want, want_depth, clear = slow_nearest(places, depths, faces)
        assert clear.mean() > 0.8
        np.testing.assert_array_equal(face.reshape(SHAPE)[clear], want[clear])
        np.testing.assert_allclose(depth.reshape(SHAPE)[clear], want_depth[clear], rtol=1e-3)


def test_every_pixel_of_a_grid_of_tiny_triangles_is_covered_once():
    x, y = np.meshgrid(np.linspace(-3, 60, 150), np.linspace(-3, 45, 120))
    places = np.stack([x.ravel(), y.ravel()], axis=1)
    index = np.arange(x.size).reshape(x.shape)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    faces = np.concatenate([np.stack(f, axis=-1).reshape(-1, 3) for f in ((a, c, b), (b, c, d))])
    seen = rasterise(places, np.full(x.size, 2000.0), faces, SHAPE)
    np.testing.assert_array_equal(seen.pixels, np.arange(SHAPE[0] * SHAPE[1]))
    np.testing.assert_allclose(seen.shares.sum(axis=0), 1, atol=1e-3)


def test_nothing_in_view_gives_the_background():
    background = np.full((20, 20, 3), 0.5, np.float32)
    camera = look_at((0, 0, 5000), (0, 0, 0), 100, (10, 10))
    vertices = np.array([[9000, 0, 10], [9000, 100, 10], [9100, 0, 10]], np.float32)
    normals, colors = np.tile(np.float32([0, 0, -1]), (3, 1)), np.ones((3, 3), np.float32)
    image, cover = render(
        vertices, normals, colors, np.array([[0, 1, 2]]), camera, background, (0, 0, -1)
    )
    assert (image == 128).all()
    assert not cover.any()


def test_a_square_covers_the_pixels_that_it_should_and_parts_at_its_edges():
    camera = look_at((0, 0, 4000), (0, 0, 0), 40, (9.5, 9.5))  # 100 mm a pixel
    corners = np.float32([[-475, -500, 0], [500, -500, 0], [500, 500, 0], [-475, 500, 0]])
    vertices = to_camera(corners, camera)
    np.testing.assert_allclose(project(vertices, camera)[0], [9.5 - 4.75, 9.5 + 5], atol=1e-4)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    normals, colors = np.tile(np.float32([0, 0, -1]), (4, 1)), np.ones((4, 3), np.float32)
    background = np.zeros((20, 20, 3), np.float32)
    _, cover = render(vertices, normals, colors, faces, camera, background, (0, 0, -1))
    # From column 4.75 (pixel 5's left edge is 4.5, its samples are at 4.75 and 5.25).
    assert (cover[5:15, 6:15] == 1).all()
    assert set(np.unique(cover[5:15, 5])) <= {0.5, 1.0}
    cover[5:15, 5:15] = 0
    assert not cover.any()


def test_light_falls_on_what_faces_it():
    normals = np.float32([[0, 0, -1], [0, 0, 1], [0, -1, 0]])
    front, back, top = shade(normals, np.ones((3, 3), np.float32), (0, 0, -1))[:, 0]
    assert front > top > back > 0
