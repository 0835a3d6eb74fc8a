"""Hypothesis strategies for tokens, heads, layers, logits and contexts, the hard kinds included.

Each strategy takes the sizes that matter to the test; those left out are drawn, up to `largest`.
``kinds=`` is one name or several from the list in its docstring; without it, every kind that
exists at the sizes is drawn.

Small integers and sizes are drawn by Hypothesis and shrink; Gaussian entries come from a drawn
seed, which shrinks towards 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any

import numpy as np

from rankbound._validate import Array, check_int, listed, shown
from rankbound.attention.ensembles import random_head, random_multihead
from rankbound.attention.head import AttentionHead
from rankbound.attention.layer import MultiHead
from rankbound.attention.softmax import column_softmax
from rankbound.errors import BackendMissing, InputError
from rankbound.exact.flint import flint_module

try:
    from hypothesis import strategies as st
    from hypothesis.extra.numpy import arrays
except ImportError:
    raise BackendMissing(
        "rankbound.testing needs Hypothesis, which is not installed here: "
        'pip install "rankbound[test]". The matrices of rankbound.testing.gallery do not need it.'
    ) from None

# What properties use is imported now: the first example has Hypothesis' 200 ms, as all have.
for _module in (
    "rankbound.theory.decision",
    "rankbound.theory.certified",
    "rankbound.theory.sign_rank",
    "rankbound.theory.argmax",
    "rankbound.fitting.solve",
    "rankbound.exact.balls",
    "scipy.linalg",
    "scipy.optimize",
):
    import_module(_module)
with suppress(BackendMissing):
    flint_module()

Draw = Any  # st.DrawFn, whose generic call a table of functions cannot state
Kinds = str | Iterable[str] | None
LARGEST = 1024  # size that is drawn


@dataclass(frozen=True)
class Kind:
    """How to draw one kind: Hypothesis' draw and the sizes in, and whether it exists at sizes."""

    build: Callable[..., Any]
    fits: Callable[..., bool] = lambda *sizes: True


def _table(**kinds: Kind) -> Mapping[str, Kind]:
    return MappingProxyType(kinds)


def _several(*sizes: int) -> bool:
    return min(sizes) >= 2


def _drawn(
    what: str,
    sizes: Mapping[str, int | None],
    kinds: Kinds,
    largest: int,
    table: Mapping[str, Kind],
) -> st.SearchStrategy[Any]:
    """The strategy that draws a kind, then sizes at which it exists, then the thing itself."""
    largest = check_int("largest", largest, least=1)
    fixed = {
        name: size if size is None else check_int(name, size, least=1)
        for name, size in sizes.items()
    }
    for name, size in (("largest", largest), *fixed.items()):
        check_int(name, size or 1, least=1, most=LARGEST)
    # a kind such as d < n may need one more than the size that is given
    most = max([largest, *(size + 1 for size in fixed.values() if size is not None)])
    spans = [range(1, most + 1) if size is None else (size,) for size in fixed.values()]
    possible = {
        name: [at for at in itertools.product(*spans) if kind.fits(*at)]
        for name, kind in table.items()
    }
    chosen = _chosen(what, kinds, possible, fixed)

    @st.composite
    def one(draw: Draw) -> Any:
        name = draw(st.sampled_from(chosen))
        at: tuple[int, ...] = ()
        while len(at) < len(fixed):  # one size after the other, so that each shrinks by itself
            open_sizes = {pair[len(at)] for pair in possible[name] if pair[: len(at)] == at}
            at = (*at, draw(st.sampled_from(sorted(open_sizes))))
        return table[name].build(draw, *at)

    return one()


