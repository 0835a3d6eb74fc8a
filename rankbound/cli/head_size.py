"""``rankbound head-size``: the least head size of a context matrix in a file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

__all__ = ["add_command"]


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "head-size",
        help="the least head size of a context matrix",
        description=(
            "Print the least head size with which some head has this context matrix "
            "([key, query], columns sum to 1) on tokens of full column rank."
        ),
    )
    parser.add_argument("file", type=Path, metavar="P.npy", help="written by numpy.save")
    parser.add_argument("--tokens", type=Path, metavar="X.npy", help="tokens (d, n), one a column")
    parser.add_argument("--logits", action="store_true", help="the file holds logits, not P")
    parser.add_argument("--rows", action="store_true", help="rows are queries and sum to 1")
    parser.add_argument(
        "--stored",
        choices=("float16", "float32", "float64"),
        help="the dtype the data was computed in, where the file no longer shows it",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the answer there")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Read the file, decide, print."""
    from rankbound.cli.files import load_array
    from rankbound.reporting.tables import console, simple_table

    matrix = load_array(options.file)
    tokens = None if options.tokens is None else load_array(options.tokens)
    answer = _decide(matrix, tokens, options)
    if options.json is not None:
        options.json.write_text(json.dumps(answer, indent=2) + "\n", encoding="utf-8")
    console().print(simple_table((key, str(value)) for key, value in answer.items()))
    return 0


def _decide(matrix: Any, tokens: Any, options: argparse.Namespace) -> dict[str, Any]:
    from rankbound.theory.logs import read_logs
    from rankbound.theory.representation import least_head_size

    inputs = {"logits" if options.logits else "P": matrix}
    settings = {"stored": options.stored, "rows": options.rows}
    least = least_head_size(X=tokens, **inputs, **settings)
    logs = read_logs(inputs.get("P"), inputs.get("logits"), **settings)
    answer = {"least head size": least, "sequence length": len(matrix)}
    if logs.exact is not None:
        return {**answer, "evidence": "certified: exact rank of C L over the rationals"}
    spectrum = logs.spectrum()
    kept, dropped = (
        f"{spectrum.values[i]:.3e}" if 0 <= i < len(matrix) else "none" for i in (least - 1, least)
    )
    return {
        **answer,
        "evidence": "supported: singular values of C log P in float64",
        "smallest singular value kept": kept,
        "threshold": f"{spectrum.tolerance:.3e} ({spectrum.stored})",
        "largest dropped": dropped,
    }
