"""The published experiments: a row a planned cell, the trends they show, how they are written."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from rankbound.experiments.catalogue import GRIDS
from rankbound.experiments.language import TrainedHead
from rankbound.experiments.results import Run, gather, read_results
from rankbound.experiments.trends import TRENDS
from tests.experiments.stores import TEXT, cells_of, fill, stand_in
from tests.test_figures import FIGURES, published, regenerate

RUNS = {"experiments-laptop": "laptop", "experiments-overnight": "overnight"}
LONG = (*RUNS, "trained-heads")
NOT_RUN = {"experiments-overnight": ("head-size", "transition")}


def load(name: str, path: Path) -> Any:
    """Load a script as a module of this name."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


tabulate = load("tabulate_runs", FIGURES / "tabulate_runs.py")
make_findings = load("make_findings", FIGURES.parent / "scripts" / "make_findings.py")


def origin_of(name: str, folder: Path = FIGURES / "data") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return found


# the published tables


@pytest.mark.parametrize("name", LONG)
def test_every_planned_cell_was_run(name: str) -> None:
    origin = origin_of(name)
    preset = origin["settings"]["preset"]
    planned = {one: len(grids[preset]) for one, grids in GRIDS.items()}
    if name == "trained-heads":
        planned = {"language": planned["language"]}
    absent = NOT_RUN.get(name, ())
    assert origin["cells"] == {
        one: f"{0 if one in absent else count} of {count}" for one, count in planned.items()
    }
    assert re.fullmatch("[0-9a-f]{64}", origin["corpus_sha256"])
    assert {"python", "numpy", "scipy", "rankbound", "torch"} <= set(origin["versions"])
    assert f"--preset {preset} " in origin["command"]
    assert f"tabulate_runs.py {name} " in origin["command"]


@pytest.mark.parametrize("name", RUNS)
def test_a_row_is_a_run(name: str) -> None:
    rows = published(name)
    absent = NOT_RUN.get(name, ())
    counts = {one: len(grids[RUNS[name]]) for one, grids in GRIDS.items() if one not in absent}
    assert Counter(row["experiment"] for row in rows) == counts
    assert len({tuple(v for k, v in row.items() if k != "value") for row in rows}) == len(rows)
    for row in rows:
        if row["kind"] == "standard":
            assert row["d_k"] * row["heads"] == row["d"]
        assert 0 <= row["value"] < 6
        assert row["experiment"] != "lookup" or row["value"] <= 1


@pytest.mark.parametrize("name", RUNS)
def test_what_the_theory_asks_for_is_shown(name: str) -> None:
    """Of the paper's own trends, in language, the tables say whatever they say."""
    arms = gather(Run(**row) for row in published(name))
    verdicts = {trend.id: trend.finding(arms).verdict for trend in TRENDS}
    for trend in ("context-cliff", "separation-fixed", "distinct-fixed", "mixing-heads"):
        assert verdicts[trend] == "reproduced", trend
    for trend in ("separation-queries", "mixing-fixed", "lookup-control"):
        assert verdicts[trend] == "reproduced", trend
    absent = NOT_RUN.get(name, ())
    for one in TRENDS:
        untested = verdicts[one.id] == "not tested"
        assert untested == (one.experiment in absent) or one.id == "language-knee", one.id


def test_the_documentation_has_what_the_tables_show() -> None:
    text = make_findings.TARGET.read_text(encoding="utf-8")
    block = text.partition(make_findings.BEGIN)[2].partition(make_findings.END)[0]
    assert block == make_findings.findings() + "\n"


