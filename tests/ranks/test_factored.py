"""The spectrum from the factors is the spectrum of the logits."""

from __future__ import annotations

import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rankbound as rb
from rankbound.testing import heads, tokens
from tests.helpers import EPS, Array

MODERATE = ("zero", "integer", "gaussian", "low_rank", "sharp", "wide", "single")


def assert_spectrum_of(
    values: Array, head: rb.AttentionHead, X: npt.ArrayLike | None, centred: bool
) -> None:
    """Compare with the SVD of the formed logits.

    Projecting costs d eps ‖W‖_F ‖X‖_F for each factor; forming L, centring it, the QR
    factorisations, their product and both decompositions are backward stable and cost less than
    n k eps ‖K‖_F ‖Q‖_F each (Higham 2002, sections 3.5, 19.3 and 19.4).
    """
    K, Q = head.keys(X), head.queries(X)
    k, n = K.shape
    L = head.scale * K.T @ Q
    if centred:
        L = (np.eye(n) - 1 / n) @ L
    expected = np.linalg.svd(L, compute_uv=False)
    norm = 1.0 if X is None else np.linalg.norm(X)
    norms = np.linalg.norm(head.W_k) * np.linalg.norm(head.W_q) * norm**2
    bound = (6 * n * k + 2 * head.d) * EPS * abs(head.scale) * norms
    assert values.shape == (min(k, n),)
    assert np.max(np.abs(values - expected[: min(k, n)])) <= bound
    assert np.all(expected[min(k, n) :] <= bound)


@given(heads(kinds=MODERATE), st.booleans())
def test_equals_the_svd_of_the_logits(head: rb.AttentionHead, centred: bool) -> None:
    assert_spectrum_of(rb.logit_spectrum(head, centred=centred), head, None, centred)


@given(st.data(), st.booleans())
def test_equals_the_svd_of_the_logits_on_tokens(data: st.DataObject, centred: bool) -> None:
    head = data.draw(heads(kinds=MODERATE))
    X = data.draw(
        tokens(d=head.d, kinds=("gaussian", "repeated", "single", "low_rank", "wide"))
        if head.d > 1
        else tokens(d=1, kinds=("gaussian", "repeated", "wide"))
    )
    assert_spectrum_of(rb.logit_spectrum(head, X, centred=centred), head, X, centred)


@given(heads(kinds="gaussian"), st.integers(1, 6), st.integers(0, 2**32 - 1), st.booleans())
def test_a_batch_is_a_loop(head: rb.AttentionHead, n: int, seed: int, centred: bool) -> None:
    X = rb.random_tokens(head.d, 6 * n, seed).reshape(head.d, 2, 3, n).transpose(1, 2, 0, 3)
    whole = rb.logit_spectrum(head, X, centred=centred)
    assert whole.shape == (2, 3, min(head.head_size, n))
    for index in np.ndindex(2, 3):
        assert_spectrum_of(whole[index], head, X[index], centred)


def test_the_sign_of_the_scale_is_lost() -> None:
    W_q, W_k = np.random.default_rng(0).standard_normal((2, 3, 5))
    plus, minus = (rb.AttentionHead(W_q, W_k, scale=s) for s in (0.5, -0.5))
    np.testing.assert_array_equal(rb.logit_spectrum(plus), rb.logit_spectrum(minus))


@pytest.mark.parametrize("k", [1, 3, 8])
def test_centred_shows_the_log_rank(k: int) -> None:
    """The values above rounding are as many as the log-rank of the context, Lemma 1."""
    head = rb.random_head(d=16, head_size=k, seed=k)
    values = rb.logit_spectrum(head, centred=True)
    assert np.sum(values > 16 * EPS * values[0]) == rb.log_rank(head.context()) == k


def test_the_logits_are_never_formed() -> None:
    """Beside the factors, R and a few copies: a tenth of the 72 MB that n x n would take."""
    n = 3000
    head = rb.AttentionHead(*np.random.default_rng(0).standard_normal((2, 4, n)))
    tracemalloc.start()
    rb.logit_spectrum(head, centred=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < n * n * 8 / 10


@given(heads(kinds="huge"), st.booleans())
def test_huge_projections(head: rb.AttentionHead, centred: bool) -> None:
    """Powers of two: the spectrum of the moderate head, scaled by 2^996."""
    small = rb.AttentionHead(np.ldexp(head.W_q, -498), np.ldexp(head.W_k, -498), scale=head.scale)
    np.testing.assert_array_equal(
        rb.logit_spectrum(head, centred=centred),
        np.ldexp(rb.logit_spectrum(small, centred=centred), 996),
    )


@pytest.mark.parametrize("centred", [False, True])
def test_keys_at_the_edge_of_float64(centred: bool) -> None:
    """The sum of the keys overflows, and the spectrum does not."""
    head = rb.AttentionHead([[1.0, 1.0, -1.0]], [[1.5e308, 1.5e308, -1.5e308]], scale=1e-10)
    small = rb.AttentionHead([[1.0, 1.0, -1.0]], [[1.5, 1.5, -1.5]], scale=1e298)
    expected = rb.logit_spectrum(small, centred=centred)
    # 1.5e308 and 1e-10 are themselves rounded, in either form; then as above with n k = 3
    np.testing.assert_allclose(rb.logit_spectrum(head, centred=centred), expected, rtol=24 * EPS)


def test_overflow_is_refused() -> None:
    head = rb.AttentionHead([[1e200, 0.0]], [[1e200, 0.0]])
    with pytest.raises(rb.InputError, match=r"above 1.8e308; expected .* Divide the keys"):
        rb.logit_spectrum(head)


def test_an_array_is_not_a_head() -> None:
    with pytest.raises(rb.InputTypeError, match=r"a ndarray; expected an AttentionHead.*rb.spectr"):
        rb.logit_spectrum(np.eye(3))  # type: ignore[arg-type]
