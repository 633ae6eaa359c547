"""Damaged checkpoints and made-up files, for `experiments.torture`."""

import functools
import io
import json
import os
import pathlib
import resource
import shutil
import signal
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from data.human36m import archives, boxes, metadata, poses, video
from experiments import pictures, results
from experiments.human_sets import read_people
from kinpose.apps.compare import read_angles
from kinpose.checkpoint import Checkpoints
from kinpose.io.bvh import load_bvh
from kinpose.io.column_maps import load_columns
from kinpose.io.missing import mark_missing
from kinpose.io.points import Points, load_points
from kinpose.io.predictions import read_predictions
from kinpose.io.recordings import load_recording, save_recording
from kinpose.io.robots import load_mjcf, load_urdf, save_urdf
from kinpose.io.torch_files import read_torch_file
from kinpose.layouts import load_layout
from kinpose.models.pretrained import load_pretrained
from kinpose.skeletons import human_17, toy
from kinpose.workdir import claim_workdir, read_metrics

_MOST_S, _MOST_MEMORY = 10, 2**29
"""What a reader may take: seconds of a core; memory beyond four times the file."""


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
      name: of the file; what it begins with is shown.
      make: writes a whole one.
      read: reads it.
    """

    name: str
    make: Callable[[pathlib.Path], None]
    read: Callable[[pathlib.Path], object]


def corrupt(tries: int, seed: int, directory: pathlib.Path) -> Iterator:
    """A damaged checkpoint is never restored wrong, never deleted, and never ends a training."""
    rng, states = np.random.default_rng(seed), {step: _state(step) for step in (1, 2, 3)}
    for step, state in states.items():
        Checkpoints(directory / "whole", keep=3).save(step, state)
    failures = []
    for number in range(tries):
        copy = directory / str(number)
        shutil.copytree(directory / "whole", copy)
        hurt = sorted(rng.choice([1, 2, 3], size=rng.integers(1, 4), replace=False).tolist())
        for step in hurt:
            files = sorted(path for path in (copy / f"{step}").rglob("*") if path.is_file())
            path = files[rng.integers(len(files))]
            path.write_bytes(mutate(path.read_bytes(), rng))
        before = _contents(copy)
        checkpoints = Checkpoints(copy)
        try:
            step, found = checkpoints.restore(states[1])
        except ValueError:
            if len(hurt) < 3:
                failures.append(f"nothing is restored of steps {hurt}")
            continue
        same = jax.tree.map(lambda a, b: bool((a == b).all()), found, states[step])
        if not all(jax.tree.leaves(same)):
            failures.append("a wrong state is restored")
        checkpoints.save(4, states[1])
        kept = set(_contents(copy).values())
        lost = [name for name, data in before.items() if int(name[0]) > step and data not in kept]
        if lost:
            failures.append(f"{lost} is lost")
        shutil.rmtree(copy)
    yield (
        "a damaged checkpoint is passed over and kept; the newest whole one is restored",
        (tries),
        failures,
    )


def _contents(directory: pathlib.Path) -> dict[str, bytes]:
    found = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}


def fuzz(tries: int, seed: int, directory: pathlib.Path) -> Iterator:
    """A made-up file is read, or refused by one ValueError that names it, in time and memory."""
    for i, kind in enumerate(kinds()):
        rng = np.random.default_rng([seed, i])
        path = directory / kind.name
        kind.make(path)
        whole, failures = path.read_bytes(), []
        kind.read(path)
        for _ in range(tries):
            path.write_bytes(mutate(whole, rng))
            failure = try_to_read(kind.read, path)
            if failure:
                failures.append(failure)
        path.unlink()
        yield f"{kind.name}: read, or refused by name", tries, failures


class _TooLong(BaseException):
    """A reader has taken all its time."""


def try_to_read(read, path: pathlib.Path) -> str | None:
    """What fell short."""

    def end(signum, frame):
        raise _TooLong

    before = _spent()
    former = signal.signal(signal.SIGVTALRM, end)
    signal.setitimer(signal.ITIMER_VIRTUAL, _MOST_S)
    try:
        read(path)
    except ValueError as error:
        if path.name not in str(error):
            return f"a ValueError does not name the file: {str(error)[:80]}"
    except _TooLong:
        return f"takes more than {_MOST_S} s"
    except BaseException as error:
        return f"{type(error).__name__}: {str(error)[:80]}"
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, former)
    taken, seconds = np.subtract(_spent(), before)
    if taken > 4 * path.stat().st_size + _MOST_MEMORY:
        return f"takes {int(taken) >> 20} MB"
    if seconds > _MOST_S:
        return f"takes more than {_MOST_S} s"
    return None


def _spent() -> tuple[int, float]:
    """Most bytes at once and seconds of a core, of this process and of those it has started."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return 1024 * sum(x.ru_maxrss for x in used), sum(x.ru_utime + x.ru_stime for x in used)


