"""One head of a trained model, measured from its queries and keys in float64.

A head comes as its queries and keys themselves, which need not be equally many, and what is added
to their products. The two are balanced first (ranks/factored.py), so that a coordinate that is
large in the keys and small in the queries does not raise the threshold of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import (
    Array,
    Storage,
    check_int,
    check_matrix,
    check_real,
    frozen_copy,
    storage_dtype,
)
from rankbound.attention.head import capped, without_overflow
from rankbound.attention.masks import Block, Chain, Mask, check_mask, in_blocks, nested_chain
from rankbound.attention.softmax import _softmax
from rankbound.errors import InputError, InputTypeError
from rankbound.exact.rounding import FLOAT64_EPS
from rankbound.ranks.factored import balanced, shifted, spectrum_of_factors
from rankbound.ranks.spectrum import effective_rank_of_values
from rankbound.theory.approximation import excluded_sizes
from rankbound.theory.head_log_rank import chain_log_rank
from rankbound.theory.softmax_gauge import Logs
from rankbound.theory.theorem_c import complete

WITHIN = 0.01  # of `least_head_size_1pct`
BLOCK = 128  # columns of P at a time
LARGE = 1024  # tokens from which the rank of P, an SVD of n × n, is to be asked for
STARTS = 4  # queries from whose keys fully visible blocks are tried


@dataclass(frozen=True, eq=False)
class RecordedHead:
    """A head as a model computed it: logits ``scale · W_k^T W_q``, capped, and a bias added.

    Arrays are [key, query]; logits lie in memory by queries, as a model's own weights do. A key
    whose column of `W_k` is 0 has only its bias: a learned sink.
    """

    W_q: Array  # queries, (k, n)
    W_k: Array  # keys, (k, m)
    scale: float
    mask: Mask | None = None  # (m, n), True = visible; None hides nothing
    soft_cap: float | None = None
    bias: Array | None = None  # (m, n); 0 where hidden
    stored: Storage | None = None  # the dtype in which queries and keys were computed
    blocks: tuple[Block, ...] = ()  # what the mask shows to blocks of queries; read if not given

    @property
    def head_size(self) -> int:
        """Number of entries of a query or key."""
        return len(self.W_q)

    @property
    def d(self) -> int:
        """How many queries there are."""
        return int(self.W_q.shape[1])

    @property
    def keys(self) -> int:
        """How many keys there are."""
        return int(self.W_k.shape[1])

    def parts(self) -> Iterator[tuple[Block, RecordedHead]]:
        """The head on one block of queries after the other and the keys that these see."""
        for block in self.blocks or in_blocks(self.mask, self.d, BLOCK):
            keys, queries = block.keys, block.queries
            yield (
                block,
                replace(
                    self,
                    W_q=self.W_q[:, queries],
                    W_k=self.W_k[:, keys],
                    mask=block.mask,
                    bias=None if self.bias is None else self.bias[keys, queries],
                    blocks=(),
                ),
            )

    def products(self) -> Array:
        """The logits before the bias, (m, n): what the head size bounds, unless they are capped."""
        L = without_overflow("the logits", lambda: (self.scale * (self.W_q.T @ self.W_k)).T)
        return capped(L, self.soft_cap)

    def logits(self) -> Array:
        """The logits, (m, n)."""
        L = self.products()
        if self.bias is not None:
            L += self.bias
        return L

    def context(self) -> Array:
        """The attention weights, (m, n); columns sum to 1."""
        return _softmax(self.logits(), self.mask)


@dataclass(frozen=True, eq=False)
class HeadMeasures:
    """What a head does with its size on one sequence.

    What each measure means is said once, in `rankbound.auditing.columns` and docs/audit.md; beside
    those there are the spectra. Under a mask they are those of the head's own logits, hidden pairs
    included: one completion of log P, whose errors are upper bounds. With a bias they are those of
    the logits without it.
    """

    head_size: int
    length: int
    keys: int
    masked: bool
    biased: bool
    softcap: float | None
    log_rank_lower: int
    log_rank_upper: int
    log_rank_at_storage: int | None  # of `log_rank_lower`
    log_rank_bound: int
    generic_log_rank: int | None
    logit_rank: int
    log_effective_rank: float
    log_stable_rank: float
    logit_effective_rank: float
    context_effective_rank: float | None
    biased_log_rank: int | None  # of the logits with their bias; None without one, or if masked
    biased_effective_rank: float | None
    aitchison_error_half: float
    kl_errors: Mapping[int, float]  # at the quarters of the head size and each size asked for
    least_head_size_1pct: int
    kl_size_lower: int | None  # of the least head size within a budget, if one is given
    kl_size_upper: int | None
    entropy: float
    sink_mass: float
    logit_values: Array  # the singular values of L, largest first
    centred_values: Array  # and of C L
    threshold: float  # above which one is counted

    @property
    def log_rank(self) -> int | None:
        """The log-rank, where the bounds meet."""
        return self.log_rank_lower if self.log_rank_lower == self.log_rank_upper else None

    @property
    def kl_three_quarters(self) -> float:
        """``kl_errors`` at three quarters of the head size, rounded down."""
        return self.kl_errors[3 * self.head_size // 4]

    @property
    def kl_half(self) -> float:
        """``kl_errors`` at half the head size, rounded down."""
        return self.kl_errors[self.head_size // 2]

    @property
    def kl_quarter(self) -> float:
        """``kl_errors`` at a quarter of the head size, rounded down."""
        return self.kl_errors[self.head_size // 4]

    @property
    def at_bottleneck(self) -> bool:
        """Whether the head uses all its size while almost every context would need more.

        False where that is not known: the bounds leave it open, or the mask is not nested.
        """
        generic = self.generic_log_rank
        return (
            generic is not None
            and self.log_rank_lower >= self.log_rank_bound
            and self.log_rank_bound < generic
        )

    def aitchison_error(self, head_size: int) -> float:
        """``τ_k``, the Aitchison error at another head size; under a mask an upper bound."""
        tau = tails(self.centred_values)
        return float(tau[min(max(head_size, 0), len(tau) - 1)])

    def least_head_size(self, fraction: float) -> int:
        """The least k with ``τ_k <= fraction · τ_0``; under a mask an upper bound."""
        return least_size_within(self.centred_values, check_real("fraction", fraction, least=0.0))


def layer_heads(
    queries: npt.ArrayLike,
    keys: npt.ArrayLike,
    *,
    scale: float | None = None,
    mask: npt.ArrayLike | None = None,
    soft_cap: float | None = None,
    stored: npt.DTypeLike | None = None,
) -> tuple[RecordedHead, ...]:
    """The query heads of a layer, each on its keys; all share scale, mask, cap and dtype.

    Queries are (heads, k, n) and keys (key_value_heads, k, m), columns tokens, after biases,
    rotations and norms. Query head h reads keys ``h // (heads // key_value_heads)``.
    """
    q, k = (check_matrix(name, value) for name, value in (("queries", queries), ("keys", keys)))
    if q.ndim != 3 or k.ndim != 3 or q.shape[1] != k.shape[1] or len(q) % len(k):
        raise InputError(
            f"queries is {q.shape} but keys is {k.shape}; expected (heads, k, n) and "
            "(key_value_heads, k, m), the number of heads a multiple of that of key/value heads."
        )
    group, n, m = len(q) // len(k), q.shape[2], k.shape[2]
    visible = None if mask is None else frozen_copy(check_mask(mask, (m, n)))
    blocks = in_blocks(visible, n, BLOCK)
    factor = len(q[0]) ** -0.5 if scale is None else check_real("scale", scale)
    cap = None if soft_cap is None else check_real("soft_cap", soft_cap, above=0.0)
    dtypes = [storage_dtype(name, x, stored) for name, x in (("queries", queries), ("keys", keys))]
    coarser = max(dtypes, key=lambda dtype: dtype.eps)
    return tuple(
        RecordedHead(columns, k[h // group], factor, visible, cap, stored=coarser, blocks=blocks)
        for h, columns in enumerate(q)
    )


def measure_heads(
    heads: Iterable[RecordedHead],
    *,
    unit: float | None = None,
    storage_unit: float | None = None,
    context_rank: bool | None = None,
    head_sizes: Iterable[int] = (),
    kl: float | None = None,
) -> Iterator[HeadMeasures]:
    """Measure heads, as of :func:`layer_heads`, one after the other.

    `unit` is the relative error of an entry of queries and keys, by default the ``eps`` of the
    dtype in which the head was stored, `storage_unit` a coarser one of `log_rank_at_storage`, which
    is None without it; for the rest see :func:`rankbound.audit`.

    Examples
    --------
    >>> import numpy as np
    >>> q, k = np.random.default_rng(0).standard_normal((2, 1, 4, 32))
    >>> [head] = measure_heads(layer_heads(q, k, scale=0.5))
    >>> head.log_rank, head.log_rank_bound, head.generic_log_rank
    (4, 4, 31)
    """
    wanted = {check_int("head_sizes", size, least=0) for size in head_sizes}
    budget = None if kl is None else check_real("kl", kl, above=0.0)
    return _measured(heads, (unit, storage_unit), context_rank, wanted, budget)


def _measured(
    heads: Iterable[RecordedHead],
    units: tuple[float | None, float | None],
    context_rank: bool | None,
    wanted: set[int],
    kl: float | None,
) -> Iterator[HeadMeasures]:
    mask: Mask | None = None
    facts: MaskFacts | None = None
    for head in heads:
        if not isinstance(head, RecordedHead):
            raise InputTypeError(f"a head is a {type(head).__name__}; expected a RecordedHead.")
        if head.mask is not mask:  # the heads of a layer share theirs
            mask = head.mask
            facts = None if mask is None or mask.all() else read_mask(mask, head.head_size)
        stored = FLOAT64_EPS if head.stored is None else head.stored.eps
        error = stored if units[0] is None else units[0]
        sizes = sorted({quarters * head.head_size // 4 for quarters in (1, 2, 3)} | wanted)
        whole = max(head.d, head.keys) <= LARGE if context_rank is None else context_rank
        yield _measure(head, facts, (error, units[1]), whole, sizes, kl)


def _measure(
    head: RecordedHead,
    facts: MaskFacts | None,
    units: tuple[float, float | None],
    context_rank: bool,
    head_sizes: Sequence[int],
    kl: float | None,
) -> HeadMeasures:
    k, cap = head.head_size, head.soft_cap
    most = min(head.keys - 1, head.d)  # no log-rank is larger
    mask = None if facts is None else facts.mask
    head = _balanced_head(head)
    L = None if cap is None else head.products()  # capped logits have no factors
    formed = 0.0  # what forming the logits adds to a threshold
    if L is None:
        logits, centred = (
            spectrum_of_factors(head.W_k, head.W_q, head.scale, centred=c) for c in (False, True)
        )
    else:
        logits, centred = (_singular_values(matrix) for matrix in (L, L - L.mean(axis=0)))
        formed = 2 * max(L.shape) * FLOAT64_EPS * float(logits[0])

    def threshold(unit: float) -> float:
        return rounding_of(head.W_q, head.W_k, head.scale, unit) + formed

    def log_rank(unit: float) -> tuple[int, int]:
        if facts is not None:
            return masked_log_rank(head, facts, unit)
        count = int(np.count_nonzero(centred > threshold(unit)))
        return count, count

    unit, coarser = units
    lower, upper = log_rank(unit)
    at_storage = lower if coarser is not None and coarser <= unit else None
    if coarser is not None and coarser > unit:
        at_storage = min(lower, log_rank(coarser)[0])
    within = (None, None) if kl is None else _sizes_within(head, L, mask, kl)
    biased = None
    if head.bias is not None and mask is None:
        whole = head.logits()
        biased = _singular_values(whole - whole.mean(axis=0))
        size = float(np.linalg.norm(head.bias)) + float(np.linalg.norm(whole))
        open_ = threshold(unit) + (unit + 2 * max(whole.shape) * FLOAT64_EPS) * size
    return HeadMeasures(
        **_read_weights(head, L, head_sizes, context_rank),
        kl_size_lower=within[0],
        kl_size_upper=within[1],
        head_size=k,
        length=head.d,
        keys=head.keys,
        masked=facts is not None,
        biased=head.bias is not None,
        softcap=cap,
        log_rank_lower=lower,
        log_rank_upper=upper,
        log_rank_at_storage=at_storage,
        log_rank_bound=most if cap is not None else min(k, most),
        generic_log_rank=most if facts is None else facts.generic,
        logit_rank=int(np.count_nonzero(logits > threshold(unit))),
        log_effective_rank=_effective_rank(centred),
        log_stable_rank=_stable_rank(centred),
        logit_effective_rank=_effective_rank(logits),
        biased_log_rank=None if biased is None else int(np.count_nonzero(biased > open_)),
        biased_effective_rank=None if biased is None else _effective_rank(biased),
        aitchison_error_half=float(tails(centred)[min(k // 2, len(centred))]),
        least_head_size_1pct=least_size_within(centred, WITHIN),
        logit_values=frozen_copy(logits),
        centred_values=frozen_copy(centred),
        threshold=threshold(unit),
    )


def _balanced_head(head: RecordedHead) -> RecordedHead:
    keys, queries, exponent = balanced(head.W_k, head.W_q)
    half = exponent // 2
    return replace(head, W_q=shifted(queries, exponent - half), W_k=shifted(keys, half))


def tails(values: Array) -> Array:
    """``τ_k = sqrt(Σ_{r > k} s_r²)`` for k = 0..len(values)."""
    top = float(values[0])
    scaled = np.divide(values, top, out=np.zeros_like(values), where=top > 0)
    squares = np.append(np.cumsum((scaled * scaled)[::-1])[::-1], 0.0)
    return np.asarray(top * np.sqrt(squares))


def least_size_within(values: Array, fraction: float) -> int:
    """The least k with ``τ_k <= fraction · τ_0``."""
    tau = tails(values)
    return int(np.argmax(tau <= fraction * tau[0]))


def _singular_values(matrix: Array) -> Array:
    return np.asarray(np.linalg.svd(matrix, compute_uv=False), np.float64)


def _effective_rank(values: Array) -> float:
    return float(effective_rank_of_values(values))


def _stable_rank(values: Array) -> float:
    """``Σ s² / max s²``; 0 for the zero matrix."""
    top = float(values[0])
    return float(np.sum((values / top) ** 2)) if top > 0 else 0.0


def _read_weights(
    head: RecordedHead,
    L: Array | None,
    head_sizes: Sequence[int],
    whole: bool,
) -> dict[str, Any]:
    """Means over queries of entropy, attention to key 0 and KL; of P, if wanted, its rank."""
    n = head.d
    left, right = _principal(head, L)
    divergence = dict.fromkeys(sorted(head_sizes, reverse=True), 0.0)
    entropy = sink = 0.0
    context = np.zeros((head.keys, n)) if whole else None
    for block, part in head.parts():
        keys, queries = block.keys, block.queries
        logits = part.logits()
        block.hide(logits, -np.inf)
        top, P = exponentials(logits)
        total = P.sum(axis=0)
        P /= total
        log_total = np.log(total)
        logits -= top
        block.hide(logits, 0.0)
        entropy += float(log_total.sum() - np.vdot(P.T, logits.T))
        sink += float(P[0].sum()) if keys.start == 0 else 0.0
        block.hide(logits, -np.inf)
        apart, larger, log_other = 0.0, len(left), log_total
        for size in divergence:  # of logits less and less is left
            if size < larger:
                lost = (right[size:larger, queries].T @ left[size:larger, keys]).T
                logits -= lost
                top, others = exponentials(logits)
                apart += float(np.vdot(P.T, lost.T))
                larger, log_other = size, top + np.log(others.sum(axis=0))
            divergence[size] += apart + float((log_other - log_total).sum())
        if context is not None:
            context[keys, queries] = P
    errors = {size: max(divergence[size] / n, 0.0) for size in head_sizes}
    rank = None if context is None else _effective_rank(_singular_values(context))
    return {
        "entropy": entropy / n,
        "sink_mass": sink / n,
        "kl_errors": MappingProxyType(errors),
        "context_effective_rank": rank,
    }


def exponentials(L: Array) -> tuple[Array, Array]:
    """The largest logit of each query, and the exponentials of all less these."""
    top = L.max(axis=0)
    with np.errstate(under="ignore", over="ignore"):  # a difference below -1.8e308 is e^-inf = 0
        others = L - top
        return top, np.exp(others, out=others)


def _sizes_within(
    head: RecordedHead, L: Array | None, mask: Mask | None, kl: float
) -> tuple[int, int]:
    """Bounds of the least head size within a KL divergence: column budgets, and truncations."""
    most = min(head.keys - 1, head.d)
    most = most if L is not None else min(head.head_size, most)
    errors = _read_weights(head, L, range(most), False)["kl_errors"]
    upper = next((size for size in range(most) if errors[size] <= kl), most)
    if head.bias is not None or head.keys != head.d:
        return 0, upper  # sound: the exclusion is that of square contexts without a bias
    return min(excluded_sizes(head.context(), mask, kl), upper), upper


def _principal(head: RecordedHead, L: Array | None) -> tuple[Array, Array]:
    """Factors of ``C L`` whose first rows are those of its truncations."""
    if L is not None:
        left, values, right = np.linalg.svd(L - L.mean(axis=0), full_matrices=False)
        return left.T * values[:, None], right
    basis, triangle = np.linalg.qr(head.W_q.T)
    centred = head.W_k - head.W_k.mean(axis=1, keepdims=True)
    left, values, turn = np.linalg.svd(head.scale * (centred.T @ triangle.T), full_matrices=False)
    return left.T * values[:, None], turn @ basis.T


@dataclass(frozen=True, eq=False)
class MaskFacts:
    """A mask that hides something, with what does not depend on the head."""

    mask: Mask
    chain: Chain | None  # None if the mask is not nested, and so is `generic`
    generic: int | None  # the masked log-rank of almost every context; causal: floor(n/2)
    most: int  # the head size that always suffices: less by 1 than the most keys a query sees
    blocks: tuple[tuple[Any, Any], ...]  # (keys, queries), fully visible; of masks not nested


def read_mask(mask: Mask, head_size: int) -> MaskFacts:
    """What a mask asks of the heads of a layer; generically ``max{t : |K_t| >= t - 1} - 1``."""
    most = int(mask.sum(axis=0).max()) - 1
    chain = nested_chain(mask)
    if chain is None:
        return MaskFacts(mask, None, None, most, tuple(_blocks(mask, head_size)))
    seen = chain.seen
    telling = np.array([np.count_nonzero(seen > t) for t in range(len(mask))])
    wide = np.flatnonzero(telling >= np.arange(len(mask)))  # t counted from 1
    return MaskFacts(mask, chain, int(wide.max(initial=0)), most, ())


def _blocks(mask: Mask, head_size: int) -> list[tuple[Any, Any]]:
    """Blocks of keys that two queries share, and the queries that see them all.

    Of the many, those with just over `head_size` keys, which may already show the log-rank that
    the head cannot exceed, and those of about half the keys of a query.
    """
    found = {}
    overlap = mask.T.astype(np.float64) @ mask.astype(np.float64)
    widest = np.argsort(-mask.sum(axis=0), kind="stable")
    spread = widest[np.linspace(0, len(widest) // 2, STARTS).astype(int)]
    for first in dict.fromkeys(spread.tolist()):
        shared = overlap[first]
        for wanted in (head_size + 1, 2 * head_size, max(2, int(shared[first]) // 2)):
            second = int(np.argmin(np.where(shared < wanted, np.inf, shared)))
            rows = np.flatnonzero(mask[:, first] & mask[:, second])
            columns = np.flatnonzero(mask[rows].all(axis=0))
            if len(rows) > 1:
                found[rows.tobytes()] = (rows, columns)
    return list(found.values())


def rounding_of(queries: Array, keys: Array, scale: float, unit: float) -> float:
    """By how much rounding moves a singular value of ``scale keys^T queries``, both balanced.

    Each entry of queries and keys is right to a relative `unit`, so by Weyl no singular value moves
    by more than ``2 unit |scale| ‖keys‖_F ‖queries‖_F`` and what the QR of the factors adds.
    Capping moves logits no further apart, so the bound holds for capped logits too.
    """
    sizes = float(np.linalg.norm(keys)) * float(np.linalg.norm(queries))
    return (2 * unit + sum(keys.shape) * FLOAT64_EPS) * abs(scale) * sizes


def masked_log_rank(head: RecordedHead, facts: MaskFacts, unit: float) -> tuple[int, int]:
    """Bounds of the masked log-rank of a balanced head.

    Equal if the mask is nested (Theorem C), unless rounding leaves a row in doubt. Otherwise below:
    the log-rank of a fully visible block; above: the head size, unless logits are capped, and what
    any context with this mask needs at most.
    """
    keys, queries, cap = head.W_k, head.W_q, head.soft_cap
    if facts.chain is not None:
        if cap is not None:
            return _capped_log_rank(head, facts, unit)
        return chain_log_rank(keys[:, facts.chain.keys], queries, facts.chain.seen, unit)
    upper = facts.most if cap is not None else min(len(keys), facts.most)
    lower = 0
    for rows, columns in facts.blocks:
        if lower < upper:
            lower = max(lower, _block_rank(queries[:, columns], keys[:, rows], head, unit))
    return min(lower, upper), upper


def _block_rank(queries: Array, keys: Array, head: RecordedHead, unit: float) -> int:
    size = rounding_of(queries, keys, head.scale, unit)
    if head.soft_cap is None:
        values = spectrum_of_factors(keys, queries, head.scale, centred=True)
    else:
        L = capped(head.scale * (keys.T @ queries), head.soft_cap)
        values = _singular_values(L - L.mean(axis=0))
        size += 2 * max(L.shape) * FLOAT64_EPS * float(np.linalg.norm(L))
    return int(np.count_nonzero(values > size))


def _capped_log_rank(head: RecordedHead, facts: MaskFacts, unit: float) -> tuple[int, int]:
    """Theorem C on the formed matrix: capped logits have no factors."""
    L = head.products()
    products = np.abs(head.W_k).T @ np.abs(head.W_q)
    error = 2 * unit * abs(head.scale) * products + FLOAT64_EPS * np.abs(L)
    values, error = (np.where(facts.mask, matrix, 0.0) for matrix in (L, error))
    reach = complete(Logs(values, error, np.zeros((1, 1), np.int32), facts.mask))
    least = facts.most if reach is None else int(reach.least)  # a chain was found: never None
    return 0 if reach is None or reach.doubtful else least, least
