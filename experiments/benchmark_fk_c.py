"""Forward kinematics as a C program written for one skeleton: the limit of one thread.

Straight-line code over vectors of 16 poses in which no known zero is multiplied. The gradient
is the sum over a subtree of forces (residuals) and torques. Sine and cosine are polynomials
good for angles of some turns; this is a limit to compare with, not a library.
"""

import ctypes
import pathlib
import subprocess
import tempfile

import numpy as np
from numpy.polynomial import Chebyshev, Polynomial

from experiments.peers import MotionTree, motion_tree

COMPILER = "cc"
_FLAGS = ("-O3", "-march=native", "-ffast-math", "-shared", "-fPIC", "-w")

_PROGRAM = """
enum {{ LANES = 16, PARAMS = {params}, POINTS = {points}, RESULTS = {results} }};
typedef float V __attribute__((vector_size(4 * LANES)));
typedef int I __attribute__((vector_size(4 * LANES)));

static inline void sine_and_cosine(V angle, V *sine, V *cosine) {{
  I quarter = __builtin_convertvector(angle * {quarters_per_rad}f + 1024.5f, I) - 1024;
  V x = angle - __builtin_convertvector(quarter, V) * {quarter_turn}f, z = x * x;
  I s = (I)(x * ({sine})), c = (I)({cosine}), swap = -(quarter & 1);
  *sine = (V)(((s & ~swap) | (c & swap)) ^ ((quarter & 2) << 30));
  *cosine = (V)(((c & ~swap) | (s & swap)) ^ (((quarter + 1) & 2) << 30));
}}

static inline void load(float (*to)[LANES], const float *from, long count, long poses) {{
  for (long k = 0; k < count; k++)
    for (long i = 0; i < LANES; i++) to[k][i] = from[(i < poses ? i : 0) * count + k];
}}

void run(const float *params, const float *targets, long batch, float *results, double *value) {{
  double total = 0;
  for (long start = 0; start < batch; start += LANES) {{
    long poses = batch - start < LANES ? batch - start : LANES;
    V p[PARAMS], t[POINTS], r[RESULTS], cost = (V){{0}};
    load((void *)p, params + start * PARAMS, PARAMS, poses);
    if (targets) load((void *)t, targets + start * POINTS, POINTS, poses);
    {body}
    for (long i = 0; i < poses; i++) {{
      total += cost[i];
      for (long k = 0; k < RESULTS; k++) results[(start + i) * RESULTS + k] = r[k][i];
    }}
  }}
  *value = 0.5 * total;
}}
"""


class Source:
    """Statements written so far. A number is a float, or the C name of a vector."""

    def __init__(self):
        self.lines = []

    def name(self, expression: str) -> str:
        """A new vector of this value."""
        self.lines.append(f"V v{len(self.lines)} = {expression};")
        return f"v{len(self.lines) - 1}"

    def dot(self, *pairs):
        """The sum of the products of pairs of numbers, as far as it is not known already."""
        constant, terms = 0.0, []
        for a, b in pairs:
            a, b = (b, a) if isinstance(b, float) else (a, b)
            if not isinstance(a, float):
                terms.append(f"{a} * {b}")
            elif isinstance(b, float):
                constant += a * b
            elif a:
                terms.append({1.0: b, -1.0: f"-{b}"}.get(a, f"{a!r}f * {b}"))
        if not terms:
            return constant
        if constant:
            terms.append(f"{constant!r}f")
        known = len(terms) == 1 and terms[0].isidentifier()
        return terms[0] if known else self.name(" + ".join(terms))

    def add(self, x, y):
        """The sum of two vectors."""
        return [self.dot((1.0, a), (1.0, b)) for a, b in zip(x, y, strict=True)]

    def cross(self, x, y):
        """The product x times y of two vectors of 3."""
        (a, b, c), (d, e, f) = x, y
        minus = [self.dot((-1.0, value)) for value in (a, b, c)]
        return [
            self.dot((b, f), (minus[2], e)),
            self.dot((c, d), (minus[0], f)),
            self.dot((a, e), (minus[1], d)),
        ]

    def apply(self, rows, vector):
        """A matrix times a vector."""
        return [self.dot(*zip(row, vector, strict=True)) for row in rows]

    def sine_and_cosine(self, angle):
        """Two numbers."""
        sine, cosine = self.name("{0}"), self.name("{0}")
        self.lines.append(f"sine_and_cosine({angle}, &{sine}, &{cosine});")
        return sine, cosine

    def rotation(self, axis, sine, cosine):
        """The matrix cos I + (1 - cos) axis axis^T + sin [axis]_x."""
        x, y, z = axis
        turned = ((0.0, -z, y), (z, 0.0, -x), (-y, x, 0.0))
        return [
            [
                self.dot((cosine, (i == j) - a * b), (1.0, a * b), (sine, turned[i][j]))
                for j, b in enumerate(axis)
            ]
            for i, a in enumerate(axis)
        ]


