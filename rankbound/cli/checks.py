"""``rankbound verify``, ``claims``, ``check`` and ``doctor``: claims, proofs, installation."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankbound.cli import Commands, add_command, reserved, show, write
from rankbound.errors import BackendMissing, InputError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from rankbound.registry.verification import Report, Row


def add_commands(commands: Commands) -> None:
    """Add the commands to the parser."""
    option = add_command(commands, "verify", run_verify, "check the registered claims")
    option("claims", nargs="*", metavar="CLAIM", help="ids or patterns, 'theorem-*'; all if none")
    option("--level", choices=("quick", "full"), default="quick")
    option("--seed", type=int, default=0, help="0 unless given")
    option(
        "--jobs",
        type=int,
        help="worker processes; as many as cores unless given, and one for a few claims",
    )
    option("--json", type=Path, metavar="FILE", help="also write the report there")
    option(
        "--certificates", type=Path, metavar="DIR", help="write certificates there, and re-check"
    )

    option = add_command(commands, "claims", run_claims, "list the registered claims")
    option("claims", nargs="*", metavar="CLAIM", help="ids or patterns, 'theorem-*'; all if none")

    option = add_command(commands, "check", run_check, "verify certificates")
    option(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="a certificate in JSON, or a folder of them; - is input",
    )

    add_command(commands, "doctor", run_doctor, "say what is installed and what is missing")

    option = add_command(commands, "completion", run_completion, "print a shell's completions")
    option("shell", choices=("bash", "zsh", "tcsh"), metavar="SHELL", help="bash, zsh or tcsh")


def run_verify(options: argparse.Namespace) -> int:
    """Check the registered claims; exit 1 if one is not as registered. Ctrl-C prints those that are
    done.
    """
    from rankbound.registry.verification import Report, default_jobs, run, select
    from rankbound.reporting import progress, report_summary

    chosen = select(options.claims or None)
    jobs = options.jobs if options.jobs is not None else default_jobs(chosen)
    rows = run(chosen, options.level, options.seed, jobs, options.certificates)
    done: list[Row] = []
    with reserved(options.json):
        try:
            with progress("checking claims", len(chosen), quiet=options.quiet) as tell:
                for row in rows:
                    done.append(row)
                    if options.verbose:
                        show(options, _told(row))
                    tell(len(done), len(chosen), row.id)
        except KeyboardInterrupt:
            _print_report(Report(tuple(done), options.level, options.seed), options)
            show(options, f"interrupted: {len(done)} of {len(chosen)} claims are checked.")
            raise
        report = Report(tuple(done), options.level, options.seed)
        _print_report(report, options)
        show(options, *report_summary(report))
        if options.certificates is not None and not any(row.certificates for row in done):
            claims = "this claim has" if len(done) == 1 else "these claims have"
            show(options, f"no certificate is written to {options.certificates}: {claims} none.")
        write(options.json, report.to_json() + "\n")
    return 0 if report.ok else 1


def _print_report(report: Report, options: argparse.Namespace) -> None:
    from rankbound.reporting import theorems_table

    if report.rows and not options.quiet:
        show(options, report.table())
        if any(row.theorem for row in report.rows):
            show(options, theorems_table(row.theorem for row in report.rows))


def _told(row: Row) -> str:
    worst = f"; worst: {row.worst}, residual {row.residual:.1e}" if row.residual else ""
    proved = f", {row.certificates} certificates accepted" if row.certificates else ""
    return f"{row.id}: {row.evidence}, {row.instances} instances{proved}{worst}"


def run_claims(options: argparse.Namespace) -> int:
    """List the registered claims: statement, source, status, relation, mutants, theorem; and of
    those of another package its name.
    """
    from rankbound.registry.verification import select
    from rankbound.reporting import claims_table, theorems_table

    chosen = select(options.claims or None)
    if options.quiet:
        show(options, *(claim.id for claim in chosen))
        return 0
    show(options, claims_table(chosen))
    if any(claim.theorem for claim in chosen):
        show(options, theorems_table(claim.theorem for claim in chosen))
    for claim in chosen if options.verbose else ():
        mutants = "; ".join(mutant.name for mutant in claim.mutants)
        show(options, f"{claim.id}", f"    hypotheses: {'; '.join(claim.hypotheses)}")
        show(options, f"    mutants: {mutants}")
    return 0


def run_check(options: argparse.Namespace) -> int:
    """Verify certificates from their files alone, in integers; exit 1 if one is rejected. A
    rejected certificate refutes nothing.
    """
    from rankbound.certificates.checker import check

    files = [file for given in options.files for file in _certificates(given)]
    checked = rejected = 0
    try:
        for file in files:
            outcome = check(sys.stdin.buffer.read() if str(file) == "-" else file)
            checked, rejected = checked + 1, rejected + (not outcome.accepted)
            if not outcome.accepted or not options.quiet:
                word = "accepted" if outcome.accepted else "REJECTED"
                sys.stdout.write(f"{word}  {file}\n")
                if outcome.statement:
                    sys.stdout.write(f"    {outcome.statement}\n")
                sys.stdout.write(f"    {outcome.reason}\n")
    finally:  # also when interrupted
        count, left = len(files), len(files) - checked
        rest = f", {left} not checked" if left else ""
        sys.stdout.write(f"{checked - rejected} of {count} certificates accepted{rest}\n")
    return 1 if rejected else 0


def _certificates(given: Path) -> list[Path]:
    """A file, or those of a folder, as ``verify --certificates`` writes them."""
    if given.is_dir():
        found = sorted(given.glob("*.json"))
        if not found:
            raise InputError(f"{given}: a folder without .json files; expected certificates in it.")
        return found
    if str(given) != "-" and not given.is_file():
        raise InputError(f"{given}: no such file; expected a certificate in JSON, or a folder.")
    return [given]


def run_doctor(options: argparse.Namespace) -> int:
    """List versions and BLAS; exit 1 if a core dependency does not work."""
    from rankbound.reporting import answer_table

    core = _needed()
    rows = [("rankbound", metadata.version("rankbound")), ("python", platform.python_version())]
    rows += [(one.name, _state(one)) for one in core]
    rows += [("BLAS", blas) for blas in _blas()]
    extras = metadata.metadata("rankbound").get_all("Provides-Extra") or []
    rows += [(f"extra {extra}", _extra(extra)) for extra in extras]
    works, exact = _exact()
    show(options, answer_table([*rows, ("exact arithmetic", exact)]))
    broken = [str(one) for one in core if not _works(one)]
    if broken or not works:
        wanted = " ".join(f'"{one}"' for one in broken or ["python-flint"])
        show(options, f"broken: pip install {wanted}")
        return 1
    return 0


def _needed(extra: str = "") -> list[Requirement]:
    """What an extra requires, or the core, as the installed package says."""
    from packaging.requirements import Requirement

    found = map(Requirement, metadata.requires("rankbound") or ())
    return [
        one for one in found if (one.marker.evaluate({"extra": extra}) if one.marker else not extra)
    ]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _works(one: Requirement) -> bool:
    version = _version(one.name)
    return version is not None and one.specifier.contains(version, prereleases=True)


def _state(one: Requirement) -> str:
    version = _version(one.name) or "missing"
    return version if _works(one) else f"{version}; expected {one.name}{one.specifier}"


def _extra(extra: str) -> str:
    lacking = [one for one in _needed(extra) if not _works(one)]
    if not lacking:
        return "complete"
    names = ", ".join(f"{one.name} ({_version(one.name) or 'missing'})" for one in lacking)
    return f'without {names}: pip install "rankbound[{extra}]"'


def _blas() -> list[str]:
    import numpy.linalg  # noqa: F401 - loads the BLAS that is to be described
    from threadpoolctl import threadpool_info

    pools: list[dict[str, Any]] = [i for i in threadpool_info() if i["user_api"] == "blas"]
    return [
        f"{pool['internal_api']} {pool['version']}, {pool.get('architecture', 'unknown kernel')}, "
        f"{pool['num_threads']} threads"
        for pool in pools
    ]


def _exact() -> tuple[bool, str]:
    from rankbound.ranks.exact import exact_rank

    try:
        works = int(exact_rank([[1, 2], [2, 4]])) == 1
    except BackendMissing as error:  # no wheel for musl, for one
        return False, f"not available: {error}"
    return works, "works" if works else "wrong: the rank of [[1, 2], [2, 4]] is not 1"


def run_completion(options: argparse.Namespace) -> int:
    """Print what completes commands, flags, files, claims and experiments in a shell, for example
    `eval "$(rankbound completion bash)"`. Needs shtab.
    """
    from rankbound.experiments.catalogue import EXPERIMENTS
    from rankbound.registry.outside import registered

    try:
        import shtab
    except ImportError:
        raise BackendMissing(
            'completion needs shtab, which is not installed: pip install "rankbound[completion]".'
        ) from None
    words = {"claims": tuple(registered()), "name": (*EXPERIMENTS, "all", "list")}
    for action in _actions(options.program):
        if action.dest in words and not action.option_strings:
            action.choices = words[action.dest]
        elif action.type is Path:
            vars(action)["complete"] = shtab.FILE  # where shtab looks for it
    sys.stdout.write(shtab.complete(options.program, shell=options.shell) + "\n")
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """The actions of a parser and of its commands."""
    for action in parser._actions:
        yield action
        for command in action.choices.values() if isinstance(action.choices, dict) else ():
            yield from _actions(command)
