"""Ways in which claims were fooled, each caught now."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

import rankbound as rb
from rankbound.certificates import statements
from rankbound.certificates.certificates import Certificate
from rankbound.errors import Undecided
from rankbound.exact.rounding import FLOAT64_EPS
from rankbound.ranks.exact import exact_rank
from rankbound.registry import selection as selection_claims
from rankbound.registry.claim import Claim, Instance, Relation
from rankbound.registry.populations import construction_error, exact_log_rank
from rankbound.registry.theorem_c import head_near_worst, proofs_of_nearness
from rankbound.registry.theorems import smaller_heads_miss, stationary_error, truncated
from rankbound.registry.verification import Row, prove, run_claim
from rankbound.theory import selection, sign_rank
from rankbound.verdict import Verdict


def fooled(claim: str, **formulas: Any) -> Row:
    """The row of a claim whose subject is replaced; it must not be as registered."""
    row = run_claim(rb.claims[claim], "quick", 0, formulas)
    assert not row.ok
    return row


# ---- training that does not train


@pytest.mark.parametrize("iterations", [1, 5, 10])
def test_heads_that_are_hardly_trained_do_not_reach(iterations: int) -> None:
    """However large their gradient, which once was the tolerance."""
    row = fooled("trained-reaches", train=partial(rb.fit_head, max_iterations=iterations))
    assert row.evidence is Verdict.UNDECIDED
    assert row.residual > row.tolerance


@pytest.mark.parametrize("seed", range(4))
def test_heads_of_a_size_less_miss_by_more_than_the_tolerance_may_be(seed: int) -> None:
    """The cap of the tolerance, against the nearest heads and the best ones found."""
    P = rb.random_context(5, seed=seed)
    cap = smaller_heads_miss(P)
    for head in (rb.nearest_head(P, 3), rb.fit_head(P, 3).head):
        assert np.max(np.abs(head.context() - P)) >= cap > 1e-6


def test_the_construction_may_miss_by_what_its_derivation_says_and_no_more() -> None:
    """D = a C, of nuclear norm a (n - 1), whatever is added to columns; κ = √n for X = 3 [I; 0]."""
    n, d, a = 4, 5, 0.75
    log_P = a * np.eye(n) - np.array([1.0, 2.0, 3.0, 4.0])
    X = 3 * np.eye(d, n)
    construction = 8 * d * FLOAT64_EPS * math.sqrt(n) * a * (n - 1)
    rounding = 4 * (n + 32) * FLOAT64_EPS * (1 + 4 * 4)
    assert construction_error(log_P, X) == pytest.approx(construction + rounding, rel=1e-12, abs=0)


@pytest.mark.parametrize("unit", [1.0, 4.0])
def test_the_tolerance_of_stationary_points_is_what_its_derivation_says(unit: float) -> None:
    """W_k = [I 0], of kernel e_n and least singular value 1, in any unit of the keys."""
    n, gradient = 4, 1e-6
    head = rb.AttentionHead(W_q=np.eye(n - 1, n), W_k=unit * np.eye(n - 1, n))
    fit = rb.fit_head(rb.random_context(n, seed=0), n - 1)
    fit = replace(fit, head=head, gradient_norm=unit * gradient, gradient_tolerance=unit)
    rounding = 4 * n * FLOAT64_EPS
    # [W_k; 1^T] has the inverse [I 0; -1^T 1], keys in their unit
    wanted = n * math.sqrt(n - 1) * (gradient + rounding * math.sqrt(n - 1)) + rounding
    assert stationary_error(fit, n) == pytest.approx(wanted, rel=1e-12, abs=0)
    asked, missed = (replace(fit, gradient_norm=g) for g in (unit, 10 * unit))
    assert stationary_error(missed, n) == stationary_error(asked, n)


def stationary_bound(head: rb.AttentionHead, P: Any) -> tuple[float, float]:
    """How far the head's context is from P, and how far its gradient lets it be."""
    n = len(P)
    difference = head.context() - P
    gradient = float(np.linalg.norm(head.W_k @ difference)) / n
    fit = rb.fit_head(P, n - 1)
    fit = replace(fit, head=head, gradient_norm=gradient, gradient_tolerance=gradient)
    return float(np.max(np.abs(difference))), stationary_error(fit, n)


