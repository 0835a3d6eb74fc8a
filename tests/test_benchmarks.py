"""The benchmarks: how sides take turns, what the pages say, and a guard that is seen to fail."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import counting, growth, guard, memory, races, run, tables, workers
from benchmarks.races import Entries, Race, Seconds, Wanted
from benchmarks.rates import Rates
from benchmarks.rows import RACES
from tests.test_figures import published, regenerate

ROOT = Path(__file__).parent.parent
RATES = Rates(gemm=1e10, single=2e10, copy=1e9)
RESULTS = run.read()


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own."""
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


# a race


def race(entries: Entries, wanted: Wanted, **others: Any) -> Race:
    return Race("r", "work", "peer", "floor", wanted, lambda: entries, **others)


def taking(order: list[str], name: str, seconds: Iterator[float]) -> Any:
    def work() -> Seconds:
        order.append(name)
        return Seconds(next(seconds))

    return work


def test_the_sides_take_turns_and_the_median_of_ratios_counts() -> None:
    order: list[str] = []
    # first what warms up; a ratio of 10 in each round, whatever the machine does meanwhile
    ours = taking(order, "ours", iter([0.9, 0.9, 0.1, 0.2, 0.4, 0.3, 0.5]))
    peer = taking(order, "peer", iter([9.0, 9.0, 1.0, 2.0, 4.0, 3.0, 5.0]))
    row = races.run(race(Entries(ours, peer), Wanted(10)), RATES)
    assert order == ["ours"] * 2 + ["peer"] * 2 + ["ours", "peer"] * 5
    assert row["number"] == pytest.approx([10.0, 10.0, 10.0])
    assert row["seconds"]["rankbound"] == [0.2, 0.3, 0.4]
    assert row["met"] and row["right"]
    again = taking([], "ours", iter([0.9, 0.9, 0.1, 0.2, 0.4, 0.3, 0.5]))
    peer = taking([], "peer", iter([9.0, 9.0, 1.0, 2.0, 4.0, 3.0, 5.0]))
    assert not races.run(race(Entries(again, peer), Wanted(10.1)), RATES)["met"]


def test_what_is_slow_is_run_once_and_said_to_be() -> None:
    order: list[str] = []
    ours = taking(order, "ours", iter([2.0, 2.0, 2.0, 4.0, 2.0]))
    peer = taking(order, "peer", iter([40.0]))
    row = races.run(race(Entries(ours, peer), Wanted(10), rounds=3), RATES)
    assert order == ["ours", "ours", "peer", "ours", "ours", "ours"]
    assert row["rounds"] == {"rankbound": 3, "peer": 1}
    assert row["number"][1] == 20.0
    told = replace(RACES["certified-batch"], rounds=3)
    assert "the peer run once" in tables._race(told, {**row, "over_floor": None})


@pytest.mark.parametrize(("right", "shown"), [(True, "1 s"), (False, "1 s"), (None, "no answer")])
def test_only_a_right_answer_meets_what_is_wanted(right: bool | None, shown: str) -> None:
    entries = Entries(lambda: Seconds(1.0), verdict=lambda found: (right, {"seen": found}))
    one = race(entries, Wanted(5, "seconds"), rounds=1)
    row = races.run(one, RATES)
    assert (row["right"], row["met"]) == (right, right is True)
    assert row["facts"] == {"seen": {"rankbound": 1.0}}
    assert f"| {shown} |" in tables._race(one, row)


def test_a_wrong_number_is_seen() -> None:
    entries = Entries(
        lambda: Seconds(1.0), verdict=lambda found: (found["rankbound"] == 2.0, {"seen": 1})
    )
    row = races.run(race(entries, Wanted(5, "seconds")), RATES)
    assert (row["number"][1], row["right"], row["met"], row["facts"]) == (
        1.0,
        False,
        False,
        {"seen": 1},
    )


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [("times", 3.0, 1.9), ("growth", 1.9, 3.0), ("seconds", 1.9, 2.1), ("more", 1.9, 2.1)],
)
def test_each_kind_of_number_has_its_good_side(kind: str, good: float, bad: float) -> None:
    wanted = Wanted(2.0, kind)
    assert wanted.is_met(good) and not wanted.is_met(bad)
    number = {"times": 0.5, "growth": 2.0, "seconds": 4.0, "more": 2.0}[kind]
    assert wanted.read(4.0, 2.0) == number


def test_short_work_is_run_several_times_in_a_round() -> None:
    """However long the first run was, which loads what is loaded on first use."""
    count = 0

    def ours() -> None:
        nonlocal count
        count += 1
        end = time.process_time() + (2 * races.LEAST if count == 1 else 0.0)
        while time.process_time() < end:
            pass

    races.run(race(Entries(ours, least=lambda rates: 1e-6), Wanted(1, "seconds"), rounds=2), RATES)
    assert count > 10