def test_heads_obey_their_bounds() -> None:
    rows = published("trained-heads")
    models = Counter(
        tuple(row[key] for key in ("arm", "d", "heads", "rate", "weight_decay", "steps", "seed"))
        for row in rows
    )
    assert all(count == 2 * model[2] for model, count in models.items())  # two layers
    for row in rows:
        assert 1 <= row["log_rank"] <= row["log_rank_bound"] <= row["head_size"]
        assert row["generic_log_rank"] == row["n"] // 2 == 32
        assert not row["at_bottleneck"] or row["log_rank"] == row["log_rank_bound"]
        assert 1 <= row["log_effective_rank"] <= row["head_size"] * (1 + 1e-9)
        assert 1 <= row["log_stable_rank"] <= row["head_size"] * (1 + 1e-9)
        assert 0 <= row["aitchison_half"] <= 1
        assert row["kl_half"] >= 0
        assert row["least_head_size_1pct"] <= row["head_size"]
        if row["arm"] == "fixed":
            assert row["head_size"] == 16
        else:
            assert row["head_size"] * row["heads"] == row["d"]
    judged = {(row["arm"], row["d"], row["heads"], row["weight_decay"]) for row in rows}
    assert len(judged) == len({(*model[:3], model[4]) for model in models})
    assert {row["weight_decay"] for row in rows} == {0.0, 0.01, 0.1}


# how they are written


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "figures" / "data").mkdir(parents=True)
    for module in (regenerate, tabulate):
        monkeypatch.setattr(module, "HERE", tmp_path / "figures")
    return tmp_path / "figures"


def test_columns_are_the_attributes() -> None:
    for name, record in (("experiments-laptop", Run), ("trained-heads", TrainedHead)):
        columns = regenerate.FIGURES[name].columns
        assert list(columns) == [field.name for field in fields(record)]
        assert [kind.__name__ for kind in columns.values()] == [f.type for f in fields(record)]
    assert list(LONG) == tabulate.NAMES


def by_heads(cell: dict[str, Any]) -> float:
    return float(1 / 3 / cell.get("heads", 1) + cell["seed"])


def test_a_store_becomes_a_table_and_a_drawing(folder: Path) -> None:
    store = fill(folder / "s.sqlite", "laptop", dict.fromkeys(GRIDS, by_heads))
    assert tabulate.main(["experiments-laptop", str(store)]) == 0
    rows, digest = regenerate.read_data("experiments-laptop", folder / "data")
    runs = [asdict(run) for run in read_results(store, "laptop").runs]
    assert sorted(map(str, rows)) == sorted(map(str, runs))  # floats, too, to the last bit
    origin = origin_of("experiments-laptop", folder / "data")
    assert origin["sha256"] == digest
    assert origin["corpus_sha256"] == TEXT
    assert origin["cells"]["mixing"] == "54 of 54"
    assert str(folder) not in json.dumps(origin)
    assert regenerate.main(["experiments-laptop", "--draw-only"]) == 0
    assert digest in (folder / "experiments-laptop.svg").read_text(encoding="utf-8")


def test_the_order_in_which_runs_ended_does_not_matter(folder: Path) -> None:
    tables = []
    for turn in (1, -1):
        store = folder / f"{turn}.sqlite"
        for name in ("lookup", "mixing")[::turn]:
            cells = cells_of(name, "laptop")[::turn]
            import rankbound as rb

            rb.sweep(stand_in(name, by_heads), cells, store)
        assert tabulate.main(["experiments-laptop", str(store)]) == 0
        tables.append((folder / "data" / "experiments-laptop.csv").read_bytes())
    assert tables[0] == tables[1]
    assert origin_of("experiments-laptop", folder / "data")["cells"]["language"] == "0 of 25"


