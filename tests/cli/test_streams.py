"""Files and streams: .npy, .npz and .csv wherever a matrix is read, and - for a pipe."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rankbound as rb
from rankbound import _files
from rankbound.cli.main import main

Capture = pytest.CaptureFixture[str]
P = rb.random_context(6, 0, "logrank", rank=2)
X = rb.random_tokens(7, 6, 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same matrices in every kind of file."""
    folder = tmp_path_factory.mktemp("files")
    for name, matrix in (("P", P), ("X", X), ("mask", rb.full_mask(6))):
        np.save(folder / f"{name}.npy", matrix)
        np.savez_compressed(folder / f"{name}.npz", anything=matrix)
        rows = "\n".join(",".join(map(str, row)) for row in matrix.tolist())
        (folder / f"{name}.csv").write_text(f"# {name}\n{rows}\n", encoding="utf-8-sig")
    np.savez(folder / "all.npz", P=P, X=X, mask=rb.full_mask(6), other=P)
    np.savetxt(folder / "savetxt.csv", P, fmt="%.17g")  # separated by spaces
    return folder


def answer(words: list[str], capsys: Capture) -> tuple[int, str]:
    code = main(words)
    return code, capsys.readouterr().out


@pytest.mark.parametrize("kind", [".npy", ".npz", ".csv"])
def test_every_matrix_in_every_file(kind: str, folder: Path, capsys: Capture) -> None:
    words = ["--tokens", str(folder / f"X{kind}"), "--mask", str(folder / f"mask{kind}")]
    assert answer(["head-size", str(folder / f"P{kind}"), "-q", *words], capsys) == (0, "2\n")
    assert rb.least_head_size(folder / f"P{kind}", X=folder / f"X{kind}") == 2
    np.testing.assert_array_equal(rb.Context(folder / f"P{kind}").P, P)


def test_an_archive_of_several(folder: Path, capsys: Capture) -> None:
    """Each option finds the array of its own name, or the one that is named."""
    file = str(folder / "all.npz")
    words = ["head-size", file, "--tokens", file, "--mask", file, "--quiet"]
    assert answer(words, capsys) == (0, "2\n")
    assert answer(["head-size", f"{file}:other", "-q"], capsys) == (0, "2\n")
    assert answer(["head-size", str(folder / "savetxt.csv"), "-q"], capsys) == (0, "2\n")


@pytest.mark.parametrize("kind", [".npy", ".npz", ".csv"])
def test_standard_input_and_output(kind: str, folder: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "rankbound", "head-size", "-", "--json", "-"],
        input=(folder / f"P{kind}").read_bytes(),
        capture_output=True,
        check=True,
    )
    assert json.loads(run.stdout)["least head size"] == 2
    assert "least head size" in run.stderr.decode()  # the table, out of the way


def test_numbers_of_a_csv_stay_exact(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "M.csv"
    file.write_text("1/3,2/3,0\n1,2,18014398509481985\n0,0,1\n")
    assert _files.read_matrix("P", file)[0][:2] == [Fraction(1, 3), Fraction(2, 3)]
    code, out = answer(["head-size", str(file), "--logits"], capsys)
    assert code == 0
    assert "certified: exact rank" in out


@pytest.mark.parametrize("word", ["1_000", "0x10", "1/0", "one", "9" * 5000, "1;2"])
def test_what_is_no_number_in_a_csv(word: str, tmp_path: Path) -> None:
    file = tmp_path / "M.csv"
    file.write_text(f"1,{word}\n")
    if word.isdecimal():  # a float that overflows, for the check of the matrix to refuse
        assert _files.read_matrix("P", file) == [[1, float("inf")]]
        return
    with pytest.raises(rb.InputError, match=r"line 1, column 2 is .*, not a number; expected"):
        _files.read_matrix("P", file)


def test_a_text_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_files, "MOST_TEXT", 10)
    (tmp_path / "M.csv").write_text("1,0\n0,1\n" * 9)
    with pytest.raises(rb.InputError, match="more than 10 bytes of text"):
        _files.read_matrix("P", tmp_path / "M.csv")


