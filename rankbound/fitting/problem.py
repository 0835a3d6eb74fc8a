"""What is fitted: the target, the row space of the tokens, and where to start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rankbound._validate import Array
from rankbound.attention.head import AttentionHead
from rankbound.attention.masks import Mask
from rankbound.attention.softmax import log_column_softmax
from rankbound.context import read_context
from rankbound.errors import InputError
from rankbound.theory.softmax_gauge import Logs, centre
from rankbound.theory.theorem_a import head_from_factors
from rankbound.theory.theorem_c import complete
from rankbound.tokens import RowSpace, read_tokens


@dataclass(frozen=True, eq=False)
class Problem:
    """A context matrix to fit, on tokens and under a mask.

    Attributes
    ----------
    P : ndarray, shape (n, n)
        The target; columns sum to 1.
    mask : ndarray of bool, shape (n, n), or None
        [key, query], True = visible.
    X : ndarray, shape (d, n), or None
        The tokens; None means the identity.
    space : RowSpace or None
        The row space of the tokens.
    """

    P: Array
    mask: Mask | None
    X: Array | None
    space: RowSpace | None

    @property
    def basis(self) -> Array | None:
        """Orthonormal rows (r, n) that span the row space; None means the identity."""
        return None if self.space is None else self.space.basis

    @property
    def rank(self) -> int:
        """The dimension r in which the factors live."""
        return len(self.P) if self.basis is None else len(self.basis)

    def lift(self, factors: Array) -> AttentionHead:
        """The head with these factors (2, k, r) of its logits."""
        left, right = factors if self.basis is None else factors @ self.basis
        return head_from_factors(left, right, factors.shape[1], self.space)

    def random_start(self, k: int, rng: np.random.Generator) -> Array:
        """Gaussian factors whose logits have entries of variance 1."""
        start: Array = rng.standard_normal((2, k, self.rank)) / np.sqrt(np.sqrt(k))
        return start

    def spectral_start(self, k: int) -> Array:
        """The truncated singular value decomposition of the logits, in the basis."""
        D = _start_logits(self.P, self.mask)
        return truncated(D if self.basis is None else self.basis @ D @ self.basis.T, k)

    def context(self, head: AttentionHead) -> tuple[Array, Array]:
        """Log Q and Q of a head on the tokens, both 0 where the mask hides."""
        log_Q = log_column_softmax(head.logits(self.X), self.mask)
        Q = np.exp(log_Q)
        return (log_Q if self.mask is None else np.where(self.mask, log_Q, 0.0)), Q


def read_problem(
    P: Any,
    *,
    X: Any = None,
    mask: Any = None,
    logits: Any = None,
    stored: Any = None,
    rows: bool = False,
) -> Problem:
    """Check what a fit is given, and read it."""
    context = read_context(P, logits=logits, mask=mask, stored=stored, rows=rows, zeros=True)
    target = context.P / context.P.sum(axis=0)
    if X is None:
        return Problem(target, context.mask, None, None)
    tokens = read_tokens(X, context.n)
    if tokens.numerical.rank == 0:
        raise InputError("X is zero; expected tokens that are not: every head is uniform on them.")
    return Problem(target, context.mask, tokens.matrix, tokens.numerical)


def truncated(D: Array, k: int) -> Array:
    """Factors (2, k, r) of the truncated singular value decomposition of D, padded with zeros."""
    U, values, Vt = np.linalg.svd(D)
    root = np.sqrt(values[:k, None])
    factors = np.zeros((2, k, len(D)))
    factors[:, : len(root)] = root * U.T[:k], root * Vt[:k]
    return factors


def _start_logits(P: Array, mask: Mask | None) -> Array:
    """``C log P`` with a floor, which is all a start needs; completed where a mask is nested."""
    log_P = np.log(np.maximum(P, 1e-12))
    if mask is None:
        return centre(log_P)
    logs = Logs(np.where(mask, log_P, 0.0), np.zeros_like(log_P), np.zeros((1, 1), np.int32), mask)
    completed = complete(logs)
    if completed is not None:
        return np.asarray(np.ldexp(completed.scaled, completed.exponent), np.float64)
    means = (log_P * mask).sum(axis=0) / mask.sum(axis=0)
    return np.where(mask, log_P - means, 0.0)