def _chosen(
    what: str,
    kinds: Kinds,
    possible: Mapping[str, list[tuple[int, ...]]],
    fixed: Mapping[str, int | None],
) -> list[str]:
    if kinds is None:
        return [name for name in possible if possible[name]]
    names = [kinds] if isinstance(kinds, str) else listed("kinds", kinds, "a name or several names")
    if not names:
        raise InputError(f"kinds is empty; expected some of {', '.join(possible)}.")
    for name in names:
        if not isinstance(name, str) or name not in possible:
            known = ", ".join(possible)
            raise InputError(f"{what}: no kind {shown(name)}; expected some of {known}.")
        if not possible[name]:
            at = ", ".join(f"{key} = {size}" for key, size in fixed.items() if size is not None)
            raise InputError(
                f"{what}: kind {name!r} does not exist at {at}; expected it left free."
            )
    return names


def _rng(draw: Draw) -> np.random.Generator:
    return np.random.default_rng(draw(st.integers(0, 2**32 - 1)))


def _integers(draw: Draw, rows: int, columns: int, least: int = -3, most: int = 3) -> Array:
    """Integers, small unless other bounds are given, as float64."""
    entries: Array = draw(arrays(np.int64, (rows, columns), elements=st.integers(least, most)))
    return entries.astype(np.float64)


def _gaussian(draw: Draw, rows: int, columns: int) -> Array:
    return _rng(draw).standard_normal((rows, columns))


def _low_rank(draw: Draw, rows: int, columns: int) -> Array:
    rank = draw(st.integers(1, min(rows, columns) - 1))
    product: Array = _integers(draw, rows, rank) @ _integers(draw, rank, columns)
    return product


def _near_low_rank(draw: Draw, rows: int, columns: int) -> Array:
    base, gap = _low_rank(draw, rows, columns), 10.0 ** -draw(st.integers(1, 16))
    near: Array = base + gap * _gaussian(draw, rows, columns)
    return near


def _repeated(draw: Draw, rows: int, columns: int) -> Array:
    distinct = draw(st.integers(1, columns - 1))
    chosen = draw(st.lists(st.integers(0, distinct - 1), min_size=columns, max_size=columns))
    return _integers(draw, rows, distinct)[:, chosen]


def _one_hot(least: int, most: int) -> Callable[..., Array]:
    """A permutation matrix times a drawn integer."""
    return lambda draw, n: (
        draw(st.integers(least, most)) * np.eye(n)[:, draw(st.permutations(range(n)))]
    )


def _times_power(draw: Draw, matrix: Array, exponents: st.SearchStrategy[int]) -> Array:
    scaled: Array = np.ldexp(matrix, draw(exponents))
    return scaled


def _full_column_rank(draw: Draw, d: int, n: int) -> Array:
    rng = _rng(draw)
    basis = np.linalg.qr(rng.standard_normal((d, n)))[0]
    return basis * rng.uniform(1.0, 10.0, size=n)


def _softmax_of(build: Callable[..., Array]) -> Callable[..., Array]:
    return lambda draw, *sizes: column_softmax(build(draw, *sizes))


def _square(build: Callable[..., Array]) -> Callable[..., Array]:
    return lambda draw, n: build(draw, n, n)


LOGITS = _table(
    constant=Kind(lambda draw, n: np.tile(_integers(draw, 1, n), (n, 1))),
    integer=Kind(lambda draw, n: _integers(draw, n, n).astype(np.int64)),
    low_rank=Kind(_square(_low_rank), _several),
    repeated=Kind(_square(_repeated), _several),
    gaussian=Kind(_square(_gaussian)),
    near_low_rank=Kind(_square(_near_low_rank), _several),
    one_hot=Kind(_one_hot(1, 1000), _several),
    underflow=Kind(_one_hot(800, 10**6), _several),
    huge=Kind(lambda draw, n: _times_power(draw, _integers(draw, n, n), st.integers(100, 1018))),
    single=Kind(_square(_integers), lambda n: n == 1),
)


