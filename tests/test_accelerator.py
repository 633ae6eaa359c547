"""Laws of packed data sets and of the script for machines with an accelerator."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from data.packed import read_packed, write_packed
from data.pipeline import open_samples
from experiments.benchmark import has_package
from experiments.pack_data import columns_of
from experiments.self_check import check_versions
from experiments.training import reported
from kinpose.stopping import Stopped
from tests.conftest import ROOT
from tests.human_stand_in import open_samples as stand_in

NAME = "rendered_people/few"
PLAIN = ("tensorflow_datasets", "PIL", "matplotlib", "tqdm", "tensorboardX", "array_record")


def pack(directory, enlarged=1):
    """Packs the stand-in's samples into a data directory; each pixel becomes several."""
    splits = {}
    for split in ("train", "test"):
        samples = stand_in("rendered_people/stand_in", split, data_dir="")
        index = np.arange(len(samples))
        images = samples.images(index).repeat(enlarged, axis=1).repeat(enlarged, axis=2)
        splits[split] = columns_of(samples, index), images
    write_packed(directory / f"{NAME}.npz", splits)
    return directory


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return pack(tmp_path_factory.mktemp("packed"))


def script(*arguments, **settings):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    environment |= {"PYTHON": sys.executable, **settings}
    command = ["bash", str(ROOT / "experiments" / "accelerator.sh"), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3600)


def test_a_packed_set_is_the_set(packed):
    for split in ("train", "test"):
        wanted = stand_in("rendered_people/stand_in", split, data_dir="")
        found = open_samples(NAME, split, data_dir=packed)
        assert found.size == wanted.size
        assert found.keys == wanted.keys
        np.testing.assert_array_equal(found.joints, wanted.joints)
        index = np.arange(len(wanted))[::-1]
        np.testing.assert_array_equal(found.images(index), wanted.images(index))


def test_other_splits_and_files_are_named(packed, tmp_path):
    with pytest.raises(ValueError, match=r"few\.npz has the splits test, train, but got 'dev'"):
        read_packed(packed / f"{NAME}.npz", "dev")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match=r"other\.npz has the splits none"):
        read_packed(tmp_path / "other.npz", "train")
    arrays = {"train.steps": np.zeros((2, 4, 4, 3), np.uint8), "train.joint": np.zeros(2)}
    np.savez(tmp_path / "foreign.npz", **arrays)
    with pytest.raises(ValueError, match=r"foreign\.npz has other columns than samples"):
        open_samples("foreign", "train", data_dir=tmp_path)


def test_experiments_and_packed_sets_need_no_package_beside_jax_and_flax(packed):
    code = f"""
import importlib, os, sys
sys.modules.update(dict.fromkeys({PLAIN}))
from data.pipeline import open_samples
print(len(open_samples({NAME!r}, "train", data_dir={str(packed)!r})), flush=True)
for name in ("human", "toy", "self_check", "benchmark"):
    if not os.fork():  # flags of two programs would clash
        importlib.import_module(f"experiments.{{name}}")
        print(name, flush=True)
        os._exit(0)
    os.wait()
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.split() == ["16", "human", "toy", "self_check", "benchmark"], run.stderr


def test_after_a_signal_there_is_a_report_of_what_is_finished(tmp_path, capsys):
    def stopped():
        with reported(lambda workdir: f"report of {workdir.name}", tmp_path):
            raise Stopped(3)

    with pytest.raises(Stopped):
        stopped()
    assert capsys.readouterr().out == ""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "scores.json").write_text("{}")
    with pytest.raises(Stopped):
        stopped()
    assert capsys.readouterr().out == f"report of {tmp_path.name}\n"


def test_versions_that_are_too_old_are_named(monkeypatch):
    assert check_versions()["jax"]
    monkeypatch.setattr("importlib.metadata.version", lambda name: "0.9.2rc1")
    with pytest.raises(ValueError, match=r"jax must be 0\.10 or later, but is 0\.9\.2rc1"):
        check_versions()


def test_the_script_says_how_it_is_used_and_keeps_to_its_time(tmp_path):
    done = script()
    assert done.returncode == 2
    assert "experiments/accelerator.sh OUT" in done.stderr
    assert "set -u" not in done.stderr
    done = script(tmp_path / "out", PARTS="human toy", HUMAN_S="0", TOY_S="0", COMMIT="abc")
    assert done.returncode == 0, done.stderr
    summary = (tmp_path / "out" / "summary.txt").read_text()
    assert "commit abc" in summary
    assert "human: no time left" in summary
    assert "toy: no time left" in summary
    done = script(tmp_path / "out", PARTS="all")
    assert done.returncode == 2
    assert "there is no part all" in done.stderr


@pytest.mark.slow
def test_all_parts_run_on_a_cpu_and_leave_what_they_promise(tmp_path):
    out, packed = tmp_path / "out", pack(tmp_path / "packed", enlarged=2)
    done = script(
        out,
        **dict.fromkeys(("KERNELS_S", "HUMAN_S", "TOY_S"), "3000"),
        SLOWER="10",
        BATCHES="4",
        POSES="8",
        TESTS="",
        DATASET=NAME,
        DATA_DIR=str(packed),
        HUMAN_FLAGS="--depth=18 --epochs=1 --batch_size=8 --methods=direct_joint,kinematic_joint",
        TOY_FLAGS="--num_params=3 --num_train=64 --num_test=8 --epochs=1 --batch_size=32",
    )
    summary = (out / "summary.txt").read_text()
    assert done.returncode == 0, summary + "".join(p.read_text() for p in out.glob("*.log"))
    assert not json.loads((out / "self_check.json").read_text())["wrong"]
    forward, peer, *_ = json.loads((out / "fk_4.json").read_text())["suites"]["fk"]
    assert forward["right"]
    assert forward["us per item"] > 0
    missing = not has_package("torch")
    assert peer["contender"] == "torch-compile" + " (not installed)" * missing
    (fit,) = json.loads((out / "fit_4.json").read_text())["suites"]["fit"]
    assert fit["under 1 mm"] == 1
    for run in ("human/direct_joint_0", "human/model_fit_0", "toy/3_fitted_joint_0"):
        assert (out / run / "scores.json").exists()
        assert (out / run / "predictions.npz").exists()
    assert (out / "human" / "kinematic_joint_0" / "metrics.jsonl").exists()
    assert (out / "human" / "table1.md").exists()
    assert not list(out.rglob("checkpoints"))
