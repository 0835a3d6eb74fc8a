"""``rankbound``: parse, run a command, turn errors into one line and an exit code.

Exit codes: 0 answered; 1 a claim is not as registered, a certificate is rejected or a cell failed;
2 bad usage or input, one line on standard error; 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import signal
import sys
import threading
import warnings
from contextlib import redirect_stderr, redirect_stdout, suppress
from typing import Any, NoReturn

from rankbound.cli import Commands, check_streams, in_flags
from rankbound.errors import RankboundError, did_you_mean, on_one_line

_INVALID = re.compile(r"argument (\S+): invalid choice: '(.*)'$")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        message = re.sub(r" \(choose from .*\)$", "", message)
        wrong = _INVALID.search(message)
        actions = [a for a in self._actions if wrong and "/".join(a.option_strings) == wrong[1]]
        actions = actions or [a for a in self._actions if a.metavar == (wrong and wrong[1])]
        if wrong and actions:
            choices = list(actions[0].choices or ())
            message += f"; expected one of {', '.join(choices)}.{did_you_mean(wrong[2], choices)}"
        self.exit(2, f"{self.prog}: {on_one_line(message)} (see `{self.prog} --help`)\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Unknown flags are told by the command itself, which knows its own."""
        options, unknown = super().parse_known_args(args, namespace)
        if unknown:
            flags = [flag for action in self._actions for flag in action.option_strings]
            asked = unknown[0].partition("=")[0]
            hint = did_you_mean(asked, flags) if asked.startswith("-") else ""
            self.error(f"unrecognized arguments: {' '.join(unknown)}.{hint}")
        return options, unknown


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    from rankbound.cli import checks, experiments, head_sizes

    parser = _Parser(
        prog="rankbound",
        description="What head size an attention head needs, and the proof.",
    )
    parser.add_argument("--version", action="store_true", help="print the version and stop")
    commands: Commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", parser_class=_Parser
    )
    for family in (checks, head_sizes, experiments):
        family.add_commands(commands)
    return parser


def _hear_ctrl_c() -> None:
    """A script starts what it runs in the background with SIGINT ignored; runs can be resumed."""
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    sys.stderr.write(f"rankbound: warning: {on_one_line(str(message))}\n")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line, on these arguments or ``sys.argv[1:]``, and return its exit code."""
    for stream, redirected in ((sys.stdout, redirect_stdout), (sys.stderr, redirect_stderr)):
        if stream is None:  # closed by whoever started us
            with open(os.devnull, "w", encoding="utf-8") as nowhere, redirected(nowhere):
                return main(arguments)
        if isinstance(stream, io.TextIOWrapper):  # a symbol that its encoding lacks is spelled out
            stream.reconfigure(errors="backslashreplace")
    _hear_ctrl_c()
    options = argparse.Namespace()
    try:
        parser = make_parser()
        options = parser.parse_args(arguments)
        options.program = parser
        if options.version:
            from importlib.metadata import version

            sys.stdout.write(f"rankbound {version('rankbound')}\n")
            return 0
        if not hasattr(options, "run"):
            parser.error("a command is needed")
        check_streams(options)
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            code: int = options.run(options)
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # argparse: 0 for --help, 2 for bad usage
        return stop.code if isinstance(stop.code, int) else 2
    except RankboundError as error:
        sys.stderr.write(f"rankbound: {in_flags(str(error), options)}\n")
        return 2
    except OSError as error:
        if error.filename is None:  # what standard output still holds is not tried again at exit
            with suppress(OSError):  # a stand-in for it has no file
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # the reader went away: nothing is left to tell
            return 0
        where = on_one_line(str(error.filename or "standard output"))
        sys.stderr.write(f"rankbound: {where}: {error.strerror}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("rankbound: interrupted\n")
        return 130
