"""Fixed projections of queries and keys to fewer coordinates, from moments of a calibration text.

A head whose query q is replaced by ``B_k B_q^T q`` has the logits ``(B_q^T q) · (B_k^T k)`` of a
head of size k. All bases here are one function of two matrices: S, a second moment of the keys that
says which errors of a query matter, and C, the second moment of the queries. docs/theory.md,
section 5, shows that with the covariance of the keys under the head's own attention as S the KL
divergence is minimised to second order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array

FLOOR = 1e-9  # of the largest eigenvalue: C of trained heads has condition numbers to 1e6


@dataclass(frozen=True, eq=False)
class Moments:
    """Second moments of a layer's heads, (heads, d, d) each: means over the queries of a text."""

    count: int  # queries
    scale: float  # of the logits
    query: Array  # E[q q^T], the C of every basis with a metric
    key: Array  # E[k k^T]
    centred: Array  # the covariance of all keys
    visible: Array  # the covariance of the keys that a query sees, a mean over queries
    attended: Array  # and their covariance under the head's attention to them

    def __add__(self, other: Moments) -> Moments:
        """The moments of two texts, or windows, together."""
        total = self.count + other.count
        share = self.count / total

        def mean(name: str) -> Array:
            return np.asarray(share * getattr(self, name) + (1 - share) * getattr(other, name))

        return Moments(total, self.scale, *map(mean, MATRICES))

    def averaged(self, rotation: npt.ArrayLike, shifts: int) -> Moments:
        """Return the mean of the moments over texts that begin at 0, …, shifts - 1.

        `rotation` (d × d, orthogonal) is by what RoPE turns a query or key that moves by one
        position: M becomes the mean of ``R^s M R^-s``.
        """
        from scipy.linalg import schur

        triangle, V = schur(np.asarray(rotation, np.complex128), output="complex")
        angles = np.angle(np.diagonal(triangle))  # a normal matrix is diagonal in its Schur basis
        steps = np.exp(1j * np.arange(shifts)[:, None] * angles)
        kernel = steps.T @ steps.conj() / shifts  # mean over s of e^{is(a - b)}

        def mean(name: str) -> Array:
            return np.real(V @ (kernel * (V.conj().T @ getattr(self, name) @ V)) @ V.conj().T)

        return Moments(self.count, self.scale, *map(mean, MATRICES))


MATRICES = ("query", "key", "centred", "visible", "attended")


def moments(heads: Sequence[Any], weights: Iterable[npt.ArrayLike]) -> Moments:
    """The moments of a layer on a window, in float64; `weights` are [key, query], one per head.

    The heads are recorded ones, which come in blocks of queries. What the mask of a head hides
    counts as having no weight.
    """
    found: list[tuple[Array, ...]] = []
    for h, (head, given) in enumerate(zip(heads, weights, strict=True)):
        K, P, n = head.W_k, np.asarray(given), head.d
        if h == 0 or not np.array_equal(K, heads[h - 1].W_k):  # else all these are shared too
            mean = K.mean(axis=1, keepdims=True)
            key = K @ K.T / K.shape[1]
            alike = _covariance(K, n, ((block.keys, _alike(part)) for block, part in head.parts()))
            shared = key, key - mean @ mean.T, alike
        blocks = (block for block, _ in head.parts())
        attended = _covariance(K, n, ((b.keys, P[b.keys, b.queries]) for b in blocks))
        found.append((head.W_q @ head.W_q.T / n, *shared, attended))
    return Moments(heads[0].d, heads[0].scale, *map(np.stack, zip(*found, strict=True)))


def covariance(keys: Array, weights: Array) -> Array:
    """The covariance of keys (d, m) under weights [key, query], a mean over the n queries.

    Of each query it is ``Σ_j p_j k_j k_j^T - k̄ k̄^T``, ``k̄ = Σ_j p_j k_j``; no d × d matrix per
    query is formed.
    """
    return _covariance(keys, weights.shape[1], [(slice(None), weights)])


def _covariance(keys: Array, n: int, blocks: Iterable[tuple[slice, npt.NDArray[Any]]]) -> Array:
    """:func:`covariance` of weights that come in blocks of queries, at the keys that these see."""
    total, squares = np.zeros(keys.shape[1]), np.zeros((len(keys), len(keys)))
    for seen, given in blocks:
        weights = np.asarray(given, np.float64)
        means = keys[:, seen] @ weights
        total[seen] += weights.sum(axis=1)
        squares += means @ means.T
    return np.asarray(((keys * total) @ keys.T - squares) / n)


def _alike(head: Any) -> Array:
    """Equal weights at all keys that a query sees."""
    visible = np.ones((head.keys, head.d)) if head.mask is None else head.mask.astype(np.float64)
    return np.asarray(visible / visible.sum(axis=0))


def _stacked(m: Moments) -> tuple[Array, Array | None]:
    return m.key + m.query, None


