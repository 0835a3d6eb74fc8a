"""The page of papers is what the registry says, and what their claims compute is what it should."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

import rankbound as rb
from rankbound.registry import (
    catalogue,
    dong2021,
    kajitsuka2024,
    kobayashi2024,
    mahdavi2024,
    sanford2023,
)
from rankbound.registry.adler2025 import logits_of, parabola, selects
from rankbound.registry.claim import Claim
from rankbound.registry.grivas2022 import on_sphere
from rankbound.registry.likhosherstov2023 import coordinates
from rankbound.registry.verification import run_claim
from rankbound.verdict import Verdict
from tests.helpers import Array, script

make_papers = script("make_papers")
PAGE = make_papers.TARGET.read_text(encoding="utf-8")
CLAIMS = [claim for paper in catalogue.PAPERS for claim in paper.CLAIMS]
each_claim = pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)


# ---- the page


def test_the_page_is_what_the_registry_writes() -> None:
    assert make_papers.written(PAGE) == PAGE


@each_claim
def test_a_claim_of_another_status_or_wording_would_be_another_page(claim: Claim) -> None:
    """So the comparison above can fail, for each claim."""
    other = replace(claim, status=Verdict.UNDECIDED)
    source = replace(claim, source=replace(claim.source, note="read elsewhere"))
    for changed in (other, source, replace(claim, statement="Something else.")):
        of_one, of_other = (
            make_papers.statements([SimpleNamespace(CLAIMS=(one,))]) for one in (claim, changed)
        )
        assert of_one.splitlines()[-1] in PAGE
        assert of_other.splitlines()[-1] not in PAGE


def test_the_table_of_sizes_follows_the_registry() -> None:
    named = {name for *_, ids in make_papers.SIZES for name in ids}
    assert named <= set(rb.claims)
    for name in named:
        changed = {**rb.claims, name: replace(rb.claims[name], status=Verdict.UNDECIDED)}
        assert make_papers.sizes(changed) not in PAGE


def test_a_page_without_its_marks_is_refused() -> None:
    with pytest.raises(SystemExit, match="the marks of sizes are gone"):
        make_papers.written(PAGE.replace("<!-- end of sizes -->", ""))


def test_every_source_is_told_and_every_claim_says_how_it_was_read() -> None:
    told = PAGE.partition("## Source by source")[2]
    for paper in catalogue.PAPERS:
        key = paper.__name__.rpartition(".")[2]
        assert f"(`{key}`)" in told
        assert {claim.source.key for claim in paper.CLAIMS} == {key}
    words = ("read", "abstract", "account", "remembered")
    assert all(any(word in claim.source.note for word in words) for claim in CLAIMS)


@each_claim
def test_the_full_run_is_as_registered(claim: Claim) -> None:
    row = run_claim(claim, "full", 0)
    assert row.ok, row


# ---- what the claims compute, against something independent


@given(st.lists(st.integers(0, 11), min_size=12, max_size=12))
def test_keys_on_a_parabola_select_any_map(targets: list[int]) -> None:
    keys, queries = parabola(targets)
    M = np.array(keys).T @ np.array(queries)
    assert logits_of(keys, queries) == M.tolist()
    assert (M.argmax(axis=0) == targets).all()
    assert selects(M.tolist(), targets)
    M[targets[0], 0] -= 1  # a tie with a neighbour
    assert not selects(M.tolist(), targets)


def test_bent_keys_have_the_coherence_that_is_said() -> None:
    for d in (4, 16, 64):
        K = np.array(sanford2023.bent_keys(d), dtype=float)
        gram = np.abs(K.T @ K) - d * np.eye(2 * d)
        assert set(np.unique(gram)) == {0.0, math.sqrt(d)}


def test_dual_queries_score_one_and_less_than_the_bound_on_every_set() -> None:
    """All 496 pairs of 32 keys, in float64; the claim draws some, exactly."""
    keys = sanford2023.bent_keys(64)
    K = np.array(keys, dtype=float)[:, ::4]
    for pair in itertools.combinations(range(K.shape[1]), 2):
        scores = K.T @ np.linalg.lstsq(K[:, pair].T, np.ones(2), rcond=None)[0]
        assert scores[list(pair)] == pytest.approx(1.0)
        scores[list(pair)] = -1
        assert scores.max() <= float(sanford2023.outside(Fraction(1, 8), 2)) + 1e-12


def test_projected_logits_fail_no_more_often_than_is_said() -> None:
    """At δ = 1/2, so that failures would show: 40 draws, of which the bound allows about half."""
    rng = np.random.default_rng(0)
    B = np.zeros((12, 12))
    B[rng.integers(0, 12, 12), np.arange(12)] = 1.0
    d, failed = coordinates(12, 1, 1.0, 0.5, failure=0.5), 0
    for _ in range(40):
        G = rng.standard_normal((d, 12))
        failed += np.abs(G.T @ (G @ B) / d - B).max() > 0.5
    assert failed <= 20
    # Chernoff's inequality for chi-squared, which the formula rests on
    chi = rng.chisquare(d, 20_000) / d
    eta = 0.2
    assert (abs(chi - 1) > eta).mean() <= 2 * math.exp(-d / 2 * (eta**2 / 2 - eta**3 / 3))


def _least_residual(X: Array) -> float:
    def at(x: Array) -> float:
        return dong2021.norm(X - x[:, None])

    starts = (X.mean(axis=1), np.median(X, axis=1), X[:, 0])
    options = {"maxiter": 2000, "xatol": 1e-10, "fatol": 1e-12}
    found = (minimize(at, x, method="Nelder-Mead", options=options).fun for x in starts)
    return float(min(found))


@pytest.mark.parametrize(("d", "n"), [(1, 2), (1, 5), (2, 4), (3, 6)])
def test_the_residual_lies_between_its_bounds(d: int, n: int) -> None:
    rng = np.random.default_rng(d + n)
    for _ in range(5):
        X = rng.standard_normal((d, n))
        lower, upper = dong2021.residual(X)
        least = _least_residual(X)
        assert lower <= least * (1 + 1e-6)
        assert least <= upper * (1 + 1e-6)
        middles = (X.max(axis=1) + X.min(axis=1)) / 2
        for x in (X.mean(axis=1), np.median(X, axis=1), middles):  # none of its choices is better
            assert upper <= dong2021.norm(X - x[:, None])


@pytest.mark.parametrize(("level", "count"), [("quick", 12), ("full", 24)])
def test_every_stack_meets_the_hypotheses_and_none_is_dropped(level: str, count: int) -> None:
    stacks = list(dong2021.stacks(rb.claims["dong-collapse"].trial(level, 0)))
    assert len(stacks) == count
    for stack in stacks:
        assert 4 * stack.rate * dong2021.residual(stack.X)[1] ** 2 < 1
        assert stack.widest <= dong2021.SMALL


def test_the_width_of_exponents_is_that_of_residuals() -> None:
    """``E = R W_QK R^T/√d_qk``, R the tokens less their mean, a row for each token."""
    layer = rb.random_multihead(d=4, heads=2, seed=1)
    X = np.random.default_rng(0).standard_normal((4, 5))
    R = (X - X.mean(axis=1, keepdims=True)).T
    widths = []
    for W_q, W_k in zip(layer.W_q, layer.W_k, strict=True):
        E = R @ W_q.T @ W_k @ R.T * layer.scale
        widths.append(np.ptp(E, axis=1).max())
    assert dong2021.Stack("", (layer,), X).widest == pytest.approx(max(widths))


@given(st.integers(0, 3), st.integers(0, 3))
def test_kruskal_rank_is_tested(i: int, j: int) -> None:
    columns = [[Fraction(t**p) for t in range(1, 5)] for p in range(3)]  # Vandermonde
    assert mahdavi2024._kruskal(columns, 3)
    repeated = [[*row, row[i] + row[j]] for row in columns]
    assert not mahdavi2024._kruskal(repeated, 3)


def test_the_pair_attains_an_eighth_of_the_bound_and_no_more() -> None:
    """``tanh(w a²)/(8 w a²)`` for tokens ±a, which docs/papers.md states."""
    one = np.ones((1, 1, 1))
    layer = rb.MultiHead(one, one, one, one[0])
    for a in (0.05, 0.2, 0.35):
        X = np.array([[a, -a]])
        before, after = (dong2021.residual(Y) for Y in (X, layer.output(X)))
        assert before[0] == pytest.approx(before[1])
        ratio = after[1] / dong2021.doubly_exponential(1.0, before[0], 1)
        assert ratio == pytest.approx(math.tanh(a * a) / (8 * a * a))


def test_residuals_of_the_printed_condition_grow_layer_after_layer() -> None:
    layer = rb.MultiHead([[[0.1]]], [[[1.0]]], [[[2.0]]], [[1.0]], scale=1.0)
    X, sizes = np.array([[10.0, -10.0]]), []
    for _ in range(6):
        sizes.append(dong2021.residual(X)[1])
        X = layer.output(X)
    assert all(y > 1.9 * x for x, y in itertools.pairwise(sizes))


@pytest.mark.parametrize("decay", [0.2, 0.8, 2.5])
def test_the_closed_form_under_weight_decay_is_a_minimum(decay: float) -> None:
    """Of the convex loss of the product: no neighbour is below it."""
    rng = np.random.default_rng(1)
    s = np.array(kobayashi2024.VALUES)
    kept = np.maximum(s - decay, 0)
    Y, A = np.diag(s), np.diag(kept)

    def loss(A: Array) -> float:
        return float(((A - Y) ** 2).sum() / 2 + decay * np.linalg.norm(A, "nuc"))

    for _ in range(200):
        assert loss(A + 10 ** -rng.uniform(0, 6) * rng.standard_normal(A.shape)) >= loss(A)


def test_balanced_factors_attain_the_nuclear_norm() -> None:
    assert kobayashi2024.nuclear(np.diag([3.0, -4.0])) == pytest.approx(7)
    claim = rb.claims["kobayashi-nuclear"]
    kinds = {"random": False, "balanced": False}
    for one in claim.check(claim.trial("quick", 0)):
        attained = abs(one.measured - one.predicted) <= one.tolerance
        kinds[one.label.split(",")[0]] |= attained
    assert kinds == {"random": False, "balanced": True}


def test_the_boltzmann_operator_is_attention_of_size_one() -> None:
    tokens = [0, 8, 16]
    a = np.array(tokens) * math.log(2)
    attended = a @ rb.column_softmax(a[:, None])[:, 0]
    assert float(kajitsuka2024.boltzmann(tokens)) * math.log(2) == pytest.approx(attended)


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=4))
def test_keys_on_the_sphere_have_length_one(point: list[int]) -> None:
    assert sum(x[0] ** 2 for x in on_sphere([point])) == 1


def test_heads_of_size_one_reach_the_upper_bound_on_memory() -> None:
    """What refutes the cap is as much as any head can hand on (`mahdavi-upper`)."""
    claim = rb.claims["mahdavi-size-caps"]
    for one in claim.check(claim.trial("full", 0)):
        heads, n = int(one.label[0]), int(one.label[-1])
        assert one.measured == heads * (n - 1) + 1
        assert one.predicted == 1
