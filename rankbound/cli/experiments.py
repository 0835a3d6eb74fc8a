"""``rankbound experiment``, ``report``, ``sweep status`` and ``figures``: runs, what they show."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rankbound._validate import check_word
from rankbound.cli import Commands, add_command, reserved, show, write
from rankbound.errors import InputError

if TYPE_CHECKING:
    from rankbound.experiments.report import ExperimentReport

STORE = "experiments.sqlite"
SCRIPT = Path(__file__).resolve().parents[2] / "figures" / "regenerate.py"  # not of a wheel


def add_commands(commands: Commands) -> None:
    """Add the commands to the parser."""
    option = add_command(
        commands, "experiment", run_experiment, "run one of the experiments in laptop form"
    )
    option("name", nargs="?", metavar="NAME", default="list")
    option("--preset", default="smoke", help="smoke, laptop or overnight")
    option("--store", type=Path, default=Path(STORE), help=f"{STORE} unless given")
    option("--jobs", type=int, default=1, metavar="N", help="worker processes")
    option("--text", type=Path, metavar="FILE", help="what language models learn instead")

    option = add_command(
        commands, "report", run_report, "judge the paper's trends by the runs in a store"
    )
    option("store", type=Path, metavar="STORE")
    option("--preset", help="smoke, laptop or overnight; the one with most runs unless given")
    option("--text", type=Path, metavar="FILE", help="what language models learned")
    option("--no-heads", action="store_true", help="do not measure trained heads")
    option("--json", type=Path, metavar="FILE", help="write runs, findings and heads")
    option("--markdown", type=Path, metavar="FILE", help="write trends and arms")
    option("--figures", type=Path, metavar="DIR", help="draw the figures as SVG")

    sweep = commands.add_parser(
        "sweep", help="look into a store of sweeps", description="Look into a store of sweeps."
    )
    option = add_command(
        sweep.add_subparsers(title="actions", metavar="ACTION", required=True),
        "status",
        run_status,
        "what is done, failed and still to run",
    )
    option("store", type=Path, metavar="STORE", help="the SQLite file of a sweep")

    option = add_command(
        commands, "figures", run_figures, "compute and draw the published figures again"
    )
    option("names", nargs="*", metavar="NAME", help="figures; all if none")
    option("--check", action="store_true", help="compute and compare, write nothing")
    option("--draw-only", action="store_true", help="draw from the published tables")
    option("--jobs", type=int, default=1, metavar="N", help="processes that compute")


def run_experiment(options: argparse.Namespace) -> int:
    """Run an experiment's preset, or that of all, and print arms and trends; without a name, or
    with `list`, list them. Stopped at any moment, the same command resumes it. Exit 1 if a cell
    failed.
    """
    from rankbound.experiments.catalogue import EXPERIMENTS
    from rankbound.experiments.report import catalogue_table

    if options.name == "list":
        show(options, catalogue_table(EXPERIMENTS.values()))
        return 0
    check_word("name", options.name, (*EXPERIMENTS, "all", "list"))
    names = tuple(EXPERIMENTS) if options.name == "all" else (options.name,)
    return max([_run_one(name, options) for name in names])


def _corpus(options: argparse.Namespace) -> Path | None:
    """The text that is learnt; a run that is resumed, and its report, read it again."""
    text: Path | None = options.text
    if str(text) == "-":
        raise InputError(
            "--text -: standard input can be read once; expected a file, which runs that are "
            "resumed read again. Save the text."
        )
    return text


def _run_one(name: str, options: argparse.Namespace) -> int:
    """Run one, and print what its runs show; also what is done when it is interrupted."""
    from rankbound.experiments import catalogue
    from rankbound.reporting import progress
    from rankbound.sweeps.run import failure_lines

    reads = options.name != "all" or catalogue.EXPERIMENTS[name].reads
    text = _corpus(options) if reads else None
    try:
        with progress(name, quiet=options.quiet) as tell:
            swept = catalogue.run_experiment(
                name,
                options.preset,
                options.store,
                options.jobs,
                text,
                progress=lambda tick: tell(tick.kept + tick.finished, tick.total, name),
            )
    except KeyboardInterrupt:
        if options.store.is_file():
            _print_runs(name, options)
            show(options, f"interrupted: {options.store} keeps what is done; run it again.")
        raise
    if len(swept.failed) < len(swept.cells):
        _print_runs(name, options)
    failures = failure_lines(swept.cells)
    show(options, *failures)
    return 1 if failures else 0


def _print_runs(name: str, options: argparse.Namespace) -> None:
    from rankbound.experiments.report import arms_table, findings_table, make_report

    report = make_report(options.store, options.preset, heads=False)
    if not options.quiet:
        show(options, arms_table(arm for arm in report.arms if arm.experiment == name))
    show(options, findings_table(f for f in report.findings if f.experiment == name))


def run_report(options: argparse.Namespace) -> int:
    """Print each trend beside the paper's numbers, with its verdict (reproduced, partly, not, not
    tested), the arms with their seeds' range, and what the trained heads use.
    """
    from rankbound.experiments.report import arms_table, findings_table, heads_table, make_report

    with reserved(options.json, options.markdown):
        report = make_report(
            options.store, options.preset, _corpus(options), heads=not options.no_heads
        )
        show(options, findings_table(report.findings))
        if not options.quiet:
            show(options, arms_table(report.arms))
            show(options, *([heads_table(report.heads)] if report.heads else []), *report.notes)
        write(options.json, report.to_json() + "\n")
        write(options.markdown, report.to_markdown())
    if options.figures:
        _draw(report, options.figures)
    return 0


def _draw(report: ExperimentReport, folder: Path) -> None:
    """A figure per experiment of layers, and one of trained heads."""
    from matplotlib.figure import Figure

    from rankbound import canvas
    from rankbound.plots import errors_by_heads, ranks_of_trained_heads, spectra_of_trained_heads
    from rankbound.plots.layers import KINDS

    folder.mkdir(parents=True, exist_ok=True)
    drawn = {run.experiment for run in report.results.runs if run.kind in KINDS}
    for name in sorted(drawn):
        with canvas.styled():
            figure = Figure(figsize=(canvas.NARROW, 3.4))
            runs = [run for run in report.results.runs if run.experiment == name]
            errors_by_heads(runs, ax=figure.subplots())
            figure.savefig(folder / f"{name}.svg")
    if report.heads:
        with canvas.styled():
            figure = Figure(figsize=(canvas.WIDE, 3.2))
            left, right = figure.subplots(1, 2)
            ranks_of_trained_heads(report.heads, ax=left)
            spectra_of_trained_heads(report.heads, ax=right)
            figure.savefig(folder / "trained-heads.svg")


def run_status(options: argparse.Namespace) -> int:
    """Print what a store holds, also while a run is at work on it: cells of each function and
    version, and the failed ones with their errors. Exit 1 if a cell has failed.
    """
    from rankbound.sweeps.run import failure_lines, store_table
    from rankbound.sweeps.store import open_store, store_path

    with open_store(store_path(options.store), read_only=True) as store:
        records = store.records()
    if not options.quiet:
        show(options, store_table(records))
    failures = failure_lines(records)
    show(options, *failures)
    return 1 if failures else 0


def run_figures(options: argparse.Namespace) -> int:
    """Compute the tables behind the published figures, keep what differs by no more than its
    tolerance, and draw; in a clone or an unpacked sdist, which hold them. Exit 1 if --check found a
    difference.
    """
    if not SCRIPT.is_file():
        raise InputError(
            f"there is no {SCRIPT.name} in {SCRIPT.parent}; expected the figures beside the "
            "package, as in a clone or an unpacked sdist. Run the command there."
        )
    flags = [f"--{f.replace('_', '-')}" for f in ("check", "draw_only") if getattr(options, f)]
    flags += ["--jobs", str(options.jobs), "--prog", "rankbound figures"]
    command = [sys.executable, str(SCRIPT), *options.names, *flags]
    return subprocess.run(command, check=False).returncode
