"""``rankbound verify``, ``claims``, ``check`` and ``doctor``: claims, proofs, installation."""

from __future__ import annotations

import argparse
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rankbound.cli import Commands, add_command, print_lines, write
from rankbound.errors import BackendMissing, InputError

if TYPE_CHECKING:
    from packaging.requirements import Requirement


def add_commands(commands: Commands) -> None:
    """Add the commands to the parser."""
    option = add_command(commands, "verify", run_verify, "check the registered claims")
    option("claims", nargs="*", metavar="CLAIM", help="ids; all unless given")
    option("--level", choices=("quick", "full"), default="quick")
    option("--seed", type=int, default=0, help="0 unless given")
    option("--jobs", type=int, default=1, help="worker processes; 1 unless given")
    option("--json", type=Path, metavar="FILE", help="also write the report there")
    option(
        "--certificates", type=Path, metavar="DIR", help="write certificates there, and re-check"
    )

    option = add_command(commands, "claims", run_claims, "list the registered claims")
    option("claims", nargs="*", metavar="CLAIM", help="ids; all unless given")

    option = add_command(commands, "check", run_check, "verify certificates")
    option("files", nargs="+", type=Path, metavar="FILE")
    option("--quiet", action="store_true", help="print rejections only")

    add_command(commands, "doctor", run_doctor, "say what is installed and what is missing")


def run_verify(options: argparse.Namespace) -> int:
    """Check the registered claims; exit 1 if one is not as registered."""
    from rankbound.registry.verification import Report, run, select
    from rankbound.reporting import (
        console,
        progress,
        report_summary,
        report_table,
        theorems_table,
    )

    chosen = select(options.claims or None)
    rows = run(chosen, options.level, options.seed, options.jobs, options.certificates)
    if options.json is not None:
        options.json.touch()  # a path that cannot be written is found out before the work
    done = []
    with progress("checking claims", len(chosen)) as show:
        for row in rows:
            done.append(row)
            show(len(done), len(chosen), row.id)
    report = Report(tuple(done), options.level, options.seed)
    console().print(report_table(report))
    if any(row.theorem for row in report.rows):
        console().print(theorems_table(row.theorem for row in report.rows))
    print_lines(report_summary(report))
    write(options.json, report.to_json() + "\n")
    return 0 if report.ok else 1


def run_claims(options: argparse.Namespace) -> int:
    """List the registered claims: statement, source, status, relation, mutants, theorem."""
    from rankbound.registry.verification import select
    from rankbound.reporting import claims_table, console, theorems_table

    chosen = select(options.claims or None)
    console().print(claims_table(chosen))
    if any(claim.theorem for claim in chosen):
        console().print(theorems_table(claim.theorem for claim in chosen))
    return 0


def run_check(options: argparse.Namespace) -> int:
    """Verify certificates from their files alone, in integers; exit 1 if one is rejected. A
    rejected certificate refutes nothing.
    """
    from rankbound.certificates.checker import check

    missing = [file for file in options.files if not file.is_file()]
    if missing:
        raise InputError(f"{missing[0]}: no such file; expected a certificate in JSON.")
    rejected = 0
    for file in options.files:
        outcome = check(file)
        rejected += not outcome.accepted
        if not outcome.accepted or not options.quiet:
            word = "accepted" if outcome.accepted else "REJECTED"
            sys.stdout.write(f"{word}  {file}\n")
            if outcome.statement:
                sys.stdout.write(f"    {outcome.statement}\n")
            sys.stdout.write(f"    {outcome.reason}\n")
    count = len(options.files)
    sys.stdout.write(f"{count - rejected} of {count} certificates accepted\n")
    return 1 if rejected else 0


def run_doctor(options: argparse.Namespace) -> int:
    """List versions and BLAS; exit 1 if a core dependency does not work."""
    from rankbound.reporting import answer_table, console

    core = _needed()
    rows = [("rankbound", metadata.version("rankbound")), ("python", platform.python_version())]
    rows += [(one.name, _state(one)) for one in core]
    rows += [("BLAS", blas) for blas in _blas()]
    extras = metadata.metadata("rankbound").get_all("Provides-Extra") or []
    rows += [(f"extra {extra}", _extra(extra)) for extra in extras]
    works, exact = _exact()
    console().print(answer_table([*rows, ("exact arithmetic", exact)]))
    broken = [str(one) for one in core if not _works(one)]
    if broken or not works:
        wanted = " ".join(f'"{one}"' for one in broken or ["python-flint"])
        print_lines([f"broken: pip install {wanted}"])
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
