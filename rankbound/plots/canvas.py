"""Where a figure is drawn: the caller's axes, or new ones."""

from __future__ import annotations

from matplotlib.axes import Axes

from rankbound.errors import InputTypeError

__all__ = ["axes_or_new"]


def axes_or_new(axes: Axes | None, inches: tuple[float, float]) -> Axes:
    """Return these axes, or those of a new figure of this size."""
    if axes is None:
        import matplotlib.pyplot as plt  # chooses a backend, which given axes do not need

        _, axes = plt.subplots(figsize=inches, layout="constrained")
    if not isinstance(axes, Axes):
        raise InputTypeError(
            f"axes is of type {type(axes).__name__}; expected Axes. figure.subplots() returns them."
        )
    return axes
