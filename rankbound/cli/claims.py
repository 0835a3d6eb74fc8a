"""``rankbound claims``: list what is registered."""

from __future__ import annotations

import argparse

__all__ = ["add_command"]


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "claims",
        help="list the registered claims",
        description="List the registered claims: statement, source, status, relation, mutants.",
    )
    parser.add_argument("claims", nargs="*", metavar="CLAIM", help="ids; all unless given")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the registry."""
    from rankbound.registry.verification import select
    from rankbound.reporting.tables import claims_table, console

    console().print(claims_table(select(options.claims or None)))
    return 0
