"""Random tokens, heads, layers and context matrices, each drawn from a seed."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from types import MappingProxyType

import numpy as np

from rankbound._validate import (
    Array,
    check_head_size,
    check_int,
    check_real,
    check_seed,
    check_word,
    require_memory,
)
from rankbound.attention.head import AttentionHead
from rankbound.attention.layer import MultiHead, standard_head_size
from rankbound.attention.masks import causal_mask
from rankbound.attention.softmax import _softmax
from rankbound.errors import InputError

Seed = int | np.random.Generator


def random_tokens(d: int, n: int, seed: Seed, rank: int | None = None) -> Array:
    """Gaussian tokens of unit variance, one per column, shape (d, n).

    Parameters
    ----------
    d, n : int
        Embedding size and sequence length.
    seed : int or numpy.random.Generator
    rank : int, optional
        Rank of the tokens; ``min(d, n)``, its maximum, unless given. They are then a product of
        Gaussian factors that are rounded so that the product is exact: their rank is this over
        the rationals too.

    Examples
    --------
    >>> import rankbound as rb
    >>> X = rb.random_tokens(d=6, n=4, seed=0, rank=2)
    >>> X.shape, int(rb.exact_rank(X, floats="exact"))
    ((6, 4), 2)
    """
    d, n = check_int("d", d, least=1), check_int("n", n, least=1)
    require_memory("n", n, d, n)
    rng = check_seed(seed)
    if rank is None:
        return rng.standard_normal((d, n))
    rank = check_int("rank", rank, least=1, most=min(d, n), why="the rank of a d × n matrix")
    # 2 (bits + 3) + log2(rank) <= 53: every sum of products is exact
    bits = (53 - 6 - rank.bit_length()) // 2
    root = rank**-0.25  # in each factor, since a quotient of the product would round
    left, right = (_on_grid(root * rng.standard_normal(s), bits) for s in ((d, rank), (rank, n)))
    tokens: Array = left @ right
    return tokens


def _on_grid(A: Array, bits: int) -> Array:
    """Entries rounded to multiples of ``2**-bits``, and below 8."""
    grid: Array = np.clip(np.rint(np.ldexp(A, bits)), -(2 ** (bits + 3)), 2 ** (bits + 3))
    return np.ldexp(grid, -bits)


def random_head(d: int, head_size: int, seed: Seed) -> AttentionHead:
    """A Gaussian head, its projections of entries N(0, 1/d): logits on unit Gaussian tokens have
    unit variance.

    Parameters
    ----------
    d, head_size : int
        Embedding size; query, key and value coordinates.
    seed : int or numpy.random.Generator

    Examples
    --------
    >>> import rankbound as rb
    >>> head = rb.random_head(d=8, head_size=2, seed=0)
    >>> head.d, head.head_size, rb.log_rank(head=head)
    (8, 2, 2)
    """
    d, head_size = check_int("d", d, least=1), check_head_size(head_size)
    require_memory("head_size", head_size, 3, head_size, d)
    W_q, W_k, W_v = check_seed(seed).standard_normal((3, head_size, d)) / math.sqrt(d)
    return AttentionHead(W_q, W_k, W_v)


def random_multihead(d: int, heads: int, seed: Seed, head_size: int | None = None) -> MultiHead:
    """A Gaussian layer; standard (head size d/h) unless a head size is given.

    Parameters
    ----------
    d, heads : int
        Embedding size; number of heads h, which must divide d unless `head_size` is given.
    seed : int or numpy.random.Generator
    head_size : int, optional
        Query, key and value coordinates of each head, set apart from d and h.

    Examples
    --------
    >>> import rankbound as rb
    >>> layer = rb.random_multihead(d=8, heads=4, seed=0)
    >>> layer.head_size, layer.output(rb.random_tokens(d=8, n=5, seed=1)).shape
    (2, (8, 5))
    """
    d, heads = check_int("d", d, least=1), check_int("heads", heads, least=1)
    if head_size is None:
        apart = " Give head_size= for a layer that sets it apart."
        head_size = standard_head_size(d, heads, apart)
    head_size = check_head_size(head_size)
    require_memory("head_size", head_size, 4, heads, head_size, d)
    rng = check_seed(seed)
    W_q, W_k, W_v = rng.standard_normal((3, heads, head_size, d)) / math.sqrt(d)
    W_o = rng.standard_normal((d, heads * head_size)) / math.sqrt(heads * head_size)
    return MultiHead(W_q, W_k, W_v, W_o)


def random_context(n: int, seed: Seed, law: str = "dirichlet", **parameters: float) -> Array:
    """A random column-stochastic context matrix, shape (n, n), [key, query].

    ================================  ==========================================================
    law                               what it draws
    ================================  ==========================================================
    ``dirichlet(alpha=1)``            columns Dirichlet(alpha), floored at 1e-12, renormalised
    ``gibbs(scale=1)``                softmax of ``scale`` times Gaussian logits
    ``hadamard(epsilon=1)``           ``P ∝ exp(epsilon H)``, H a Sylvester–Hadamard matrix with
                                      random signs of rows and columns; n a power of 2
    ``permutation(epsilon=0)``        mass ``1 - epsilon`` on one key per query, a permutation; the
                                      rest spread evenly
    ``sparse(nonzeros=1)``            columns Dirichlet(1) on a random support, zeros elsewhere
    ``causal(scale=1)``               causal softmax of Gaussian logits, zeros below the diagonal
    ``logrank(rank, scale=1)``        softmax of Gaussian logits of this rank, at most n - 1:
                                      ``rank (C log P) = rank`` almost surely
    ================================  ==========================================================

    Parameters
    ----------
    n : int
        Sequence length.
    seed : int or numpy.random.Generator
    law : str
        A name above.
    **parameters : float
        Its parameters.

    Examples
    --------
    >>> import rankbound as rb
    >>> P = rb.random_context(8, seed=0, law="logrank", rank=3)
    >>> rb.log_rank(P)
    3
    """
    n = check_int("n", n, least=1)
    require_memory("n", n, n, n)
    draw = LAWS[check_word("law", law, LAWS)]
    known = list(inspect.signature(draw).parameters)[2:]
    unknown = [name for name in parameters if name not in known]
    if unknown:
        raise InputError(f"{law} has no parameter {unknown[0]!r}; it has {', '.join(known)}.")
    if law == "logrank" and "rank" not in parameters:
        raise InputError("logrank needs rank=, the log-rank of the context matrix, at most n - 1.")
    return draw(n, check_seed(seed), **parameters)


def _scaled(scale: float, logits: Array) -> Array:
    with np.errstate(over="ignore"):  # reported just below
        L: Array = check_real("scale", scale) * logits
    if not np.isfinite(L).all():
        raise InputError(f"scale is {scale}; expected one at which the logits stay below 1.8e308.")
    return L


def _dirichlet(n: int, rng: np.random.Generator, alpha: float = 1.0) -> Array:
    alpha = check_real("alpha", alpha, above=0.0)
    floored = np.maximum(rng.dirichlet(np.full(n, alpha), size=n).T, 1e-12)
    P: Array = floored / floored.sum(axis=0)
    return P


def _gibbs(n: int, rng: np.random.Generator, scale: float = 1.0) -> Array:
    return _softmax(_scaled(scale, rng.standard_normal((n, n))))


def _hadamard(n: int, rng: np.random.Generator, epsilon: float = 1.0) -> Array:
    from scipy.linalg import hadamard

    epsilon = check_real("epsilon", epsilon)
    if n & (n - 1):
        raise InputError(f"n is {n}; expected a power of 2, where Sylvester's matrix exists.")
    signs = rng.choice([-1.0, 1.0], size=(2, n))
    return _softmax(epsilon * signs[0][:, None] * hadamard(n) * signs[1])


def _permutation(n: int, rng: np.random.Generator, epsilon: float = 0.0) -> Array:
    epsilon = check_real("epsilon", epsilon, least=0.0)
    if epsilon > 1 or (n == 1 and epsilon):
        raise InputError(f"epsilon is {epsilon}; expected at most 1, and 0 for n = 1.")
    P: Array = np.full((n, n), epsilon / max(n - 1, 1))
    P[rng.permutation(n), np.arange(n)] = 1.0 - epsilon
    return P


def _sparse(n: int, rng: np.random.Generator, nonzeros: float = 1) -> Array:
    s = check_int("nonzeros", nonzeros, least=1, most=n, why="keys that a query attends to")
    P = np.zeros((n, n))
    for column in range(n):
        support = rng.choice(n, size=s, replace=False)
        P[support, column] = rng.dirichlet(np.ones(s))
    return P


def _causal(n: int, rng: np.random.Generator, scale: float = 1.0) -> Array:
    return _softmax(_scaled(scale, rng.standard_normal((n, n))), causal_mask(n))


def _logrank(n: int, rng: np.random.Generator, rank: float, scale: float = 1.0) -> Array:
    r = check_int("rank", rank, least=0, most=n - 1, why="a log-rank never exceeds n - 1")
    A, B = rng.standard_normal((2, r, n))
    return _softmax(_scaled(scale, A.T @ B / math.sqrt(max(r, 1))))


LAWS: MappingProxyType[str, Callable[..., Array]] = MappingProxyType(
    {
        draw.__name__[1:]: draw
        for draw in (_dirichlet, _gibbs, _hadamard, _permutation, _sparse, _causal, _logrank)
    }
)
