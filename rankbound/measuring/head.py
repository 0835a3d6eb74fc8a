"""One head of a trained model, measured from its queries and keys in float64."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array, check_int, check_matrix, check_real, frozen_copy
from rankbound.attention.masks import Mask, check_mask
from rankbound.errors import InputError
from rankbound.measuring.masked import MaskFacts, masked_log_rank, read_mask
from rankbound.measuring.spectra import (
    effective_rank_of,
    least_size_within,
    spectra,
    stable_rank_of,
    tails,
)
from rankbound.measuring.weights import context_effective_rank, weight_facts

__all__ = ["HeadMeasures", "measure_heads"]

WITHIN = 0.01  # of `least_head_size_1pct`


@dataclass(frozen=True, eq=False)
class HeadMeasures:
    """What a head does with its size on one sequence.

    Spectra are those of the logits L and of ``C L``, logits less their mean over keys. Where
    nothing is masked ``C L = C log P``. Under a mask log P is defined on visible pairs only and has
    no singular values; what stands here is then the spectrum of the head's own logits, hidden pairs
    included: one completion of log P, whose errors at smaller head sizes are upper bounds.

    Attributes
    ----------
    head_size, length : int
        k and n.
    masked : bool
        Whether a key is hidden from a query.
    softcap : float or None
        The cap c of logits ``c tanh(L / c)``; everything is then measured after it.
    log_rank_lower, log_rank_upper : int
        Bounds of the (masked) log-rank: the least head size that has this context exactly. They
        meet unless the mask is not nested (sliding windows).
    log_rank_bound : int
        ``min(head_size, n - 1)``: no head of this size has a larger log-rank; n - 1 if capped,
        since the cap lifts ranks.
    generic_log_rank : int or None
        The log-rank of almost every context with this mask: n - 1, floor(n/2) if causal. None where
        the mask is not nested.
    logit_rank : int
        Rank of L.
    log_effective_rank, log_stable_rank : float
        Of ``C L``.
    logit_effective_rank : float
        Of L.
    context_effective_rank : float or None
        Of P, which the head size does not bound; None unless asked for.
    aitchison_error_half : float
        ``τ`` at half the head size, ``τ_k = sqrt(Σ_{r > k} s_r²)``, s singular values of ``C L``.
    kl_errors : mapping from int to float
        For half the head size and each size asked for, the mean over queries of the KL divergence
        of the attention from that of the head of this size nearest in Aitchison distance, in nats;
        an upper bound on what the size costs.
    least_head_size_1pct : int
        The least k with ``τ_k <= 0.01 τ_0``.
    entropy, sink_mass : float
        Means over queries: entropy of the attention in nats; attention to key 0.
    logit_values, centred_values : ndarray
        Singular values of L and of ``C L``, largest first.
    threshold : float
        The singular value above which one is counted, from the dtypes.
    """

    head_size: int
    length: int
    masked: bool
    softcap: float | None
    log_rank_lower: int
    log_rank_upper: int
    log_rank_bound: int
    generic_log_rank: int | None
    logit_rank: int
    log_effective_rank: float
    log_stable_rank: float
    logit_effective_rank: float
    context_effective_rank: float | None
    aitchison_error_half: float
    kl_errors: Mapping[int, float]
    least_head_size_1pct: int
    entropy: float
    sink_mass: float
    logit_values: Array
    centred_values: Array
    threshold: float

    @property
    def log_rank(self) -> int | None:
        """The log-rank, where the bounds meet."""
        return self.log_rank_lower if self.log_rank_lower == self.log_rank_upper else None

    @property
    def kl_half(self) -> float:
        """``kl_errors`` at half the head size, rounded down."""
        return self.kl_errors[self.head_size // 2]

    @property
    def at_bottleneck(self) -> bool:
        """Whether the head uses all its size while almost every context would need more.

        False where the bounds leave it open.
        """
        most = self.length - 1 if self.generic_log_rank is None else self.generic_log_rank
        return self.log_rank_lower >= self.log_rank_bound and self.log_rank_bound < most

    def aitchison_error(self, head_size: int) -> float:
        """``τ_k``, the Aitchison error at another head size; under a mask an upper bound."""
        tau = tails(self.centred_values)
        return float(tau[min(max(head_size, 0), len(tau) - 1)])

    def least_head_size(self, fraction: float) -> int:
        """The least k with ``τ_k <= fraction · τ_0``; under a mask an upper bound."""
        return least_size_within(self.centred_values, check_real("fraction", fraction, least=0.0))


def measure_heads(
    queries: npt.ArrayLike,
    keys: npt.ArrayLike,
    scale: float,
    mask: npt.ArrayLike | None = None,
    softcap: float | None = None,
    *,
    unit: float = float(np.finfo(np.float64).eps),
    context_rank: bool = True,
    head_sizes: Iterable[int] = (),
) -> Iterator[HeadMeasures]:
    """Measure the heads of a layer one after the other.

    Parameters
    ----------
    queries : array_like, shape (heads, k, n)
        One column a token, after biases, rotations and norms.
    keys : array_like, shape (key_value_heads, k, n)
        Query head h reads keys ``h // (heads // key_value_heads)``.
    scale : float
        What multiplies the logits.
    mask : array_like of bool, shape (n, n), optional
        [key, query], True = visible; the same for all heads.
    softcap : float, optional
        c of ``c tanh(L / c)``.
    unit : float
        The relative error of an entry of queries and keys: the ``eps`` of the coarser of the dtypes
        in which they were stored and computed.
    context_rank : bool
        Whether to compute the effective rank of P, an SVD of n × n a head.
    head_sizes : iterable of int
        Other sizes at which to compute the KL divergence, beside half the head size.

    Returns
    -------
    iterator of HeadMeasures
        In the order of the query heads.

    Raises
    ------
    InputError, InputTypeError
        If the shapes do not agree or an entry is not finite.

    Examples
    --------
    >>> import numpy as np
    >>> q, k = np.random.default_rng(0).standard_normal((2, 1, 4, 32))
    >>> [head] = measure_heads(q, k, 0.5)
    >>> head.log_rank, head.log_rank_bound, head.generic_log_rank
    (4, 4, 31)
    """
    q, k = _check("queries", queries), _check("keys", keys)
    if q.shape[1:] != k.shape[1:] or len(q) % len(k):
        raise InputError(
            f"queries is {q.shape} but keys is {k.shape}; expected (heads, k, n) and "
            "(key_value_heads, k, n), the number of heads a multiple of that of key/value heads."
        )
    n = q.shape[2]
    visible = None if mask is None else check_mask(mask, (n, n))
    if visible is not None and visible.all():
        visible = None
    cap = None if softcap is None else check_real("softcap", softcap, above=0.0)
    factor = check_real("scale", scale)
    facts = None if visible is None else read_mask(visible, q.shape[1])
    group = len(q) // len(k)
    sizes = sorted({q.shape[1] // 2, *(check_int("head_sizes", s, least=0) for s in head_sizes)})
    return (
        _measure(q[h], k[h // group], factor, facts, cap, unit, context_rank, sizes)
        for h in range(len(q))
    )


def _check(name: str, value: npt.ArrayLike) -> Array:
    return check_matrix(name, value, ndim=None if np.ndim(value) == 3 else 3)


def _measure(
    queries: Array,
    keys: Array,
    scale: float,
    facts: MaskFacts | None,
    softcap: float | None,
    unit: float,
    context_rank: bool,
    head_sizes: Sequence[int],
) -> HeadMeasures:
    k, n = queries.shape
    mask: Mask | None = None if facts is None else facts.mask
    found = spectra(queries, keys, scale, softcap, unit)
    lower, upper = (
        (found.centred_rank, found.centred_rank)
        if facts is None
        else masked_log_rank(queries, keys, scale, softcap, facts, unit)
    )
    weights = weight_facts(queries, keys, scale, softcap, mask, head_sizes)
    return HeadMeasures(
        head_size=k,
        length=n,
        masked=facts is not None,
        softcap=softcap,
        log_rank_lower=lower,
        log_rank_upper=upper,
        log_rank_bound=n - 1 if softcap is not None else min(k, n - 1),
        generic_log_rank=n - 1 if facts is None else facts.generic,
        logit_rank=found.logit_rank,
        log_effective_rank=effective_rank_of(found.centred),
        log_stable_rank=stable_rank_of(found.centred),
        logit_effective_rank=effective_rank_of(found.logits),
        context_effective_rank=(
            context_effective_rank(queries, keys, scale, softcap, mask) if context_rank else None
        ),
        aitchison_error_half=float(tails(found.centred)[min(k // 2, len(found.centred))]),
        kl_errors=weights.kl_errors,
        least_head_size_1pct=least_size_within(found.centred, WITHIN),
        entropy=weights.entropy,
        sink_mass=weights.sink_mass,
        logit_values=frozen_copy(found.logits),
        centred_values=frozen_copy(found.centred),
        threshold=found.threshold,
    )
