"""Model fitting: the motion parameters whose joints come closest to given points.

`fit` is the gate and says what a fit is; Levenberg-Marquardt is in `_levenberg_marquardt`, its
step as matrices in `_dense` and in the sparsity of the tree in `_sparse`.
"""

from kinpose.fitting._levenberg_marquardt import MAX_ITERATIONS
from kinpose.fitting._problem import units
from kinpose.fitting._start import align_params
from kinpose.fitting.fit import STATUS, Fit, fit_params

__all__ = ["MAX_ITERATIONS", "STATUS", "Fit", "align_params", "fit_params", "units"]
