"""Spectra of heads from their queries and keys, and what is read off them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rankbound._validate import Array
from rankbound.exact.rounding import FLOAT64_EPS
from rankbound.ranks.spectrum import effective_rank_of_values, spectrum_of_factors

__all__ = [
    "Spectra",
    "capped",
    "effective_rank_of",
    "least_size_within",
    "spectra",
    "stable_rank_of",
    "tails",
    "threshold",
]


@dataclass(frozen=True, eq=False)
class Spectra:
    """Singular values of a head's logits, as they are and centred.

    Attributes
    ----------
    logits : ndarray, shape (r,)
        Of L; r is ``min(head_size, n)``, or n where the logits are capped.
    centred : ndarray, shape (r,)
        Of ``C L``, which is ``C log P`` where nothing is masked. Under a mask the logits of hidden
        pairs count too: they are what the head computes, and one completion of what is visible.
    threshold : float
        By how much rounding may move either, see :func:`threshold`.
    """

    logits: Array
    centred: Array
    threshold: float

    @property
    def logit_rank(self) -> int:
        """Number of singular values of L above the threshold."""
        return int(np.count_nonzero(self.logits > self.threshold))

    @property
    def centred_rank(self) -> int:
        """Number of singular values of ``C L`` above the threshold: the log-rank if unmasked."""
        return int(np.count_nonzero(self.centred > self.threshold))


def spectra(
    queries: Array, keys: Array, scale: float, softcap: float | None, unit: float
) -> Spectra:
    """Spectra of one head, queries and keys (k, n): O(n k²), or O(n³) where logits are capped."""
    size = threshold(queries, keys, scale, unit)
    if softcap is None:
        return Spectra(
            spectrum_of_factors(keys, queries, scale, centred=False),
            spectrum_of_factors(keys, queries, scale, centred=True),
            size,
        )
    L = capped(scale * (keys.T @ queries), softcap)
    values, centred = (
        np.asarray(np.linalg.svd(matrix, compute_uv=False), np.float64)
        for matrix in (L, L - L.mean(axis=0))
    )
    return Spectra(values, centred, size + 2 * len(L) * FLOAT64_EPS * float(values[0]))


def threshold(queries: Array, keys: Array, scale: float, unit: float) -> float:
    """By how much rounding moves a singular value of ``scale keys^T queries``.

    Each entry of queries and keys is right to a relative `unit`, so by Weyl no singular value moves
    by more than ``2 unit |scale| ‖keys‖_F ‖queries‖_F`` and what the QR of the factors adds.
    Capping (`capped`) moves logits no further apart, so the bound holds for capped logits too.
    """
    sizes = float(np.linalg.norm(keys)) * float(np.linalg.norm(queries))
    return (2 * unit + sum(keys.shape) * FLOAT64_EPS) * abs(scale) * sizes


def capped(L: Array, softcap: float | None) -> Array:
    """``softcap · tanh(L / softcap)``, as some models bound their logits; it lifts their rank."""
    return L if softcap is None else np.asarray(softcap * np.tanh(L / softcap))


def tails(values: Array) -> Array:
    """``τ_k = sqrt(Σ_{r > k} s_r²)`` for k = 0..len(values)."""
    top = float(values[0])
    scaled = np.divide(values, top, out=np.zeros_like(values), where=top > 0)
    squares = np.append(np.cumsum((scaled * scaled)[::-1])[::-1], 0.0)
    return np.asarray(top * np.sqrt(squares))


def least_size_within(values: Array, fraction: float) -> int:
    """Return the least k with ``τ_k <= fraction · τ_0``."""
    tau = tails(values)
    return int(np.argmax(tau <= fraction * tau[0]))


def effective_rank_of(values: Array) -> float:
    """Exponential of the entropy of the normalised singular values; 0 for the zero matrix."""
    return float(effective_rank_of_values(values))


def stable_rank_of(values: Array) -> float:
    """``Σ s² / max s²``; 0 for the zero matrix."""
    top = float(values[0])
    return float(np.sum((values / top) ** 2)) if top > 0 else 0.0
