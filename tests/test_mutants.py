"""The driver of `make mutants`: it can say each of its words, and leaves wording out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from scipy.stats import binomtest

pytest.importorskip("mutmut", reason="make .venv/dev installs it")

ROOT = Path(__file__).parents[1]

# In a Python of its own: the package must not be imported yet when a mutant is.
EACH_WORD = """
import json, sys
from dataclasses import replace
sys.path.insert(0, "scripts")
import mutants
mutants.GRACE, mutants.COLLECTING = 5.0, 0.0
path, sound = "rankbound/attention/softmax.py", "tests/attention/test_softmax.py"
mutants.TESTS = [sound]
text = (mutants.ROOT / path).read_text()
first = next(mutants.mutants(path))
def word(was, now, tests):
    start = len(text[: text.index(was)].encode())
    changed = replace(first, was=was, now=now, start=start, length=len(was.encode()))
    return mutants.Judge({"seconds": {}}).judge(changed, tests)[0]
body = "from __future__ import annotations"
print(json.dumps([
    word(body, body + "\\nimport nowhere_to_be_found", [sound]),
    word(body, body + "\\nimport math", [sound]),
    word(body, body + "\\nimport math", []),
    word(body, body + "\\nwhile True: pass", [sound]),
    word(body, body + "\\nimport nowhere_to_be_found", [sound + "::no_such_test"]),
]))
print(json.dumps(mutants.interval(57, 60)))
"""


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


def test_each_word_is_said() -> None:
    """Killed, survived, uncovered, timeout; a test that fails without the mutant does not kill."""
    done = python("-c", EACH_WORD)
    words, interval = map(json.loads, done.stdout.splitlines()[-2:])
    assert words == ["killed", "survived", "uncovered", "timeout", "survived"], done.stderr
    wilson = binomtest(57, 60).proportion_ci(method="wilson")
    assert interval == pytest.approx([wilson.low, wilson.high], rel=1e-6)


# What the command says of one mutant: killed by the test on record, by another in the file of one
# that is gone, by one of the room; by none; and where the code has lost what is on record.
OF_ONE_MUTANT = (
    EACH_WORD[: EACH_WORD.index("def word")]
    + """
import tempfile
from pathlib import Path
test = sound + "::test_agrees_with_scipy"
mutants.room_of = lambda mutant: sound
mutants.RECORD = Path(tempfile.mkdtemp()) / "mutants.json"
sys.argv = ["mutants.py", "--ci"]
def outcome(now, on_record):
    was = "from __future__ import annotations"
    start = len(text[: text.index(was)].encode())
    changed = replace(first, was=was, now=was + now, start=start, length=len(was.encode()))
    mutants.every = lambda files: [changed] if now else []
    mutants.RECORD.write_text(json.dumps({changed.id: [path, on_record]}))
    return mutants.main()
broken, harmless = "\\nimport nowhere_to_be_found", "\\nimport math"
records = [test, sound + "::gone", "tests/gone.py::gone"]
print([outcome(broken, one) for one in records], outcome(harmless, test), outcome("", test))
"""
)


def test_the_command_fails_for_what_survives() -> None:
    done = python("-c", OF_ONE_MUTANT)
    assert done.stdout.splitlines()[-1:] == ["[0, 0, 0] 1 1"], done.stderr


def test_wording_is_left_out(tmp_path: Path) -> None:
    """Annotations, docstrings and the text of messages; the rest of a raise is mutated."""
    module = tmp_path / "module.py"
    module.write_text(
        '"""Words."""\n__all__ = ["f"]\nRows = list[list[int]]\n'
        'def f(x: "int") -> "int":\n    "words"\n    {"of " "two": 3, f"and {x} " "more": 4}\n'
        '    raise InputError(f"no {x + 1}", least=f(2), reason="w")\n'
    )
    assert [was for was, _ in changes(tmp_path, "module.py")] == ["3", "4", "f(2)", "2"]


def test_the_strict_of_a_zip_is_left_out(tmp_path: Path) -> None:
    """But not in the checker, nor what is zipped."""
    (tmp_path / "checker").mkdir()
    for name in ("module.py", "checker/module.py"):
        (tmp_path / name).write_text("x = dict(zip(y, z, strict=True), strict=True)\n")
    found, of_the_checker = (
        changes(tmp_path, name) for name in ("module.py", "./checker/module.py")
    )
    left_out = [one for one in of_the_checker if one not in found]
    assert [now for was, now in left_out] == [
        "zip(y, z, strict=None)",
        "zip(y, z, )",
    ]
    assert ["zip(y, z, strict=True)", "zip(None, z, strict=True)"] in found


def changes(root: Path, path: str) -> list[list[str]]:
    """What the mutants of a module replace, and by what."""
    code = (
        "import json, sys; from pathlib import Path; sys.path.insert(0, 'scripts'); import mutants;"
        f"mutants.ROOT = Path({str(root)!r});"
        f"print(json.dumps([[m.was, m.now] for m in mutants.mutants({path!r})]))"
    )
    done = python("-c", code)
    assert not done.returncode, done.stderr
    return list(json.loads(done.stdout))
