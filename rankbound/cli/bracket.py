"""``rankbound bracket``: what heads of some sizes reach of a context, and what none of them can."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["add_command"]


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "bracket",
        help="how near heads of some sizes come to a context matrix",
        description=(
            "Print, for each head size, a KL divergence that no head of that size is below "
            "(proved, on any tokens) and that of a fitted head."
        ),
    )
    parser.add_argument("file", type=Path, metavar="P.npy", help="written by numpy.save")
    parser.add_argument(
        "--head-sizes", required=True, metavar="K,K,…", help="for example 1,2,4 or 8-16"
    )
    parser.add_argument("--rows", action="store_true", help="rows are queries and sum to 1")
    parser.add_argument(
        "--stored",
        choices=("float16", "float32", "float64"),
        help="the dtype the data was computed in, where the file no longer shows it",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the random starts (0)")
    parser.add_argument("--random-starts", type=int, default=1, metavar="N", help="each size (1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the rows there")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Read the file, bracket, print."""
    from rankbound.cli.files import load_array
    from rankbound.fitting.bracket import kl_bracket
    from rankbound.reporting.tables import bracket_table, console

    bracket = kl_bracket(
        load_array(options.file),
        read_sizes(options.head_sizes),
        seed=options.seed,
        random_starts=options.random_starts,
        rows=options.rows,
        stored=options.stored,
    )
    if options.json is not None:
        options.json.write_text(bracket.to_json() + "\n", encoding="utf-8")
    console().print(bracket_table(bracket))
    return 0


def read_sizes(text: str) -> list[int]:
    """Head sizes from ``1,2,4`` or ``8-16``, each once, in order."""
    from rankbound.errors import InputError

    sizes: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.isdecimal() and (last.isdecimal() or not dash) and len(part) < 12):
            raise InputError(f"--head-sizes {text}: expected integers such as 1,2,4 or 8-16.")
        sizes.update(range(int(first), int(last or first) + 1))
    if not sizes or min(sizes) < 1 or len(sizes) > 4096:
        raise InputError(f"--head-sizes {text}: expected from 1 to 4096 sizes of at least 1.")
    return sorted(sizes)
