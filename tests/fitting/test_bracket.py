"""The two sides of a bracket, and its command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import rankbound as rb
from rankbound.cli.main import main
from tests.helpers import refused


@pytest.mark.parametrize("law", ["gibbs", "dirichlet"])
def test_sides_are_in_order_and_fall(law: str) -> None:
    P = rb.random_context(9, 0, law=law)
    sizes = [8, 1, 3, 5, 7]
    bracket = rb.kl_bracket(P, sizes)
    assert bracket.head_size.tolist() == sizes
    assert (bracket.lower >= 0).all() and (bracket.lower <= bracket.upper).all()
    order = np.argsort(bracket.head_size)
    for side in (bracket.lower, bracket.upper):
        assert (np.diff(side[order]) <= 0).all()
    assert bracket.lower[0] == 0 and bracket.upper[0] < 1e-18  # n - 1 reaches P
    assert (bracket.lower[1:] > 0).all()
    for fit, upper in zip(bracket.fits, bracket.upper, strict=True):
        assert fit.kl == upper


def test_each_lower_side_is_the_functions_or_better() -> None:
    P = rb.random_context(8, 1)
    bracket = rb.kl_bracket(P, [2, 4])
    assert bracket.lower[1] == rb.kl_lower_bound(P, 4)
    assert bracket.lower[0] == max(rb.kl_lower_bound(P, k) for k in (2, 4))
    assert not bracket.lower.flags.writeable


def test_records() -> None:
    bracket = rb.kl_bracket(rb.random_context(5, 0), [1, 2])
    rows = json.loads(bracket.table().to_json())
    assert [row["head_size"] for row in rows] == [1, 2]
    assert rows[0]["lower"] == bracket.lower[0]
    assert bracket.to_markdown().count("\n") == 3


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = tmp_path / "P.npy", tmp_path / "out.json"
    P = rb.random_context(6, 0)
    np.save(file, P.T)
    assert main(["bracket", str(file), "--head-sizes", "1,3-4", "--rows", "--json", str(out)]) == 0
    rows = json.loads(out.read_text())
    assert [row["head_size"] for row in rows] == [1, 3, 4]
    assert rows[1]["upper"] == rb.kl_bracket(P, [1, 3, 4]).upper[1]
    assert f"{rows[1]['upper']:.4g}" in capsys.readouterr().out


@pytest.mark.parametrize("sizes", ["", "a", "0", "1,,2", "1-", "-3", "5-2", "1-99999999", "1.5"])
def test_sizes_that_are_none(
    tmp_path: Path, sizes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "P.npy"
    np.save(file, np.full((2, 2), 0.5))
    assert main(["bracket", str(file), f"--head-sizes={sizes}"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("sizes", ["5", "6", "2,6", "4-8", "9"])
def test_sizes_of_all_tokens_and_more_are_bracketed_at_zero(tmp_path: Path, sizes: str) -> None:
    file, out = tmp_path / "P.npy", tmp_path / "rows.json"
    np.save(file, rb.random_context(6, 0))
    assert main(["bracket", str(file), f"--head-sizes={sizes}", "--json", str(out)]) == 0
    for row in json.loads(out.read_text()):
        assert row["head_size"] < 5 or (row["lower"] == 0 and row["upper"] < 1e-15)


@pytest.mark.parametrize("sizes", ["1-99999999", "12345", "1-" + "9" * 5000])
def test_ranges_of_too_many_sizes_are_not_spelled_out(
    tmp_path: Path, sizes: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "P.npy"
    np.save(file, rb.random_context(6, 0))
    assert main(["bracket", str(file), f"--head-sizes={sizes}"]) == 2
    printed = capsys.readouterr().err
    assert printed.endswith("expected numbers up to 9999.\n")
    assert printed.count("\n") == 1


def test_one_token_has_one_head_size(tmp_path: Path) -> None:
    file = tmp_path / "P.npy"
    np.save(file, np.ones((1, 1)))
    assert main(["bracket", str(file), "--head-sizes=1"]) == 0


def test_bad_arguments() -> None:
    P = rb.random_context(4, 0)
    with refused(rb.InputError, "each size once"):
        rb.kl_bracket(P, [1, 1])
    with refused(rb.InputError, "at least one head size"):
        rb.kl_bracket(P, [])


def test_under_a_mask_and_from_a_context() -> None:
    P, mask = rb.random_context(6, 0, law="causal"), rb.causal_mask(6)
    bracket = rb.kl_bracket(P, [1, 3], mask=mask)
    assert 0 < bracket.lower[0] <= bracket.upper[0]
    assert bracket.upper[1] < 1e-20  # floor(n/2) is enough
    context = rb.Context(P.T, mask=mask.T, rows=True)
    assert rb.kl_bracket(context, [1, 3]).to_json() == bracket.to_json()


def test_one_matrix_only() -> None:
    batch = np.array([rb.random_context(4, seed) for seed in range(2)])
    for function in (
        lambda: rb.kl_bracket(batch, [1]),
        lambda: rb.fit_head(batch, 1),
        lambda: rb.sparse_head(batch),
    ):
        with refused(rb.InputError, "P has shape (2, 4, 4)", "expected"):
            function()


def test_head_sizes_beyond_memory() -> None:
    P = rb.random_context(4, 0)
    for function in (
        lambda: rb.fit_head(P, 10**12),
        lambda: rb.kl_bracket(P, [10**12]),
        lambda: rb.widen(rb.random_multihead(4, 2, 0), 10**12),
    ):
        with refused(rb.InputError, "head_size is 1000000000000", "memory"):
            function()
