"""The training loop: its schedule, its decay, and whose weights count."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch

from rankbound.errors import InputError
from rankbound.experiments.layers import minimise, one_thread, relative_error
from rankbound.experiments.synthetic import farthest, lookup, mixing, separation, transition
from tests.helpers import refused


def path(steps: int, **told: Any) -> list[float]:
    """Where each step stands under a constant gradient: a step of Adam is then the rate itself."""
    w = torch.zeros(1, requires_grad=True)
    seen: list[float] = []

    def loss() -> Any:
        seen.append(float(w.detach()))
        return -w.sum()

    minimise({"w": w}, loss, steps=steps, **told)
    return [*seen, float(w.detach())]


def test_the_rate_falls_to_zero_as_a_cosine() -> None:
    steps = [b - a for a, b in pairwise(path(40, rate=0.5))]
    wanted = [0.25 * (1 + math.cos(math.pi * t / 40)) for t in range(40)]
    assert steps == pytest.approx(wanted, abs=1e-5)
    assert steps[-1] < 0.002 * steps[0]


def test_the_rate_rises_in_the_warm_up() -> None:
    steps = [b - a for a, b in pairwise(path(100, rate=1.0, warm_up=0.05))]
    assert steps[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0], abs=1e-4)
    assert max(steps) == pytest.approx(1.0, abs=1e-4)
    assert steps[5:] == sorted(steps[5:], reverse=True)
    assert steps[-1] < 1e-3


def test_the_last_steps_weights_count_even_if_others_were_better() -> None:
    """The loss turns after ten steps: the best weights were those in the middle."""
    w = torch.zeros(1, requires_grad=True)
    seen: list[float] = []

    def loss() -> Any:
        seen.append(float(w.detach()))
        return -w.sum() if len(seen) <= 10 else w.sum()

    minimise({"w": w}, loss, steps=20, rate=0.3, betas=(0.0, 0.9))
    assert float(w.detach()) < max(seen) - 0.1
    assert float(w.detach()) not in seen
    assert len(seen) == 20


def test_matrices_decay_and_gains_do_not() -> None:
    matrix, gain = torch.ones(2, 2, requires_grad=True), torch.ones(2, requires_grad=True)
    weights = {"matrix": matrix, "gain": gain}
    minimise(weights, lambda: 0 * (matrix.sum() + gain.sum()), steps=3, rate=0.1, weight_decay=0.5)
    factor = math.prod(1 - 0.5 * 0.1 * (1 + math.cos(math.pi * t / 3)) / 2 for t in range(3))
    assert matrix.detach().numpy() == pytest.approx(factor)
    assert (gain.detach().numpy() == 1).all()


def test_betas_are_passed_on() -> None:
    """Gradients 1, then 0: the second step is as long as the first moment remembers."""
    w = torch.zeros(1, requires_grad=True)
    seen: list[float] = []

    def loss() -> Any:
        seen.append(float(w.detach()))
        return -w.sum() if len(seen) == 1 else 0 * w.sum()

    minimise({"w": w}, loss, steps=2, rate=1.0, betas=(0.5, 0.9))
    # m = 0.25 / (1 - 0.25), v = 0.09 / (1 - 0.81); the rate is half
    assert float(w.detach()) - seen[1] == pytest.approx(0.5 * (1 / 3) / math.sqrt(0.09 / 0.19))


def test_errors_are_relative() -> None:
    wanted = torch.tensor([3.0, 4.0])
    assert float(relative_error(torch.tensor([3.0, 9.0]), wanted)) == 1.0
    assert float(relative_error(wanted, wanted)) == 0.0
    assert float(relative_error(0 * wanted, wanted)) == 1.0


def test_one_thread_and_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(KeyError), one_thread(3) as generator:
            assert torch.get_num_threads() == 1
            first = torch.randn(3, generator=generator)
            raise KeyError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    with one_thread(3) as generator:
        assert torch.equal(torch.randn(3, generator=generator), first)


SHORT: dict[str, Any] = {"steps": 3, "batch": 4}
RUNS: dict[str, Any] = {
    "separation": lambda seed: separation("common", 4, seed, **SHORT),
    "separation-distinct": lambda seed: separation("distinct", 4, seed, **SHORT),
    "mixing": lambda seed: mixing(4, seed, **SHORT),
    "farthest": lambda seed: farthest(4, seed, **SHORT),
    "lookup": lambda seed: lookup(4, seed, **SHORT),
    "transition": lambda seed: transition(4, 8, seed, **SHORT),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_seed_is_a_run(name: str) -> None:
    """Whatever torch's own generator says."""
    torch.manual_seed(1)
    first = RUNS[name](0)
    torch.manual_seed(2)
    assert RUNS[name](0) == first
    measure = {"lookup": "accuracy", "transition": "nmse"}.get(name, "error")
    assert RUNS[name](1)[measure] != first[measure]
    assert first["torch"] == torch.__version__
    count = "parameters" if name == "transition" else "attention_parameters"
    assert {"d_k", "d_v", count} < first.keys()
    assert 0 <= first[measure] < 5


def test_teachers_differ() -> None:
    assert RUNS["separation"](0)["error"] != RUNS["separation-distinct"](0)["error"]


def test_bad_experiments() -> None:
    with refused(InputError, "teacher is 'one'", "common, distinct"):
        separation("one", 4, 0)
    with refused(InputError, "d is 12 and n is 8", "at least n + 6"):
        mixing(4, 0, d=12)
    runs: list[Callable[[int], Any]] = [
        lambda heads: separation("common", heads, 0),
        lambda heads: mixing(heads, 0),
        lambda heads: farthest(heads, 0),
        lambda heads: lookup(heads, 0),
    ]
    for run in runs:
        with refused(InputError, "multiple of heads", "Pass head_size"):
            run(3)


def test_a_maximum_is_learnt_by_as_many_heads() -> None:
    """Four heads learn four maxima, one does not; and the parameters are those of the layer."""
    few, enough = (transition(heads, 4, 0, steps=300)["nmse"] for heads in (1, 4))
    assert enough < 0.05 < 0.2 < few < 1.1
    assert transition(1, 4, 0, steps=1)["nmse"] > 0.5
    count = transition(3, 4, 0, steps=1, ffn=5)["parameters"]
    assert count == 2 * 4 * 6 + 6 + 6 * 5 + 5 + 5 + 1
