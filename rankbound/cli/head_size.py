"""``rankbound head-size``: the least head size of a context matrix in a file."""

from __future__ import annotations

import argparse
import json
import math
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
            "([key, query], columns sum to 1), on any tokens of full column rank or those given."
        ),
    )
    parser.add_argument("file", type=Path, metavar="P.npy", help="written by numpy.save")
    parser.add_argument("--tokens", type=Path, metavar="X.npy", help="tokens (d, n), one a column")
    parser.add_argument(
        "--mask",
        metavar="MASK",
        help="causal, prefix:P, sliding:W or a .npy file of bools, [key, query], true = visible",
    )
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
    from rankbound.errors import InputError
    from rankbound.reporting.tables import console, simple_table

    matrix = load_array(options.file)
    tokens = None if options.tokens is None else load_array(options.tokens)
    if matrix.ndim != 2:
        raise InputError(f"{options.file}: an array of shape {matrix.shape}; expected a matrix.")
    mask = read_mask(options.mask, len(matrix))
    if options.rows and mask is not None and not options.mask.endswith(".npy"):
        mask = mask.T  # a mask by name is [key, query]; with --rows all is transposed
    answer = _decide(matrix, tokens, mask, options)
    if options.json is not None:
        options.json.write_text(json.dumps(answer, indent=2) + "\n", encoding="utf-8")
    console().print(simple_table((key, str(value)) for key, value in answer.items()))
    return 0


def _decide(matrix: Any, tokens: Any, mask: Any, options: argparse.Namespace) -> dict[str, Any]:
    from rankbound.errors import Undecided
    from rankbound.ranks.spectrum import spectrum
    from rankbound.theory.decision import least_head_size

    inputs = {"logits" if options.logits else "P": matrix}
    settings = {"stored": options.stored, "rows": options.rows}
    length = {"sequence length": len(matrix)}
    try:
        least = least_head_size(X=tokens, mask=mask, **inputs, **settings)
    except Undecided as error:
        if error.bounds is None:
            raise
        span = f"from {error.bounds.lower} to {error.bounds.upper}"
        return {"least head size": span, **length, "evidence": f"undecided: {error}"}
    if math.isinf(least):
        return {"least head size": "no head of any size", **length, "evidence": "supported"}
    deficient = tokens is not None and spectrum(tokens).rank < len(matrix)
    if mask is not None or deficient:  # Theorems B and C, which no one spectrum decides
        return {"least head size": int(least), **length, "evidence": "supported"}
    return {"least head size": int(least), **length, **_evidence(int(least), inputs, settings)}


def _evidence(least: int, inputs: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    from rankbound.context import read_context
    from rankbound.theory.softmax_gauge import logs_of

    logs = logs_of(read_context(inputs.get("P"), logits=inputs.get("logits"), **settings))
    if logs.exact is not None:
        return {"evidence": "certified: exact rank of C L over the rationals"}
    spectrum = logs.spectrum()
    kept, dropped = (
        f"{spectrum.values[i]:.3e}" if 0 <= i < logs.n else "none" for i in (least - 1, least)
    )
    return {
        "evidence": "supported: singular values of C log P in float64",
        "smallest singular value kept": kept,
        "threshold": f"{spectrum.tolerance:.3e} ({spectrum.stored})",
        "largest dropped": dropped,
    }


def read_mask(text: str | None, n: int) -> Any:
    """The mask that an option names: causal, prefix:P, sliding:W, or a .npy file of bools."""
    from rankbound.attention.masks import causal_mask, prefix_mask, sliding_mask
    from rankbound.cli.files import load_array
    from rankbound.errors import InputError

    if text is None:
        return None
    name, _, number = text.partition(":")
    if name in ("prefix", "sliding") and not (number.isdecimal() and len(number) < 10):
        raise InputError(f"--mask {text}: expected a length, for example {name}:4.")
    if name == "causal" and not number:
        return causal_mask(n)
    if name == "prefix":
        return prefix_mask(n, int(number))
    if name == "sliding":
        return sliding_mask(n, int(number))
    if text.endswith(".npy"):
        return load_array(Path(text))
    raise InputError(
        f"--mask {text}: expected causal, prefix:P, sliding:W or a .npy file of bools."
    )
