"""``rankbound verify``, ``check`` and ``claims``: the registry, its evidence, its certificates."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to the parser."""
    verify = commands.add_parser(
        "verify",
        help="check the registered claims",
        description="Check the registered claims; exit 1 if one is not as registered.",
    )
    verify.add_argument("claims", nargs="*", metavar="CLAIM", help="ids; all unless given")
    verify.add_argument("--level", choices=("quick", "full"), default="quick")
    verify.add_argument("--seed", type=int, default=0, help="0 unless given")
    verify.add_argument("--jobs", type=int, default=1, help="worker processes; 1 unless given")
    verify.add_argument("--json", type=Path, metavar="FILE", help="also write the report there")
    verify.add_argument(
        "--certificates", type=Path, metavar="DIR", help="write certificates there, and re-check"
    )
    verify.set_defaults(run=run_verify)

    claims = commands.add_parser(
        "claims",
        help="list the registered claims",
        description="List the registered claims: statement, source, status, relation, mutants.",
    )
    claims.add_argument("claims", nargs="*", metavar="CLAIM", help="ids; all unless given")
    claims.set_defaults(run=run_claims)

    check = commands.add_parser(
        "check",
        help="verify certificates",
        description=(
            "Verify certificates from their files alone, in integers; exit 1 if one is rejected. "
            "A rejected certificate refutes nothing."
        ),
    )
    check.add_argument("files", nargs="+", type=Path, metavar="FILE")
    check.add_argument("--quiet", action="store_true", help="print rejections only")
    check.set_defaults(run=run_check)


def run_verify(options: argparse.Namespace) -> int:
    """Check the claims, print the table, write the report if asked."""
    from rankbound.registry.verification import Report, run, select
    from rankbound.reporting import console, progress, report_summary, report_table

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
    out = console()
    out.print(report_table(report))
    for line in report_summary(report):
        out.print(line, markup=False, soft_wrap=True)
    if options.json is not None:
        options.json.write_text(report.to_json() + "\n", encoding="utf-8")
    return 0 if report.ok else 1


def run_claims(options: argparse.Namespace) -> int:
    """Print the registry."""
    from rankbound.registry.verification import select
    from rankbound.reporting import claims_table, console

    console().print(claims_table(select(options.claims or None)))
    return 0


def run_check(options: argparse.Namespace) -> int:
    """Check each file and print its outcome."""
    from rankbound.certificates.checker import check
    from rankbound.errors import InputError

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
