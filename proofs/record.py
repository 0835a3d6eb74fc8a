"""Write down what the theorems of proofs/ assume, and of which files that was found.

``python3 record.py`` asks Coq (``Print Assumptions``) about every Theorem, Corollary and
Definition over the reals in the compiled files, and writes ``record.txt``: the SHA-256 of each
source file, and one line per theorem. Coq is asked once per file, about all that is stated there,
so a line names what the theorem rests on at most. ``--check`` writes nothing, and fails where the
record differs, an axiom is not one of `CLASSICAL`, or a file admits something. It leaves
``.checked``, by which ``--seen`` tells that the same files were checked before. Only the standard
library is used.

A theorem is *machine-checked* when the record is of the files as they are (`machine_checked`).
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent
STATED = re.compile(r"^(?:Theorem|Corollary)\s+(\w+)|^Definition\s+(real_\w+)", re.MULTILINE)
# how something can be assumed that is proved nowhere; Coq is asked too, of each theorem
ASSUMED = re.compile(
    r"\b(?:Admitted|admit|Axioms?|Parameters?|Conjectures?|bypass_check|type-in-type"
    r"|Unset\s+(?:Guard|Positivity|Universe)\s+Checking)\b"
)
# what mathcomp-analysis rests on; only statements over the reals may
CLASSICAL = (
    "boolp.constructive_indefinite_description",
    "boolp.functional_extensionality_dep",
    "boolp.propositional_extensionality",
)


@dataclass(frozen=True)
class Theorem:
    """A theorem where it stands, and what it assumes by the record."""

    file: str
    line: int
    statement: str  # the comment directly above
    axioms: tuple[str, ...]


def sources(root: Path = ROOT) -> list[str]:
    """Return the files of _CoqProject, in order of compilation."""
    lines = (root / "_CoqProject").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.endswith(".v")]


def comments(text: str) -> list[tuple[int, int]]:
    """Return where the comments of a Coq text begin and end; they nest."""
    found, depth, begin = [], 0, 0
    for mark in re.finditer(r"\(\*|\*\)", text):
        if mark[0] == "(*":
            begin = begin if depth else mark.start()
            depth += 1
        elif depth:
            depth -= 1
            found += [] if depth else [(begin, mark.end())]
    return found


def without_comments(text: str) -> str:
    """Return Coq text with blanks for its comments, so that every place stays where it is."""
    for begin, end in comments(text):
        text = text[:begin] + re.sub(r"[^\n]", " ", text[begin:end]) + text[end:]
    return text


def stated(root: Path = ROOT) -> dict[str, tuple[str, int, str]]:
    """Return file, line and statement of all that is recorded, by module, dot, name."""
    found = {}
    for source in sources(root):
        text = (root / source).read_text(encoding="utf-8")
        spans = comments(text)
        module = source.removesuffix(".v").replace("/", ".")
        for match in STATED.finditer(without_comments(text)):
            at = match.start()
            begin, end = [(0, 0), *spans][bisect_left(spans, (at, 0))]
            said = text[begin + 2 : end - 2] if text[end:at] == "\n" else ""
            line = text.count("\n", 0, at) + 1
            found[f"{module}.{match[1] or match[2]}"] = (source, line, " ".join(said.split()))
    return found


def assumed(root: Path = ROOT) -> list[str]:
    """Return what is admitted or declared without a proof: file, line and word."""
    found = []
    for source in ["_CoqProject", *sources(root)]:
        text = without_comments((root / source).read_text(encoding="utf-8"))
        for match in ASSUMED.finditer(text):
            found.append(f"{source}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}")
    return found


def digests(root: Path = ROOT) -> list[str]:
    """Return a line per source file: its SHA-256 and its name."""
    files = ["_CoqProject", *sources(root)]
    return [f"{hashlib.sha256((root / f).read_bytes()).hexdigest()}  {f}" for f in files]


def recorded(root: Path = ROOT) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """Return the two halves of the record: digests, and the axioms of each theorem."""
    files, _, lines = (root / "record.txt").read_text(encoding="utf-8").partition("\n\n")
    pairs = (line.split(": ", 1) for line in lines.splitlines())
    return files.splitlines(), {
        name: () if axioms == "none" else tuple(axioms.split(", ")) for name, axioms in pairs
    }


def machine_checked(root: Path = ROOT) -> dict[str, Theorem]:
    """Return the theorems that are machine-checked, by name.

    None is where the record is of other files, or something is admitted. Elsewhere all are whose
    axioms are `CLASSICAL`.
    """
    files, axioms = recorded(root)
    if files != digests(root) or assumed(root):
        return {}
    return {
        name: Theorem(*place, axioms[name])
        for name, place in stated(root).items()
        if name in axioms and set(axioms[name]) <= set(CLASSICAL)
    }


def assumptions(names: list[str]) -> list[str]:
    """Return a line per theorem: its name and the axioms that it and its file's others rest on."""
    files: dict[str, list[str]] = {}
    for name in names:
        files.setdefault(name.rpartition(".")[0], []).append(name)
    asked = [f"Require rankbound.{file}." for file in files]
    for number, (file, stated) in enumerate(files.items()):
        everything = ", ".join(f"@rankbound.{name}" for name in stated)
        asked.append(f"Definition all_{number} := ({everything}).")
        asked.append(f'Goal True. idtac "== {file}". Abort. Print Assumptions all_{number}.')
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "ask.v"
        script.write_text("\n".join(asked), encoding="utf-8")
        command = ["coqc", "-w", "none", "-Q", str(ROOT), "rankbound", str(script)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"coqc failed:\n{done.stderr}")
    answers = {}
    for block in done.stdout.split("== ")[1:]:
        file, _, answer = block.partition("\n")
        if answer.strip() == "Closed under the global context":
            answers[file] = ["none"]
        else:
            answers[file] = sorted(re.findall(r"^([\w.']+)\s*(?::|$)", answer, re.MULTILINE))
            answers[file].remove("Axioms")
    if list(answers) != list(files):
        raise SystemExit("Coq answered for other files than it was asked about.")
    return [f"{name}: {', '.join(answers[name.rpartition('.')[0]])}" for name in names]


