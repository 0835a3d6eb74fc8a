"""The tie between claims and proofs/: what is called machine-checked is what Coq accepted."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import rankbound as rb
from rankbound import reporting
from rankbound.cli.main import main
from rankbound.registry import machine_checked as package
from rankbound.registry.claim import Claim
from rankbound.registry.verification import run_claim

ROOT = Path(__file__).parents[2]


def load() -> Any:
    spec = importlib.util.spec_from_file_location(
        "make_theorems", ROOT / "scripts" / "make_theorems.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_theorems = load()
record = make_theorems.record
PAGE = make_theorems.PAGE.read_text(encoding="utf-8")
KNOWN = record.machine_checked()
CLAIM = rb.claims["theorem-a"]
TIED = [claim for claim in rb.claims.values() if claim.theorem]


# ---- claims, proofs/ and its record, the list of the package, the page


def test_every_theorem_that_a_claim_names_is_machine_checked() -> None:
    assert not make_theorems.untied(rb.claims)
    assert len(TIED) >= 40


def test_the_list_and_the_page_are_what_proofs_and_registry_give() -> None:
    assert make_theorems.DATA.read_text(encoding="utf-8") == make_theorems.data()
    assert make_theorems.written(PAGE) == PAGE


def test_every_claim_of_these_theorems_names_one() -> None:
    core = make_theorems.of_theorems(rb.claims)
    assert len(core) >= 35
    assert not [claim.id for claim in core if not claim.theorem]


def test_every_headline_theorem_is_applied_to_the_real_numbers() -> None:
    text = (ROOT / "proofs" / "main.v").read_text(encoding="utf-8")
    of_softmax = re.findall(r"^Theorem (\w+) \(R : expField\)", text, flags=re.MULTILINE)
    assert len(of_softmax) >= 14
    assert {f"reals.real_{name}" for name in of_softmax} <= set(KNOWN)
    assert not any(theorem.axioms for name, theorem in KNOWN.items() if name.startswith("main."))


@pytest.mark.parametrize("file", make_theorems.HEADLINES)
def test_every_headline_theorem_is_listed(file: str) -> None:
    stated = {name for name, (source, *_) in record.stated().items() if source == file}
    assert stated
    assert stated <= set(package.machine_checked())


@pytest.mark.parametrize("claim", TIED, ids=lambda claim: claim.id)
def test_another_theorem_or_part_would_be_another_page(claim: Claim) -> None:
    for other in (replace(claim, theorem="main.theorem_z"), replace(claim, theorem_part="none")):
        assert make_theorems.written(PAGE, {**rb.claims, claim.id: other}) != PAGE


def test_a_page_without_its_marks_is_refused() -> None:
    with pytest.raises(SystemExit, match="the marks of theorems are gone"):
        make_theorems.written(PAGE.replace("<!-- end of theorems -->", ""))


# ---- small folders: what is machine-checked, and what is not

SOURCE = """(* Notes: Admitted is a word. (* An Axiom too. *) *)
(* Two is
   one and one. [b.v] *)
