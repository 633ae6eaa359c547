"""Programs that are killed, interrupted, or run out of disk or of company, for `torture`.

All of them train a small network; after whatever was done to them the same command must come to
the same end as a run that was left in peace.
"""

import contextlib
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np
import orbax.checkpoint as ocp

_ROOT = pathlib.Path(__file__).parent.parent
_TOY = (
    *("experiments.toy", "--num_train=96", "--num_test=8", "--batch_size=32", "--epochs=12"),
    *("--methods=direct_joint", "--num_params=3"),
)
_INTERVAL = 6
"""Steps between two checkpoints of `_TOY`: of two epochs."""

_HUMAN = (
    *("tests.human_stand_in", "human", "--dataset=human36m/stand_in", "--epochs=30"),
    *("--batch_size=8", "--methods=direct_joint"),
)
_ENDS_S = 60
"""How soon a process ends that has lost the other."""
_WAITS_S = 600
_LOG = r"[IW]\d{4} \d\d:"
_LOG_OF_A_LOSS = r"[IWEF]\d{4} \d\d:|Additional GRPC|:UNKNOWN:"
"""JAX's own, which notices the loss of the first process as soon as we do."""


def kill(tries: int, seed: int, directory: pathlib.Path) -> Iterator:
    """Kill -9 at any time: what was saved stays, and the end is the same."""
    rng = np.random.default_rng(seed)
    end, length = _left_in_peace(directory)
    workdir, lost, broken = directory / "killed", [], []
    for _ in range(tries):
        before = _newest(workdir)
        process = _start(_TOY, workdir)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=rng.uniform(0.3, length))
        process.kill()
        process.communicate()
        rows = [row["step"] for row in _rows(workdir)]
        if max([0, *rows]) - _newest(workdir) > _INTERVAL or _newest(workdir) < before:
            lost.append(f"step {_newest(workdir)} after rows to {max(rows)} and step {before}")
        if (workdir / "3_direct_joint_0" / "scores.json").exists():
            broken += _differences(workdir, end, lambda: None)
            shutil.rmtree(workdir)
    yield "kill -9 loses no more than the steps since the last checkpoint", tries, lost
    broken += _differences(workdir, end, lambda: _finish(_TOY, workdir))
    yield "killed and resumed, a run comes to the same bytes", tries, broken
    second = []
    for _ in range(max(1, tries // 10)):
        shutil.rmtree(workdir, ignore_errors=True)
        first = _start(_TOY, workdir)
        while first.poll() is None and not (workdir / "flags.json").exists():
            time.sleep(0.01)
        status, said, _ = _finish(_TOY, workdir)
        if status != 1 or f"in use by process {first.pid} on" not in said or _not_one_line(said):
            second.append(f"status {status}: {said[-200:]}")
        first.communicate()
        second += _differences(workdir, end, lambda: None)
    yield "a second run on a workdir is refused by name", max(1, tries // 10), second


def signals(tries: int, seed: int, directory: pathlib.Path) -> Iterator:
    """Ctrl-C and SIGTERM at any time: one line, the status that shells expect, the same end."""
    rng = np.random.default_rng(seed)
    end, length = _left_in_peace(directory)
    for signum in (signal.SIGINT, signal.SIGTERM):
        workdir, failures = directory / signum.name, []
        for _ in range(tries):
            failures += _interrupt(_TOY, workdir, signum, rng.uniform(0.3, length))
        failures += _differences(workdir, end, lambda w=workdir: _finish(_TOY, w))
        yield f"{signum.name} ends a training in one line, and it goes on", tries, failures
    out, failures = directory / "fit", []
    fit = ("kinpose", "fit", "data/motions/walk.bvh")
    for _ in range(tries):
        process_output = (*fit, f"--output_dir={out}")
        failures += _interrupt(process_output, None, signal.SIGINT, rng.uniform(0.3, 2 * length))
        if out.exists():
            if not (out / "report.json").exists():
                failures.append(f"half a result: {sorted(p.name for p in out.iterdir())}")
            shutil.rmtree(out)
        if half := [path.name for path in directory.glob(".*")]:
            failures.append(f"{half} is left")
    yield "Ctrl-C ends kinpose fit in one line and leaves nothing half done", tries, failures


def disks(tries: int, seed: int, directory: pathlib.Path) -> Iterator:
    """A full disk: one line that names what could not be written; with room it goes on."""
    end, _ = _left_in_peace(directory)
    rng, sizes = np.random.default_rng(seed), (1, 4, 8, 20)
    how = "tmpfs" if _mount(directory, 1) and _unmount(directory) else "RLIMIT_FSIZE"
    for size in sizes:
        failures, full = [], 0
        for number in range(tries):
            place = directory / f"{size}-{number}"
            place.mkdir()
            workdir, room = place / "w", int(rng.uniform(0.02, 1) * size * 2**20)
            with contextlib.ExitStack() as stack:
                if how == "tmpfs" and _mount(place, room / 2**20):
                    stack.callback(_unmount, place)
                limit = room if how == "RLIMIT_FSIZE" else None
                status, said, _ = _finish(_TOY, workdir, limit)
                named = re.search(rf"error: .*(No space left|File too large).*{place}", said)
                if status not in (0, 1) or (status and (not named or _not_one_line(said))):
                    failures.append(f"status {status}: {said[-300:]}")
                full += status != 0
                if how == "tmpfs":
                    _mount(place, 500, "remount,")
                failures += _differences(workdir, end, lambda w=workdir: _finish(_TOY, w))
        yield f"{how} of up to {size} MB, full in {full}: one line, and it goes on", tries, failures


def hosts(tries: int, seed: int, directory: pathlib.Path) -> Iterator:
    """Two processes: where one is lost the other ends, and both go on."""
    rng = np.random.default_rng(seed)
    both, seconds = [], time.monotonic()
    _join(_pair(directory / "peace"))
    length, end = time.monotonic() - seconds, _human_end(directory / "peace")
    for victim in (0, 1):
        workdir, failures = directory / f"lost{victim}", []
        for _ in range(tries):
            both = _pair(workdir)
            with contextlib.suppress(subprocess.TimeoutExpired):
                both[victim].communicate(timeout=rng.uniform(0.3, 1) * length)
            if both[victim].poll() is None:
                both[victim].kill()
                failures += _ends_alone(both[1 - victim])
            _join(both)
            if (workdir / "direct_joint_0" / "scores.json").exists():
                shutil.rmtree(workdir)
        _join(_pair(workdir))
        if _human_end(workdir) != end:
            failures.append("another end")
        name = ("first", "second")[victim]
        yield f"the {name} of two processes is lost: one line, status 1", tries, failures
    late, failures = directory / "late", []
    both = _pair(late, late_s=54.0)
    statuses = _join(both)
    if statuses != [0, 0] or _human_end(late) != end:
        failures.append(f"statuses {statuses}")
    yield "one begins 54 s late", 1, failures


def _left_in_peace(directory: pathlib.Path):
    """What a run comes to, and how long it takes."""
    _finish(_TOY, directory / "first")  # compiles
    status, said, seconds = _finish(_TOY, directory / "peace")
    if status:
        raise ValueError(f"a run that is left in peace fails: {said}")
    return _end(directory / "peace"), seconds


def _start(command, workdir, limit: int | None = None) -> subprocess.Popen:
    name, *options = command
    where = [] if workdir is None else [f"--workdir={workdir}"]
    process = subprocess.Popen(
        [sys.executable, "-m", name, *options, *where],
        cwd=_ROOT,
        env={key: x for key, x in os.environ.items() if key != "XLA_FLAGS"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=None if limit is None else lambda: _limit(limit),
    )
    _started.append(process)
    return process


_started: list[subprocess.Popen] = []


def end_all():
    """Ends programs that an interrupted suite has left."""
    while _started:
        process = _started.pop()
        if process.poll() is None:
            process.kill()
            process.communicate()


def _limit(size: int):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def _finish(command, workdir, limit: int | None = None) -> tuple[int, str, float]:
    """Status, what was said on stderr, and seconds."""
    start = time.monotonic()
    process = _start(command, workdir, limit)
    _, said = process.communicate(timeout=_WAITS_S)
    return process.returncode, said, time.monotonic() - start


def _interrupt(command, workdir, signum: int, after_s: float) -> list[str]:
    process = _start(command, workdir)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=after_s)
    if process.poll() is not None:
        return [] if process.returncode == 0 else [f"status {process.returncode}"]
    os.killpg(process.pid, signum)
    _, said = process.communicate(timeout=_WAITS_S)
    # While it imports, SIGTERM ends a program as it ends any.
    silent = signum == signal.SIGTERM and process.returncode == -signum and not said
    if process.returncode == 0 or silent:
        return []  # done before it came, or not begun
    if process.returncode != 128 + signum or _not_one_line(said, signum.name):
        return [f"status {process.returncode}: {said[-300:]}"]
    return []


def _not_one_line(said: str, sign: str = "error: ", log: str = _LOG) -> bool:
    """Whether there is anything but the log and one line."""
    lines = [line for line in said.splitlines() if not re.match(log, line)]
    return len(lines) != 1 or sign not in lines[0]


def _rows(workdir: pathlib.Path) -> list[dict]:
    path = workdir / "3_direct_joint_0" / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def _newest(workdir: pathlib.Path) -> int:
    steps = workdir.glob("3_direct_joint_0/checkpoints/[0-9]*/checksums.json")
    return max([0, *(int(path.parent.name) for path in steps)])


def _end(workdir: pathlib.Path) -> dict:
    """Bytes of what a run leaves, but for times."""
    network = workdir / "3_direct_joint_0"
    rows = [{key: x for key, x in row.items() if key != "images_per_s"} for row in _rows(workdir)]
    with np.load(network / "predictions.npz") as arrays:
        found = {name: arrays[name].tobytes() for name in arrays.files}
    checkpoint = ocp.PyTreeCheckpointer().restore(network / "checkpoints" / "36" / "leaves")
    return {
        "metrics": rows,
        "scores": (network / "scores.json").read_bytes(),
        "results": (workdir / "results.json").read_bytes(),
        "checkpoint": {name: leaf.tobytes() for name, leaf in checkpoint.items()},
        "names": sorted(path.name for path in workdir.rglob("*") if "leaves" not in path.parts),
        **found,
    }


def _differences(workdir: pathlib.Path, end: dict, finish) -> list[str]:
    done = finish()
    if done is not None and done[0]:
        return [f"status {done[0]}: {done[1][-300:]}"]
    if not (workdir / "results.json").exists():
        return []  # killed while it drew
    found = _end(workdir)
    return [f"other {name}" for name in end if found[name] != end[name]]


def _mount(place: pathlib.Path, size: float, options: str = "") -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"{options}size={int(size * 1024)}k", "tmpfs", place]
    with contextlib.suppress(OSError):
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    return False


def _unmount(place: pathlib.Path) -> bool:
    return subprocess.run(["umount", "--lazy", place], check=False).returncode == 0


def _pair(workdir: pathlib.Path, late_s: float = 0.0) -> list[subprocess.Popen]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    both = []
    for index in range(2):
        time.sleep(index * late_s)
        both.append(_start((*_HUMAN, f"--distributed=127.0.0.1:{port},2,{index}"), workdir))
    return both


def _join(both) -> list[int]:
    for process in both:
        process.communicate(timeout=_WAITS_S)
    return [process.returncode for process in both]


def _ends_alone(process: subprocess.Popen) -> list[str]:
    start = time.monotonic()
    try:
        _, said = process.communicate(timeout=_ENDS_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return [f"runs {_ENDS_S} s later"]
    if process.returncode != 1 or _not_one_line(said, log=_LOG_OF_A_LOSS):
        late = time.monotonic() - start
        return [f"status {process.returncode} after {late:.0f} s: {said[-300:]}"]
    return []


def _human_end(workdir: pathlib.Path) -> dict:
    network = workdir / "direct_joint_0"
    rows = (network / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(row) for row in rows]
    scores = (network / "scores.json").read_bytes()
    return {"rows": [row | {"images_per_s": 0} for row in rows], "scores": scores}
