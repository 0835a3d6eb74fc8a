"""A thousand cases of ``make fuzz-input``, and what the search is seen to catch."""

from __future__ import annotations

import argparse
import errno
import os
import subprocess
import sys
import warnings
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

import rankbound as rb
from rankbound.cli.main import main

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import fuzz_input
import fuzz_surface
from fuzz_input import Case, attempted, broken_rule, command_outcome, judged
from fuzz_surface import ARGUMENTS, WRITTEN, Bad, Command, Target

TARGETS = fuzz_surface.surface(fuzz_input.run_command)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    fuzz_surface.folder_of_files(folder)
    return folder


def test_a_thousand_cases() -> None:
    tally: Counter[str] = Counter()
    options = fuzz_input.arguments(["--count", "1000", "--seed", "14"])
    found = fuzz_input.search(options, tally)
    assert not found, "\n".join(found)
    assert tally.total() == 1000
    for group in ("rankbound", "methods", "theory", "commands"):
        assert tally[f"answer ({group})"] > 0 < tally[f"refused ({group})"]


def test_the_surface_is_the_package() -> None:
    names = {target.name for target in TARGETS}
    functions = {name for name in dir(rb) if callable(getattr(rb, name))}
    classes = {name for name in functions if isinstance(getattr(rb, name), type)}
    assert functions - classes - set(fuzz_surface.SKIPPED) <= names
    assert names >= fuzz_surface.RECORDS
    assert set(ARGUMENTS) <= names
    assert {"theory.selection.selecting_head", "AttentionHead.output"} <= names


def test_good_arguments_are_answered(files: Path) -> None:
    lazy = {
        "audit",
        "measure_loss",
        "narrow",
        "report",
        "sweep status",
    }  # whose good argument is not here
    lazy |= set() if find_spec("shtab") else {"completion"}
    for target in TARGETS:
        if target.name in lazy:
            continue
        draws = (target.good(Random(seed), files) for seed in range(60))
        assert any(attempted(target, given).word == "answer" for given in draws), target.name


def test_a_new_parameter_needs_a_good_value() -> None:
    def new(unheard_of: int) -> int:
        return unheard_of

    with pytest.raises(LookupError, match="unheard_of has no good value"):
        fuzz_surface._target("new", "rankbound", new)


def of(call: Any, **bad: Bad) -> Case:
    """A call of one argument, P, as a case."""
    target = Target("call", "rankbound", call, {"P": fuzz_surface.GOOD["P"]}, ("P",))
    return Case(target, {name: one.value for name, one in bad.items()}, bad)


def refusing(message: str) -> Any:
    def call(P: Any) -> Any:
        raise rb.InputError(message)

    return call


def warning(P: Any) -> int:
    warnings.warn("deprecated", DeprecationWarning, stacklevel=1)
    return 1


def raising(P: Any) -> int:
    raise KeyError("P")


def exhausting(P: Any) -> Any:
    return bytearray(2**62)


def hanging(P: Any) -> Any:
    raise fuzz_input.Hang


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (warning, "warning"),
        (raising, "exception"),
        (exhausting, "memory"),
        (hanging, "hang"),
        (lambda P: 1, "accepted"),
        (refusing(f"P is -7; expected 1. {'x ' * 500}"), "unclear"),
        (refusing("P is -7; that is wrong."), "unclear"),
        (refusing("it is -7; expected 1."), "unclear"),
        (refusing("P is wrong; expected 1."), "unclear"),
        (refusing("P is -7; expected 1."), "refused"),
    ],
)
def test_what_is_wrong_is_found(call: Any, word: str) -> None:
    assert judged(of(call, P=Bad("-7", -7))).word == word


@pytest.mark.parametrize("message", ["P is -7\nexpected 1.", "P is -7 \ud800; expected 1."])
def test_what_cannot_be_printed_on_one_line_is_found(message: str) -> None:
    error = rb.InputError("")
    error.args = (message,)  # past the constructor, which mends it
    case = of(lambda P: 1, P=Bad("-7", -7))
    assert broken_rule(case, error) != ""
    assert broken_rule(case, rb.InputError(message)) == ""


