"""``rankbound head-size``, ``bracket`` and ``atlas``: what contexts in files, and classes, need."""

from __future__ import annotations

import argparse
import io
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rankbound.cli import in_flags, read_numbers
from rankbound.errors import InputError, Undecided

if TYPE_CHECKING:
    from rankbound.context import Context

WRITTEN = "expected an array written by numpy.save"


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to the parser."""
    head_size = commands.add_parser(
        "head-size",
        help="the least head size of a context matrix",
        description=(
            "Print the least head size with which some head has this context matrix "
            "([key, query], columns sum to 1), on any tokens of full column rank or those given."
        ),
    )
    _add_matrix(head_size)
    head_size.add_argument(
        "--tokens", type=Path, metavar="X.npy", help="tokens (d, n), one per column"
    )
    head_size.add_argument(
        "--mask",
        metavar="MASK",
        help="causal, prefix:P, sliding:W ([key, query]), or a .npy file of bools that lies as P "
        "does; true = visible",
    )
    head_size.add_argument("--logits", action="store_true", help="the file holds logits, not P")
    head_size.add_argument("--json", type=Path, metavar="FILE", help="also write the answer there")
    head_size.set_defaults(run=run_head_size)

    bracket = commands.add_parser(
        "bracket",
        help="how close heads of some sizes come to a context matrix",
        description=(
            "Print, for each head size, a KL divergence that no head of that size is below "
            "(proved, on any tokens) and that of a fitted head."
        ),
    )
    _add_matrix(bracket)
    bracket.add_argument(
        "--head-sizes", required=True, metavar="K,K,…", help="for example 1,2,4 or 8-16"
    )
    bracket.add_argument("--seed", type=int, default=0, help="of the random starts (0)")
    bracket.add_argument(
        "--random-starts", type=int, default=1, metavar="N", help="for each size (1)"
    )
    bracket.add_argument("--json", type=Path, metavar="FILE", help="also write the rows there")
    bracket.set_defaults(run=run_bracket)

    atlas = commands.add_parser(
        "atlas",
        help="what head size each class of patterns needs",
        description=(
            "Compute the head size that classes of patterns of n tokens need: exactly, to any "
            "precision, with bounded logits, and for the same keys to be preferred."
        ),
    )
    atlas.add_argument("--n", type=int, required=True, help="tokens, from 3 to 512")
    atlas.add_argument("--seed", type=int, default=0, help="of the random patterns (0)")
    atlas.add_argument("--json", type=Path, metavar="FILE", help="also write the entries there")
    atlas.set_defaults(run=run_atlas)


def _add_matrix(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="P.npy", help="written by numpy.save")
    parser.add_argument("--rows", action="store_true", help="rows are queries and sum to 1")
    parser.add_argument(
        "--stored",
        choices=("float16", "bfloat16", "float32", "float64"),
        help="the dtype the data was computed in, where the file no longer shows it",
    )


def run_head_size(options: argparse.Namespace) -> int:
    """Read the files, decide, print."""
    from rankbound.context import read_context
    from rankbound.reporting import answer_table, console

    matrix, mask = load_array(options.file), options.mask
    if mask is not None and mask.endswith(".npy"):
        mask = load_array(Path(mask))
    context = read_context(
        None if options.logits else matrix,
        logits=matrix if options.logits else None,
        mask=mask,
        rows=options.rows,
        stored=options.stored,
    )
    tokens = None if options.tokens is None else load_array(options.tokens)
    answer = _decide(context, tokens, options)
    if options.json is not None:
        options.json.write_text(json.dumps(answer, indent=2) + "\n", encoding="utf-8")
    console().print(answer_table(answer.items()))
    return 0


def _decide(context: Context, tokens: Any, options: argparse.Namespace) -> dict[str, Any]:
    """The answer by name, with its evidence."""
    from rankbound.theory.decision import least_head_size
    from rankbound.tokens import read_tokens

    length = {"sequence length": context.n}
    try:
        least = least_head_size(context, X=tokens)
    except Undecided as error:
        if error.bounds is None:
            raise
        span = f"from {error.bounds.lower} to {error.bounds.upper}"
        evidence = f"undecided: {in_flags(str(error), options)}"
        return {"least head size": span, **length, "evidence": evidence}
    if math.isinf(least):
        return {"least head size": "no head of any size", **length, "evidence": "supported"}
    deficient = tokens is not None and read_tokens(tokens).numerical_rank < context.n
    if context.mask is not None or deficient:  # Theorems B and C, which no one spectrum decides
        return {"least head size": int(least), **length, "evidence": "supported"}
    return {"least head size": int(least), **length, **_evidence(context, int(least))}


def _evidence(context: Context, least: int) -> dict[str, Any]:
    from rankbound.theory.softmax_gauge import logs_of

    if context.exact is not None:
        return {"evidence": "certified: exact rank of C L over the rationals"}
    spectrum = logs_of(context).spectrum()
    kept, dropped = (
        f"{spectrum.values[i]:.3e}" if 0 <= i < context.n else "none" for i in (least - 1, least)
    )
    return {
        "evidence": "supported: singular values of C log P in float64",
        "smallest singular value kept": kept,
        "threshold": f"{spectrum.tolerance:.3e} ({spectrum.stored})",
        "largest dropped": dropped,
    }


def run_bracket(options: argparse.Namespace) -> int:
    """Read the file, bracket, print."""
    from rankbound.fitting.bracket import kl_bracket
    from rankbound.reporting import bracket_table, console

    sizes = read_numbers("--head-sizes", options.head_sizes) or []
    bracket = kl_bracket(
        load_array(options.file),
        sorted(set(sizes)),
        seed=options.seed,
        random_starts=options.random_starts,
        rows=options.rows,
        stored=options.stored,
    )
    if options.json is not None:
        options.json.write_text(bracket.to_json() + "\n", encoding="utf-8")
    console().print(bracket_table(bracket))
    return 0


def run_atlas(options: argparse.Namespace) -> int:
    """Compute and print."""
    from rankbound.atlas.compute import compute_atlas
    from rankbound.reporting import atlas_sources, atlas_table, console

    atlas = compute_atlas(options.n, options.seed)
    if options.json is not None:
        options.json.write_text(atlas.to_json() + "\n", encoding="utf-8")
    console().print(atlas_table(atlas))
    console().print(atlas_sources(atlas))
    return 0


def load_array(path: Path) -> npt.NDArray[Any]:
    """Read one array from a ``.npy`` file or pipe; never unpickled.

    Raises
    ------
    InputError
        If there is no such file, or it does not hold one array of numbers in NumPy's format.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file; {WRITTEN}.")
    if path.is_dir():
        raise InputError(f"{path}: a directory; {WRITTEN}.")
    content = path.read_bytes()
    if content[:6] != b"\x93NUMPY":
        kind = "an .npz archive or another zip" if content[:2] == b"PK" else "no .npy file"
        raise InputError(f"{path}: {kind}; {WRITTEN}.")
    try:
        array: npt.NDArray[Any] = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # NumPy evaluates the header: a hostile one raises anything
        if "Object arrays" in str(error):
            raise InputError(
                f"{path}: holds Python objects, which are never unpickled here; "
                "expected numbers. Save it again with .astype(float)."
            ) from None
        raise InputError(
            f"{path}: a damaged .npy file ({type(error).__name__}); {WRITTEN}."
        ) from None
    return array