def table(root: Path = ROOT) -> str:
    """Return the record as a table: theorem, and what it assumes."""
    short = {CLASSICAL: "the three classical axioms of mathcomp-analysis", (): "none"}
    axioms = recorded(root)[1]
    wide = max(map(len, axioms))
    rows = [f"{name:{wide}}  {short.get(a, ', '.join(a))}" for name, a in axioms.items()]
    closing = f"{len(rows)} theorems; no Admitted, no Axiom in {len(sources(root))} files"
    return "\n".join([f"{'theorem':{wide}}  assumptions", *rows, closing, ""])


def key() -> str:
    """Return what a check depends on: the files, the record, this program, Coq."""
    coq = subprocess.run(["coqc", "--version"], capture_output=True, check=True).stdout
    parts = [*(line.encode() for line in digests()), (ROOT / "record.txt").read_bytes()]
    return hashlib.sha256(b"\n".join([*parts, Path(__file__).read_bytes(), coq])).hexdigest()


def main() -> None:
    """Write the record, or compare it."""
    option, checked = "".join(sys.argv[1:]), ROOT / ".checked"
    if option == "--seen":
        if not (checked.is_file() and checked.read_text(encoding="ascii") == key()):
            raise SystemExit(1)
        sys.stdout.write(f"{table()}(as checked before: nothing has changed)\n")
        return
    record = "\n".join([*digests(), "", *assumptions(list(stated())), ""])
    if option != "--check":
        (ROOT / "record.txt").write_text(record, encoding="utf-8")
    elif (ROOT / "record.txt").read_text(encoding="utf-8") != record:
        raise SystemExit("record.txt is not what Coq says of these files; run `make record`.")
    wrong = assumed() + [name for name in stated() if name not in machine_checked()]
    if wrong:
        raise SystemExit("\n".join(["assumed without a proof:", *wrong]))
    checked.write_text(key(), encoding="ascii")
    sys.stdout.write(table())


if __name__ == "__main__":
    main()