def test_a_pickle_in_an_archive_is_never_read(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "mark",)

    np.savez(tmp_path / "P.npz", P=np.array([Payload()], dtype=object))
    with pytest.raises(rb.InputError, match="never unpickled"):
        rb.Context(tmp_path / "P.npz")
    assert not (tmp_path / "mark").exists()


def test_what_is_written_to_standard_output_stands_alone(folder: Path, capsys: Capture) -> None:
    for words in (
        ["verify", "softmax-gauge", "--json", "-"],
        ["bracket", str(folder / "P.npy"), "--head-sizes", "1,2", "--json", "-"],
        ["atlas", "--n", "3", "--json", "-"],
    ):
        assert main(words) == 0
        printed = capsys.readouterr()
        assert json.loads(printed.out)
        assert printed.err


def test_a_certificate_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    certificate = rb.exact_rank([[1, 2], [2, 4]]).certify().certificate
    assert certificate
    for data, code in ((certificate.to_json().encode(), 0), (b"{}", 1)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        assert main(["check", "-"]) == code
    assert "1 of 1 certificates accepted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["head-size", "-", "--tokens", "-"], "P and --tokens read standard input; expected one"),
        (["check", "-", "-"], "FILE and FILE read standard input"),
        (["experiment", "head-size", "--text", "-"], "--text -: standard input can be read once"),
        (["report", "S.sqlite", "--text", "-"], "expected a file, which runs that are resumed"),
        (
            ["report", "s", "--json", "-", "--markdown", "-"],
            "--json and --markdown write to standard output",
        ),
    ],
)
def test_one_stream_is_one_thing(words: list[str], said: str, capsys: Capture) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err


def test_files_that_are_no_matrix_are_told_apart(tmp_path: Path, capsys: Capture) -> None:
    """Empty, of torch.save, or headed as pandas heads its columns; and the remedy works."""
    saved = tmp_path / "P.npy"
    with zipfile.ZipFile(saved, "w") as archive:
        archive.writestr("P/data.pkl", b"x")
    empty, headed = tmp_path / "empty.csv", tmp_path / "P.csv"
    empty.write_text("")
    body = "0.25,0.5\n0.75,0.5\n"
    headed.write_text(f"0,1\n{body}")
    for file, said in (
        (saved, "is of torch.save, which is never unpickled here"),
        (empty, "empty.csv is empty; expected a matrix"),
        (headed, "begins with 0 to 1 above rows of another kind"),
    ):
        assert main(["head-size", str(file)]) == 2
        assert said in capsys.readouterr().err
    mask = tmp_path / "mask.csv"
    mask.write_text("0,1\nTrue,True\nFalse,True\n")
    headed.write_text(body)
    assert main(["head-size", str(headed), "--mask", str(mask)]) == 2
    assert "header=False" in capsys.readouterr().err
    assert main(["head-size", str(headed)]) == 0
    for rows in ("0,1\n2,3\n", "0.0,1.0\n0.5,2.5\n", "0,1\n1/2,3\n"):  # numbers, the first too
        headed.write_text(rows)
        assert main(["head-size", str(headed), "--logits"]) == 0


def test_a_folder_of_certificates_is_checked(tmp_path: Path, capsys: Capture) -> None:
    """What ``verify --certificates`` wrote, in order; it says where it wrote nothing."""
    certificates = tmp_path / "certificates"
    assert main(["verify", "theorem-a", "-q", "--certificates", str(certificates)]) == 0
    said = f"no certificate is written to {certificates}: this claim has none.\n"
    assert said in capsys.readouterr().out
    assert main(["check", str(certificates)]) == 2
    assert "a folder without .json files" in capsys.readouterr().err
    for name in ("b", "a"):
        proof = rb.exact_rank([[1, 2], [2, 4]]).certify().certificate
        assert proof
        (certificates / f"{name}.json").write_text(proof.to_json())
    assert main(["check", str(certificates)]) == 0
    printed = capsys.readouterr().out
    assert printed.index("a.json") < printed.index("b.json")
    assert "2 of 2 certificates accepted" in printed
