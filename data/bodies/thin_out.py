"""Meshes with fewer vertices: edges are collapsed onto one of their ends, the least visible first.

What is left is a part of the vertices, so that shapes, weights and colours of any number of
bodies are thinned out alike. How visible a collapse is, the quadrics say: the sum of squared
distances from the planes of all triangles that a vertex stands for (Garland and Heckbert, 1997).
"""

import heapq

import numpy as np

_LEAST_COSINE = 0.3  # between a triangle's normals before and after; no triangle turns over


def thin_out(
    vertices: np.ndarray, faces: np.ndarray, groups: np.ndarray, num: int
) -> tuple[np.ndarray, np.ndarray]:
    """Chooses the vertices that stay.

    Args:
      vertices: (V, 3) of one body.
      faces: (F, 3) triangles of a closed surface, or several.
      groups: (V,) a vertex is collapsed onto one of its own group alone.
      num: of vertices to be left; more where no other may go.

    Returns:
      (N,) indices of the vertices that stay, rising, and (G, 3) triangles of these N.
    """
    mesh = _Mesh(np.asarray(vertices, np.float64), faces)
    heap = [
        (mesh.cost(u, v), u, v, 0)
        for u in range(len(vertices))
        for v in mesh.neighbours(u)
        if groups[u] == groups[v]
    ]
    heapq.heapify(heap)
    age, left = np.zeros(len(vertices), int), len(vertices)
    while heap and left > num:
        _, u, v, time = heapq.heappop(heap)
        if time != max(age[u], age[v]) or not mesh.may_collapse(u, v):
            continue
        mesh.collapse(u, v)
        left -= 1
        now = age.max() + 1
        age[u] = age[v] = now
        for w in mesh.neighbours(v):
            if groups[w] == groups[v]:
                heapq.heappush(heap, (mesh.cost(v, w), v, w, now))
                heapq.heappush(heap, (mesh.cost(w, v), w, v, now))
    kept = np.array(sorted(u for u, around in enumerate(mesh.around) if around))
    alive = np.array(sorted(tuple(mesh.faces[f]) for f in set().union(*mesh.around)))
    return kept, np.searchsorted(kept, alive)


class _Mesh:
    """Triangles, those around each vertex, and the vertices' quadrics."""

    def __init__(self, vertices, faces):
        self.vertices, self.faces = vertices, np.array(faces, int)
        self.around = [set() for _ in vertices]
        for f, face in enumerate(self.faces):
            for u in face:
                self.around[u].add(f)
        a, b, c = (vertices[self.faces[:, i]] for i in range(3))
        normals = np.cross(b - a, c - a)
        areas = np.linalg.norm(normals, axis=1, keepdims=True)
        planes = np.concatenate([normals, -(normals * a).sum(axis=1, keepdims=True)], axis=1)
        weighted = (planes / areas)[:, :, None] * planes[:, None, :]  # by area
        self.quadrics = np.zeros((len(vertices), 4, 4))
        for i in range(3):
            np.add.at(self.quadrics, self.faces[:, i], weighted)

    def neighbours(self, u) -> set:
        return {int(w) for f in self.around[u] for w in self.faces[f]} - {u}

    def cost(self, u, v) -> float:
        """Of moving u to v; the second term evens out flat places."""
        place = np.append(self.vertices[v], 1)
        gap = self.vertices[u] - self.vertices[v]
        return float(place @ self.quadrics[u] @ place + 1e-3 * (gap @ gap) ** 2)

    def may_collapse(self, u, v) -> bool:
        shared = self.around[u] & self.around[v]
        if len(shared) != 2 or len(self.neighbours(u) & self.neighbours(v)) != 2:
            return False
        for f in self.around[u] - shared:
            before = self.vertices[self.faces[f]]
            after = np.where((self.faces[f] == u)[:, None], self.vertices[v], before)
            old, new = (np.cross(p[1] - p[0], p[2] - p[0]) for p in (before, after))
            if old @ new < _LEAST_COSINE * np.linalg.norm(old) * np.linalg.norm(new):
                return False
        return True

    def collapse(self, u, v) -> None:
        for f in self.around[u] & self.around[v]:
            for w in self.faces[f]:
                self.around[w].discard(f)
        for f in self.around[u]:
            self.faces[f][self.faces[f] == u] = v
        self.around[v] |= self.around[u]
        self.around[u] = set()
        self.quadrics[v] += self.quadrics[u]
