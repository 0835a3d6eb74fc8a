"""``rankbound head-size``, ``bracket``, ``atlas``, ``audit``: what contexts and models need."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rankbound.cli import Commands, add_command, in_flags, print_lines, read_numbers, write
from rankbound.errors import InputError, Undecided

if TYPE_CHECKING:
    from rankbound.auditing.audit import Audit
    from rankbound.context import Context

MOST_TEXT = 2**28  # bytes of a text
WRITTEN = "expected an array written by numpy.save"


def add_commands(commands: Commands) -> None:
    """Add the commands to the parser."""
    option = add_command(
        commands, "head-size", run_head_size, "the least head size of a context matrix"
    )
    _add_matrix(option)
    option("--tokens", type=Path, metavar="X.npy", help="tokens (d, n), one per column")
    option(
        "--mask",
        metavar="MASK",
        help="causal, prefix:P, sliding:W ([key, query]), or a .npy file of bools that lies as P "
        "does; true = visible",
    )
    option("--logits", action="store_true", help="the file holds logits, not P")
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
    option("--text", type=Path, required=True, metavar="FILE", help="in UTF-8")
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
    option("file", type=Path, metavar="P.npy", help="written by numpy.save")
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
    least, evidence = _decide(context, tokens, options)
    answer = {"least head size": least, "sequence length": context.n, **evidence}
    write(options.json, json.dumps(answer, indent=2) + "\n")
    console().print(answer_table(answer.items()))
    return 0


def _decide(
    context: Context, tokens: Any, options: argparse.Namespace
) -> tuple[int | str, dict[str, str]]:
    """The answer, and its evidence by name."""
    from rankbound.theory.decision import least_head_size
    from rankbound.tokens import read_tokens

    try:
        least = least_head_size(context, X=tokens)
    except Undecided as error:
        if error.bounds is None:
            raise
        evidence = {"evidence": f"undecided: {in_flags(str(error), options)}"}
        return f"from {error.bounds.lower} to {error.bounds.upper}", evidence
    if math.isinf(least):
        return "no head of any size", {"evidence": "supported"}
    deficient = tokens is not None and read_tokens(tokens).numerical_rank < context.n
    if context.mask is not None or deficient:  # Theorems B and C, which no one spectrum decides
        return int(least), {"evidence": "supported"}
    return int(least), _evidence(context, int(least))


def _evidence(context: Context, least: int) -> dict[str, str]:
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
    """Print, for each head size, a KL divergence that no head of that size is below (proved, on any
    tokens) and that of a fitted head.
    """
    from rankbound.fitting.solve import kl_bracket
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
    write(options.json, bracket.table().to_json() + "\n")
    console().print(bracket_table(bracket))
    return 0


def run_atlas(options: argparse.Namespace) -> int:
    """Compute the head size that classes of patterns of n tokens need: exactly, to any precision,
    with bounded logits, and for the same keys to be preferred.
    """
    from rankbound.atlas import compute_atlas
    from rankbound.reporting import atlas_sources, console

    atlas = compute_atlas(options.n, options.seed)
    write(options.json, atlas.to_json() + "\n")
    console().print(atlas.grid(lambda entry: entry.interval, "<="))
    console().print(atlas_sources(atlas))
    return 0


def run_audit(options: argparse.Namespace) -> int:
    """Measure every attention head of a pretrained model on a text. Nothing is downloaded,
    unpickled or run as code; nothing is reported unless the model's own attention weights are
    reproduced first.
    """
    from rankbound.auditing.audit import AuditInterrupted, audit
    from rankbound.reporting import audit_summary, console, progress

    text, layers = read_text(options.text), read_numbers("--layers", options.layers)
    head_sizes = read_numbers("--head-sizes", options.head_sizes) or ()
    with _written(options.json, options.html) as record, progress("loading the model") as show:
        try:
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
                progress=show,
            )
        except AuditInterrupted as stopped:
            record(stopped.audit)
            raise
        if options.plan is not None:
            found = found.planned(loss=options.plan)
        record(found)
    if found.loss is not None:
        console().print(found.loss.table())
    if found.chosen is not None:
        console().print(found.chosen.table())
    console().print(found.table())
    print_lines(audit_summary(found))
    return 0


def read_text(file: Path) -> str:
    """The content of a text file in UTF-8."""
    with file.open("rb") as stream:
        content = stream.read(MOST_TEXT + 1)  # a device may have no end
    if len(content) > MOST_TEXT:
        raise InputError(f"{file}: more than {MOST_TEXT} bytes; expected a text.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{file}: not UTF-8; expected a text in it.") from None


@contextmanager
def _written(data: Path | None, html: Path | None) -> Iterator[Callable[[Audit], None]]:
    """A way to write the record; a path that cannot be written is found out before the work."""
    files = [file for file in (data, html) if file is not None]
    new = [file for file in files if not file.exists()]
    done = False

    def record(audit: Audit) -> None:
        nonlocal done
        done = True
        write(data, audit.to_json() + "\n")
        if html is not None:
            audit.to_html(html)

    try:
        for file in files:
            file.touch()
        yield record
    finally:
        if not done:
            for file in new:
                file.unlink(missing_ok=True)


def load_array(path: Path) -> npt.NDArray[Any]:
    """Read one array from a ``.npy`` file or pipe; never unpickled."""
    if not path.exists():
        raise InputError(f"{path}: no such file; {WRITTEN}.")
    if path.is_dir():
        raise InputError(f"{path}: a directory; {WRITTEN}.")
    try:
        with path.open("rb") as file:
            begin = file.peek(6)
            if begin[:6] != b"\x93NUMPY":
                kind = "an .npz archive or another zip" if begin[:2] == b"PK" else "no .npy file"
                raise InputError(f"{path}: {kind}; {WRITTEN}.")
            # what the header claims is read and no more; by read, as a pipe has no position
            array: npt.NDArray[Any] = np.lib.format.read_array(
                SimpleNamespace(read=file.read), allow_pickle=False
            )
    except (InputError, OSError):
        raise
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
