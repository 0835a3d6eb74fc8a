"""Certificates of claims: written, read back, and worth nothing where one fails."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rankbound as rb
from rankbound.certificates.certificates import NonzeroMinor
from rankbound.certificates.matrices import Matrix
from rankbound.certificates.statements import LogRank
from rankbound.cli.main import main
from rankbound.registry import verification
from rankbound.registry.claim import Claim, Instance, Trial
from rankbound.registry.verification import prove
from rankbound.verdict import Verdict
from tests.helpers import script

pytestmark = pytest.mark.slow

make_claims = script("make_claims")
Capture = pytest.CaptureFixture[str]
CLAIMS: Mapping[str, list[str]] = json.loads(
    (resources.files("rankbound.certificates") / "claims.json").read_text(encoding="utf-8")
)


@dataclass(frozen=True)
class Written:
    """One quick run with certificates: what it reported, wrote, and wrote it from."""

    report: verification.Report
    folder: Path
    instances: Mapping[str, tuple[Instance, ...]]

    def files(self, claim: str) -> list[Path]:
        """The files of a claim, in order."""
        return sorted(self.folder.glob(f"{claim}-[0-9][0-9][0-9][0-9].json"))

    def small(self, claim: str) -> list[Path]:
        """Its two smallest, which take no time."""
        return sorted(self.files(claim), key=lambda file: file.stat().st_size)[:2]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Every claim at once, since it takes a while, on as many cases as a mutant is given."""
    folder = tmp_path_factory.mktemp("verified") / "certificates"  # which verify makes
    kept: dict[str, tuple[Instance, ...]] = {}

    def keep(
        claim: str, instances: list[Instance], place: Path | None = None
    ) -> tuple[list[Instance], str]:
        proved, reason = prove(claim, instances, place)
        kept[claim] = tuple(proved)
        return proved, reason

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verification, "prove", keep)
        report = rb.verify([first_part(one) for one in rb.claims.values()], certificates=folder)
    return Written(report, folder, kept)


def first_part(claim: Claim) -> Claim:
    """The claim, of the first cases."""
    return replace(claim, check=lambda trial: islice(claim.check(trial), make_claims.ENOUGH))


def _of(*certificates: Any, status: Verdict = Verdict.CERTIFIED) -> Claim:
    """A claim whose one instance holds, and carries these."""

    def check(trial: Trial) -> Iterator[Instance]:
        yield Instance("the case", 1, 1, Verdict.CERTIFIED, certificates=certificates)

    return replace(rb.claims["sharp-necessary"], check=check, status=status)


def honest() -> Any:
    """A certificate of a kind that sharp-necessary may carry."""
    return rb.certified_log_rank(logits=[[1, 0], [0, 0]]).certify().certificate


def false() -> NonzeroMinor:
    """A certificate that proves nothing: these logits have log-rank 0."""
    return NonzeroMinor(LogRank(Matrix.of_rationals([[1, 0], [1, 0]]), 1, 1), (0,), (0,), 7)


def test_what_bounds_write_unchecked_is_checked_in_a_run() -> None:
    """`Instance.of_bounds` takes certificates as they are written; the run rejects a false one."""
    bounds = replace(rb.exact_rank([[1]]), prove=lambda _: (false(),))
    with pytest.raises(rb.Undecided, match="the checker rejects it"):
        bounds.certify()
    instance = Instance.of_bounds("the case", bounds, 1)
    proved, reason = prove(None, [instance])
    assert reason.startswith("certificate 0 of the case was rejected: ")
    assert proved[0].word is Verdict.SUPPORTED


# ---- a run


def test_every_claim_is_as_registered_with_its_certificates(written: Written) -> None:
    assert written.report.ok, [row for row in written.report.rows if not row.ok]
    carried = {row.id for row in written.report.rows if row.certificates}
    assert carried == set(CLAIMS)


def test_claims_json_is_what_the_registry_generates(written: Written) -> None:
    """From the instances of the run above, of the quick one with seed 0."""
    assert set(written.instances) == set(rb.claims)

    def from_run(claim: Claim) -> Claim:
        return replace(claim, check=lambda _: iter(written.instances[claim.id]))

    found = make_claims.statement_kinds(
        {name: from_run(claim) for name, claim in rb.claims.items()}
    )
    assert found == CLAIMS


