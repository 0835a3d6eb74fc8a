"""The same call on a cluster of two worker processes; collected where distributed is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client, LocalCluster
from joblib import parallel_config

import rankbound as rb
from tests.sweeps import functions
from tests.sweeps.killing import contents

pytestmark = pytest.mark.filterwarnings("default")  # what the cluster warns of is its own affair


@pytest.fixture(scope="module")
def cluster() -> Iterator[Client]:
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as workers,
        Client(workers) as client,
    ):
        yield client


def test_a_cluster_gives_the_same_store(cluster: Client, tmp_path: Path) -> None:
    grid = {"x": list(range(40))}
    rb.sweep(functions.drawn, grid, tmp_path / "here.sqlite")
    with parallel_config(backend="dask"):
        done = rb.sweep(functions.drawn, grid, tmp_path / "there.sqlite")
        assert len(contents(tmp_path / "there.sqlite")) == 40
        again = rb.sweep(functions.drawn, {"x": list(range(41))}, tmp_path / "there.sqlite")
    assert not done.failed
    assert [cell.attempts for cell in again.cells] == [1] * 41
    assert set(contents(tmp_path / "here.sqlite")) < set(contents(tmp_path / "there.sqlite"))


def test_both_workers_work(cluster: Client, tmp_path: Path) -> None:
    with parallel_config(backend="dask"):
        done = rb.sweep(functions.process, {"x": list(range(20))}, tmp_path / "s.sqlite")
    assert len({cell.result["process"] for cell in done.cells if cell.result}) == 2


def test_a_time_limit_in_a_worker_that_may_not_fork(cluster: Client, tmp_path: Path) -> None:
    grid = {"seconds": [600.0, 0.001]}
    with parallel_config(backend="dask"):
        done = rb.sweep(functions.sleeper, grid, tmp_path / "s.sqlite", time_limit=0.5)
    assert done.failed[0].error == "time limit: not done after 0.5 s, and killed"
    assert done.cells[1].result == {"slept": 0.001}


def test_a_function_of_a_notebook_goes_to_a_cluster(cluster: Client, tmp_path: Path) -> None:
    def local(x: int) -> dict[str, int]:
        return {"y": helper(x)}

    def helper(x: int) -> int:
        return 10 * x

    with parallel_config(backend="dask"):
        done = rb.sweep(local, {"x": [1, 2]}, tmp_path / "s.sqlite")
    assert [cell.result for cell in done.cells] == [{"y": 10}, {"y": 20}]
