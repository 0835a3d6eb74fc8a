"""The collapse: tokens split in two are the package's layers, its numbers those of the claim."""

from __future__ import annotations

import math

import numpy as np
import pytest

import rankbound as rb
from rankbound.experiments import collapse as module
from rankbound.experiments.collapse import DEPTH, STACKS, attend, collapse, feed_forward
from rankbound.registry.dong2021 import residual
from tests.helpers import refused


def split(seed: int, size: float) -> tuple[rb.MultiHead, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    layer = rb.random_multihead(6, 2, seed=seed)
    return layer, rng.standard_normal((6, 1)), size * rng.standard_normal((6, 5))


@pytest.mark.parametrize("size", [3.0, 1.0, 1e-2])
@pytest.mark.parametrize("seed", range(3))
def test_split_attention_is_the_packages_layer(seed: int, size: float) -> None:
    layer, x, R = split(seed, size)
    common, residuals = attend(layer, x, R)
    wanted = layer.output(x + R)
    np.testing.assert_allclose(common + residuals, wanted, atol=1e-13 * np.abs(wanted).max())


@pytest.mark.parametrize("seed", range(3))
def test_residuals_are_right_where_rounding_would_hide_them(seed: int) -> None:
    """Cubic in those before: ten times smaller ones leave a thousandth, far below 1e-16."""
    layer, x, R = split(seed, 1e-9)
    large, small = (attend(layer, x, factor * R)[1] for factor in (1.0, 0.1))
    assert 0 < np.abs(large).max() < 1e-20
    np.testing.assert_allclose(small, large / 1000, rtol=1e-6, atol=1e-7 * np.abs(large).max())


@pytest.mark.parametrize("size", [2.0, 1e-3])
def test_split_feed_forward_is_a_relu_layer(size: float) -> None:
    rng = np.random.default_rng(0)
    W_1, W_2 = rng.standard_normal((20, 6)), rng.standard_normal((6, 20))
    x, R = rng.standard_normal((6, 1)), size * rng.standard_normal((6, 5))
    common, residuals = feed_forward(W_1, W_2, x, R)
    at_x, at_X = (W_2 @ np.maximum(W_1 @ tokens, 0) for tokens in (x, x + R))
    np.testing.assert_allclose(common, at_x)
    np.testing.assert_allclose(residuals, at_X - at_x, atol=1e-12)
    tiny = feed_forward(W_1, W_2, x, 1e-200 * R)[1]
    np.testing.assert_allclose(tiny, 1e-200 * feed_forward(W_1, W_2, x, 1e-9 * R)[1] / 1e-9)


@pytest.mark.parametrize("arm", ["unit", "unit-skip"])
def test_a_stack_is_its_layers_in_turn(arm: str) -> None:
    """Written down plainly, in floats that suffice for two layers."""
    rng = np.random.default_rng(5)
    drawn = [(module._attention(rng, 32, 4), module._ffn(rng, 32)) for _ in range(DEPTH)]
    x, R = rng.standard_normal((32, 1)), rng.standard_normal((32, 16))
    X, start = x + R, residual(R)[1]
    for depth in (1, 2):
        layer = drawn[depth - 1][0]
        X = layer.output(X) + ("skip" in arm) * X
        found = collapse(arm, depth, 5)["residual"]
        assert found == pytest.approx(residual(X)[1] / start, rel=1e-10)


@pytest.mark.parametrize("seed", range(2))
def test_what_an_arm_does(seed: int) -> None:
    found = {arm: [collapse(arm, depth, seed)["residual"] for depth in (1, 2, 3)] for arm in STACKS}
    for depth in range(3):
        assert 0 < found["attention"][depth] <= found["bound"][depth] < 1
        assert found["skip-ffn"][depth] != found["skip"][depth] > 0.9
        assert found["ffn"][depth] != found["attention"][depth]
    # the residual at the start, from above, is half of what the hypothesis allows
    assert found["bound"][0] <= 0.5 * (1 + 1e-12)
    assert collapse("skip", 2, 0) != collapse("skip", 2, 1)


def test_a_bound_without_its_hypothesis_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALL", 0.0)
    assert math.isnan(collapse("bound", 1, 0)["residual"])


def test_bad_stacks() -> None:
    with refused(rb.InputError, "arm is 'deep'", "attention, ffn, skip"):
        collapse("deep", 1, 0)
    with refused(rb.InputError, "layers is 5", "from 1 to 4"):
        collapse("skip", 5, 0)
