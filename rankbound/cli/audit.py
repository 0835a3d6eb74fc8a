"""``rankbound audit``: what head size each head of a pretrained model uses."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rankbound.cli import Commands, add_command, print_lines, read_numbers
from rankbound.cli import write as write_file
from rankbound.errors import InputError

if TYPE_CHECKING:
    from rankbound.auditing.audit import Audit


def add_commands(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands, "audit", run, "what head size each head of a pretrained model uses"
    )
    parser.add_argument(
        "model", metavar="MODEL", help="a directory, a .gguf file or an installed package"
    )
    parser.add_argument("--text", type=Path, required=True, metavar="FILE", help="in UTF-8")
    parser.add_argument(
        "--length", type=int, metavar="N", help="tokens; as many as there are, at most 512"
    )
    parser.add_argument("--layers", metavar="LIST", help="for example 0,3-5; all unless given")
    parser.add_argument("--windows", type=int, default=1, help="of N tokens each; 1 unless given")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument(
        "--head-sizes", metavar="LIST", help="also say what these cost; for example 8,16"
    )
    parser.add_argument(
        "--no-context-rank",
        action="store_true",
        help="skip the effective rank of P, an SVD per head",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write it there, finished or interrupted"
    )
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="also write a page: map, spectra, table"
    )


def run(options: argparse.Namespace) -> int:
    """Measure every attention head of a pretrained model on a text. Nothing is downloaded,
    unpickled or run as code; nothing is reported unless the model's own attention weights are
    reproduced first.
    """
    from rankbound.auditing.audit import AuditInterrupted, audit
    from rankbound.reporting import audit_summary, console, progress

    text, layers = read_text(options.text), read_numbers("--layers", options.layers)
    head_sizes = read_numbers("--head-sizes", options.head_sizes) or ()
    with _written(options.json, options.html) as write, progress("loading the model") as show:
        try:
            found = audit(
                options.model,
                text,
                options.length,
                layers,
                windows=options.windows,
                dtype=options.dtype,
                context_rank=not options.no_context_rank,
                head_sizes=head_sizes,
                progress=show,
            )
        except AuditInterrupted as stopped:
            write(stopped.audit)
            raise
        write(found)
    console().print(found.table())
    print_lines(audit_summary(found))
    return 0


def read_text(file: Path) -> str:
    """The content of a text file in UTF-8."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{file}: not UTF-8; expected a text in it.") from None


@contextmanager
def _written(json: Path | None, html: Path | None) -> Iterator[Callable[[Audit], None]]:
    """A way to write the record; a path that cannot be written is found out before the work."""
    files = [file for file in (json, html) if file is not None]
    new = [file for file in files if not file.exists()]
    done = False

    def write(audit: Audit) -> None:
        nonlocal done
        done = True
        write_file(json, audit.to_json() + "\n")
        if html is not None:
            audit.to_html(html)

    try:
        for file in files:
            file.touch()
        yield write
    finally:
        if not done:
            for file in new:
                file.unlink(missing_ok=True)
