"""Search for input that is met with neither a right answer nor one clear error.

The surface is read from the package: every public function, the records that users build and their
methods, the functions of ``rankbound.theory`` and ``rankbound.testing``, every command. A case is a
call with good arguments, one or two of them replaced from a catalogue of odd and bad ones. Allowed
is an answer, the one that the same data gives in a clean spelling; or a ``RankboundError`` of one
line that names an argument, holds what was given and what was expected; of a command, exit code 2
and one line on standard error. A warning, another exception, a crash, a hang, or memory without
bound is a finding. Cases run in a child of limited memory and time, which is replaced if it dies.

Run as ``python scripts/fuzz_input.py --count 100000 --seed 0``; prints each finding with what
repeats it, and exits 1 if there is one.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import resource
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from fuzz_surface import Bad, Target, folder_of_files, surface

SECONDS = 20  # of the processor's time for a case; most take milliseconds
PATIENCE = 10 * SECONDS  # on the clock: one that sleeps or waits, and no machine that is busy
GRACE = 20  # more, for code in C that no signal interrupts
MEMORY = 2 * 2**30  # that a child may take beyond what it has when it starts
LONGEST = 500  # characters of a message
OWN = ("prove", "certificate", "given")  # fields that show how the data was spelt


class Hang(BaseException):
    """A case took longer than it may; no ``except Exception`` hides it."""


@dataclass(frozen=True)
class Case:
    """A call: its target, the arguments, and which of them were replaced by what."""

    target: Target
    arguments: dict[str, Any]
    bad: dict[str, Bad]

    def __str__(self) -> str:
        changed = ", ".join(f"{name}={bad.label}" for name, bad in self.bad.items())
        return f"{self.target.name}({changed})"


@dataclass(frozen=True)
class Outcome:
    """What a call came to."""

    word: str  # answer, refused, or what is wrong
    detail: str = ""
    value: Any = None

    @property
    def found(self) -> bool:
        """Whether it is a finding."""
        return self.word not in ("answer", "refused")


def case(seed: int, index: int, targets: list[Target], files: Path) -> Case:
    """The case of this number; the numbers go round the targets, so that none is left out."""
    draw = Random(f"{seed}:{index}")
    target = targets[index % len(targets)]
    with warnings.catch_warnings():  # what is odd on purpose may be deprecated too
        warnings.simplefilter("ignore")
        arguments = target.good(draw, files)
        names = target.names(arguments, draw)
        bad = {name: target.bad(name, arguments.get(name), draw, files) for name in names}
    return Case(target, arguments | {name: one.value for name, one in bad.items()}, bad)


# ---- what must hold


def judged(one: Case) -> Outcome:
    """Run a case, and say what it came to."""
    outcome = attempted(one.target, one.arguments)
    if outcome.word == "refused" and outcome.value is not None:
        rule = broken_rule(one, outcome.value)
        if rule:
            return Outcome("unclear", f"{rule}: {outcome.detail}")
        if all(bad.same for bad in one.bad.values()):
            return compared(one, outcome)  # good data, and so refused only if it always is
        return outcome
    return compared(one, outcome) if outcome.word == "answer" else outcome


def attempted(target: Target, arguments: dict[str, Any]) -> Outcome:
    """Call it once: an answer, a refusal, or what must not happen."""
    from rankbound.errors import RankboundError

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            outcome = target.run(arguments)
        except RankboundError as error:
            outcome = Outcome("refused", f"{type(error).__name__}: {error}", error)
        except Hang:
            outcome = Outcome("hang", f"more than {SECONDS} s")
        except MemoryError as error:
            outcome = Outcome("memory", str(error))
        except BaseException as error:
            outcome = Outcome("exception", f"{type(error).__name__}: {_line(error)}")
        else:
            outcome = outcome if isinstance(outcome, Outcome) else Outcome("answer", "", outcome)
    if heard and not outcome.found:
        return Outcome("warning", f"{heard[0].category.__name__}: {heard[0].message}")
    return outcome


def _line(error: BaseException) -> str:
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    place = f" at {last.tb_frame.f_code.co_filename}:{last.tb_lineno}" if last else ""
    try:
        return f"{str(error)[:300]!r}{place}"
    except Exception:
        return f"its message cannot be printed{place}"


def broken_rule(one: Case, error: BaseException) -> str:
    """Which rule a message breaks: one line, an argument, what was given, what is expected."""
    from rankbound.errors import InputError, InputTypeError

    message = str(error)
    if message != message.strip() or len(message.splitlines()) != 1 or "\x1b" in message:
        return "not one line"
    if len(message) > LONGEST:
        return f"{len(message)} characters"
    try:
        message.encode("utf-8")
    except UnicodeEncodeError:
        return "cannot be printed"
    if not isinstance(error, (InputError, InputTypeError)):
        return ""  # NotRepresentable, Undecided and BackendMissing answer good input
    if not re.search(r"expected|must ", message):
        return "does not say what was expected"
    names = {*one.target.table, "token", "logit", "prefix", "sliding"}
    names |= {name.removesuffix("s") for name in names}  # one of them
    if not any(re.search(rf"(?<!\w){re.escape(name)}s?(?!\w)", message) for name in names):
        return "names no argument"
    together = sum(bool(re.search(rf"(?<!\w){name}(?!\w)", message)) for name in one.target.table)
    if together < 2 and not any(piece in message for piece in pieces(one)):
        return "does not hold what was given"
    return ""


STRUCTURAL = (
    "None",
    "neither",
    "both",
    "ragged",
    "empty",
    "masked",
    "a sparse",
    "sum to 1",
    "1.8e308",
)


def pieces(one: Case) -> Iterator[str]:
    """What a message may show of what was given: text, type, shape, dtype, a number, what it is."""
    import numpy as np

    yield from STRUCTURAL
    for given in one.arguments.values():
        yield from (type(given).__name__[:50], _piece(repr, given))
        value = given
        with contextlib.suppress(Exception):
            path = str(os.fspath(given))
            yield from (path[:12], path.encode("unicode_escape").decode()[:12])
            value = np.load(path) if path.endswith(".npy") else path
        with contextlib.suppress(Exception):
            yield str(len(value))
            if len(value) >= 1000:  # some claim more than there can be
                yield _piece(lambda v: v.dtype, value)
                continue
        looks = (repr, str, np.shape, lambda v: v.dtype, lambda v: np.asarray(v).dtype, float)
        yield from (_piece(look, value) for look in looks)
        with contextlib.suppress(Exception):
            yield from map(str, np.shape(value))
        with contextlib.suppress(Exception):  # which NumPy may not be able to hold
            rows = [] if isinstance(value, (str, bytes)) else list(value)[:100]
            rows += [x for row in rows if isinstance(row, list) for x in row]
            for entry in rows:
                yield from (type(entry).__name__, _piece(repr, entry))
            if isinstance(value, Iterator) and not rows:
                yield "'a'"  # what the one of the catalogue held first
        with contextlib.suppress(Exception):
            for entry in np.asarray(value, dtype=object).ravel()[:100].tolist():
                yield type(entry).__name__
                yield from (_piece(look, entry) for look in (str, repr, float))


def _piece(describe: Callable[[Any], Any], value: Any) -> str:
    try:
        text = " ".join(str(describe(value)).split()).rpartition("torch.")[2][:12]
        return text.encode("unicode_escape").decode() or "unknown"
    except Exception:
        return "unknown"  # and so no piece of any message


def compared(one: Case, outcome: Outcome) -> Outcome:
    """What was accepted gives the answer of the same data in a clean spelling."""
    if outcome.word == "answer":
        for name, bad in one.bad.items():
            if not bad.clean and not bad.free:
                return Outcome("accepted", f"{name}={bad.label} has no meaning, and was accepted")
    clean = {name: bad.clean[0] for name, bad in one.bad.items() if bad.clean}
    if not clean:
        return outcome
    other = attempted(one.target, one.arguments | clean)
    if other.word != outcome.word:
        return Outcome(
            "differs",
            f"{outcome.word} {outcome.detail}, and in a clean spelling {other.word} {other.detail}",
        )
    if outcome.word == "answer" and not same(outcome.value, other.value):
        return Outcome("differs", f"{outcome.value!r}, and in a clean spelling {other.value!r}")
    return outcome


def same(a: Any, b: Any) -> bool:
    """Whether two answers are the same up to rounding; heads are compared by their weights."""
    import numpy as np

    import rankbound as rb

    if type(a) is not type(b):
        return False
    if isinstance(a, rb.AttentionHead):
        return same(a.W_q, b.W_q) and same(a.W_k, b.W_k)
    if isinstance(a, rb.Fit):
        return same(a.kl, b.kl)
    if isinstance(a, (float, np.ndarray)):
        x, y = np.asarray(a), np.asarray(b)
        if x.shape != y.shape or x.dtype != y.dtype:
            return False
        if x.dtype.kind != "f":
            return bool(np.all(x == y))
        size = np.max(np.abs(x[np.isfinite(x)]), initial=1e-300)
        return bool(np.allclose(x, y, rtol=1e-6, atol=1e-6 * size, equal_nan=True))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if hasattr(a, "__dataclass_fields__"):
        fields = (name for name in a.__dataclass_fields__ if name not in OWN)
        return all(same(getattr(a, name), getattr(b, name)) for name in fields)
    return not isinstance(a, (int, str, bool)) or bool(a == b)


# ---- commands


def run_command(words: list[str]) -> Outcome:
    """Run the command line in this process: an answer, or exit code 2 and one line."""
    from rankbound.cli.main import main

    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors) for errors in ("strict", "replace"))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(words)
    said = []
    for stream in (out, err):
        stream.seek(0)
        said.append(stream.read())
    return command_outcome(code, *said)


def command_outcome(code: int, out: str, err: str) -> Outcome:
    """What an exit code and two streams come to."""
    if code in (0, 1):
        if err.strip() or not out.strip():
            return Outcome("exit", f"code {code}, standard error {err[:300]!r}")
        return Outcome("answer", f"exit code {code}", (code, out))
    lines = err.splitlines()
    if code != 2 or len(lines) != 1 or not lines[0].startswith("rankbound"):
        return Outcome("exit", f"code {code}, standard error {err[:400]!r}")
    if len(lines[0]) > LONGEST:
        return Outcome("unclear", f"{len(lines[0])} characters: {lines[0][:600]}")
    return Outcome("refused", lines[0])


# ---- the child, which may die, and the parent, which does not


def child(options: argparse.Namespace) -> int:
    """Run cases, a line of JSON before and after each."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    targets = surface(run_command)
    chosen = [t for t in targets if re.search(options.only, t.name)]
    held = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def stop(*_: Any) -> None:
        raise Hang

    timers = {signal.ITIMER_PROF: SECONDS, signal.ITIMER_REAL: PATIENCE}
    signal.signal(signal.SIGPROF, stop)
    signal.signal(signal.SIGALRM, stop)
    files = Path(options.files)
    os.chdir(files / "work")
    for index in range(options.start, options.start + options.count):
        print(json.dumps({"start": index}), file=out, flush=True)
        try:
            one = case(options.seed, index, chosen, files)
            name = str(one)
            for timer, limit in timers.items():
                signal.setitimer(timer, limit)
            outcome = judged(one)
        except Hang:
            outcome = Outcome("hang", f"more than {SECONDS} s")
        finally:
            for timer in timers:
                signal.setitimer(timer, 0)
        if (files / "ran").exists():
            (files / "ran").unlink()
            outcome = Outcome("executed", "content of a file was run as code")
        told = {"index": index, "case": name, "word": outcome.word, "detail": outcome.detail}
        print(json.dumps(told | {"group": one.target.group}), file=out, flush=True)
    return 0


