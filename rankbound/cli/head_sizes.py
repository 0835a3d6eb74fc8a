"""``rankbound head-size``, ``bracket``, ``atlas``, ``audit``: what contexts and models need."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rankbound._files import is_matrix_path, read_matrix
from rankbound.cli import Commands, add_command, in_flags, read_numbers, reserved, show, write
from rankbound.errors import InputError, Interrupted, Undecided

if TYPE_CHECKING:
    from rankbound.atlas import Atlas
    from rankbound.auditing.audit import Audit
    from rankbound.context import Context
    from rankbound.fitting.solve import Bracket

MOST_TEXT = 2**28  # bytes of a text
MATRIX = "a .npy, .npz (FILE.npz:NAME) or .csv file, or - for standard input"


def add_commands(commands: Commands) -> None:
    """Add the commands to the parser."""
    option = add_command(
        commands, "head-size", run_head_size, "the least head size of a context matrix"
    )
    _add_matrix(option)
    option("--tokens", type=Path, metavar="FILE", help="tokens (d, n), one per column; as P is")
    option("--json", type=Path, metavar="FILE", help="also write the answer there")

    option = add_command(
        commands, "bracket", run_bracket, "how close heads of some sizes come to a context matrix"
    )
    _add_matrix(option)
    option("--head-sizes", required=True, metavar="K,K,…", help="for example 1,2,4 or 8-16")
    option("--seed", type=int, default=0, help="of the random starts (0)")
    option("--random-starts", type=int, default=1, metavar="N", help="for each size (1)")
    option("--json", type=Path, metavar="FILE", help="also write the rows there")

    option = add_command(
        commands, "atlas", run_atlas, "what head size each class of patterns needs"
    )
    option("--n", type=int, required=True, help="tokens, from 3 to 512")
    option("--seed", type=int, default=0, help="of the random patterns (0)")
    option("--json", type=Path, metavar="FILE", help="also write the entries there")

    option = add_command(
        commands, "audit", run_audit, "what head size each head of a pretrained model uses"
    )
    option("model", metavar="MODEL", help="a directory, a .gguf file or an installed package")
    option("--text", type=Path, required=True, metavar="FILE", help="in UTF-8; - is input")
    option("--length", type=int, metavar="N", help="tokens; as many as there are, at most 512")
    option("--layers", metavar="LIST", help="for example 0,3-5; all unless given")
    option("--windows", type=int, default=1, help="of N tokens each; 1 unless given")
    option("--dtype", choices=("float32", "float64"), default="float32")
    option("--head-sizes", metavar="LIST", help="also say what these cost; for example 8,16")
    option("--kl", type=float, metavar="NATS", help="also bound the size within this divergence")
    option(
        "--measure-loss",
        nargs="?",
        const="model",
        choices=("model", "layer", "head"),
        help="also run the model with heads of --head-sizes; layer, head: also one at a time",
    )
    option(
        "--calibrate", type=Path, metavar="FILE", help="another text, for projections fixed on it"
    )
    option(
        "--plan",
        type=float,
        metavar="LOSS",
        help="with --calibrate, also plan head sizes within this loss",
    )
    option(
        "--context-rank",
        action=argparse.BooleanOptionalAction,
        help="the effective rank of P, an SVD per head; up to 1,024 tokens unless asked for",
    )
    option("--json", type=Path, metavar="FILE", help="also write it there, finished or interrupted")
    option("--html", type=Path, metavar="FILE", help="also write a page: map, spectra, table")


def _add_matrix(option: Callable[..., argparse.Action]) -> None:
    option("file", type=Path, metavar="P", help=MATRIX)
    option(
        "--mask",
        metavar="MASK",
        help="causal, prefix:P, sliding:W ([key, query]), or a file of bools that lies as P does; "
        "true = visible",
    )
    option("--logits", action="store_true", help="the file holds logits, not P")
    option("--rows", action="store_true", help="rows are queries and sum to 1")
    option(
        "--stored",
        choices=("float16", "bfloat16", "float32", "float64"),
        help="the dtype the data was computed in, where the file no longer shows it",
    )


def run_head_size(options: argparse.Namespace) -> int:
    """Print the least head size with which some head has this context matrix ([key, query], columns
    sum to 1), on any tokens of full column rank or those given.
    """
    from rankbound.reporting import answer_table

    context = _read_context(options)
    tokens = None if options.tokens is None else read_matrix("X", options.tokens)
    with reserved(options.json):
        numbers, least, evidence = _decide(context, tokens, options)
        answer = {"least head size": least, "sequence length": context.n, **evidence}
        if options.quiet:
            show(options, f"{least}")
        else:
            show(options, answer_table(answer.items()))
        write(options.json, json.dumps(numbers | answer, indent=2) + "\n")
    return 0


def _read_context(options: argparse.Namespace, *, zeros: bool = False) -> Context:
    from rankbound.context import read_context

    matrix, mask = read_matrix("P", options.file), options.mask
    if mask is not None and (is_matrix_path(mask) or "/" in mask or mask == "-"):
        mask = read_matrix("mask", mask)
    return read_context(
        None if options.logits else matrix,
        logits=matrix if options.logits else None,
        mask=mask,
        rows=options.rows,
        stored=options.stored,
        zeros=zeros,
    )


def _numbers(
    lower: int | None, upper: int | None, verdict: str, reachable: bool | None = True
) -> dict[str, Any]:
    """An answer for a program: null where there is no number, or none that is known."""
    least = lower if lower == upper and reachable else None
    sides = {"least_head_size": least, "lower": lower, "upper": upper}
    return {**sides, "reachable": reachable, "verdict": verdict}


def _decide(
    context: Context, tokens: Any, options: argparse.Namespace
) -> tuple[dict[str, Any], int | str, dict[str, str]]:
    """The answer for a program and for a reader, and its evidence by name."""
    from rankbound.theory.decision import least_head_size
    from rankbound.tokens import read_tokens

    try:
        least = least_head_size(context, X=tokens)
    except Undecided as error:
        if error.bounds is None:
            raise
        evidence = {"evidence": f"undecided: {in_flags(str(error), options)}"}
        lower, upper = int(error.bounds.lower), int(error.bounds.upper)
        known = True if tokens is None else None  # on tokens maybe no head has this context
        return (
            _numbers(lower, upper, "undecided", known),
            f"from {lower} to {upper}",
            evidence,
        )
    if math.isinf(least):
        unreached = _numbers(None, None, "supported", reachable=False)
        return unreached, "no head of any size", {"evidence": "supported"}
    numbers = _numbers(int(least), int(least), "supported")
    deficient = tokens is not None and read_tokens(tokens).numerical_rank < context.n
    if context.mask is not None or deficient:  # Theorems B and C, which no one spectrum decides
        return numbers, int(least), {"evidence": "supported"}
    evidence = _evidence(context, int(least), options.verbose)
    numbers["verdict"] = evidence["evidence"].partition(":")[0]
    return numbers, int(least), evidence


def _evidence(context: Context, least: int, verbose: bool) -> dict[str, str]:
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
        **({"singular values": " ".join(f"{s:.3e}" for s in spectrum.values)} if verbose else {}),
    }


def run_bracket(options: argparse.Namespace) -> int:
    """Print, for each head size, a KL divergence that no head of that size is below (proved, on any
    tokens) and that of a fitted head.
    """
    from rankbound.fitting.solve import kl_bracket

    sizes = sorted(set(read_numbers("--head-sizes", options.head_sizes) or []))
    context = _read_context(options, zeros=True)
    _tell_of_zeros(context)
    try:
        bracket = kl_bracket(context, sizes, seed=options.seed, random_starts=options.random_starts)
    except Interrupted as stopped:
        _print_bracket(stopped.done, options)
        show(options, f"interrupted: {len(stopped.done.fits)} of {len(sizes)} sizes are fitted.")
        raise
    _print_bracket(bracket, options)
    write(options.json, bracket.table().to_json() + "\n")
    return 0


def _tell_of_zeros(context: Context) -> None:
    """Warn of zeros that may be meant to be hidden, as those of a causal P are."""
    zero = (context.values == 0) & context.visible
    if context.name == "P" and zero.any():
        hidden = (zero == ~np.triu(np.ones(zero.shape, dtype=np.bool_))).all()
        sys.stderr.write(
            f"rankbound: warning: P is 0 in {zero.sum()} entries, which no head reaches; if they "
            f"are hidden, pass --mask {'causal' if hidden else 'MASK'}.\n"
        )


def _print_bracket(bracket: Bracket, options: argparse.Namespace) -> None:
    if options.quiet:
        rows = zip(bracket.head_size, bracket.lower, bracket.upper, strict=True)
        show(options, *(f"{k} {low:.6g} {high:.6g}" for k, low, high in rows))
    else:
        show(options, bracket.table())


def run_atlas(options: argparse.Namespace) -> int:
    """Compute the head size that classes of patterns of n tokens need: exactly, to any precision,
    with bounded logits, and for the same keys to be preferred.
    """
    from rankbound.atlas import PATTERNS, compute_atlas

    try:
        atlas = compute_atlas(options.n, options.seed)
    except Interrupted as stopped:
        _print_atlas(stopped.done, options)
        done = len({entry.pattern for entry in stopped.done.entries})
        show(options, f"interrupted: {done} of {len(PATTERNS)} classes are begun.")
        raise
    _print_atlas(atlas, options)
    write(options.json, atlas.to_json() + "\n")
    return 0


def _print_atlas(atlas: Atlas, options: argparse.Namespace) -> None:
    from rankbound.reporting import atlas_sources

    show(options, atlas.grid(lambda entry: entry.interval, "<="))
    if not options.quiet:
        show(options, atlas_sources(atlas))


def run_audit(options: argparse.Namespace) -> int:
    """Measure every attention head of a pretrained model on a text. Nothing is downloaded,
    unpickled or run as code; nothing is reported unless the model's own attention weights are
    reproduced first.
    """
    from rankbound.auditing.audit import audit
    from rankbound.reporting import progress

    text, layers = read_text(options.text), read_numbers("--layers", options.layers)
    head_sizes = read_numbers("--head-sizes", options.head_sizes) or ()
    with reserved(options.json, options.html):
        try:
            with progress("loading the model", quiet=options.quiet) as tell:
                found = audit(
                    options.model,
                    text,
                    options.length,
                    layers,
                    windows=options.windows,
                    dtype=options.dtype,
                    context_rank=options.context_rank,
                    head_sizes=head_sizes,
                    kl=options.kl,
                    measure_loss=options.measure_loss or (options.plan is not None and "model"),
                    calibrate=None if options.calibrate is None else read_text(options.calibrate),
                    progress=tell,
                )
        except Interrupted as stopped:
            _print_audit(stopped.done, options)
            raise
        if options.plan is not None:
            found = found.planned(loss=options.plan)
        _print_audit(found, options)
    return 0


def _print_audit(audit: Audit, options: argparse.Namespace) -> None:
    """Print and write an audit, finished or interrupted."""
    from rankbound.auditing.page import page
    from rankbound.reporting import audit_summary

    if not options.quiet:
        costs = (one.table() for one in (audit.loss, audit.chosen) if one is not None)
        show(options, *costs, audit.table())
    show(options, *audit_summary(audit))
    text = audit.to_json()
    write(options.json, text + "\n")
    if options.html is not None and str(options.html) != "-":
        audit.to_html(options.html)
    elif options.html is not None:
        write(options.html, page(json.loads(text)))


def read_text(file: Path) -> str:
    """The content of a text file in UTF-8; ``-`` is standard input."""
    where = "standard input" if str(file) == "-" else file
    with nullcontext(sys.stdin.buffer) if str(file) == "-" else file.open("rb") as stream:
        content = stream.read(MOST_TEXT + 1)  # a device may have no end
    if len(content) > MOST_TEXT:
        raise InputError(f"{where}: more than {MOST_TEXT} bytes; expected a text.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{where}: not UTF-8; expected a text in it.") from None
