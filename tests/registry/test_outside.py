"""Claims of other packages: CONTRIBUTING's five steps, in a package."""

from __future__ import annotations

import doctest
import json
import os
import re
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType

import pytest

import rankbound as rb
from rankbound.certificates.certificates import Certificate
from rankbound.registry import outside as module
from rankbound.registry.claim import Claim, Instance, Mutant, Source, make_claim
from rankbound.registry.outside import outside, registered
from rankbound.registry.verification import run_claim
from rankbound.verdict import Verdict

ROOT = Path(__file__).parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "howto" / "add-a-claim.md").read_text(encoding="utf-8")
MODULE = "".join(one.source for one in doctest.DocTestParser().get_examples(GUIDE) if not one.want)
TOML = re.findall(r"```toml\n(.*?)```", CONTRIBUTING, flags=re.DOTALL)[0]
STEPS = dict(
    re.findall(r"^(\d)\. \*\*(.*?)(?=^\d\. \*\*|^In a package)", CONTRIBUTING, re.S | re.M)
)


def install(folder: Path, name: str, code: str, points: str) -> None:
    """What an installer leaves of a package of one module."""
    (folder / f"{name}_claims.py").write_text(code, encoding="utf-8")
    info = folder / f"{name}-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(points)


def points(text: str) -> str:
    """An entry_points.txt of what a pyproject.toml says."""
    groups = tomllib.loads(text)["project"]["entry-points"]
    return "".join(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in named.items())
        for group, named in groups.items()
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path of modules, for packages that are installed in the test."""
    monkeypatch.syspath_prepend(tmp_path)
    outside.cache_clear()
    yield tmp_path
    outside.cache_clear()
    for name in [name for name in sys.modules if name.endswith("_claims")]:
        del sys.modules[name]


def rankbound(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process that knows what is installed in the folder."""
    path = os.pathsep.join([str(folder), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-m", "rankbound", *words],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_five_steps_in_a_package(folder: Path) -> None:
    """1 its statement, 2 its check, 3 an entry point, 4 its mutants, 5 the commands."""
    assert sorted(STEPS) == ["1", "2", "3", "4", "5"]
    install(folder, "acme", MODULE, points(TOML))
    mine = {name: claim for name, claim in registered().items() if name not in rb.claims}
    assert list(mine) == ["tall-rank", "tall-rank-certified"]
    for claim in mine.values():
        assert claim.statement.startswith("A matrix of n rows")  # step 1
        assert claim.source.key == "rankbound"
        row = run_claim(claim, "quick", 0)  # steps 2 and 3
        assert row.ok, row.reason
        assert row.instances == 3
        plain = [one.measured for one in claim.check(claim.trial("quick", 0))]
        changed = set()
        for mutant in claim.mutants:  # step 4: each is caught, one by what it measures
            assert not run_claim(claim, "quick", 0, mutant.formulas).ok, mutant.name
            wrong = [
                one.measured for one in claim.check(claim.trial("quick", 0), **mutant.formulas)
            ]
            changed.add(wrong != plain)
        assert changed == {False, True}
    (command, *_) = re.findall(r"`rankbound ([^`]+)`", STEPS["5"])
    for name in mine:  # step 5
        words = command.replace("YOUR-CLAIM", name).split()
        done = rankbound(folder, *words)
        assert done.returncode == 0, done.stdout
        assert "1 of 1 claims as registered (level full, seed 0)." in done.stdout
        assert done.stderr == ""


def test_where_a_claim_comes_from_and_its_certificates(folder: Path) -> None:
    install(folder, "acme", MODULE, points(TOML))
    listed = rankbound(folder, "claims", "tall-*", "softmax-gauge").stdout
    assert listed.count("registered by acme 0.1") == 2
    assert set(rankbound(folder, "claims", "-q").stdout.split()) == {
        *rb.claims,
        "tall-rank",
        "tall-rank-certified",
    }
    out = folder / "out"
    done = rankbound(folder, "verify", "tall-rank-*", "--jobs", "2", "--certificates", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    files = sorted(out.glob("tall-rank-certified-*.json"))
    assert files
    outcomes = [rb.check(file) for file in files]
    assert all(outcome.accepted for outcome in outcomes)
    assert {json.loads(file.read_text())["claim"] for file in files} == {None}


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("raise SystemExit('stop')", "SystemExit: stop"),
        ("", "AttributeError"),
        ("CLAIMS = 3", "InputTypeError: acme_claims:CLAIMS is 3; expected the claims of a package"),
        ("CLAIMS = ['theorem-a']", "InputTypeError: 'theorem-a' is not a Claim; expected what"),
        (f"{MODULE}CLAIMS = (claim, claim)", "InputError: claim ids ['tall-rank'] are repeated"),
        (
            "import rankbound\nCLAIMS = [rankbound.claims['theorem-a']]",
            "InputError: the id theorem-a is that of a claim of rankbound; expected another",
        ),
    ],
)
def test_a_broken_package_takes_no_other_down(code: str, said: str, folder: Path) -> None:
    install(folder, "acme", code, points(TOML))
    fine = MODULE.replace("tall-rank", "other-rank")
    install(folder, "fine", fine, points(TOML).replace("acme", "fine"))
    with pytest.warns(UserWarning, match="the claims acme_claims:CLAIMS of acme 0.1 are") as told:
        found = registered()
    (message,) = (str(one.message) for one in told)
    assert said in message
    assert message.endswith("Mend or uninstall acme 0.1.")
    assert set(found) - set(rb.claims) == {"other-rank", "other-rank-certified"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # once is enough
        registered()


def test_two_packages_with_one_id(folder: Path) -> None:
    for name in ("beta", "acme"):
        install(folder, name, MODULE, points(TOML).replace("acme", name))
    with pytest.warns(UserWarning, match="of beta 0.1 are left out.*claim of acme 0.1"):
        assert {package for _, package in outside().values()} == {"acme 0.1"}


def test_the_command_line_warns_in_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)
    install(folder, "acme", "import nowhere_at_all", points(TOML))
    done = rankbound(folder, "claims", "soft*")
    assert done.returncode == 0
    assert "softmax-gauge" in done.stdout
    assert done.stderr.startswith("rankbound: warning: the claims acme_claims:CLAIMS of acme 0.1")
    assert done.stderr.count("\n") == 1
    assert rankbound(folder, "verify", "softmax-gauge").stderr == ""  # nothing of it is loaded


def _of_rank_one() -> Certificate:
    certificate = rb.exact_rank([[1, 2], [2, 4]]).certify().certificate
    assert certificate
    return certificate


def instances(*given: Instance) -> Claim:
    return make_claim(
        "some-claim",
        "A statement.",
        lambda trial: iter(given),
        Mutant("none", {}),
        source=Source("rankbound", "a test"),
        hypotheses=(),
    )


@pytest.mark.parametrize(
    ("instance", "said"),
    [
        (Instance("n = 2", 1, 1, Verdict.CERTIFIED), "its check gives no certificates"),
        (Instance("n = 2", 1, 1, Verdict.SUPPORTED), "its check calls it supported"),
        (
            Instance("n = 2", 7, 7, Verdict.CERTIFIED, certificates=(_of_rank_one,)),
            "its certificates do not speak of what was measured",
        ),
    ],
)
def test_why_a_claim_is_not_certified(
    instance: Instance,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from rankbound.cli.main import main
    from rankbound.registry import catalogue

    claim = instances(instance)
    row = run_claim(claim, "quick", 0)
    assert row.evidence is Verdict.SUPPORTED
    assert row.reason.startswith(f"n = 2 is not certified: {said}. Pass certificates")
    if instance.certificates:
        return
    monkeypatch.setattr(catalogue, "claims", MappingProxyType({claim.id: claim}))
    assert main(["verify", "some-claim"]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert f"supported, registered as certified. n = 2 is not certified: {said}" in shown


def test_a_new_claim_of_this_repository_is_told_to_the_checker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Until then its certificates are rejected, and the reason says how."""
    from rankbound.registry import catalogue

    claim = instances(Instance("n", 1, 1, Verdict.CERTIFIED, certificates=(_of_rank_one,)))
    assert run_claim(claim, "quick", 0).ok
    monkeypatch.setattr(catalogue, "claims", MappingProxyType({claim.id: claim}))
    reason = run_claim(claim, "quick", 0).reason
    assert "the claim 'some-claim' is not in the registry." in reason
    assert reason.endswith("After a change of the registry run `make claims`.")


@pytest.mark.parametrize("name", ["", "A", "a b", "../a", "a_b", "-a", "a-", "a--b", "é"])
def test_an_id_is_a_name(name: str) -> None:
    """It is typed at the command line, matched by patterns, and the name of files."""
    from dataclasses import replace

    with pytest.raises(rb.InputError, match="of a claim is no name; expected lower-case words"):
        replace(instances(), id=name)


def test_nothing_is_outside_by_itself() -> None:
    outside.cache_clear()
    assert module.GROUP == "rankbound.claims"
    assert not outside()
