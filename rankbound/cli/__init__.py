"""The command line: one module for each family of commands."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from rankbound.errors import InputError

if TYPE_CHECKING:
    from rankbound.table import Table

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

QUIET = {  # what a command then prints
    "verify": "print what is not as registered, and how many are",
    "claims": "print ids only",
    "check": "print rejections only",
    "head-size": "print the number only",
    "bracket": "print size, lower and upper side only",
    "atlas": "print sizes without their sources",
    "audit": "print the closing lines only",
    "experiment": "print trends without arms, and no progress",
    "report": "print trends only",
    "status": "print failed cells only",
}
VERBOSE = {
    "verify": "also print each claim's worst instance and certificates, as soon as it is done",
    "claims": "also print hypotheses and mutants",
    "head-size": "also print all singular values",
}
READ = ("file", "files", "tokens", "mask", "text", "calibrate")  # what may be "-", and once
WRITTEN = ("json", "html", "markdown")
# a keyword with its value; in a call, rb.audit(model, inputs={…}), it is Python and stays
_KEYWORD = re.compile(r"""\w\([^()]*\)|\b([A-Za-z_]+)=((?:np\.)?\w+|'\w+'|"\w+")?""")
_SUBJECT = re.compile(r"^\w+")
_OTHER_NAMES = {"X": "tokens", "P": "file", "loss": "plan", "experiment": "name"}


def add_command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], int], about: str
) -> Callable[..., argparse.Action]:
    """Add a command, which its function's docstring describes; return what adds an option to it."""
    parser = commands.add_parser(name, help=about, description=run.__doc__)
    parser.set_defaults(run=run, parser=parser)
    for flag, words in (("quiet", QUIET.get(name)), ("verbose", VERBOSE.get(name))):
        if words:
            parser.add_argument(f"-{flag[0]}", f"--{flag}", action="store_true", help=words)
    return parser.add_argument


def check_streams(options: argparse.Namespace) -> None:
    """Refuse to read standard input twice, or to write two things to standard output."""
    for names, use in ((READ, "read standard input"), (WRITTEN, "write to standard output")):
        used = [_flag(name, options) for name in names for _ in _dashes(options, name)]
        if len(used) > 1:
            raise InputError(f"{' and '.join(used)} {use}; expected one. Name a file for others.")


def _dashes(options: argparse.Namespace, name: str) -> list[object]:
    """What is ``-`` of the values of an argument."""
    value = getattr(options, name, None)
    return [one for one in (value if isinstance(value, list) else [value]) if str(one) == "-"]


def show(options: argparse.Namespace, *things: Table | str) -> None:
    """Print tables and lines, these whatever the width; where an output is ``-``, on standard
    error, for standard output to hold it alone.
    """
    from rankbound.reporting import console

    taken = any(_dashes(options, name) for name in WRITTEN)
    out = console(sys.stderr if taken else sys.stdout)
    for thing in things:
        if isinstance(thing, str):
            out.print(thing, markup=False, soft_wrap=True)
        else:
            out.print(thing, crop=False)


def write(file: Path | None, content: str) -> None:
    """Write a file where one is asked for; the error of a full disk names it."""
    if str(file) == "-":
        sys.stdout.write(content)
    elif file is not None:
        try:
            file.write_text(content, encoding="utf-8")
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(file)) from None


@contextmanager
def reserved(*files: Path | None) -> Iterator[None]:
    """A path that cannot be written is found out before the work; what failed leaves no file."""
    paths = [file for file in files if file is not None and str(file) != "-"]
    new = [file for file in paths if not file.exists()]
    try:
        for file in paths:
            file.touch()
        yield
    finally:
        for file in new:
            with suppress(OSError):
                if not file.stat().st_size:
                    file.unlink()


def in_flags(message: str, options: argparse.Namespace) -> str:
    """Return a message with the flags of a command where the library names keyword arguments.

    A remedy for which the command has no flag is left out: a sentence, or what follows an "or".
    """

    def flag(found: re.Match[str]) -> str:
        name = _OTHER_NAMES.get(found[1], found[1])
        if found[1] is None or name == "file" or not hasattr(options, name):
            return found[0]
        option = _flag(name, options)
        value = (found[2] or "").removeprefix("np.").strip("'\"")
        if isinstance(getattr(options, name), bool) or value == "True":
            return f"no {option}" if value == "False" else option
        return f"{option} {value or _metavar(name, options)}".rstrip()

    def subject(found: re.Match[str]) -> str:
        name = _OTHER_NAMES.get(found[0], found[0])
        return _flag(name, options) if hasattr(options, name) else found[0]

    message = _KEYWORD.sub(flag, message.replace(" (--rows at the command line), or P.T", ""))
    first, *others = re.split(r"(?<=\.) (?=[A-Z])", message)
    known = [_known(first) or first, *filter(None, map(_known, others))]
    return _SUBJECT.sub(subject, " ".join(known))


def _known(sentence: str) -> str:
    """A sentence without the alternatives that name keyword arguments; empty if it begins so."""
    parts = re.split(r"(,? or )", sentence)
    named = [any(found[1] for found in _KEYWORD.finditer(part)) for part in parts]
    if named[0]:
        return ""
    kept = [parts[0], *(parts[i - 1] + parts[i] for i in range(2, len(parts), 2) if not named[i])]
    end = "." if sentence.endswith(".") and not kept[-1].endswith(".") else ""
    return "".join(kept) + end


def _metavar(name: str, options: argparse.Namespace) -> str:
    """What an option takes, as its help names it."""
    actions: Sequence[argparse.Action] = getattr(getattr(options, "parser", None), "_actions", ())
    found = [action for action in actions if action.dest == name and action.nargs is None]
    return str(found[0].metavar or "") if found else ""


def _flag(name: str, options: argparse.Namespace) -> str:
    """How an argument is written at the command line."""
    actions: Sequence[argparse.Action] = getattr(getattr(options, "parser", None), "_actions", ())
    for action in actions:
        if action.dest == name and not action.option_strings:
            return str(action.metavar)
    return f"--{name.replace('_', '-')}"


def read_numbers(option: str, text: str | None) -> list[int] | None:
    """The numbers that an option names, for example ``0,3-5``."""
    if text is None:
        return None
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        numbers = [first, last] if dash else [first]
        if not all(number.isdecimal() for number in numbers):
            raise InputError(f"{option} {text}: expected numbers and ranges, for example 0,3-5.")
        if any(len(number) > 4 for number in numbers):  # a range is spelled out
            raise InputError(f"{option} {text}: expected numbers up to 9999.")
        span = range(int(first), int(numbers[-1]) + 1)
        if not span:
            raise InputError(f"{option} {text}: {part.strip()} is empty; expected 3-5, not 5-3.")
        found.extend(span)
    return found