def test_as_many_files_as_the_report_says_each_for_its_claim(written: Written) -> None:
    total = 0
    for row in written.report.rows:
        files = written.files(row.id)
        assert len(files) == row.certificates
        total += len(files)
        for number, file in enumerate(files):
            assert file.name == f"{row.id}-{number:04d}.json"
            document = json.loads(file.read_text(encoding="ascii"))
            assert document["claim"] == row.id
            assert document["statement"]["kind"] in CLAIMS[row.id]
    assert total == len(list(written.folder.iterdir()))
    counts = Counter(row.certificates > 0 for row in written.report.rows)
    assert counts[True] >= 15


def test_check_accepts_the_files(written: Written, capsys: Capture) -> None:
    """Verification has checked each; here some of each claim, by the command line."""
    files = [str(file) for name in CLAIMS for file in written.small(name)]
    assert main(["check", "--quiet", *files]) == 0
    assert capsys.readouterr().out == f"{len(files)} of {len(files)} certificates accepted\n"


@pytest.mark.parametrize("name", CLAIMS)
def test_another_claim_takes_a_certificate_only_if_its_statement_is_of_its_kind(
    name: str, written: Written
) -> None:
    """Relabelled, the certificate still proves what it states, but speaks for no other claim."""
    document = json.loads(written.small(name)[0].read_text(encoding="ascii"))
    kind = document["statement"]["kind"]
    others = {other for other in CLAIMS if kind not in CLAIMS[other]}
    assert others
    for other in {*others, *(set(rb.claims) - set(CLAIMS)), "no-such-claim", ""}:
        outcome = rb.check({**document, "claim": other})
        assert not outcome.accepted
        assert "claim" in outcome.reason


def test_a_certificate_may_speak_for_no_claim() -> None:
    for claim in (None, "sharp-necessary"):
        assert rb.check(honest().for_claim(claim)).accepted
    assert not rb.check(honest().for_claim("softmax-gauge")).accepted


# ---- where one fails


def test_honest_certificates_leave_the_claim_certified(tmp_path: Path) -> None:
    """Given as they are, or as what builds them."""
    row = rb.verify([_of(honest(), honest)], certificates=tmp_path / "a" / "b").rows[0]
    assert (row.evidence, row.certificates, row.reason) == (Verdict.CERTIFIED, 2, "")
    assert len(list((tmp_path / "a" / "b").iterdir())) == 2


def test_every_instance_has_files_of_its_own(tmp_path: Path) -> None:
    instances = [Instance(str(i), 1, 1, Verdict.CERTIFIED, certificates=(honest,)) for i in (0, 1)]
    proved, reason = prove("sharp-necessary", instances, tmp_path)
    assert ([one.accepted for one in proved], reason) == ([1, 1], "")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (lambda: None, "not built: the case: no certificate was found"),
        (lambda: "a string", "not built: the case: InputTypeError: 'a string' is no certificate"),
        (false(), "certificate 1 of the case was rejected: "),
        (false, "certificate 1 of the case was rejected: "),
        (
            lambda: rb.certified_rank(np.eye(2), error=0.1).certify().certificate,
            "certificate 1 of the case was rejected: the claim sharp-necessary carries",
        ),
    ],
    ids=["none", "a string", "false", "false, built late", "of another kind"],
)
def test_one_that_fails_leaves_the_claim_undecided(last: Any, reason: str, tmp_path: Path) -> None:
    report = rb.verify([_of(honest(), last), rb.claims["softmax-gauge"]], certificates=tmp_path)
    row = report.rows[0]
    assert row.evidence is Verdict.UNDECIDED
    assert row.reason.startswith(reason)
    assert row.certificates == 1
    assert not report.ok
    assert report.rows[1].ok
    assert reason in report.to_json()


