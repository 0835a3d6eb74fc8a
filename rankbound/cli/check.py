"""``rankbound check``: verify certificates from their files alone."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

__all__ = ["add_command"]


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "check",
        help="verify certificates",
        description=(
            "Verify certificates from their files alone, in integers; exit 1 if one is rejected. "
            "A rejected certificate refutes nothing."
        ),
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--quiet", action="store_true", help="print rejections only")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
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