@pytest.mark.parametrize("seed", range(4))
def test_no_context_is_farther_than_its_gradient_lets_it_be(seed: int) -> None:
    n = 5
    W_k, W_q = np.random.default_rng(seed).normal(size=(2, n - 1, n))
    P = rb.random_context(n, seed=seed)
    missed, bound = stationary_bound(rb.AttentionHead(W_q=W_q, W_k=W_k), P)
    assert missed <= bound


def test_some_context_is_as_far_as_its_gradient_lets_it_be() -> None:
    """P uniform, W_k = [I 0], and one query that prefers all keys but the last alike."""
    n = 5
    head = rb.AttentionHead(W_q=np.outer(np.ones(n - 1), np.eye(n)[0]), W_k=np.eye(n - 1, n))
    missed, bound = stationary_bound(head, np.full((n, n), 1 / n))
    # Z and W_k have the norms z = ‖W_k‖_F = sqrt(n - 1); 2 for the rest of the inverse
    rounding = 4 * n * FLOAT64_EPS * (1 + n * (n - 1))
    assert missed <= bound <= missed + 2 * rounding
    assert missed > 0.01


def test_keys_that_lack_a_coordinate_bound_nothing() -> None:
    n = 4
    fit = rb.fit_head(rb.random_context(n, seed=0), n - 1)
    keys = np.eye(n - 1, n)
    keys[-1] = 0
    fit = replace(fit, head=rb.AttentionHead(W_q=fit.head.W_q, W_k=keys))
    assert stationary_error(fit, n) == math.inf


def test_what_smaller_heads_miss_is_the_least_entry_times_the_last_singular_value() -> None:
    """P ∝ exp(t I): C log P = t C, all of whose n - 1 singular values are t."""
    n, t = 5, 2.0
    P = rb.column_softmax(t * np.eye(n))
    wanted = -math.expm1(-t / n) / (math.exp(t) + n - 1)
    assert smaller_heads_miss(P) == pytest.approx(wanted, rel=1e-12, abs=0)


# ---- mutants that are wrong in more than they say


def test_truncated_heads_are_right_for_the_right_matrix() -> None:
    """So those of other matrices fail for the matrix, not for the scale of the head."""
    right = truncated(lambda P: np.log(P) - np.log(P).mean(axis=0))
    assert run_claim(rb.claims["theorem-a"], "quick", 0, {"nearest": right}).ok


# ---- steps that do not converge


@pytest.mark.parametrize(
    "step",
    [lambda s: 2.0**s, lambda s: 0.5, lambda s: 1.0 / s, lambda s: 1.5 * 2.0**-s],
    ids=["diverge", "stay", "converge too slowly", "are too long"],
)
def test_heads_that_do_not_come_close_are_not_dense(step: Any) -> None:
    row = fooled("causal-dense", step=step)
    assert row.evidence is Verdict.UNDECIDED
    assert row.residual > row.tolerance


def test_heads_of_more_coordinates_are_not_what_causal_dense_states() -> None:
    """Those that have the worst case exactly."""

    def exact(n: int, t: float) -> rb.AttentionHead:
        keys = np.eye(n)[1:]
        return rb.AttentionHead(W_q=keys, W_k=keys, scale=math.log(2))

    row = fooled("causal-dense", head=exact)
    assert math.isinf(row.residual)


def test_nearness_is_certified_to_its_last_twentieth() -> None:
    """At n = 16 the distance is t (1 - 1/17) log 2: nothing much below it is proved."""
    t, P = 2.0**-10, np.tril(1 + np.eye(16)).T
    head = head_near_worst(16, t)
    assert len(proofs_of_nearness(head, P, math.log(2) * t)) == 16
    with pytest.raises(Undecided, match="query 15 is not shown to be within"):
        proofs_of_nearness(head, P, 0.94 * math.log(2) * t)


# ---- certificates of the predicted side


def answers(size: float) -> Any:
    """A decision that always says the same."""
    return lambda logits, X: size


WRONG = [
    *((f"theorem-b-{name}", size) for name in ("forced", "free") for size in (99, 0, 2, math.inf)),
    *(("theorem-b-unreachable", size) for size in (99, 0, 2)),
]


@pytest.mark.parametrize(("claim", "size"), WRONG)
def test_a_wrong_answer_about_tokens_refutes_nothing(claim: str, size: float) -> None:
    """Nor is there a certificate of it, for any instance in which it is wrong."""
    assert fooled(claim, least=answers(size)).evidence is Verdict.UNDECIDED
    registered = rb.claims[claim]
    instances = list(registered.check(registered.trial("quick", 0), least=answers(size)))
    proved, _ = prove(None, instances)
    for instance in proved:
        if registered.residual(instance):
            assert instance.accepted == 0


