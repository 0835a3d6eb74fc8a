"""Numbers that are hard for floats: a sample of ``make attack-numbers``, and what it must catch."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rankbound as rb
from rankbound.ranks import evidence, factored
from rankbound.theory import certified, decision, head_log_rank, softmax_gauge, theorem_b, theorem_c

SPEC = importlib.util.spec_from_file_location(
    "attack_numbers", Path(__file__).parents[1] / "scripts" / "attack_numbers.py"
)
assert SPEC is not None and SPEC.loader is not None
attack_numbers = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(attack_numbers)
CASES = 8  # of each of the families, some 120 in all


@pytest.mark.parametrize("family", attack_numbers.FAMILIES)
def test_a_sample_of_the_attack(family: str) -> None:
    outcomes = [attack_numbers.attack(family, 1, case) for case in range(CASES)]
    assert [why for outcome, why in outcomes if outcome == "wrong"] == []
    assert ("right", "") in outcomes  # else Undecided for all would do


def changed(name: str, change: Callable[[Any], Any]) -> tuple[Any, str, Any]:
    """The public function of this name with its answer changed."""
    function = getattr(rb, name)
    return rb, name, lambda *args, **given: change(function(*args, **given))


def without_tolerance(matrix: Any) -> Any:
    return 0.01 * norm(matrix)


def too_tolerant(matrix: Any) -> Any:
    return 100 * norm(matrix)


def unbalanced(blocks: Any) -> Any:
    """Powers of two that bring the largest entry of each factor to 1, whatever the others are."""
    left, right = (
        np.frexp(max(np.max(np.abs(A)) for A in side))[1] for side in zip(*blocks, strict=True)
    )
    return -left, -right, np.asarray(left + right)


def higher(bounds: Any) -> Any:
    return replace(bounds, lower=bounds.lower + 1, upper=bounds.upper + 1)


norm = softmax_gauge._norm
above = evidence.singular_values_above
MUTANTS: dict[str, tuple[str, tuple[Any, str, Any]]] = {
    "a rank too high": ("exact ranks", changed("exact_rank", higher)),
    "a lower side too high": ("certified ranks", changed("certified_rank", higher)),
    "the ratio left out": (
        "certified contexts",
        (certified, "singular_values_above", lambda D, radius, room: above(D, 0.0)),
    ),
    "a tolerance too small": ("log-ranks", (softmax_gauge, "_norm", without_tolerance)),
    "a tolerance too large": ("log-ranks", (softmax_gauge, "_norm", too_tolerant)),
    "products taken as exact": (
        "log-ranks of heads",
        (head_log_rank, "_product_errors", lambda head, tokens: None),
    ),
    "factors not balanced": ("spectra", (factored, "_powers", unbalanced)),
    "a singular value off": ("spectra", changed("logit_spectrum", lambda s: s * (1 + 1e-9))),
    "a size too small": ("masks", changed("least_head_size", lambda k: k - 1)),
    "what is lost is no doubt": (
        "lost rows",
        (theorem_c._Span, "loses_a_direction", lambda span: False),
    ),
    "residuals not looked at": ("tokens", (theorem_b, "_failure", lambda *_: "")),
    "no head on any tokens": ("tokens", (theorem_b, "_failure", lambda *_: "no head")),
    "heads not looked at": ("represented", (decision, "check_reached", lambda *_: None)),
    "a bound too high": ("KL bounds", changed("kl_lower_bound", lambda b: 3 * b + 1e-20)),
    "a bound of another dtype": (
        "stored contexts",
        changed("kl_lower_bound", lambda b: 3 * b + 1e-6),
    ),
    "a distance off": ("nearest heads", changed("aitchison_error", lambda x: x * (1 + 1e-9))),
    "flags exchanged": (
        "argmaxable",
        changed(
            "argmaxable",
            lambda f: replace(f, argmaxable=f.unargmaxable, unargmaxable=f.argmaxable),
        ),
    ),
    "a gap too wide": (
        "layers",
        changed("separating_tokens", lambda s: replace(s, gap=s.gap * (1 + 1e-6))),
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_attack_catches(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    family, (where, name, wrong) = MUTANTS[mutant]
    monkeypatch.setattr(where, name, wrong)
    found = (attack_numbers.attack(family, 1, case) for case in range(300))
    why = next((why for outcome, why in found if outcome == "wrong"), None)
    assert why is not None and why.startswith("Wrong: "), why


def test_every_family_has_a_mutant() -> None:
    assert {family for family, _ in MUTANTS.values()} == set(attack_numbers.FAMILIES)


def test_keys_that_cancel_are_not_rounding() -> None:
    """``W_k X`` is 0 exactly; in float64 fused products leave what one of them was rounded by."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.uniform(1, 2, 2)
        X = np.array([[-b, 4 * b, -8 * b], [a, -4 * a, 8 * a]])
        head = rb.AttentionHead(W_q=[[1.0, 2.0]], W_k=[[a, b]])
        assert rb.log_rank(head=head, X=X) == 0


def test_coordinates_of_opposite_sizes_are_all_in_the_spectrum() -> None:
    """Scaling a coordinate of the keys up and of the queries down leaves the logits alone."""
    keys, queries = np.random.default_rng(0).standard_normal((2, 3, 5))
    sizes = np.array([[2.0**-900], [1.0], [2.0**900]])
    for centred in (False, True):
        values = [
            rb.logit_spectrum(rb.AttentionHead(q, k, scale=1.0), centred=centred)
            for q, k in ((queries, keys), (queries / sizes, keys * sizes))
        ]
        assert np.allclose(values[0], values[1], rtol=1e-13, atol=0)
    stack = np.stack([keys, keys * sizes]), np.stack([queries, queries / sizes])
    both = factored.spectrum_of_factors(*stack, 1.0, centred=True)
    assert np.allclose(both[0], both[1], rtol=1e-13, atol=0)
