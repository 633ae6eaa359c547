"""One reader under a coverage-guided fuzzer: pip install atheris, for some half an hour.

  python -m experiments.torture_guided recording.bvh 1800

Files are those of `experiments.torture --suite=fuzz`; ends with what falls short, or with
libFuzzer's counts.
"""

import pathlib
import sys
import tempfile

import atheris
from absl import logging

with atheris.instrument_imports(include=["kinpose.io", "kinpose.layouts", "data", "cdflib"]):
    from experiments import torture_files


def main(name: str, seconds: str):
    """Fuzzes the reader of a kind of file."""
    logging.set_verbosity(logging.ERROR)
    directory = pathlib.Path(tempfile.mkdtemp())
    (kind,) = (kind for kind in torture_files.kinds() if kind.name == name)
    path = directory / kind.name
    corpus = directory / "corpus"
    corpus.mkdir()
    kind.make(path)
    (corpus / "whole").write_bytes(path.read_bytes())

    def try_one(data: bytes):
        path.write_bytes(data)
        failure = torture_files.try_to_read(kind.read, path)
        if failure:
            raise RuntimeError(failure)

    options = [f"-max_total_time={seconds}", "-print_final_stats=1", "-max_len=65536"]
    options.append(f"-artifact_prefix={directory}/")  # what falls short, not into a checkout
    atheris.Setup([sys.argv[0], *options, str(corpus)], try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
