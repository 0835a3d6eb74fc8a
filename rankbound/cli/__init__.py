"""The command line: one module for each family of commands."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

from rankbound.errors import InputError

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"

_KEYWORD = re.compile(r"\b([A-Za-z_]+)=((?:np\.)?\w+|'\w+')?")
_SUBJECT = re.compile(r"^(mask|X)\b")


def add_command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], int], about: str
) -> Callable[..., argparse.Action]:
    """Add a command, which its function's docstring describes; return what adds an option to it."""
    parser = commands.add_parser(name, help=about, description=run.__doc__)
    parser.set_defaults(run=run)
    return parser.add_argument


def print_lines(lines: Iterable[str]) -> None:
    """Print lines as they are, whatever the width of the terminal."""
    from rankbound.reporting import console

    out = console()
    for line in lines:
        out.print(line, markup=False, soft_wrap=True)


def write(file: Path | None, content: str) -> None:
    """Write a file where one is asked for; the error of a full disk names it."""
    if file is not None:
        try:
            file.write_text(content, encoding="utf-8")
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(file)) from None


def in_flags(message: str, options: argparse.Namespace) -> str:
    """Return a message with the flags of a command where the library names keyword arguments."""

    def flag(found: re.Match[str]) -> str:
        name = "tokens" if found[1] == "X" else found[1]
        if name == "file" or not hasattr(options, name):
            return found[0]
        option = f"--{name.replace('_', '-')}"
        value = (found[2] or "").removeprefix("np.").strip("'")
        if isinstance(getattr(options, name), bool):
            return f"no {option}" if value == "False" else option
        return f"{option} {value}".rstrip()

    message = _KEYWORD.sub(flag, message.replace(" (--rows at the command line), or P.T", ""))
    return _SUBJECT.sub(lambda found: {"mask": "--mask", "X": "--tokens"}[found[0]], message)


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