def logits(
    n: int | None = None, *, kinds: Kinds = None, largest: int = 8
) -> st.SearchStrategy[Array]:
    """Finite logits of shape (n, n), [key, query].

    * ``constant``: one constant per column: the uniform context
    * ``integer``: integers of dtype int64, which the package treats exactly
    * ``low_rank``: a product of integer factors, exact in float64; rank below n
    * ``repeated``: repeated columns, integer entries
    * ``gaussian``: independent normal entries
    * ``near_low_rank``: ``low_rank`` plus normal entries of size 10^-k, k = 1..16
    * ``one_hot``: t times a permutation matrix, t = 1..1000
    * ``underflow``: one key per query leads by 800 to 10^6: other weights are 0 in float64
    * ``huge``: integers times a power of two, from 10^30 up to about 10^307
    * ``single``: n = 1
    """
    return _drawn("logits", {"n": n}, kinds, largest, LOGITS)


def _integer_context(draw: Draw, n: int) -> Array:
    weights = _integers(draw, n, n, 1, 9)
    P: Array = weights / weights.sum(axis=0)
    return P


CONTEXTS = _table(
    uniform=Kind(lambda draw, n: np.full((n, n), 1 / n)),
    integer=Kind(_integer_context),
    low_rank=Kind(_softmax_of(_square(_low_rank)), _several),
    repeated=Kind(_softmax_of(_square(_repeated)), _several),
    gaussian=Kind(_softmax_of(_square(_gaussian))),
    near_low_rank=Kind(_softmax_of(_square(_near_low_rank)), _several),
    one_hot=Kind(_softmax_of(_one_hot(1, 600)), _several),
    tiny=Kind(_softmax_of(lambda draw, n: _integers(draw, n, n, -700, 0)), _several),
    single=Kind(lambda draw, n: np.ones((1, 1)), lambda n: n == 1),
)


def contexts(
    n: int | None = None, *, kinds: Kinds = None, largest: int = 8
) -> st.SearchStrategy[Array]:
    """Positive column-stochastic matrices of shape (n, n), [key, query].

    * ``uniform``: every entry 1/n
    * ``integer``: weights from 1 to 9 over their sum in each column; shrinks to small weights
    * ``low_rank``: softmax of logits of kind ``low_rank``: log-rank at most their rank
    * ``repeated``: repeated columns
    * ``gaussian``: softmax of independent normal logits
    * ``near_low_rank``: softmax of logits of kind ``near_low_rank``
    * ``one_hot``: a permutation but for a mass of about n e^-t, t = 1..600
    * ``tiny``: entries down to about e^-700 = 1e-304, still normal numbers
    * ``single``: n = 1
    """
    return _drawn("contexts", {"n": n}, kinds, largest, CONTEXTS)


TOKENS = _table(
    integer=Kind(lambda draw, d, n: _integers(draw, d, n).astype(np.int64)),
    gaussian=Kind(_gaussian),
    full_column_rank=Kind(_full_column_rank, lambda d, n: d >= n),
    low_rank=Kind(_low_rank, _several),
    repeated=Kind(_repeated, lambda d, n: n >= 2),
    near_low_rank=Kind(_near_low_rank, _several),
    wide=Kind(_gaussian, lambda d, n: d < n),
    huge=Kind(lambda draw, d, n: _times_power(draw, _gaussian(draw, d, n), st.integers(100, 500))),
    single=Kind(_gaussian, lambda d, n: n == 1),
)


def tokens(
    d: int | None = None, n: int | None = None, *, kinds: Kinds = None, largest: int = 8
) -> st.SearchStrategy[Array]:
    """Tokens of shape (d, n), one per column.

    * ``integer``: integers from -3 to 3, of dtype int64; any d and n
    * ``gaussian``: independent normal entries, any d and n
    * ``full_column_rank``: d >= n, condition number at most 10
    * ``low_rank``: a product of integer factors, exact in float64; rank below min(d, n)
    * ``repeated``: repeated tokens, integer entries
    * ``near_low_rank``: ``low_rank`` plus normal entries of size 10^-k, k = 1..16
    * ``wide``: d < n: no tokens of full column rank
    * ``huge``: normal entries times a power of two, from 10^30 up to about 10^150
    * ``single``: n = 1
    """
    return _drawn("tokens", {"d": d, "n": n}, kinds, largest, TOKENS)