_TOKENS = (
    *(b"nan", b"-inf", b"1e999", b"-1", b"0", b"99999999999999999999", b"1" * 5000, b"null"),
    *(b"[" * 3000, b'{"a":' * 3000, b'"', b"\n", b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b","),
    *(b"\xff" * 4, b"\xff" * 8, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00" * 8),
)


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """The bytes with one to four changes, never the same; what a zip holds is changed, too."""
    if data[:2] == b"PK" and rng.random() < 0.6:
        return _mutated_zip(data, rng)
    changed = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        place, other = (int(x) for x in rng.integers(0, max(1, len(changed)), 2))
        length = int(min(rng.geometric(0.1), 64))
        kind = rng.integers(6)
        if kind == 0 and changed:
            changed[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            changed[place : place + length] = rng.bytes(length)
        elif kind == 2:
            del changed[place:]
        elif kind == 3:
            del changed[place : place + length]
        elif kind == 4:
            changed[place:place] = changed[other : other + length]
        else:
            token = _TOKENS[rng.integers(len(_TOKENS))]
            changed[place : place + int(rng.integers(2)) * len(token)] = token
    return bytes(changed) if changed != data else mutate(data, rng)


def _mutated_zip(data: bytes, rng: np.random.Generator) -> bytes:
    """With checksums that are right."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        names = old.namelist()
        chosen = names[rng.integers(len(names))]
        for name in names:
            content = old.read(name)
            new.writestr(name, mutate(content, rng) if name == chosen else content)
    return out.getvalue()


def kinds() -> list[Kind]:
    """All kinds of files that are read."""
    return [
        Kind("points.npz", _make_points, _read_points),
        Kind("points.npy", lambda p: np.save(p, _draw((4, 3, 3))), _read_points),
        Kind("predictions.npz", _make_predictions, read_predictions),
        Kind("targets.npz", _make_targets, read_people),
        *(
            Kind(f"points.{kind}", _make_recording, load_recording)
            for kind in ("c3d", "trc", "csv")
        ),
        Kind("points.tsv", _make_qualisys, load_recording),
        Kind("people.json", _make_people, load_recording),
        Kind("columns.json", _make_columns, load_columns),
        Kind("angles.csv", _make_angles, read_angles),
        Kind("robot.urdf", _make_urdf, load_urdf),
        Kind("robot.xml", lambda p: p.write_text(_MJCF), load_mjcf),
        Kind("recording.bvh", _copy("data/motions/walk.bvh", 12_000), load_bvh),
        Kind("layout.json", _make_layout, load_layout),
        Kind("boxes.csv", _make_boxes, pictures.read_boxes),
        Kind("picture.png", _make_picture, _read_picture),
        Kind("picture.jpg", _make_picture, _read_picture),
        Kind("film.mp4", _make_film, _read_film),
        Kind("clip.mp4", _make_film, _read_clip),
        Kind("flags.json", _make_flags, _read_flags),
        Kind("scores.json", lambda p: p.write_text('{"a": [1, 2.5, null]}'), _read_scores),
        Kind("metrics.jsonl", _make_metrics, lambda path: read_metrics(path.parent)),
        Kind("zip.pth", functools.partial(_make_torch, "write_zip"), read_torch_file),
        Kind("old.pth", functools.partial(_make_torch, "write_old"), read_torch_file),
        Kind("weights.safetensors", _make_safetensors, _read_weights),
        Kind("weights.h5", _make_keras, _read_weights),
        Kind("poses.cdf", _make_cdf, poses.read_joints),
        Kind("masks.mat", _make_masks, lambda path: boxes.read_boxes(path, [0, 1])),
        Kind("metadata.xml", _make_metadata, metadata.read_metadata),
        Kind("archive.tgz", _make_archive, _read_archive),
        Kind("data_3d_h36m.npz", _make_positions, _read_positions),
    ]


def _state(seed: int):
    keys = jax.random.split(jax.random.key(seed))
    return {"a": jax.random.normal(keys[0], (20, 3)), "b": jnp.bfloat16(seed), "c": jnp.arange(9)}


def _draw(shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def _copy(name: str, size: int):
    text = pathlib.Path(__file__).parent.parent.joinpath(name).read_bytes()
    lines = text[:size].splitlines(keepends=True)[:-1]
    start = next(i for i, line in enumerate(lines) if line.startswith(b"Frame Time"))
    frames = len(lines) - start - 1
    head = [b"Frames: %d\n" % frames if line.startswith(b"Frames:") else line for line in lines]
    return lambda path: path.write_bytes(b"".join(head))


def _make_qualisys(path):
    head = "NO_OF_FRAMES\t5\nFREQUENCY\t50\nDATA_INCLUDED\t3D\nMARKER_NAMES\ta\tb\n"
    path.write_text(head + "".join(f"{t}\t1.5\t2\t\t\t{t}.25\n" for t in range(5)))


def _make_people(path):
    people = [{"person_id": [-1], "pose_keypoints_3d": _draw(12).tolist()} for _ in range(2)]
    for person in people:
        person["pose_keypoints_3d"][3::4] = [0.5, 0.9, 0.0]
    path.write_text(json.dumps({"version": 1.3, "people": people}))


def _make_columns(path):
    path.write_text('{"points": {"a": ["ax", "ay", "az"], "b": [3, 4, 5]}, "fps": 30, "unit": "m"}')


def _make_angles(path):
    path.write_text("time_s,knee_deg,hip_deg\n" + "".join(f"{t},1.5,{t}\n" for t in range(9)))


def _make_urdf(path):
    save_urdf(path, toy(6), scale=0.001)


_MJCF = """<mujoco model="arm">
  <compiler angle="degree"/>
  <default><joint damping="1"/></default>
  <worldbody>
    <body name="base" pos="0 0 1">
      <freejoint name="root"/>
      <geom type="sphere" size="0.1"/>
      <body name="upper" pos="0.3 0 0" euler="0 30 0">
        <joint name="shoulder" type="ball"/>
        <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.02"/>
        <body name="lower" pos="0.3 0 0">
          <joint name="elbow" axis="0 1 0" range="0 150"/>
          <joint name="wrist" type="slide" axis="1 0 0" pos="0.1 0 0"/>
          <geom type="box" size="0.1 0.02 0.02"/>
          <site name="hand" pos="0.2 0 0"/>
        </body>
      </body>
    </body>
  </worldbody>
  <equality><joint joint1="wrist" joint2="elbow" polycoef="0 0.1 0 0 0"/></equality>
</mujoco>
"""


def _make_points(path):
    confidence = np.ones((4, 3))
    np.savez(path, joints=_draw((4, 3, 3)), names=["a", "b", "c"], fps=30.0, confidence=confidence)


def _make_recording(path):
    save_recording(path, Points(_draw((9, 3, 3)), ("a", "b", "c"), 0.02, unit_mm=1.0))


def _read_points(path):
    mark_missing(load_points(path).positions)


def _make_predictions(path):
    np.savez(path, keys=["S9/a/1/0", "S9/a/1/1"], joints=_draw((2, 17, 3)), params=_draw((2, 24)))


def _make_targets(path):
    skeleton = human_17()
    angles = {name: _draw((2, 24)) for name in ("train", "test")}
    means = {"mean_joints": _draw((17, 3)), "mean_params": _draw(24), "unit_mm": 1.5, "size": 16}
    np.savez(path, offsets=skeleton.offsets, **angles, **means)


def _make_layout(path):
    path.write_text('{"head": "a", "neck": ["b", "c"], "order": ["a", "b", "c"]}')


def _make_boxes(path):
    path.write_text("image,left,top,right,bottom\na.png,1,2,30,40\nb.png,1.5,2,30,40\n")


def _make_picture(path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 20, 3), np.uint8)).save(path)


def _read_picture(path):
    return list(pictures.open_pictures([path]).images)


def _make_film(path):
    from tests.human36m_tree import write_video

    write_video(path, np.full((6, 2), 50.0), 0, 100)


def _read_film(path):
    return list(pictures.open_pictures([path]).images)


def _read_clip(path):
    return video.count_frames(path), list(video.read_frames(path, [0, 4]))


def _make_flags(path):
    path.write_text('{"a": 1, "b": [1.5, null, "x"]}\n')


def _read_flags(path):
    with claim_workdir(path.parent / "w", {"a": 1, "b": [1.5, None, "x"]}) as workdir:
        pass
    shutil.copy(path, workdir / path.name)
    try:
        with claim_workdir(workdir, {"a": 1, "b": [1.5, None, "x"]}):
            pass
    except ValueError as error:
        if "other settings" not in str(error):
            raise
    finally:
        shutil.rmtree(workdir)


def _read_scores(path):
    (path.parent / "run").mkdir(exist_ok=True)
    shutil.copy(path, path.parent / "run" / path.name)
    return results.read_scores(path.parent)


def _make_metrics(path):
    rows = [{"step": 3 * i, "loss": 0.5 / (i + 1), "rate": None} for i in range(5)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _make_torch(writer: str, path):
    from tests import torch_writer

    state = {f"layer{i}.weight": torch_writer.whole(_draw((3, 4))) for i in range(3)}
    getattr(torch_writer, writer)(path, {"epoch": 3, "state_dict": state})


def _make_safetensors(path):
    from safetensors.numpy import save_file

    save_file({"conv1.weight": _draw((4, 3, 3, 3)), "fc.bias": _draw(4)}, path)


def _make_keras(path):
    import h5py

    with h5py.File(path, "w") as file:
        file["model_weights/conv1_conv/conv1_conv/kernel:0"] = _draw((3, 3, 3, 4))
        file["model_weights/conv1_bn/conv1_bn/gamma:0"] = _draw(4)


def _read_weights(path):
    try:
        load_pretrained(path, {"params": {"conv1": {"kernel": np.zeros((3, 3, 3, 4))}}})
    except ValueError as error:
        if "does not fit" not in str(error):
            raise


def _make_cdf(path):
    from tests.human36m_tree import write_cdf

    write_cdf(path, _draw((5, 32, 3)))


def _make_masks(path):
    import h5py

    with h5py.File(path, "w") as file:
        cells = file.create_dataset("Masks", (2, 1), h5py.ref_dtype)
        for i in range(2):
            lit = np.zeros((12, 10), np.uint8)
            lit[2:9, 3:7] = 1
            file[f"#refs#/{i}"] = lit
            cells[i, 0] = file[f"#refs#/{i}"].ref


def _make_metadata(path):
    from tests.human36m_tree import metadata as text

    path.write_text(text(), encoding="utf-8")


def _make_archive(path):
    data = os.urandom(3000)
    with tarfile.open(path, "w:gz") as packed:
        for i in range(3):
            entry = tarfile.TarInfo(f"S1/Videos/Walking {i}.54138969.mp4")
            entry.size = len(data)
            packed.addfile(entry, io.BytesIO(data))


def _read_archive(path):
    try:
        archives.unpack_archive(path, "Videos", "S1", path.parent)
    finally:
        shutil.rmtree(path.parent / "S1", ignore_errors=True)


def _make_positions(path):
    positions = {"S1": {"Walking 1": _draw((3, 32, 3))}, "S5": {"Photo": _draw((2, 32, 3))}}
    np.savez_compressed(path, positions_3d=np.array(positions, object))


def _read_positions(path):
    try:
        archives.unpack_npz(path, "S1", path.parent)
    finally:
        shutil.rmtree(path.parent / "S1", ignore_errors=True)
