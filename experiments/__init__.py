"""Experiments: absl binaries, run from a checkout as `python -m experiments.NAME`."""
