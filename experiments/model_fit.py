"""Joint angles out of a recording: `kinpose fit`, from a checkout.

python -m experiments.model_fit --input=data/motions/walk.bvh --output_dir=runs/walk
"""

from kinpose.apps import fit
from kinpose.apps.main import run_verb

if __name__ == "__main__":
    run_verb(fit)