Theorem two : 1 + 1 = 2.
Proof. reflexivity. Qed.
"""
Change = Callable[[Path], None]


def folder(path: Path, source: str = SOURCE, axioms: str = "none", name: str = "two") -> Path:
    """A folder of proofs with a fresh record, as if Coq had accepted the file."""
    path.mkdir(exist_ok=True)
    (path / "_CoqProject").write_text("-Q . rankbound\na.v\n")
    (path / "a.v").write_text(source)
    digests = "\n".join(record.digests(path))
    (path / "record.txt").write_text(f"{digests}\n\na.{name}: {axioms}\n")
    return path


def wrong(path: Path) -> list[str]:
    """What the tie says of a claim that names the theorem."""
    claim = replace(CLAIM, theorem="a.two", theorem_part="")
    found: list[str] = make_theorems.untied({claim.id: claim}, path)
    return found


NOT_CHECKED = ["theorem-a: a.two is not machine-checked"]


@pytest.mark.parametrize("axioms", ["none", ", ".join(record.CLASSICAL)])
def test_a_recorded_theorem_is_machine_checked(tmp_path: Path, axioms: str) -> None:
    proofs = folder(tmp_path, axioms=axioms)
    assert wrong(proofs) == []
    theorem = record.machine_checked(proofs)["a.two"]
    assert (theorem.file, theorem.line) == ("a.v", 4)
    assert theorem.statement == "Two is one and one. [b.v]"
    claim = replace(CLAIM, theorem="a.two")
    listed = json.loads(make_theorems.data({claim.id: claim}, proofs))["theorems"]["a.two"]
    assert listed["statement"] == "Two is one and one."


@pytest.mark.parametrize(
    "source",
    [
        SOURCE.replace("reflexivity. Qed.", "Admitted."),
        SOURCE.replace("reflexivity", "admit"),
        SOURCE + "Axiom easy : False.\n",
        SOURCE + "Parameter p : nat.\n",
        SOURCE + "Unset  Guard Checking.\n",
        SOURCE.replace("Theorem", "#[bypass_check(guard)] Theorem"),
    ],
)
def test_what_is_assumed_is_not_machine_checked(tmp_path: Path, source: str) -> None:
    """Also where the record, by mistake, calls it closed."""
    proofs = folder(tmp_path, source)
    assert wrong(proofs) == NOT_CHECKED
    assert len(record.assumed(proofs)) == 1


@pytest.mark.parametrize("axioms", ["a.easy", f"{record.CLASSICAL[0]}, Classical_Prop.classic"])
def test_axioms_outside_the_list_are_not_machine_checked(tmp_path: Path, axioms: str) -> None:
    assert wrong(folder(tmp_path, axioms=axioms)) == NOT_CHECKED


def test_a_renamed_theorem_is_not_machine_checked(tmp_path: Path) -> None:
    renamed = SOURCE.replace("Theorem two", "Theorem deux")
    assert wrong(folder(tmp_path, renamed, name="deux")) == NOT_CHECKED
    assert wrong(folder(tmp_path, renamed)) == NOT_CHECKED  # though the record has the old name
    assert wrong(folder(tmp_path, SOURCE, name="deux")) == NOT_CHECKED


def edit(name: str, old: str, new: str) -> Change:
    def change(proofs: Path) -> None:
        text = (proofs / name).read_text()
        assert old in text
        (proofs / name).write_text(text.replace(old, new))

    return change


@pytest.mark.parametrize(
    "change",
    [
        edit("a.v", "1 + 1 = 2", "1 + 1 = 3"),
        edit("a.v", "Two is", "Three is"),
        edit("a.v", "reflexivity", "trivial"),
        edit("_CoqProject", "a.v", "-arg -w\na.v"),
        edit("record.txt", "  a.v", "  b.v"),
    ],
)
def test_the_record_of_other_files_makes_nothing_machine_checked(
    tmp_path: Path, change: Change
) -> None:
    proofs = folder(tmp_path)
    change(proofs)
    assert wrong(proofs) == NOT_CHECKED


@pytest.mark.parametrize("above", ["", "(* Far away. *)\n\n", "Check nat.\n"])
def test_a_theorem_that_is_not_told_is_found(tmp_path: Path, above: str) -> None:
    source = above + SOURCE.partition("[b.v] *)\n")[2]
    (told,) = wrong(folder(tmp_path, source))
    assert "no comment directly above a.two" in told


# ---- what the package says


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The proofs, beside the package or elsewhere."""
    for name in json.loads(make_theorems.data())["sources"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / "proofs" / name, tmp_path / name)
    return tmp_path


def test_the_package_knows_without_the_proofs(tmp_path: Path, copy: Path) -> None:
    known = package.machine_checked()
    assert known == package.machine_checked(copy) == package.machine_checked(tmp_path / "none")
    for name, theorem in known.items():
        assert (theorem.file, theorem.line, theorem.axioms) == (
            KNOWN[name].file,
            KNOWN[name].line,
            KNOWN[name].axioms,
        )


@pytest.mark.parametrize("name", ["main.v", "model.v", "sanity/layers.v", "_CoqProject"])
def test_other_proofs_beside_the_package_make_nothing_machine_checked(
    copy: Path, name: str
) -> None:
    (copy / name).write_text((copy / name).read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert package.machine_checked(copy) == {}


def test_a_missing_file_makes_nothing_machine_checked(copy: Path) -> None:
    (copy / "model.v").unlink()
    assert package.machine_checked(copy) == {}


def test_the_word(monkeypatch: pytest.MonkeyPatch) -> None:
    part, none = replace(CLAIM, theorem_part="half of it"), replace(CLAIM, theorem="")
    words = {"": none, "machine-checked": CLAIM, "machine-checked in part": part}
    for word, claim in words.items():
        row = run_claim(replace(claim, check=lambda trial: iter(())), "quick", 0)
        assert (row.theorem, row.machine_checked) == (claim.theorem, word)
    assert package.standing(replace(CLAIM, theorem="main.theorem_z")) == "not machine-checked"
    monkeypatch.setattr(package, "machine_checked", dict)
    assert package.standing(CLAIM) == package.standing(part) == "not machine-checked"


def test_a_part_is_of_a_theorem() -> None:
    with pytest.raises(rb.InputError, match="theorem_part is part of no theorem; pass theorem="):
        replace(CLAIM, theorem="", theorem_part="half of it")


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("command", ["claims", "verify"])
def test_the_command_line_shows_word_and_statement(
    command: str,
    checked: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where proofs/ differ from their record it shows neither."""
    if not checked:
        for module in (package, reporting):
            monkeypatch.setattr(module, "machine_checked", dict)
    assert main([command, "softmax-gauge", "kl-spectrum"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    words = {
        "claims": (
            "Machine-checked by main.lemma_1.",
            "Machine-checked in part by kl_upper.kl_upper",
        ),
        "verify": ("machine-checked instances", " kl_upper.kl_upper, in part "),
    }
    assert all(word in shown for word in words[command]) is checked
    assert ("Lemma 1. softmax(L) = softmax(L') iff" in shown) is checked
    assert ("not main.lemma_1" in shown or "Not machine-checked by main.lemma_1" in shown) is (
        not checked
    )