def write_forward(source: Source, tree: MotionTree):
    """Writes the frames after every motion.

    Returns:
      axes: of the motions in the world.
      pivots: origins of the frames, M + 1 with the world's last, where `WORLD` finds it.
      points: the keypoints.
    """
    count = len(tree.motions)
    frames, axes, pivots = [None] * count + [np.eye(3).tolist()], [], [None] * count + [[0.0] * 3]
    for m, motion in enumerate(tree.motions):
        frame, parent = frames[tree.parents[m]], tree.parents[m]
        pivot = source.add(pivots[parent], source.apply(frame, tree.offsets[m].tolist()))
        read = float(tree.scales[m]), f"p[{tree.dofs[m]}]"
        amount = source.dot(read, (1.0, float(tree.biases[m])))
        axes.append(source.apply(frame, motion.axis))
        if motion.kind == "r":
            turn = source.rotation(motion.axis, *source.sine_and_cosine(amount))
            frame = [source.apply(zip(*turn, strict=True), row) for row in frame]
        else:
            pivot = source.add(pivot, [source.dot((amount, a)) for a in axes[-1]])
        frames[m], pivots[m] = frame, pivot
    points = [
        source.add(pivots[carrier], source.apply(frames[carrier], place))
        for carrier, place in zip(tree.carriers, tree.places.tolist(), strict=True)
    ]
    return axes, pivots, points


def write_gradient(source: Source, tree: MotionTree, axes, pivots, points, ndim: int):
    """Writes the cost and returns its derivative by the parameters, D numbers."""
    forces, torques = ([[0.0] * 3 for _ in pivots] for _ in range(2))
    for k, (point, carrier) in enumerate(zip(points, tree.carriers, strict=True)):
        miss = [
            source.dot((1.0, x), (-1.0, f"t[{ndim * k + i}]")) for i, x in enumerate(point[:ndim])
        ]
        source.lines.append(f"cost += {' + '.join(f'{x} * {x}' for x in miss)};")
        miss += [0.0] * (3 - ndim)
        forces[carrier] = source.add(forces[carrier], miss)
        torques[carrier] = source.add(torques[carrier], source.cross(point, miss))
    slopes = [0.0] * len(axes)
    for m in reversed(range(len(axes))):
        pull, turns = forces[m], tree.motions[m].kind == "r"
        if turns:
            pull = source.add(torques[m], source.cross(forces[m], pivots[m]))
        slopes[m] = source.dot(*zip(axes[m], pull, strict=True))
        parent = tree.parents[m]
        forces[parent] = source.add(forces[parent], forces[m])
        torques[parent] = source.add(torques[parent], torques[m])
    return [source.dot(*zip(column, slopes, strict=True)) for column in tree.matrix.T.tolist()]


def write_program(skeleton, gradient: bool) -> str:
    """The C source that computes positions, or value and gradient."""
    source, tree, n = Source(), motion_tree(skeleton), skeleton.ndim
    axes, pivots, points = write_forward(source, tree)
    results = [x for point in points for x in point[:n]]
    if gradient:
        results = write_gradient(source, tree, axes, pivots, points, n)
    stores = [
        f"r[{k}] = (V){{0}} + {x}{'f' * isinstance(x, float)};" for k, x in enumerate(results)
    ]
    return _PROGRAM.format(
        params=skeleton.num_dofs,
        points=skeleton.num_keypoints * n,
        results=len(results),
        quarters_per_rad=2 / np.pi,
        quarter_turn=np.pi / 2,
        sine=horner(lambda z: np.sinc(np.sqrt(z) / np.pi)),
        cosine=horner(lambda z: np.cos(np.sqrt(z))),
        body="\n    ".join(source.lines + stores),
    )


def horner(function) -> str:
    """A polynomial of z, the square of an angle of at most an eighth of a turn."""
    fitted = Chebyshev.interpolate(function, 4, domain=(0, (np.pi / 4) ** 2))
    first, *others = reversed(fitted.convert(kind=Polynomial).coef.tolist())
    text = f"{first!r}f"
    for coefficient in others:
        text = f"({text} * z + {coefficient!r}f)"
    return text


def compile_program(text: str):
    """The function `run` of the program, loaded."""
    with tempfile.TemporaryDirectory() as folder:
        source, library = pathlib.Path(folder, "fk.c"), pathlib.Path(folder, "fk.so")
        source.write_text(text)
        subprocess.run([COMPILER, *_FLAGS, "-o", library, source], check=True)
        run = ctypes.CDLL(str(library)).run
    run.argtypes = [*[ctypes.c_void_p] * 2, ctypes.c_long, *[ctypes.c_void_p] * 2]
    run.restype = None
    return run


def build(work):
    """Forward, or value and gradient; the result is overwritten by the next call."""
    gradient = work.measure != "forward"
    program = compile_program(write_program(work.skeleton, gradient))
    params, targets = np.ascontiguousarray(work.params), np.ascontiguousarray(work.targets)
    results = np.empty_like(params if gradient else targets)
    value = np.empty(1)
    target = targets.ctypes.data if gradient else None
    arguments = (params.ctypes.data, target, len(params), results.ctypes.data, value.ctypes.data)

    def run():
        program(*arguments)
        return (value[0], results) if gradient else results

    run.inputs = params, targets  # the program holds addresses only
    return run
