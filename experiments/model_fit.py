"""Joint angles out of a recording: `kinpose fit`, from a checkout.

python -m experiments.model_fit --input=data/motions/walk.bvh --output_dir=runs/walk
"""

from kinpose.apps.fit import main
from kinpose.apps.program import run_program

if __name__ == "__main__":
    run_program(main)