def results(options: argparse.Namespace, files: Path) -> Iterator[dict[str, Any]]:
    """The outcomes of all cases; where a child dies or hangs, that is the outcome."""
    index, end = options.start, options.start + options.count
    while index < end:
        command = [sys.executable, __file__, "--child", "--files", str(files)]
        command += ["--seed", str(options.seed), "--start", str(index), "--only", options.only]
        command += ["--count", str(end - index)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            for told in _lines(process):
                if "start" in told:
                    index = told["start"]
                    continue
                index = told["index"] + 1
                yield told
            process.kill()
            process.wait()
            if index < end:
                said = (
                    process.stderr.read()[-500:].decode("utf-8", "replace")
                    if process.stderr
                    else ""
                )
                detail = f"the child ended with {process.returncode} {said!r}"
                word = "hang" if process.returncode == -signal.SIGKILL else "crash"
                yield {"index": index, "case": "", "word": word, "detail": detail, "group": "child"}
                index += 1


def _lines(process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    """The lines of a child, until it ends or is silent for too long."""
    out, buffer = process.stdout, b""
    if out is None:
        return
    with selectors.DefaultSelector() as waiting:
        waiting.register(out, selectors.EVENT_READ)
        patience = 120 + PATIENCE + GRACE  # it imports torch first
        while waiting.select(patience):
            block = os.read(out.fileno(), 2**16)
            if not block:  # and it ends, though not at once: what it ended with is told
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE)
                return
            *lines, buffer = (buffer + block).split(b"\n")
            yield from map(json.loads, lines)
            patience = PATIENCE + GRACE


def search(options: argparse.Namespace, tally: Counter[str]) -> list[str]:
    """Run all cases, count outcomes, and return the findings in words."""
    found = []
    surface(print)  # a parameter without a good value ends the search here, not each of its cases
    with tempfile.TemporaryDirectory(prefix="fuzz-input-") as folder:
        files = Path(folder)
        folder_of_files(files)
        for told in results(options, files):
            word = told["word"]
            tally[f"{word} ({told['group']})"] += 1
            if word not in ("answer", "refused"):
                what = " ".join(f"{told['case']}: {told['detail']}".split())
                found.append(
                    f"{word}: {what}\n    repeat: python "
                    f"scripts/fuzz_input.py --seed {options.seed} --start {told['index']} "
                    f"--count 1 --only '{options.only}'"
                )
                if options.verbose:
                    print(found[-1], flush=True)
    return found


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=100_000, help="cases; 100000 unless given")
    parser.add_argument("--seed", type=int, default=0, help="0 unless given")
    parser.add_argument("--start", type=int, default=0, help="the first one; 0 unless given")
    parser.add_argument("--only", default="", help="a pattern of the names of targets")
    parser.add_argument("--verbose", action="store_true", help="print findings as they come")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--files", help=argparse.SUPPRESS)
    return parser.parse_args(words)


def main() -> int:
    """Search, and print one line."""
    options = arguments()
    if options.child:
        return child(options)
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    options.verbose = True
    tally: Counter[str] = Counter()
    started = time.monotonic()
    found = search(options, tally)
    counts = ", ".join(f"{count} {what}" for what, count in sorted(tally.items()))
    seconds = time.monotonic() - started
    done = f"{options.count} cases, seed {options.seed}: {len(found)} findings"
    print(f"{done} ({counts}; {seconds:.0f} s)")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