def _integer_head(draw: Draw, d: int, k: int) -> AttentionHead:
    W_q, W_k, W_v = (_integers(draw, k, d) for _ in range(3))
    return AttentionHead(W_q=W_q, W_k=W_k, W_v=W_v, scale=1.0)


def _gaussian_head(draw: Draw, d: int, k: int) -> AttentionHead:
    return random_head(d, k, _rng(draw))


def _changed_head(
    change: Callable[[Draw, AttentionHead], tuple[Array, Array, float]],
) -> Callable[..., AttentionHead]:
    def build(draw: Draw, d: int, k: int) -> AttentionHead:
        head = _gaussian_head(draw, d, k)
        W_q, W_k, scale = change(draw, head)
        return AttentionHead(W_q=W_q, W_k=W_k, W_v=head.W_v, scale=scale)

    return build


HEADS = _table(
    zero=Kind(_changed_head(lambda _, h: (0 * h.W_q, h.W_k, h.scale))),
    integer=Kind(_integer_head),
    gaussian=Kind(_gaussian_head),
    low_rank=Kind(
        _changed_head(lambda _, h: (h.W_q, 0 * h.W_k + h.W_k[:1], h.scale)), lambda d, k: k >= 2
    ),
    sharp=Kind(_changed_head(lambda draw, h: (h.W_q, h.W_k, 10.0 ** draw(st.integers(2, 6))))),
    huge=Kind(_changed_head(lambda _, h: (np.ldexp(h.W_q, 498), np.ldexp(h.W_k, 498), h.scale))),
    wide=Kind(_gaussian_head, lambda d, k: k > d),
    single=Kind(_gaussian_head, lambda d, k: k == 1),
)


def heads(
    d: int | None = None, head_size: int | None = None, *, kinds: Kinds = None, largest: int = 8
) -> st.SearchStrategy[AttentionHead]:
    """Attention heads with query, key and value projections of shape (head_size, d).

    d is the embedding size (the sequence length where tokens are the identity).

    * ``zero``: zero queries: the uniform context
    * ``integer``: integer projections and scale 1, so that integer tokens have exact logits
    * ``gaussian``: :func:`rankbound.random_head`
    * ``low_rank``: keys that repeat one row, head_size >= 2: logits of rank 1
    * ``sharp``: Gaussian, scale 10^2 to 10^6: contexts near one-hot, and underflow
    * ``huge``: projections near 10^150, so that logits are near 10^300
    * ``wide``: head_size > d
    * ``single``: head_size = 1
    """
    return _drawn("heads", {"d": d, "head_size": head_size}, kinds, largest, HEADS)


def _standard_layer(draw: Draw, d: int, h: int) -> MultiHead:
    return random_multihead(d, h, _rng(draw))


def _repeated_layer(draw: Draw, d: int, h: int) -> MultiHead:
    one = random_multihead(d, 1, _rng(draw))
    W_q, W_k, W_v = (np.repeat(W, h, axis=0) for W in (one.W_q, one.W_k, one.W_v))
    return MultiHead(W_q=W_q, W_k=W_k, W_v=W_v, W_o=np.tile(one.W_o, (1, h)))


MULTIHEADS = _table(
    standard=Kind(_standard_layer, lambda d, h: d % h == 0),
    fixed=Kind(
        lambda draw, d, h: random_multihead(d, h, _rng(draw), head_size=draw(st.integers(1, 2 * d)))
    ),
    repeated=Kind(_repeated_layer, lambda d, h: h >= 2),
    single=Kind(_standard_layer, lambda d, h: h == 1),
)


def multiheads(
    d: int | None = None, heads: int | None = None, *, kinds: Kinds = None, largest: int = 8
) -> st.SearchStrategy[MultiHead]:
    """Gaussian layers of embedding size d with this number of attention heads h.

    * ``standard``: head size d/h; h divides d
    * ``fixed``: a head size from 1 to 2d, whatever d and h are
    * ``repeated``: the same head h times, h >= 2
    * ``single``: h = 1, head size d
    """
    return _drawn("multiheads", {"d": d, "heads": heads}, kinds, largest, MULTIHEADS)