def _of(relation: Relation) -> Claim:
    return replace(rb.claims["sharp-necessary"], relation=relation)


def _with_rank(rank: int, measured: float, predicted: float) -> Instance:
    """An instance whose certificate, accepted, is of a matrix of this rank."""
    certificates = rb.exact_rank(np.eye(rank, dtype=int).tolist()).certify().certificates
    evidence = Verdict.CERTIFIED
    return Instance("case", measured, predicted, evidence, certificates=certificates, accepted=1)


def test_a_certificate_refutes_only_what_it_excludes() -> None:
    """Of a rank of 2: an answer of 2 where 3 is predicted, none of 99 where 2 is."""
    refuted, open_ = Verdict.REFUTED, Verdict.UNDECIDED
    for relation, measured, predicted, word in (
        (Relation.EQ, 2, 3, refuted),
        (Relation.LE, 2, 1, refuted),
        (Relation.GE, 2, 3, refuted),
        (Relation.EQ, 99, 2, open_),  # of the predicted side
        (Relation.LE, 99, 2, open_),
        (Relation.GE, 0, 2, open_),
        (Relation.EQ, 99, 3, open_),  # of neither side
        (Relation.EXISTS, False, True, open_),  # another witness may do
        (Relation.IFF, False, True, open_),
    ):
        assert _of(relation).judge([_with_rank(2, measured, predicted)]) is word, relation


def test_a_certificate_that_contradicts_what_was_measured_certifies_nothing() -> None:
    assert _of(Relation.EQ).judge([_with_rank(2, 2, 2)]) is Verdict.CERTIFIED
    assert _of(Relation.EQ).judge([_with_rank(2, 1, 1)]) is Verdict.SUPPORTED


def test_an_argument_that_does_not_go_through_refutes_nothing() -> None:
    broken = Instance("a simplification", False, True, Verdict.PROVED)
    assert rb.claims["softmax-gauge"].judge([broken]) is Verdict.UNDECIDED


# ---- keys that are preferred the less: equal logits will do


def test_a_scale_below_zero_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """For ε > 1 - 1/n the rule without max(0, .) prefers all keys but the target."""

    def log_odds(n: int, error: float) -> float:
        return math.log(max(n - 1, 1) * (1 - error) / error)

    row = fooled("price-of-scale-attained", gap=log_odds)
    assert row.residual > row.tolerance
    monkeypatch.setattr(selection_claims, "gap", log_odds)
    row = fooled("spread-keys")
    assert row.residual > row.tolerance


@pytest.mark.parametrize(
    ("claim", "module", "name"),
    [
        ("price-of-scale-attained", selection, "sufficient_gap"),
        ("spread-keys", selection_claims, "gap"),
    ],
)
def test_a_single_key_is_among_the_instances(
    monkeypatch: pytest.MonkeyPatch, claim: str, module: Any, name: str
) -> None:
    """It needs no scale; the logarithm of its odds is that of 0."""

    def log_odds(n: int, error: float, share: float = 1.0) -> float:
        return max(0.0, math.log((n - 1) * (1 - error) / (share * error)))

    monkeypatch.setattr(module, name, log_odds)
    assert "math domain error" in fooled(claim).reason


# ---- bounds where they bind


@pytest.mark.parametrize(
    ("name", "claims"),
    [
        ("average", ("price-of-scale-counts", "price-of-scale")),
        ("volume", ("price-of-scale-counts", "price-of-scale", "price-of-scale-volume")),
        ("plane", ("price-of-scale-counts", "price-of-scale")),
        ("caps", ("price-of-scale-counts",)),  # no head is known that attains it
    ],
)
def test_each_bound_of_the_scale_is_held(
    monkeypatch: pytest.MonkeyPatch, name: str, claims: tuple[str, ...]
) -> None:
    """A thousandth above what it is, alone of the four."""
    made = selection.ScaleBounds

    def inflated(*bounds: float) -> selection.ScaleBounds:
        found = made(*bounds)
        return replace(found, **{name: 1.001 * getattr(found, name)})

    monkeypatch.setattr(selection, "ScaleBounds", inflated)
    for claim in claims:
        row = fooled(claim)
        assert row.residual > row.tolerance, claim