def test_a_builder_that_falls_over_leaves_the_claim_undecided(tmp_path: Path) -> None:
    def build() -> Any:
        raise ValueError("a slip in somebody's builder")

    report = rb.verify([_of(build), rb.claims["softmax-gauge"]], certificates=tmp_path)
    assert report.rows[0].evidence is Verdict.UNDECIDED
    assert "a slip in somebody's builder" in report.rows[0].reason
    assert report.rows[1].ok


def test_a_false_certificate_never_speaks_for_a_refuted_claim(tmp_path: Path) -> None:
    row = rb.verify([_of(false, status=Verdict.REFUTED)], certificates=tmp_path).rows[0]
    assert row.evidence is Verdict.UNDECIDED
    assert not row.ok


def test_what_changed_on_its_way_to_the_file_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the file that is checked, not the object."""
    write = Path.write_text

    def spoil(path: Path, text: str, **keywords: Any) -> int:
        return write(path, text.replace('"0x1/0x1"', '"0x0/0x1"'), **keywords)

    monkeypatch.setattr(Path, "write_text", spoil)
    row = rb.verify([_of(honest)], certificates=tmp_path).rows[0]
    assert row.evidence is Verdict.UNDECIDED
    assert "was rejected" in row.reason


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (honest, ""),
        (lambda: (honest(), honest()), ""),
        (lambda: None, "not built: the case: no certificate was found"),
        (false, "certificate 0 of the case was rejected: "),
    ],
    ids=["honest", "two", "none", "false"],
)
def test_without_a_folder_certificates_are_built_and_checked_too(source: Any, reason: str) -> None:
    row = rb.verify([_of(source)]).rows[0]
    assert row.reason.startswith(reason)
    if reason:
        assert (row.evidence, row.certificates) == (Verdict.UNDECIDED, 0)
    else:
        assert row.evidence is Verdict.CERTIFIED
        assert row.certificates == (1 if source is honest else 2)


def test_what_cannot_be_built_says_why() -> None:
    P = rb.random_context(1025, seed=0)
    row = rb.verify([_of(lambda: rb.certified_log_rank(P).certify().certificate)]).rows[0]
    assert row.evidence is Verdict.UNDECIDED
    assert row.reason.startswith("not built: the case: ")
    assert "beyond the checker's limit of 1024 rows" in row.reason
    assert not row.ok


def test_judge_counts_what_was_accepted_and_nothing_else() -> None:
    claim = rb.claims["sharp-necessary"]
    once = Instance("the case", 1, 1, Verdict.CERTIFIED, certificates=(honest(),))
    later = replace(once, certificates=(honest,))
    lying = replace(once, certificates=(false(),))
    assert [claim.judge([one]) for one in (once, later, lying)] == [Verdict.SUPPORTED] * 3
    assert [claim.judge(prove(claim.id, [one])[0]) for one in (once, later, lying)] == [
        Verdict.CERTIFIED,
        Verdict.CERTIFIED,
        Verdict.SUPPORTED,
    ]
    assert claim.judge([replace(later, accepted=1)]) is Verdict.SUPPORTED


@pytest.mark.parametrize("wrong", ["a certificate", None, 7, {"schema": "rankbound-certificate-1"}])
def test_an_instance_takes_certificates_and_what_builds_them_only(wrong: Any) -> None:
    with pytest.raises(rb.InputTypeError, match="is not a certificate; expected a Certificate"):
        Instance("the case", 1, 1, Verdict.CERTIFIED, certificates=(wrong,))


def test_files_of_an_earlier_run_are_replaced(tmp_path: Path) -> None:
    """Those of the same claim, and no others."""
    other = tmp_path / "softmax-gauge-0000.json"
    other.write_text("{}", encoding="ascii")
    for certificates in ((honest, honest, honest), (honest,)):
        assert rb.verify([_of(*certificates)], certificates=tmp_path).ok
    assert {file.name for file in tmp_path.iterdir()} == {"sharp-necessary-0000.json", other.name}


# ---- the command line


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An honest certificate."""
    path = tmp_path / "honest.json"
    path.write_text(honest().to_json(), encoding="ascii")
    return path


