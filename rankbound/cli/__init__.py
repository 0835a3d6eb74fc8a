"""The command line: one module for each family of commands."""

from __future__ import annotations

import argparse
import re

_KEYWORD = re.compile(r"\b([A-Za-z_]+)=((?:np\.)?\w+|'\w+')?")

_SUBJECT = re.compile(r"^(mask|X)\b")


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