def test_a_floor_comes_from_the_rates_or_from_a_routine() -> None:
    assert RATES.seconds(2e10, 3e9) == 5.0
    row = races.run(
        race(Entries(lambda: Seconds(10.0), least=lambda r: r.seconds(2e10, 3e9)), Wanted(1)), RATES
    )
    assert row["over_floor"] == 2.0
    row = races.run(
        race(Entries(lambda: Seconds(10.0), floor=lambda: Seconds(4.0)), Wanted(1)), RATES
    )
    assert row["over_floor"] == 2.5


# the results


def test_the_results_are_those_of_the_benchmarks() -> None:
    known = {
        "races": list(RACES),
        "memory": list(memory.PEAKS),
        "growth": list(growth.SERIES),
        "workers": list(workers.CASES),
    }
    for part, names in known.items():
        assert {row["name"] for row in RESULTS[part]} == set(names), part
    for row in RESULTS["races"]:
        if "skipped" not in row:
            wanted = RACES[row["name"]].wanted
            assert (row["wanted"], row["kind"]) == (run.rounded(wanted.value), wanted.kind)
            assert row["right"] is not False, row["name"]
            assert row["met"] == (bool(row["right"]) and wanted.is_met(row["number"][1])), row[
                "name"
            ]

    for row in RESULTS["memory"]:
        peak = memory.PEAKS[row["name"]]
        assert row["bound"] == peak.arrays and row["met"], row["name"]
        assert row["bytes"] <= peak.bound


def test_the_results_say_nothing_of_whose_machine_it_is() -> None:
    told = RESULTS["machine"]
    assert set(told) == {"processor", "system", "blas", "blas_threads", "rates", "versions"}
    text = (ROOT / "benchmarks" / "results.json").read_text(encoding="utf-8")
    assert str(ROOT) not in text
    assert "/home" not in text and "/tmp" not in text


def test_the_page_and_the_promise_are_those_of_the_results() -> None:
    """`make speed` writes both."""
    page = tables.SPEED.read_text(encoding="utf-8")
    assert tables.with_blocks(page, RESULTS) == page
    promises = tables.PROMISES.read_text(encoding="utf-8")
    assert tables.with_promise(promises, RESULTS) == promises
    with pytest.raises(SystemExit, match="marks of races are gone"):
        tables.with_blocks(page.replace("<!-- races", "<!-- others"), RESULTS)


def test_a_number_that_changes_shows_on_the_page() -> None:
    page = tables.SPEED.read_text(encoding="utf-8")
    other = json.loads(json.dumps(RESULTS))
    (row,) = (row for row in other["races"] if row["name"] == "certified-batch")
    row["number"], row["met"] = [0.4, 0.5, 0.6], False
    assert "| 0.5 × (0.4 to 0.6) |" in tables.with_blocks(page, other)
    promise = tables.with_promise(tables.PROMISES.read_text(encoding="utf-8"), other)
    assert ", 0.5 and " in promise
    assert "times as fast | 1 | `make bench`" in promise or "times as fast | 2 |" in promise


@pytest.mark.parametrize("name", ["speed", "growth"])
def test_the_figures_are_those_of_the_results(name: str) -> None:
    recipe = regenerate.FIGURES[name]
    assert published(name) == list(recipe.compute(recipe.settings))


def test_rows_measured_again_take_their_place() -> None:
    old = [{"name": "a", "x": 1}, {"name": "b", "x": 2}]
    assert run.merged(old, [{"name": "b", "x": 3}]) == [
        {"name": "a", "x": 1},
        {"name": "b", "x": 3},
    ]
    assert run.rounded({"a": [1.23456, 2], "b": "c"}) == {"a": [1.235, 2], "b": "c"}


def test_results_are_written_and_read_back(tmp_path: Path) -> None:
    run.write(RESULTS, tmp_path / "results.json")
    assert run.read(tmp_path / "results.json") == RESULTS
    assert (tmp_path / "results.json").read_bytes() == run.RESULTS.read_bytes()


# growth and memory


def test_an_exponent_is_that_of_the_largest_sizes() -> None:
    sizes = [1, 2, 4, 8, 16, 32]
    seconds = [9.0, 9.0, *(0.5 * size**1.5 for size in sizes[2:])]
    power, factor = growth.exponent(sizes, seconds)
    assert power == pytest.approx(1.5) and factor == pytest.approx(0.5)


def test_an_audit_of_a_large_model_is_counted() -> None:
    results = {
        "machine": {"rates": {"single": 1e11}},
        "races": [{"name": "audit", "seconds": {"rankbound": [0.1, 0.2, 0.3]}}],
        "growth": [
            {"name": "measures-n", "exponent": 2.0},
            {"name": "measures-k", "exponent": 1.0},
        ],
    }
    model = growth.Model("m", 1e9, 10, 4, 128)
    took = growth.audit_hours(results, model, 4096, windows=3)
    assert took["seconds per head"] == pytest.approx(0.2 * 4 * 2)
    assert took["heads"] == pytest.approx(10 * 4 * 3 * 1.6 / 3600)
    assert took["runs"] == pytest.approx(5 * 2 * 1e9 * 4096 / 1e11 / 3600)