def test_verify_then_check(tmp_path: Path, capsys: Capture) -> None:
    assert main(["verify", "sharp-necessary", "--certificates", str(tmp_path / "out")]) == 0
    files = sorted(map(str, (tmp_path / "out").iterdir()))
    assert main(["check", *files]) == 0
    out = capsys.readouterr().out
    assert out.count("\naccepted  ") == len(files)
    assert "log-rank exactly" in out
    assert out.endswith(f"{len(files)} of {len(files)} certificates accepted\n")


def test_verify_exits_1_where_a_certificate_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    from rankbound.registry import catalogue

    claim = _of(false)
    monkeypatch.setattr(catalogue, "claims", {claim.id: claim})
    assert main(["verify", "--certificates", str(tmp_path)]) == 1
    assert "was rejected" in capsys.readouterr().out


def test_check_names_the_statement_and_what_was_verified(file: Path, capsys: Capture) -> None:
    assert main(["check", str(file)]) == 0
    first, statement, reason, last = capsys.readouterr().out.splitlines()
    assert first == f"accepted  {file}"
    assert "has log-rank exactly 1" in statement
    assert "minor is not zero modulo" in reason
    assert last == "1 of 1 certificates accepted"


def test_one_flipped_digit_rejects(file: Path, capsys: Capture) -> None:
    """Of the logits, the bounds, the minor, the shape, the schema."""
    text = file.read_text(encoding="ascii")
    flips: list[Callable[[str], str]] = [
        lambda t: t.replace('"lower":1', '"lower":2'),
        lambda t: t.replace('"upper":1', '"upper":0'),
        lambda t: t.replace('"0x1/0x1"', '"0x0/0x1"'),
        lambda t: t.replace('"columns":[0]', '"columns":[1]'),
        lambda t: t.replace('"columns":2', '"columns":3'),
        lambda t: t.replace("certificate-1", "certificate-2"),
    ]
    for number, flip in enumerate(flips):
        assert flip(text) != text, number
        file.write_text(flip(text), encoding="ascii")
        assert main(["check", str(file)]) == 1, number
        out = capsys.readouterr().out
        assert out.startswith(f"REJECTED  {file}\n")
        assert out.endswith("0 of 1 certificates accepted\n")


def test_quiet_prints_rejections_only(file: Path, tmp_path: Path, capsys: Capture) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text(false().to_json(), encoding="ascii")
    assert main(["check", "--quiet", str(file)]) == 0
    assert capsys.readouterr().out == "1 of 1 certificates accepted\n"
    assert main(["check", "--quiet", str(file), str(bad), str(file)]) == 1
    out = capsys.readouterr().out
    assert "accepted  " not in out
    assert out.startswith(f"REJECTED  {bad}\n")
    assert out.endswith("2 of 3 certificates accepted\n")


@pytest.mark.parametrize(
    "junk",
    [b"", b"\x00\xff\xfe\x93NUMPY" * 50, b"{", b"[]", b"null", b"\xef\xbb\xbf{}", b"[" * 10**5],
    ids=["empty", "binary", "cut", "list", "null", "byte order mark", "deep"],
)
def test_junk_is_rejected(junk: bytes, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "junk.json"
    path.write_bytes(junk)
    assert main(["check", str(path)]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith(f"REJECTED  {path}\n")
    assert printed.err == ""


def test_what_is_no_file_exits_2(file: Path, tmp_path: Path, capsys: Capture) -> None:
    """A missing file and a folder without one; nothing is checked then."""
    empty = tmp_path / "empty"
    empty.mkdir()
    for absent in (tmp_path / "missing.json", empty):
        assert main(["check", str(file), str(absent)]) == 2
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith(f"rankbound: {absent}: ")
        assert printed.err.count("\n") == 1
    assert main(["check"]) == 2
    assert "FILE" in capsys.readouterr().err


def test_a_file_that_is_not_readable_is_rejected_or_exits_2(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    monkeypatch.setattr("os.open", refuse)
    assert main(["check", str(file)]) in (1, 2)
    printed = capsys.readouterr()
    assert "accepted  " not in printed.out
