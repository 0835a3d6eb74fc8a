"""One function a figure: it takes records and returns the axes it drew on."""

from rankbound.plots.approximation import cliff
from rankbound.plots.atlas import atlas_intervals
from rankbound.plots.masks import head_sizes_by_mask
from rankbound.plots.separation import student_errors

__all__ = ["atlas_intervals", "cliff", "head_sizes_by_mask", "student_errors"]