PLANTED_MEMORY = """
import sys
from dataclasses import replace
from benchmarks import memory
import numpy as np
def formed(n, folder):
    return lambda: np.ones((n, n)).sum()
peak = replace(memory.PEAKS["logit-spectrum"], prepare=formed, small=64, large=4096)
size = memory.increase(peak)
print(size >= 0.98 * 8 * 4096**2, size <= peak.bound)  # pages are counted by the dozen
"""


def test_the_memory_of_a_formed_matrix_is_seen() -> None:
    told = python(PLANTED_MEMORY)
    assert told.stdout.split() == ["True", "False"], told.stderr


# the guard

COUNTED = """
import json
from benchmarks import counting
counting.install()
import numpy as np
from rankbound.attention.head import AttentionHead
head = AttentionHead(*np.ones((2, 3, 50)))
found = []
for work in (
    head.logits,
    lambda: np.linalg.svd(np.eye(20), compute_uv=False),
    lambda: np.linalg.svd(np.eye(20)),
    lambda: np.linalg.cholesky(np.stack([np.eye(6)] * 5)),
    lambda: np.empty((300, 300)),
):
    with counting.tally() as tally:
        work()
    found.append((tally.operations, tally.bytes))
print(json.dumps(found))
"""


def test_operations_and_memory_are_counted() -> None:
    told = python(COUNTED)
    found = json.loads(told.stdout)
    n = 20.0
    wanted = [2 * 50 * 3 * 50, 8 * n**3 / 3, 22 * n**3, 5 * 6**3 / 3, 0]
    assert [operations for operations, _ in found] == pytest.approx(wanted)
    assert 0 <= found[4][1] - 8 * 300**2 < 10_000


def test_each_product_of_a_module_is_rewritten() -> None:
    tree = counting._Products().visit(ast.parse("def f(a, b):\n    return (a @ b @ a).T @ (a * b)"))
    told = ast.unparse(ast.fix_missing_locations(tree))
    assert told.count(counting.HOOK) == 3 and "@" not in told
    with pytest.raises(SyntaxError, match="line 2: @= would not be counted"):
        counting._Products().visit(ast.parse("a = 1\na @= b"))


PLANTS = """
import json
from benchmarks import counting, guard
counting.install()
import numpy as np
import rankbound as rb

def formed(head, X=None, centred=False):
    return np.linalg.svd(np.matmul(head.keys(X).T, head.queries(X)), compute_uv=False)
def allocated(head, X=None, centred=False, real=rb.logit_spectrum):
    room = np.empty((X.shape[1], X.shape[1]))
    return real(head, X, centred)
def block(head, mask):
    return np.linalg.matrix_rank(np.matmul(head.W_k.T, head.W_q))
def decomposed(A):
    return np.linalg.svd(A)
def wandering(P, k, random_starts, real=rb.fit_head):
    return real(P, k, random_starts=3)
plants = [
    ("logit-spectrum", "logit_spectrum", formed, "operations"),
    ("logit-spectrum", "logit_spectrum", allocated, "memory"),
    ("masked-log-rank", "log_rank", block, "operations"),
    ("certified-context", "certified_rank", decomposed, "operations"),
    ("certified-condition", "certified_rank", decomposed, "operations"),
    ("certified-batch", "certified_rank", decomposed, "operations"),
    ("certified-log-rank", "certified_log_rank", decomposed, "operations"),
    ("fit", "fit_head", wandering, "operations"),
]
out = {name: [one.found(), {}] for name, one in guard.GUARDS.items()}
for name, public, slower, what in plants:
    before = getattr(rb, public)
    setattr(rb, public, slower)
    out[name][1][what] = guard.GUARDS[name].found()[what]
    setattr(rb, public, before)
print(json.dumps(out))
"""


def test_no_routine_does_more_than_it_should_and_slower_ways_are_seen() -> None:
    """A formed matrix, one that is only allocated, and decompositions in place of the tests."""
    told = python(PLANTS)
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert len(found) >= 6
    for name, (shares, planted) in found.items():
        assert max(shares.values()) <= 1, (name, shares)
        assert planted and min(planted.values()) > 1, (name, planted)


def test_the_guard_ends_with_an_error_and_knows_its_names() -> None:
    code = """
import sys
from benchmarks import guard
guard.OTHERS["import"] = lambda: {"heavy packages": 2.0}
sys.exit(guard.main(sys.argv[1:]))
"""
    told = python(code, "import")
    assert (told.returncode, told.stdout.startswith("TOO MUCH: import")) == (1, True)
    assert python(code, "certified-batch").returncode == 0
    assert "there is no 'rank'" in python(code, "rank").stderr


def test_the_promise_counts_the_guards() -> None:
    promises = tables.PROMISES.read_text(encoding="utf-8")
    count = len(guard.GUARDS) + len(guard.OTHERS)
    assert f"| {count} routines | 0 | `make bench-check` |" in promises


def test_the_import_loads_nothing_heavy() -> None:
    code = "from benchmarks import guard; print(guard.imports()); guard.HEAVY = ('sys', 'numpy');"
    told = python(code + "print(guard.imports())")
    assert told.stdout.splitlines() == ["{'heavy packages': 0.0}", "{'heavy packages': 4.0}"]
