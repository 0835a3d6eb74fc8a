"""One function per figure: it takes records and returns the axes it drew on.

Records are mappings or dataclasses, of which other keys than those named are ignored; a DataFrame
of them; or the path of the JSON beside a published table. ``ax=`` says where to draw; a new figure
is made unless it is given. All are drawn in one style, ``plt.style.use("rankbound.rankbound")``.
Artists carry a ``gid``, for use in SVG and in tests.
"""

from rankbound.plots.approximation import cliff
from rankbound.plots.head_sizes import atlas_intervals, head_sizes_by_mask
from rankbound.plots.layers import (
    errors_by_heads,
    ranks_of_trained_heads,
    spectra_of_trained_heads,
    student_errors,
)
from rankbound.plots.reach import reach_by_length

__all__ = [
    "atlas_intervals",
    "cliff",
    "errors_by_heads",
    "head_sizes_by_mask",
    "ranks_of_trained_heads",
    "reach_by_length",
    "spectra_of_trained_heads",
    "student_errors",
]