def test_another_answer_for_the_same_data_is_found() -> None:
    spelt = Bad("list", [[1.0]], (np.ones((1, 1)),), same=True)
    assert judged(of(lambda P: type(P).__name__, P=spelt)).word == "differs"
    assert judged(of(lambda P: float(np.sum(P)), P=spelt)).word == "answer"

    def arrays_only(P: Any) -> float:
        if not isinstance(P, np.ndarray):
            raise rb.InputTypeError(f"P is a {type(P).__name__}; expected an array.")
        return 1.0

    assert judged(of(arrays_only, P=spelt)).word == "differs"


@pytest.mark.parametrize(
    ("code", "err", "word"),
    [
        (0, "", "answer"),
        (0, "warning: x\n", "exit"),
        (2, "", "exit"),
        (2, "rankbound: a\nb\n", "exit"),
        (1, "Traceback\n", "exit"),
        (2, f"rankbound: {'x' * 500}\n", "unclear"),
        (2, "rankbound: no\n", "refused"),
    ],
)
def test_exit_codes_and_streams_are_judged(code: int, err: str, word: str) -> None:
    assert command_outcome(code, "an answer", err).word == word


def test_messages_hold_what_was_given_in_some_form() -> None:
    case = of(lambda P: 1, P=Bad("(7, 8)", np.zeros((7, 8))))
    assert broken_rule(case, rb.InputError("P has shape (7, 8); expected (n, n).")) == ""
    assert broken_rule(case, rb.InputError("P has shape (5, 6); expected (n, n).")) != ""


@pytest.mark.parametrize("end", ["os.abort()", "raise KeyError"])
def test_a_dead_child_is_one_finding_and_the_search_goes_on(
    end: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also one that takes its time to end, after it has closed what is read."""
    script = tmp_path / "child.py"
    script.write_text(
        "import atexit, json, os, sys, time\n"
        "atexit.register(time.sleep, 0.5)\n"
        "sys.excepthook = lambda *_: os.close(1)\n"
        "start = int(sys.argv[sys.argv.index('--start') + 1])\n"
        "count = int(sys.argv[sys.argv.index('--count') + 1])\n"
        "for i in range(start, start + count):\n"
        "    print(json.dumps({'start': i}), flush=True)\n"
        "    if i == 2:\n"
        f"        {end}\n"
        "    told = {'index': i, 'case': '', 'word': 'answer', 'detail': '', 'group': ''}\n"
        "    print(json.dumps(told), flush=True)\n",
        "ascii",
    )
    monkeypatch.setattr(fuzz_input, "__file__", str(script))
    tally: Counter[str] = Counter()
    found = fuzz_input.search(fuzz_input.arguments(["--count", "5"]), tally)
    assert tally == {"answer ()": 4, "crash (child)": 1}
    assert len(found) == 1
    assert "--start 2 --count 1" in found[0]


def writers() -> list[Any]:
    """Every option of a command that writes a file, where its good arguments suffice."""
    return [
        pytest.param(target, action, id=f"{target.name} {action.option_strings[0]}")
        for target in TARGETS
        if isinstance(target, Command) and target.name not in ("audit", "report")
        for action in target.actions.values()
        if action.dest in WRITTEN
    ]


@pytest.mark.parametrize(("target", "action"), writers())
def test_a_full_disk_is_one_clear_error(
    target: Command, action: argparse.Action, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = target.good(Random(0), files) | {action.dest: ["/dev/full"]}
    assert main(target.words(given)) == 2
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert err.startswith("rankbound: ") and "/dev/full" in err


def test_standard_output_on_a_full_disk_is_one_clear_error(files: Path) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "rankbound", "head-size", str(files / "P.npy")],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr.splitlines()) == (
        2,
        [f"rankbound: standard output: {os.strerror(errno.ENOSPC)}"],
    )


@pytest.mark.parametrize("name", ["/dev/zero", "sparse.npy", "huge.npy", "deep-header.npy"])
def test_a_file_without_end_is_refused_in_little_memory(name: str, files: Path) -> None:
    code = (
        "import resource, sys; from rankbound.cli.main import main\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n"
        "sys.exit(main(['head-size', sys.argv[1]]))"
    )
    path = str(files / name)
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"rankbound: P: {path} cannot be read")
