"""Starts that race: what is given up, what that may lose, and what it never does."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rankbound as rb
from rankbound.fitting.descent import Race, _Step, newton, read_problem
from rankbound.fitting.objective import Objective
from tests.helpers import Array


def step(fall: float, *, border: bool = False) -> _Step:
    return _Step(np.zeros(1), 1.0, fall, border, 1, 1.0)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_start_loses_only_above_its_rival(rival: float, above: float, fall: float) -> None:
    race = Race(rival)
    assert not Race().lost(rival + above, step(fall))  # nobody to lose against
    assert not race.lost(rival + above, step(fall, border=True))
    assert not race.lost(rival - above, step(fall))  # at or below it there is all to win
    lost = race.lost(rival + above, step(fall))
    assert lost is (rival + above > rival and rival + above - 2 * fall >= rival * (1 - 1e-3))


def dirichlet(seed: int) -> tuple[Array, int]:
    return rb.random_context(64, seed), 16


def gaussian(seed: int) -> tuple[Array, int]:
    return rb.column_softmax(2 * np.random.default_rng(seed).standard_normal((48, 48))), 12


@pytest.mark.parametrize(
    ("draw", "seeds", "most"), [(dirichlet, (3, 8, 16), 1e-9), (gaussian, (3, 5, 7), 0.02)]
)
def test_what_a_race_may_lose(draw: object, seeds: tuple[int, ...], most: float) -> None:
    """The random starts win on these: none is lost on Dirichlet's, at most 2 % on harder ones."""
    assert callable(draw)
    given_up = 0
    for seed in seeds:
        P, k = draw(seed)
        raced, full = (rb.fit_head(P, k, race=race) for race in (True, False))
        assert raced.converged
        assert raced.kl == min(raced.start_kls)
        assert full.kl <= raced.kl * (1 + 1e-9)
        assert raced.kl <= full.kl * (1 + most)
        assert raced.start_kls[0] == full.start_kls[0]  # the first has no rival
        above = [a - b for a, b in zip(raced.start_kls, full.start_kls, strict=True)]
        given_up += sum(x > 1e-9 for x in above)
    assert given_up >= len(seeds)


def test_a_descent_stalls_only_where_it_may() -> None:
    """Where the infimum lies at infinity the loss falls for ever, by less and less of it."""
    rng = np.random.default_rng(0)
    P = rng.dirichlet(np.ones(24), size=24).T * (rng.random((24, 24)) < 0.8)
    problem = read_problem(P / P.sum(axis=0))
    assert problem.zeros.any()
    objective, start = Objective(problem.P), problem.spectral_start(4)
    whole = newton(objective, start, 1e-8, 6000)
    stalled = newton(objective, start, 1e-8, 6000, Race(math.inf, may_stall=True))
    assert stalled.iterations < whole.iterations / 2
    assert stalled.gradient_norm > 1e-8
    assert whole.point.value <= stalled.point.value < 1.03 * whole.point.value


def test_zeros_behind_a_mask_stall_nothing() -> None:
    mask = rb.causal_mask(6)
    assert not read_problem(rb.random_context(6, 0, law="causal"), mask=mask).zeros.any()
    assert read_problem(rb.random_context(6, 0, law="causal")).zeros.any()


def test_methods_that_do_not_race() -> None:
    P = rb.random_context(8, 0)
    for settings in ({"method": "l-bfgs"}, {"loss": "total_variation", "random_starts": 1}):
        raced, full = (rb.fit_head(P, 2, race=race, **settings) for race in (True, False))
        assert raced.start_values == full.start_values
