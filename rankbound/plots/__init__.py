"""One function a figure: it takes records and returns the axes it drew on."""

from rankbound.plots.approximation import cliff

__all__ = ["cliff"]