def test_an_experiment_is_added_to_a_table(folder: Path) -> None:
    """The others' rows stay, and what the provenance says of them; so it is if added again."""
    first = fill(folder / "first.sqlite", "laptop", only=["mixing", "language", "collapse"])
    assert tabulate.main(["experiments-laptop", str(first)]) == 0
    before, _ = regenerate.read_data("experiments-laptop", folder / "data")
    second = fill(folder / "second.sqlite", "laptop", {"collapse": by_layers}, only=["collapse"])
    fill(second, "laptop", only=["mixing", "head-size"], values={"mixing": by_heads})
    for _ in range(2):
        added = ["experiments-laptop", str(second), "--only", "collapse", "head-size"]
        assert tabulate.main(added) == 0
        after, digest = regenerate.read_data("experiments-laptop", folder / "data")
        kept = [[r for r in rows if r["experiment"] in ("mixing", "language")]
                for rows in (before, after)]  # fmt: skip
        assert kept[0] == kept[1] != []
        new = [row for row in after if row["experiment"] == "collapse"]
        assert {row["value"] for row in new} == {1.0, 0.5, 1 / 3, 0.25}
        origin = origin_of("experiments-laptop", folder / "data")
        assert origin["sha256"] == digest
        counts = {name: len(GRIDS[name]["laptop"]) for name in GRIDS}
        done = ("mixing", "language", "collapse", "head-size")
        assert origin["cells"] == {
            name: f"{count if name in done else 0} of {count}" for name, count in counts.items()
        }
        assert origin["corpus_sha256"] == TEXT
        assert origin["versions"]["torch"] == "0.0"
        assert origin["command"].endswith("--only collapse head-size")


def by_layers(cell: dict[str, Any]) -> float:
    return float(1 / cell["layers"])


def test_what_cannot_be_added(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An experiment that learnt another text, and rows that are no experiment's."""
    first = fill(folder / "first.sqlite", "laptop", only=["language"])
    assert tabulate.main(["experiments-laptop", str(first)]) == 0
    table = (folder / "data" / "experiments-laptop.csv").read_bytes()
    other = fill(folder / "other.sqlite", "laptop", only=["head-size"], corpus="b" * 64)
    assert tabulate.main(["experiments-laptop", str(other), "--only", "head-size"]) == 2
    assert "learnt the text " + "b" * 64 in capsys.readouterr().err
    assert tabulate.main(["experiments-overnight", str(other), "--only", "head-size"]) == 2
    fill(other, "overnight", only=["language"])
    assert tabulate.main(["trained-heads", str(other), "--only", "language"]) == 2
    assert "rows of language alone" in capsys.readouterr().err
    assert (folder / "data" / "experiments-laptop.csv").read_bytes() == table
    assert len(list((folder / "data").iterdir())) == 2


def test_a_panel_is_an_experiment() -> None:
    recipe = regenerate.FIGURES["experiments-laptop"]
    rows = []
    for experiment, d in (("mixing", 32), ("separation-distinct", 16), ("language", 32)):
        decay = 0.01 if experiment == "language" else 0.0
        for heads in (2, 4):
            run = Run(experiment, "standard", d, 8, heads, 8, 8, 9, 9, 0.1, decay, 1, 0, 1 / heads)
            rows.append(asdict(run))
    figure = Figure()
    recipe.draw(rows, figure)
    titles = [axes.get_title(loc="left").split(",")[0] for axes in figure.axes]
    assert titles == ["Four dense averages", "Four different maps", "Bytes of text"]
    for axes, d in zip(figure.axes, (32, 16, 32), strict=True):
        (line,) = [line for line in axes.lines if line.get_gid() == f"standard-{d}"]
        assert np.asarray(line.get_ydata(), float).tolist() == [0.5, 0.25]


BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "none": (lambda path: None, "no such file"),
    "another preset": (lambda path: fill(path, "smoke", only=["lookup"]), "no finished run of"),
    "text": (lambda path: path.write_text("no store" * 99), "no store"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_store_that_will_not_do_is_one_line_and_exit_2(
    what: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, words = BAD[what]
    make(folder / "s.sqlite")
    assert tabulate.main(["experiments-overnight", str(folder / "s.sqlite")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.count("\n") == 1
    assert not list((folder / "data").iterdir())


def test_a_table_without_layers_cannot_be_drawn(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = fill(folder / "s.sqlite", "laptop", only=["context"])
    assert tabulate.main(["experiments-laptop", str(store)]) == 0
    assert regenerate.main(["experiments-laptop", "--draw-only"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "rows hold no or several experiments" in err


def test_other_names_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        tabulate.main(["cliff", "s.sqlite"])
    assert stop.value.code == 2
    assert "experiments-laptop" in capsys.readouterr().err
