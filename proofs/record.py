"""Write down what the theorems of proofs/ assume, and which files were checked.

``python3 record.py`` asks Coq (``Print Assumptions``) about every Theorem, Corollary and
Definition over the reals in the compiled files, and writes ``record.txt``: the SHA-256 of each
source file, and one line per theorem. Coq is asked once per file, about all that is stated there,
so a line names what the theorem rests on at most. ``python3 record.py --check`` writes nothing and
fails where the record differs. Only the standard library is used.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent
RECORD = ROOT / "record.txt"
STATED = re.compile(r"^(?:Theorem|Corollary)\s+(\w+)|^Definition\s+(real_\w+)", re.MULTILINE)


def sources(root: Path = ROOT) -> list[str]:
    """Return the files of _CoqProject, in order of compilation."""
    lines = (root / "_CoqProject").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.endswith(".v")]


def without_comments(text: str) -> str:
    """Return Coq text without its comments, which nest."""
    kept, depth = [], 0
    for part in re.split(r"(\(\*|\*\))", text):
        if part == "(*":
            depth += 1
        elif part == "*)" and depth:
            depth -= 1
        elif not depth:
            kept.append(part)
    return "".join(kept)


def theorems(root: Path = ROOT) -> list[str]:
    """Return the qualified names of what is recorded: module, dot, theorem."""
    names = []
    for source in sources(root):
        text = without_comments((root / source).read_text(encoding="utf-8"))
        module = source.removesuffix(".v").replace("/", ".")
        names += [f"{module}.{a or b}" for a, b in STATED.findall(text)]
    return names


def digests(root: Path = ROOT) -> list[str]:
    """Return a line per source file: its SHA-256 and its name."""
    files = ["_CoqProject", *sources(root)]
    return [f"{hashlib.sha256((root / f).read_bytes()).hexdigest()}  {f}" for f in files]


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


def main() -> None:
    """Write the record, or compare it."""
    record = "\n".join([*digests(), "", *assumptions(theorems()), ""])
    if "--check" not in sys.argv[1:]:
        RECORD.write_text(record, encoding="utf-8")
    elif RECORD.read_text(encoding="utf-8") != record:
        raise SystemExit("record.txt is not what Coq says of these files; run `make proofs`.")
    sys.stdout.write(record.partition("\n\n")[2])


if __name__ == "__main__":
    main()
