"""What a theorem answers: the least head size, and logits of that rank."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array

__all__ = ["Reach"]


@dataclass(frozen=True, eq=False)
class Reach:
    """The least head size of a context, and logits that show it.

    Attributes
    ----------
    least : int or math.inf
        The least head size; infinite when no head of any size has the context.
    scaled : ndarray, shape (n, n)
        Logits of rank `least` whose softmax is the context, divided by ``2**exponent``.
    exponent : int or ndarray of shape (1, 1)
        The exponent.
    tolerance : float
        By how much rounding may have moved the logits, in any entry.
    reason : str
        Where no head has the context: which condition failed, by how much, for which query.
    """

    least: float
    scaled: Array
    exponent: npt.NDArray[np.int32] | int = 0
    tolerance: float = 0.0
    reason: str = ""

    def factors(self, rank: int) -> tuple[Array, Array]:
        """A, B of shape (rank, n), of equal weight, with ``A^T B`` the logits truncated to rank."""
        U, values, Vt = np.linalg.svd(self.scaled)
        root = np.sqrt(values[:rank, None])
        half = np.asarray(self.exponent) // 2
        rest = np.asarray(self.exponent) - half
        return np.ldexp(root * U.T[:rank], half), np.ldexp(root * Vt[:rank], rest)
