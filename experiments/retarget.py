"""A recording for another skeleton: `kinpose retarget`, from a checkout.

python -m experiments.retarget data/motions/walk.bvh other.bvh runs/walk_of_other.bvh
"""

from kinpose.apps import retarget
from kinpose.apps.main import run_verb

if __name__ == "__main__":
    run_verb(retarget)
