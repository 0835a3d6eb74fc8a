"""One head fitted to a dense context: the cliff itself."""

from __future__ import annotations

from typing import Any

import pytest

import rankbound as rb
from rankbound.experiments.synthetic import context
from tests.helpers import refused


def test_the_cliff_is_at_n_minus_1() -> None:
    """KL, beside the bounds that hold for every head of the size."""
    fits = {size: context(8, size, seed=0) for size in (5, 6, 7)}
    assert fits[7]["kl"] < 1e-14
    assert fits[6]["kl"] > 1e-6
    assert fits[5]["kl"] < 1e3 * fits[6]["kl"]
    assert {fit["log_rank"] for fit in fits.values()} == {7}
    for size, fit in fits.items():
        P = rb.column_softmax(_normal(8, 0))
        assert fit["kl"] >= rb.kl_lower_bound(P, size) or size == 7
        assert fit["gradient_norm"] <= 1e-8
        assert fit["iterations"] > 0


def _normal(n: int, seed: int) -> Any:
    import numpy as np

    return np.random.default_rng(seed).standard_normal((n, n))


def test_a_seed_is_a_fit() -> None:
    assert context(4, 2, seed=3) == context(4, 2, seed=3)
    assert context(4, 2, seed=3)["kl"] != context(4, 2, seed=4)["kl"]
    P = rb.column_softmax(_normal(4, 3))
    assert context(4, 2, seed=3)["kl"] == pytest.approx(rb.fit_head(P, 2).kl, rel=0.5)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((8, 8, 0), rb.InputError, ("head_size is 8 and n is 8", "n - 1 is always enough")),
        ((8, 0, 0), rb.InputError, ("head_size",)),
        ((1, 1, 0), rb.InputError, ("n",)),
        ((8, "7", 0), rb.InputTypeError, ("head_size",)),
        ((8.0, 7, 0), rb.InputTypeError, ("n",)),
    ],
)
def test_bad_contexts(
    arguments: tuple[Any, ...], error: type[Exception], words: tuple[str, ...]
) -> None:
    with refused(error, *words):
        context(*arguments)
