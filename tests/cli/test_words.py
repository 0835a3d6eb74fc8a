"""What the command line takes for what was meant, how much it says, and interrupts."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rankbound as rb
from rankbound import atlas
from rankbound.cli import experiments
from rankbound.cli.main import main
from rankbound.fitting import solve
from rankbound.registry import verification

Capture = pytest.CaptureFixture[str]


def error(words: list[str], capsys: Capture) -> str:
    assert main(words) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1
    return printed.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["verfy"], "Did you mean verify?"),
        (["verify", "theorem-aa"], "CLAIM holds 'theorem-aa'; expected ids"),
        (["verify", "theorem-aa"], "Did you mean theorem-a"),
        (["verify", "'thoerem-*'"], "expected a pattern that matches ids of registered claims."),
        (["claims", "thorem-*"], "Did you mean theorem-"),
        (["claims", "folklore"], "Did you mean folklore-context-rank"),
        (
            ["verify", "--jsn", "x"],
            "rankbound verify: unrecognized arguments: --jsn. Did you mean",
        ),
        (["verify", "--level", "ful"], "expected one of quick, full. Did you mean full?"),
        (["experiment", "contxt"], "NAME is 'contxt'"),
        (["experiment", "contxt"], "Did you mean context?"),
        (["experiment", "context", "--preset", "smok"], "--preset is 'smok'; expected one of"),
        (["sweep", "statsu"], "Did you mean status?"),
        (["completion", "fsh"], "expected one of bash, zsh, tcsh."),
        (["verify", "--seed", "-1"], "--seed is -1"),
        (["atlas", "--n", "2"], "--n is 2; expected from 3"),
        (
            ["atlas", "--n", "1000"],
            "expected from 3 to 512: patterns differ from 3 tokens on, and be",
        ),
        (["experiment", "foo"], "all, list."),
    ],
)
def test_what_was_meant(words: list[str], said: str, capsys: Capture) -> None:
    assert said in error(words, capsys)


def test_a_mask_that_was_meant(tmp_path: Path, capsys: Capture) -> None:
    np.save(tmp_path / "P.npy", rb.random_context(4, 0))
    said = error(["head-size", str(tmp_path / "P.npy"), "--mask", "casual"], capsys)
    assert "--mask is 'casual'" in said
    assert "Did you mean causal?" in said


def test_nothing_is_meant_by_what_is_far(capsys: Capture) -> None:
    assert "Did you mean" not in error(["zzzz"], capsys)
    assert "Did you mean" not in error(["verify", "zzzz"], capsys)


def test_patterns_choose_claims_once(capsys: Capture) -> None:
    assert main(["claims", "theorem-*", "theorem-a", "centring-ran?", "--quiet"]) == 0
    ids = capsys.readouterr().out.split()
    assert ids == [*(name for name in rb.claims if name.startswith("theorem-")), "centring-rank"]
    assert [row.id for row in rb.verify("softmax-g*").rows] == ["softmax-gauge"]


def test_quiet_and_verbose(tmp_path: Path, capsys: Capture) -> None:
    file = str(tmp_path / "P.npy")
    np.save(file, rb.random_context(5, 0, "logrank", rank=3))

    def out(*words: str) -> str:
        assert main(list(words)) == 0
        return capsys.readouterr().out

    assert out("head-size", file, "-q") == "3\n"
    plain, told = out("head-size", file), out("head-size", file, "--verbose")
    assert [line.split()[:2] for line in plain.splitlines()].count(["singular", "values"]) == 0
    assert [line.split()[:2] for line in told.splitlines()].count(["singular", "values"]) == 1
    rows = [line.split() for line in out("bracket", file, "--head-sizes", "1,4", "-q").splitlines()]
    assert [row[0] for row in rows] == ["1", "4"]
    assert all(float(low) <= float(high) for _, low, high in rows)
    assert out("verify", "softmax-gauge", "-q") == (
        "1 of 1 claims as registered (level quick, seed 0).\n"
    )
    assert "softmax-gauge: proved, 2 instances" in out("verify", "softmax-gauge", "-v")
    assert "mutants: " in out("claims", "softmax-gauge", "-v")
    assert "entry" not in out("atlas", "--n", "3", "-q")


# Interrupts


def test_an_interrupted_verification_prints_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    whole = verification.run

    def stopped(*arguments: Any) -> Iterator[Any]:
        rows = whole(*arguments)
        yield next(rows)
        raise KeyboardInterrupt

    monkeypatch.setattr(verification, "run", stopped)
    file = tmp_path / "report.json"
    assert main(["verify", "softmax-gauge", "centring-rank", "--json", str(file)]) == 130
    printed = capsys.readouterr()
    assert "softmax-gauge" in printed.out
    assert "interrupted: 1 of 2 claims are checked." in printed.out
    assert printed.err == "rankbound: interrupted\n"
    assert not file.exists()  # part of a report is none


def test_interrupted_checks_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    from rankbound.certificates import checker

    file = tmp_path / "c.json"
    certificate = rb.exact_rank([[1, 2], [2, 4]]).certify().certificate
    assert certificate
    file.write_text(certificate.to_json())
    outcomes = [checker.check(file)]
    monkeypatch.setattr(checker, "check", lambda _: outcomes.pop() if outcomes else _interrupt())
    assert main(["check", str(file), str(file), str(file)]) == 130
    assert "1 of 3 certificates accepted, 2 not checked" in capsys.readouterr().out


def test_an_interrupted_atlas_prints_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(atlas, "stays_away", lambda *_: _interrupt())
    file = tmp_path / "atlas.json"
    assert main(["atlas", "--n", "4", "--json", str(file)]) == 130
    printed = capsys.readouterr()
    assert "worst positive context" in printed.out
    assert "random positive context" not in printed.out  # not begun
    assert "interrupted: 1 of 10 classes are begun." in printed.out
    assert printed.err == "rankbound: interrupted\n"
    assert not file.exists()


def test_an_interrupted_bracket_prints_the_sizes_that_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    P = tmp_path / "P.npy"
    np.save(P, rb.random_context(8, seed=0))
    whole, calls = solve.Fitting.descend, []

    def descend(fitting: Any, start: Any, rival: float) -> Any:
        calls.append(start)
        return whole(fitting, start, rival) if len(calls) < 4 else _interrupt()

    monkeypatch.setattr(solve.Fitting, "descend", descend)
    file = tmp_path / "bracket.json"
    words = ["bracket", str(P), "--head-sizes", "1,2,4", "--json", str(file)]
    assert main([*words, "--quiet"]) == 130  # in the midst of size 2, after both starts of size 1
    printed = capsys.readouterr()
    row, last = printed.out.splitlines()
    size, lower, upper = row.split()
    assert size == "1" and 0 < float(lower) <= float(upper)
    assert last == "interrupted: 1 of 3 sizes are fitted."
    assert printed.err == "rankbound: interrupted\n"
    assert not file.exists()


def _interrupt() -> Any:
    raise KeyboardInterrupt


@pytest.mark.skipif(os.name == "nt", reason="signals are those of POSIX")
def test_a_signal_ends_with_130_and_a_table() -> None:
    command = [sys.executable, "-m", "rankbound", "verify", "softmax-gauge", "kl-lower-bound", "-v"]
    process = subprocess.Popen(
        [*command, "--level", "full"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert "softmax-gauge" in process.stdout.readline()  # told as soon as it is done
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted: 1 of 2 claims are checked." in out
    assert err == "rankbound: interrupted\n"


# Completion


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completions_are_what_the_shell_reads(shell: str, capsys: Capture) -> None:
    pytest.importorskip("shtab", reason="completions are written by the extra rankbound[dev]")
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "theorem-a" in script
    assert "--certificates" in script
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_bash_completes_a_claim(capsys: Capture) -> None:
    pytest.importorskip("shtab", reason="completions are written by the extra rankbound[dev]")
    assert main(["completion", "bash"]) == 0
    ask = "COMP_WORDS=(rankbound verify theorem-); COMP_CWORD=2; _shtab_rankbound"
    ask += '; echo "${COMPREPLY[@]}"'
    run = subprocess.run(
        ["bash", "-c", f"{capsys.readouterr().out}\n{ask}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(run.stdout.split()) == {name for name in rb.claims if name.startswith("theorem-")}


def test_completion_without_shtab(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    said = error(["completion", "bash"], capsys)
    assert (
        'completion needs shtab, which is not installed: pip install "rankbound[completion]"'
        in said
    )


def test_a_warning_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the source line that raised it."""
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)
    (tmp_path / "sitecustomize.py").write_text(
        "import rankbound.certificates.checker as c, warnings\n"
        "old = c.check\n"
        "c.check = lambda file: warnings.warn('odd\\nthing') or old(file)\n"
    )
    (tmp_path / "c.json").write_text("{}")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    run = subprocess.run(
        [sys.executable, "-m", "rankbound", "check", str(tmp_path / "c.json")],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stderr == "rankbound: warning: odd thing\n"
    assert json.dumps(run.returncode) == "1"


@pytest.mark.skipif(
    not Path(experiments.__file__).resolve().is_relative_to(Path(__file__).resolve().parents[2]),
    reason="a wheel has no figures",
)
def test_figures_are_compared_by_their_own_script(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["figures", "evidence", "--check"]) == 0
    assert "evidence: computed in" in capfd.readouterr().out
    assert main(["figures", "cliffs", "--draw-only"]) == 2
    assert "no figure 'cliffs'; expected one of atlas" in (said := capfd.readouterr().err)
    assert said.startswith("rankbound figures: ")
    assert said.endswith("Did you mean cliff?\n")


def test_figures_are_not_in_a_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(experiments, "SCRIPT", tmp_path / "regenerate.py")
    assert "expected the figures beside the package" in error(["figures"], capsys)