@pytest.mark.parametrize("factor", [100, 1.001])
@pytest.mark.parametrize("part", ["cut_best", "wrong_entry_cost"])
def test_the_bound_for_hadamard_patterns_is_held(
    monkeypatch: pytest.MonkeyPatch, part: str, factor: float
) -> None:
    """Though no head is known that comes near it."""
    right = getattr(sign_rank, part)

    def larger(*given: Any) -> Any:
        found = right(*given)
        return (factor * found[0], *found[1:]) if part == "cut_best" else factor * found

    monkeypatch.setattr(sign_rank, part, larger)
    row = fooled("hadamard-kl-counts")
    assert row.residual > row.tolerance


def test_a_rectangle_too_small_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = sign_rank.largest_rectangle
    monkeypatch.setattr(sign_rank, "largest_rectangle", lambda H, rank: right(H, rank) // 2)
    row = fooled("hadamard-kl-counts")
    assert row.residual > row.tolerance


# ---- bounds of ranks that nothing could break


def rank_of_any(statement: Any) -> int | None:
    """The rank of random integers in place of the matrix that a statement bounds the rank of."""
    rng = np.random.default_rng(0)

    def integers(rows: int, columns: int) -> Any:
        return rng.integers(-99, 99, (rows, columns)).tolist()

    match statement:
        case statements.Rank(matrix=M):
            return int(exact_rank(integers(M.rows, M.columns)))
        case statements.LogRank(logits=L):
            return int(exact_log_rank(integers(L.rows, L.rows)))
        case statements.MaskedLogRank(logits=L, mask=M):
            mask = np.array(M.entries).reshape(M.rows, M.columns).astype(bool)
            return int(exact_log_rank(integers(L.rows, L.rows), mask))
        case statements.LogitRank(keys=K, centred=centred):
            return K.columns - bool(centred)
    return None


def vacuous(claim: Claim) -> list[str]:
    """The instances whose bound the rank of any matrix would meet."""
    found = []
    for instance in claim.check(claim.trial("quick", 0)):
        for source in instance.certificates:
            built = source if isinstance(source, Certificate) else source()
            for one in built if isinstance(built, tuple) else (built,):
                rank = None if one is None else rank_of_any(one.statement)
                if rank is not None and rank <= instance.predicted:
                    found.append(instance.label)
    return found


BOUNDS = [
    claim
    for claim in rb.claims.values()
    if claim.relation is Relation.LE and claim.status is not Verdict.SUPPORTED
]


@pytest.mark.parametrize("claim", BOUNDS, ids=lambda claim: claim.id)
def test_no_bound_of_a_rank_is_vacuous(claim: Claim) -> None:
    assert not vacuous(claim)


def test_a_vacuous_bound_is_seen() -> None:
    """ALiBi on a causal mask of 4 and 7 tokens: floor(n/2) is rarely above k + 1."""
    causal = rb.claims["variant-alibi-causal"]
    assert isinstance(causal.check, partial)
    short = replace(causal, check=partial(causal.check, lengths=(4, 7)))
    assert len(vacuous(short)) == 8
    bidirectional = rb.claims["variant-alibi-bidirectional"]
    assert isinstance(bidirectional.check, partial)
    assert vacuous(replace(bidirectional, check=partial(bidirectional.check, lengths=(4, 7))))


# ---- the scale of a widened layer


@pytest.mark.parametrize(
    "factor",
    [lambda d_p, h, d: 1, lambda d_p, h, d: d_p * h / d, lambda d_p, h, d: (d / (d_p * h)) ** 0.5],
    ids=["none", "without the root", "its inverse"],
)
def test_inclusion_needs_its_factor(factor: Any) -> None:
    assert fooled("b20-theorem2-inclusion", factor=factor).evidence is Verdict.UNDECIDED


def test_widened_layers_need_it_to_the_last_digits() -> None:
    """W_q off by 1e-10, far below what separates other layers."""

    def wider(layer: rb.MultiHead, head_size: int, default_scale: bool) -> rb.MultiHead:
        wide = rb.widen(layer, head_size, default_scale=default_scale)
        W_q = (1 + 1e-10 * default_scale) * wide.W_q
        return rb.MultiHead(W_q, wide.W_k, wide.W_v, wide.W_o, wide.scale)

    row = fooled("b20-theorem2-inclusion-widened", wider=wider)
    assert "own scale" in row.worst
    assert row.residual > row.tolerance