# What S and C are of the moments; C is the identity where None stands.
BASES: Mapping[str, Callable[[Moments], tuple[Array, Array | None]]] = MappingProxyType(
    {
        "fisher": lambda m: (m.attended, m.query),
        "kq-svd": lambda m: (m.key, m.query),
        "centred": lambda m: (m.centred, m.query),
        "visible": lambda m: (m.visible, m.query),
        "pca-keys": lambda m: (m.key, None),
        "pca": _stacked,
    }
)


@dataclass(frozen=True, eq=False)
class Projections:
    """What a layer's queries and keys are multiplied by: (heads, d, k) both, d the head size.

    Heads that share a key basis have equal `key`. k is the largest size of a head; the last columns
    of smaller ones are 0 in both, which adds nothing to a logit.
    """

    query: Array  # B_q
    key: Array  # B_k

    @property
    def cut(self) -> Array:
        """``B_q B_k^T``, (heads, d, d): what rows of queries are multiplied by, keys left alone."""
        return np.asarray(self.query @ self.key.swapaxes(-1, -2))


def projections(
    m: Moments, basis: str, head_size: int | Sequence[int], group: int = 1
) -> Projections:
    """Return the projections of a basis of :data:`BASES` to `head_size` coordinates.

    `group` neighbouring heads share one key basis: the number of query heads per key/value head,
    so that a cache of keys shrinks, or 1. Sizes are one for all, or one per group. With S and C the
    means of a group, W the leading eigenvectors of ``C^½ S C^½``, ``B_k = C^½ W`` and ``B_q = S_h
    B_k (B_k^T S_h B_k)^-1``: of all projections of the query on this key basis, the nearest in the
    metric S_h. Without a C it is PCA, ``B_q = B_k = W``.

    Examples
    --------
    >>> import numpy as np
    >>> from rankbound.measuring.head import layer_heads
    >>> q, k = np.random.default_rng(0).standard_normal((2, 2, 8, 32))
    >>> heads = layer_heads(q, k)
    >>> found = projections(moments(heads, [head.context() for head in heads]), "fisher", 3)
    >>> found.cut.shape, int(np.linalg.matrix_rank(found.cut[0]))
    ((2, 8, 8), 3)
    """
    S, C = BASES[basis](m)
    return project(S, C, head_size, group)


def project(
    S: Array, C: Array | None, head_size: int | Sequence[int], group: int = 1
) -> Projections:
    """The projections of moments (heads, d, d), as of :func:`projections`."""
    heads, d, _ = S.shape
    sizes = np.minimum(np.broadcast_to(head_size, heads // group), d)
    queries, keys = np.zeros((2, heads, d, sizes.max()))
    for g, k in enumerate(sizes):
        mine = slice(g * group, (g + 1) * group)
        if k == d:
            queries[mine] = keys[mine] = np.eye(d)
            continue
        mean = S[mine].mean(axis=0)
        half = np.eye(d) if C is None else _half(C[mine].mean(axis=0))
        _, W = np.linalg.eigh(half @ mean @ half)
        keys[mine, :, :k] = B = half @ W[:, : -k - 1 : -1]
        queries[mine, :, :k] = B if C is None else [_dual(S_h, B) for S_h in S[mine]]
    return Projections(queries, keys)


def _half(C: Array) -> Array:
    """``C^½``, eigenvalues raised to the floor."""
    values, vectors = np.linalg.eigh(C)
    values = np.maximum(values, FLOOR * max(float(values[-1]), np.finfo(np.float64).tiny))
    return np.asarray((vectors * np.sqrt(values)) @ vectors.T)


def _dual(S: Array, B: Array) -> Array:
    """``S B (B^T S B)^-1``, scaled to a unit diagonal, eigenvalues at the floor left out."""
    G = B.T @ S @ B
    unit = 1 / np.sqrt(np.maximum(np.diagonal(G), np.finfo(np.float64).tiny))
    inverse = np.linalg.pinv(G * unit * unit[:, None], rcond=FLOOR, hermitian=True)
    return np.asarray(S @ (B * unit) @ inverse * unit)


def second_order_kl(m: Moments, cut: Array) -> Array:
    """Predict the KL divergence of each head's attention, ``½ scale² tr(S E C E^T)``, E the error.

    S is the covariance under the head's attention whatever the basis: theory, section 5.
    """
    E = np.eye(cut.shape[-1]) - cut.swapaxes(-1, -2)
    return np.asarray(
        0.5 * m.scale**2 * np.einsum("hab,hbc,hcd,had->h", m.attended, E, m.query, E, optimize=True)
    )


def sharing_error(m: Moments, group: int) -> list[float]:
    """How much more each head loses at half its size where its group shares one basis of keys.

    In second-order KL divergence, as a share of what is lost without any coordinate; at least 0,
    since of a head's own bases the Fisher one is the best.
    """
    half = m.query.shape[-1] // 2
    shared, alone = (
        second_order_kl(m, projections(m, "fisher", half, many).cut) for many in (group, 1)
    )
    whole = second_order_kl(m, np.zeros_like(m.query))
    share = np.divide(shared - alone, whole, out=np.zeros_like(whole), where=whole > 0)
    return [float(one) for one in np.maximum(share, 0.0)]
