"""What is random is drawn from its seed alone, and obeys its law."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

import rankbound as rb
from rankbound.attention import ensembles
from rankbound.attention.adversarial_layers import random_fixed_layer
from rankbound.attention.variants import alibi_bias
from rankbound.theory.selection import random_keys
from tests.helpers import EPS, refused

SEEDS = st.integers(0, 2**32 - 1)
LAYER = rb.random_multihead(4, 2, 0)
LAWS: dict[str, dict[str, Any]] = {
    "dirichlet": {"alpha": 0.5},
    "gibbs": {"scale": 2.0},
    "hadamard": {"epsilon": 0.5},
    "permutation": {"epsilon": 0.1},
    "sparse": {"nonzeros": 2},
    "causal": {"scale": 2.0},
    "logrank": {"rank": 3, "scale": 2.0},
}


@given(st.sampled_from(sorted(LAWS)), SEEDS)
def test_columns_sum_to_one_and_the_seed_decides(law: str, seed: int) -> None:
    P = rb.random_context(8, seed, law, **LAWS[law])
    assert P.shape == (8, 8)
    assert (P >= 0).all()
    assert np.max(np.abs(P.sum(axis=0) - 1)) <= 9 * EPS
    np.testing.assert_array_equal(P, rb.random_context(8, seed, law, **LAWS[law]))
    generator = np.random.default_rng(seed)
    np.testing.assert_array_equal(P, rb.random_context(8, generator, law, **LAWS[law]))
    assert not np.array_equal(P, rb.random_context(8, generator, law, **LAWS[law]))


@pytest.mark.parametrize("law", LAWS)
def test_defaults_are_those_of_the_docstring(law: str) -> None:
    told = dict(re.findall(r"``(\w+)\((.*?)\)``", str(rb.random_context.__doc__)))
    assert told.keys() == LAWS.keys()
    given = {name: float(value) for name, value in re.findall(r"(\w+)=(\d+)", told[law])}
    if law == "sparse":
        given["nonzeros"] = int(given["nonzeros"])
    needed = {"rank": 3} if law == "logrank" else {}
    P = rb.random_context(8, 0, law, **needed)
    np.testing.assert_array_equal(P, rb.random_context(8, 0, law, **needed, **given))
    assert not np.array_equal(P, rb.random_context(8, 0, law, **LAWS[law]))


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("n", [1, 2])
def test_smallest_sizes(law: str, n: int) -> None:
    parameters = {"logrank": {"rank": n - 1}, "sparse": {"nonzeros": 1}}.get(law, {})
    P = rb.random_context(n, 0, law, **parameters)
    assert np.max(np.abs(P.sum(axis=0) - 1)) <= 3 * EPS


def test_numpys_global_state_is_neither_read_nor_moved() -> None:
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    rb.random_context(4, seed=0)
    rb.random_head(4, 2, seed=0)
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index]  # noqa: NPY002


def test_dirichlet_is_floored_and_is_what_theory_5_says() -> None:
    """The columns that THEORY gives values for; an entry of one of length n is Beta(1, n - 1)."""
    n = 64
    P = rb.random_context(n, 0)
    floored = np.maximum(np.random.default_rng(0).dirichlet(np.ones(n), size=n).T, 1e-12)
    np.testing.assert_array_equal(P, floored / floored.sum(axis=0))
    assert kstest(P[0], "beta", args=(1, n - 1)).pvalue > 1e-6  # p-values are uniform
    sharp = rb.random_context(n, 0, alpha=0.01)
    assert sharp.min() == pytest.approx(1e-12, rel=2 * n * 1e-12, abs=0)


@given(SEEDS)
def test_hadamard(seed: int) -> None:
    """Entries e^±ε/Z, and orthogonal sign patterns.

    The signs of the rows may turn one column of the pattern constant; its context is uniform.
    """
    P = rb.random_context(8, seed, "hadamard", epsilon=0.5)
    mixed = P.max(axis=0) > 1.5 * P.min(axis=0)
    assert mixed.sum() >= 7
    top, low = P.max(axis=0)[mixed], P.min(axis=0)[mixed]
    # exp, the quotient by Z and this quotient are rounded, with a ratio e^1 between the two
    np.testing.assert_allclose(top / low, np.full(mixed.sum(), np.e), rtol=8 * EPS)
    signs = np.where(np.sqrt(top * low) < P[:, mixed], 1, -1)
    np.testing.assert_array_equal(signs.T @ signs, 8 * np.eye(mixed.sum()))


@given(SEEDS, st.floats(0, 1))
def test_permutation(seed: int, epsilon: float) -> None:
    P = rb.random_context(5, seed, "permutation", epsilon=epsilon)
    chosen = np.equal(P, 1 - epsilon)
    if epsilon != 0.8:  # at 4/5 every entry is 1/5
        assert (chosen.sum(axis=0) == 1).all()
        assert (chosen.sum(axis=1) == 1).all()
    assert (P[~chosen] == epsilon / 4).all()


@given(SEEDS, st.integers(1, 6))
def test_sparse(seed: int, nonzeros: int) -> None:
    P = rb.random_context(6, seed, "sparse", nonzeros=nonzeros)
    assert ((P > 0).sum(axis=0) == nonzeros).all()


@given(SEEDS)
def test_causal(seed: int) -> None:
    P = rb.random_context(6, seed, "causal")
    np.testing.assert_array_equal(P > 0, rb.causal_mask(6))


@given(SEEDS, st.integers(0, 7))
def test_logrank(seed: int, rank: int) -> None:
    """The values of Gaussian factors are spread far above rounding, whatever the seed here."""
    P = rb.random_context(8, seed, "logrank", rank=rank)
    assert rb.log_rank(P) <= rank
    assert rb.log_rank(P, rtol=1e-12) == rank


@pytest.mark.parametrize("law", ["gibbs", "causal", "hadamard", "logrank"])
def test_a_huge_scale_gives_a_context_or_an_error(law: str) -> None:
    """Never a NumPy warning, and never NaN."""
    name = "epsilon" if law == "hadamard" else "scale"
    parameters = {name: 1e308, **({"rank": 2} if law == "logrank" else {})}
    try:
        P = rb.random_context(4, 0, law, **parameters)
    except rb.InputError as error:
        assert name in str(error)
    else:
        assert np.max(np.abs(P.sum(axis=0) - 1)) <= 5 * EPS


@given(SEEDS, st.integers(1, 6), st.integers(1, 6), st.data())
def test_tokens(seed: int, d: int, n: int, data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, min(d, n)))
    X = rb.random_tokens(d, n, seed, rank=rank)
    assert X.shape == (d, n)
    assert rb.exact_rank(X, floats="exact").lower == rank  # over the rationals, as given
    np.testing.assert_array_equal(X, rb.random_tokens(d, n, seed, rank=rank))


@pytest.mark.parametrize("rank", [1, 3, 40])
def test_tokens_of_low_rank_are_exact_products(rank: int) -> None:
    X = rb.random_tokens(60, 50, 0, rank=rank)
    assert rb.exact_rank(X, floats="exact").lower == rb.numerical_rank(X) == rank


def test_tokens_and_logits_have_unit_variance() -> None:
    """A mean of N squares of unit variance is within 6 standard deviations sqrt(2/N) of 1.

    A product of Gaussian (d, r) and (r, n) factors has 2/(dr) + 2/(nr) in place of 2/N, and its
    entries, of kurtosis at most 9, add 8/(dn).
    """
    X = rb.random_tokens(100, 100, seed=0)
    assert abs(np.mean(X**2) - 1) < 6 * np.sqrt(2 / 100**2)
    X = rb.random_tokens(100, 100, seed=0, rank=40)
    assert abs(np.mean(X**2) - 1) < 6 * np.sqrt(4 / 4000 + 8 / 100**2)
    # the weights of a head are two such factors, (k, d) each, and so are its keys and queries
    L = rb.random_head(64, 64, seed=2).logits(rb.random_tokens(64, 1000, seed=1))
    assert abs(np.mean(L**2) - 1) < 6 * np.sqrt(4 / 64**2 + 4 / 64000 + 8 / 64**2)


@given(SEEDS)
def test_layers_and_heads_come_from_the_seed(seed: int) -> None:
    one, other = (rb.random_multihead(6, 3, seed) for _ in range(2))
    np.testing.assert_array_equal(one.W_o, other.W_o)
    assert (one.heads, one.head_size, one.value_size) == (3, 2, 2)
    fixed = rb.random_multihead(6, 4, seed, head_size=5)
    assert (fixed.heads, fixed.head_size, fixed.value_size) == (4, 5, 5)
    head = rb.random_head(6, 2, seed)
    assert head.W_v is not None
    assert head.W_v.shape == (2, 6)


def test_the_memory_asked_for_is_that_of_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def note(name: str, value: int, *shape: int) -> None:
        asked.append(math.prod(shape))

    monkeypatch.setattr(ensembles, "require_memory", note)
    layer, head = rb.random_multihead(6, 3, 0, head_size=5), rb.random_head(6, 5, 0)
    weights = (
        (layer.W_q, layer.W_k, layer.W_v, layer.W_o),
        (head.W_q, head.W_k, head.W_v),
        (rb.random_tokens(3, 4, 0),),
        (rb.random_context(4, 0),),
    )
    assert asked == [sum(W.size for W in several if W is not None) for several in weights]


@pytest.mark.parametrize(
    ("draw", "name", "shape"),
    [
        (lambda n: rb.random_tokens(3, n, 0), "n", "3 × {}"),
        (lambda n: rb.random_head(3, n, 0), "head_size", "3 × {} × 3"),
        (lambda n: rb.random_multihead(4, 2, 0, n), "head_size", "4 × 2 × {} × 4"),
        (lambda n: rb.random_context(n, 0), "n", "{} × {}"),
        (lambda n: random_fixed_layer(n, 2, 3, 0), "d", "4 × 2 × 3 × {}"),
        (lambda n: alibi_bias(n, 0.5), "n", "{} × {}"),
        (rb.causal_mask, "n", "{} × {}"),
        (lambda n: rb.widen(LAYER, n), "head_size", "2 × {} × 4"),
        (lambda n: rb.separating_tokens(LAYER, LAYER, n), "n", "{} × {}"),
        (lambda n: random_keys(3, n, 0), "head_size", "{} × 3"),
        (lambda n: rb.represent((np.eye(3) + 1) / 4, head_size=n), "head_size", "{} × 3"),
    ],
)
def test_what_no_memory_holds_is_refused(draw: Any, name: str, shape: str) -> None:
    huge = 10**15
    needs = shape.format(huge, huge)
    with refused(rb.InputError, f"{name} is {huge}, which needs {needs} entries", "memory"):
        draw(huge)
