"""Students of a teacher: the gradient, and what they reach."""

from __future__ import annotations

import numpy as np
import pytest

import rankbound as rb
from rankbound.attention.adversarial_layers import random_fixed_layer
from rankbound.fitting.layer import LayerObjective, Shape, fit_layer
from tests.helpers import refused

SHAPE = Shape(heads=2, head_size=3, value_size=2, d=4)


def objective(seed: int = 0) -> LayerObjective:
    X, Y = np.random.default_rng(seed).standard_normal((2, 5, 4, 3))
    return LayerObjective(SHAPE, X, Y)


def weights(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(SHAPE.size) / 2


def test_the_value_is_that_of_the_layer() -> None:
    f, flat = objective(), weights(1)
    miss = SHAPE.layer(flat).output(f.X) - f.Y
    assert f(flat)[0] == pytest.approx(np.sum(miss**2) / np.sum(f.Y**2), rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_is_the_slope(seed: int) -> None:
    """Central differences along random directions, whose error is of the order step²."""
    f, flat = objective(seed), weights(seed)
    gradient = f(flat)[1]
    for direction in np.random.default_rng(seed).standard_normal((5, SHAPE.size)):
        slopes = [
            (f(flat + step * direction)[0] - f(flat - step * direction)[0]) / (2 * step)
            for step in (1e-3, 5e-4)
        ]
        expected = (4 * slopes[1] - slopes[0]) / 3  # the error of order step² cancels
        assert gradient @ direction == pytest.approx(expected, rel=1e-7, abs=1e-9)


def test_each_block_of_the_gradient_counts() -> None:
    gradient = objective()(weights(0))[1]
    assert all(np.abs(part).max() > 1e-6 for part in SHAPE.split(gradient))


def test_a_student_of_the_teachers_shape_becomes_the_teacher() -> None:
    teacher = random_fixed_layer(4, 2, 3, 0)
    fit = fit_layer(teacher, 2, 3, n=3, sequences=48, starts=3, seed=1)
    assert fit.error < 1e-6
    assert fit.fitted_error == min(fit.start_errors)
    X = rb.random_tokens(4, 3, 9)
    np.testing.assert_allclose(fit.layer.output(X), teacher.output(X), atol=0.05)


def test_a_standard_student_stays_behind() -> None:
    """d = 8, d_p = 8, h = 4: heads of size 2 leave a share that heads of size 8 do not."""
    teacher = random_fixed_layer(8, 4, 8, 0, logit_scale=2.0)
    standard = fit_layer(teacher, 4, n=4, sequences=96, max_iterations=400)
    fixed = fit_layer(teacher, 4, 8, n=4, sequences=96, max_iterations=400)
    assert (standard.layer.head_size, fixed.layer.head_size) == (2, 8)
    assert standard.error > 100 * fixed.error
    assert rb.separating_tokens(standard.layer, teacher, 4).gap > 0


def test_a_seed_gives_the_same_fit() -> None:
    teacher = rb.random_multihead(4, 2, 0)
    one, two = (fit_layer(teacher, 2, n=2, sequences=8, max_iterations=20) for _ in range(2))
    assert one.error == two.error and one.seed == 0
    assert fit_layer(teacher, 2, n=2, sequences=8, max_iterations=20, seed=1).error != one.error


def test_bad_arguments() -> None:
    teacher = rb.random_multihead(4, 2, 0)
    with refused(rb.InputError, "heads to divide d"):
        fit_layer(teacher, 3)
    with refused(rb.InputError, "sequences is 0"):
        fit_layer(teacher, 2, sequences=0)
    with refused(rb.InputTypeError, "expected a MultiHead"):
        fit_layer("teacher", 2)  # type: ignore[arg-type]
    silent = rb.MultiHead(teacher.W_q, teacher.W_k, teacher.W_v, 0 * teacher.W_o)
    with refused(rb.InputError, "outputs are 0"):
        fit_layer(silent, 2)
