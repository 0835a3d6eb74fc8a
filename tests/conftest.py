"""One BLAS thread and one Hypothesis profile, so that a run can be repeated."""

import os

from hypothesis import settings

for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")  # read when NumPy is first imported, by the tests

settings.register_profile(
    "rankbound", derandomize=True, deadline=None, print_blob=True, max_examples=50
)
settings.load_profile("rankbound")
