"""Run the checks of claims, build and check their certificates, and report what they show."""

from __future__ import annotations

import fnmatch
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from rankbound._validate import check_int, check_word, path_given, shown
from rankbound.certificates.certificates import Certificate
from rankbound.certificates.checker import check
from rankbound.errors import InputError, InputTypeError, Undecided, did_you_mean
from rankbound.records import Record, parsed, plain, restored
from rankbound.registry.claim import LEVELS, Claim, Instance, Trial
from rankbound.registry.machine_checked import standing
from rankbound.table import Column, Table
from rankbound.verdict import STYLES, Verdict

# claims that take more than half a second at the quick level, the longest first: where several
# processes work they are begun first, so that none is left alone with one at the end
LONG = (
    "log-rank-pretrained",
    "kl-lower-bound",
    "logit-rank-pretrained",
    "price-of-scale",
    "price-of-scale-volume",
    "b20-theorem1-first-pretrained",
    "kl-bracket-soft",
    "variant-query-bias",
    "variant-key-bias",
    "sharp-almost-every",
    "softmax-gauge",
)
MANY = 16  # claims, for which workers are started unless said otherwise


@dataclass(frozen=True, eq=False, repr=False)
class Row(Record):
    """What verification showed of one claim; the worst case has the largest residual/tolerance."""

    id: str
    statement: str
    source: str
    registered: Verdict
    evidence: Verdict  # that was reached
    instances: int  # how many cases were tried
    residual: float  # by how much the relation failed in the worst case
    tolerance: float  # by how much it may fail there
    worst: str  # which case that was; for a refuted claim, the witness
    reason: str = ""  # what stopped the check, or what is wrong with which certificate
    certificates: int = 0  # how many were built and accepted by the checker
    theorem: str = ""  # of proofs/, that the claim names
    machine_checked: str = ""  # whether that is machine-checked, and all of the claim

    @property
    def ok(self) -> bool:
        """Whether the evidence is as registered."""
        return self.evidence is self.registered

    def as_dict(self) -> dict[str, Any]:
        """Return plain data; an infinite residual becomes "inf", as JSON has no number for it."""
        return {**plain(self), "ok": self.ok}


@dataclass(frozen=True, eq=False, repr=False)
class Report(Record):
    """The rows of a verification, in the order of the claims, with what reproduces it.

    Examples
    --------
    >>> import rankbound as rb
    >>> report = rb.verify(["softmax-gauge", "folklore-context-rank"])
    >>> report.ok, [row.evidence.value for row in report.rows]
    (True, ['proved', 'refuted'])
    """

    rows: tuple[Row, ...]  # one per claim
    level: str  # quick or full
    seed: int  # of every claim's own stream

    @property
    def ok(self) -> bool:
        """Whether every claim is as registered."""
        return all(row.ok for row in self.rows)

    def to_json(self) -> str:
        """Return the report as JSON; the same bytes for any number of jobs."""
        data = {"ok": self.ok, "level": self.level, "seed": self.seed}
        rows = [row.as_dict() for row in self.rows]
        return json.dumps({**data, "claims": rows}, indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the report that :meth:`to_json` wrote."""
        data = parsed(text)
        if not isinstance(data, dict) or "claims" not in data:
            raise InputError("text is no report; expected the JSON that Report.to_json() wrote.")
        rows, seed = restored(tuple[Row, ...], data["claims"], "claims"), data.get("seed")
        return cls(rows, restored(str, data.get("level"), "level"), restored(int, seed, "seed"))

    def table(self) -> Table:
        """Return one row per claim."""
        styles = {word.value: style for word, style in STYLES.items()}
        evidence = Column("evidence", style=lambda words: styles.get(words, "bold red"))
        residual, tolerance = Column("residual", format=_size), Column("tolerance", format=_size)
        return Table(
            ["claim", evidence, "machine-checked", "instances", residual, tolerance, "source"],
            [
                (
                    row.id,
                    f"{row.evidence}" if row.ok else f"{row.evidence} not {row.registered}",
                    _in_coq(row.theorem, row.machine_checked),
                    *(row.instances, row.residual, row.tolerance, row.source),
                )
                for row in self.rows
            ],
        )

    def plot(self, ax: Any = None) -> Any:
        """Draw the evidence that each claim reached, hollow where it is not as registered.

        Examples
        --------
        >>> import rankbound as rb
        >>> axes = rb.verify(["softmax-gauge", "centring-rank"]).plot()
        """
        from rankbound.canvas import BLUE, RED, dress, label, panel

        words = [str(word) for word in Verdict]
        names = [row.id for row in reversed(self.rows)]
        said = f"{sum(row.ok for row in self.rows)} of {len(self.rows)} as registered"
        with panel(ax, (6.75, 0.6 + 0.16 * max(len(self.rows), 1))) as axes:
            for height, row in enumerate(reversed(self.rows)):
                colour = BLUE if row.ok else RED
                face = colour if row.ok else "none"
                at = words.index(str(row.evidence))
                axes.plot(at, height, "o", color=colour, mfc=face, gid=row.id)
            axes.set_yticks(range(len(names)), names)
            axes.set_xticks(range(len(words)), words)
            axes.set_xlim(-0.5, len(words) - 0.5)
            label(axes, title=said)
            dress(axes)
            axes.grid(axis="both", lw=0.3)
        return axes


def _size(number: float) -> str:
    return f"{number:.1e}" if number else "0"


def _in_coq(theorem: str, word: str) -> str | None:
    """A theorem in a column headed "machine-checked"."""
    marks = {"machine-checked": theorem, "machine-checked in part": f"{theorem}, in part"}
    return marks.get(word, f"not {theorem}") if theorem else None


def verify(
    claims: Mapping[str, Claim] | Iterable[Claim | str] | str | None = None,
    level: str = "quick",
    seed: int = 0,
    jobs: int = 1,
    certificates: str | Path | None = None,
) -> Report:
    """Check claims and report the evidence reached for each.

    The certificates of what is called certified are always built and checked; one that cannot be
    built or is rejected leaves its claim undecided, and the row's reason says why.

    Parameters
    ----------
    claims : mapping, iterable of Claim or id, or one id, optional
        All registered claims unless given, those of other packages too. An id may be a pattern,
        ``theorem-*``.
    level : {"quick", "full"}
        How many instances to try.
    seed : int
        Each claim draws from its own stream, ``SeedSequence([seed, hash of its id])``.
    jobs : int
        Worker processes. Any number gives the same report.
    certificates : path, optional
        A folder to write the certificates of all instances to, one JSON file each; it is then the
        files that are checked.

    Examples
    --------
    >>> import rankbound as rb
    >>> rb.verify("softmax-gauge").rows[0].evidence
    <Verdict.PROVED: 'proved'>
    """
    rows = tuple(run(select(claims), level, seed, jobs, certificates))
    return Report(rows, level, int(seed))


def select(claims: Mapping[str, Claim] | Iterable[Claim | str] | str | None) -> list[Claim]:
    """Return the claims meant: all, by id, or as given."""
    from rankbound.registry import catalogue
    from rankbound.registry.outside import registered

    if claims is None:
        return list(registered().values())
    if isinstance(claims, str):
        claims = [claims]
    if isinstance(claims, Mapping):
        claims = list(claims.values())
    try:
        given = list(claims)
    except Exception:  # what is no iterable, or a foreign one that raises
        raise InputTypeError(
            f"claims is {shown(claims)}; expected ids, claims or a mapping of them."
        ) from None
    chosen: list[Claim] = []
    for claim in given:
        if isinstance(claim, Claim):
            chosen.append(claim)
        elif not isinstance(claim, str):
            raise InputTypeError(f"claims holds {shown(claim)}; expected Claims or ids of some.")
        elif claim in catalogue.claims:
            chosen.append(catalogue.claims[claim])
        else:
            chosen += _matching(claim, registered())
    return list(dict.fromkeys(chosen))


def _matching(pattern: str, known: Mapping[str, Claim]) -> list[Claim]:
    """The claims whose id this is or, of a pattern such as ``theorem-*``, whose ids match."""
    is_pattern = bool(set(pattern) & set("*?["))
    names = fnmatch.filter(known, pattern) if is_pattern else [pattern] if pattern in known else []
    if not names:
        what = "a pattern that matches ids" if is_pattern else "ids"
        raise InputError(
            f"claims holds {shown(pattern)}; expected {what} of registered claims."
            f"{did_you_mean(pattern, known)} `rankbound claims` lists them."
        )
    return [known[name] for name in names]


def _folder(certificates: str | Path | None) -> Path | None:
    """The folder for certificates, made if it is not there."""
    if certificates is None:
        return None
    if not isinstance(certificates, str | os.PathLike):
        raise InputTypeError(
            f"certificates is {shown(certificates)}; expected the path of a folder, or None."
        )
    folder = path_given("certificates", certificates)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise InputError(
            f"certificates is {shown(str(folder))}; expected a folder that can be made and "
            f"written: {getattr(error, 'strerror', None) or error}."
        ) from None
    return folder


def run(
    claims: list[Claim], level: str, seed: int, jobs: int, certificates: str | Path | None = None
) -> Iterator[Row]:
    """Yield one row per claim, in order, as each is done."""
    level = check_word("level", level, LEVELS)
    seed = check_int("seed", seed, least=0)
    jobs = min(check_int("jobs", jobs, least=1), max(len(claims), 1))
    folder = _folder(certificates)
    if jobs == 1 or len(claims) < 2:
        return (run_claim(claim, level, seed, folder=folder) for claim in claims)
    return _in_parallel(claims, level, seed, jobs, folder)


def default_jobs(claims: list[Claim]) -> int:
    """As many as cores; one for so few claims that starting workers takes longer than it spares."""
    from joblib import cpu_count

    return cpu_count() if len(claims) >= MANY else 1


def _in_parallel(
    claims: list[Claim], level: str, seed: int, jobs: int, folder: Path | None
) -> Iterator[Row]:
    """The rows in the order of the claims, of which the long ones are begun first."""
    from joblib import Parallel, delayed

    from rankbound.registry.catalogue import claims as known

    rank = {id: place for place, id in enumerate(LONG)}
    order = sorted(range(len(claims)), key=lambda i: rank.get(claims[i].id, len(LONG)))
    # a worker has the claims of rankbound: their ids are sent, not their checks
    sent = {
        i: claim.id if known.get(claim.id) is claim else claim for i, claim in enumerate(claims)
    }
    parallel = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1)
    done: dict[int, Row] = {}
    rows = parallel(delayed(_numbered)(i, sent[i], level, seed, folder) for i in order)
    try:
        for i, row in rows:
            done[i] = row
            while (next_one := len(claims) - len(sent)) in done:
                del sent[next_one]
                yield done.pop(next_one)
    finally:
        rows.close()  # ends the workers now, not when the memory is collected


def _numbered(
    i: int, claim: Claim | str, level: str, seed: int, folder: Path | None
) -> tuple[int, Row]:
    """In a worker: the row of a claim, and its place."""
    if isinstance(claim, str):
        from rankbound.registry.catalogue import claims

        claim = claims[claim]
    return i, run_claim(claim, level, seed, folder=folder)


def run_claim(
    claim: Claim,
    level: str,
    seed: int,
    formulas: Mapping[str, Any] | None = None,
    folder: Path | None = None,
) -> Row:
    """Check one claim under one BLAS thread, with a mutant's formulas if given."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):  # the same bits for any number of workers
        instances, reason = _collect(claim, claim.trial(level, seed), formulas or {})
        if not reason:
            instances, reason = prove(None if formulas else claim.id, instances, folder)
    evidence = Verdict.UNDECIDED if reason else claim.judge(instances)
    if claim.status is Verdict.CERTIFIED and evidence is Verdict.SUPPORTED:
        reason = _uncertified(claim, instances)
    worst = max(instances, key=lambda i: _severity(claim, i), default=None)
    return Row(
        id=claim.id,
        statement=claim.statement,
        source=str(claim.source),
        registered=claim.status,
        evidence=evidence,
        instances=len(instances),
        residual=0.0 if worst is None else claim.residual(worst),
        tolerance=0.0 if worst is None else worst.tolerance,
        worst="" if worst is None else worst.label,
        reason=reason,
        certificates=sum(instance.accepted for instance in instances),
        theorem=claim.theorem,
        machine_checked=standing(claim),
    )


def _uncertified(claim: Claim, instances: list[Instance]) -> str:
    """Why a claim reaches less than certified: the first instance that earns less."""
    first = next(one for one in instances if claim.earned(one) is Verdict.SUPPORTED)
    said = f"its check calls it {first.evidence}"
    if first.evidence is Verdict.CERTIFIED:
        said = "its certificates do not speak of what was measured"
        said = said if first.certificates else "its check gives no certificates"
    return (
        f"{first.label} is not certified: {said}. Pass certificates that prove what was measured "
        "(compare_ranks does, of certified ranks), or register status=Verdict.SUPPORTED."
    )


def _collect(claim: Claim, trial: Trial, formulas: Mapping[str, Any]) -> tuple[list[Instance], str]:
    instances: list[Instance] = []
    try:
        instances.extend(claim.check(trial, **formulas))
    except Exception as error:
        # whatever stops a check, it shows nothing, and the other claims still run
        return instances, f"{type(error).__name__}: {error}"
    return instances, ""


def _severity(claim: Claim, instance: Instance) -> tuple[float, float]:
    residual = claim.residual(instance)
    if residual == 0.0:
        return 0.0, 0.0
    return (residual / instance.tolerance if instance.tolerance else float("inf")), residual


# certificates of a claim's instances: built, checked from their JSON, and written if asked


def prove(
    claim_id: str | None, instances: Iterable[Instance], folder: Path | None = None
) -> tuple[list[Instance], str]:
    """Build the certificates of the instances that are called certified, and check their JSON.

    They speak for the claim of this id; for none, as those of a mutant, where it is None, or where
    the claim is of another package: the checker knows those of rankbound alone. A folder
    receives one file per certificate, named after the claim and numbered, in place of those of an
    earlier run; it is then the file that is checked. Returns the instances with the certificates in
    place of what builds them, as far as they were accepted, and what is wrong with the first
    instance that keeps less than all of them.
    """
    if folder is not None:
        for stale in folder.glob(f"{claim_id}-[0-9]*.json"):
            stale.unlink()
    proved: list[Instance] = []
    reasons: list[str] = []
    for instance in instances:
        if instance.evidence is not Verdict.CERTIFIED:
            proved.append(instance)
            continue
        first = sum(one.accepted for one in proved)
        accepted, reason = _accepted(claim_id, instance, folder, first)
        reasons += [reason] if reason else []
        sources = instance.certificates if reason else tuple(accepted)
        proved.append(replace(instance, certificates=sources, accepted=len(accepted)))
    return proved, reasons[0] if reasons else ""


def _accepted(
    claim_id: str | None, instance: Instance, folder: Path | None, first: int
) -> tuple[list[Certificate], str]:
    """The certificates of an instance up to the first that fails, and why that one does."""
    from rankbound.registry.catalogue import claims

    accepted: list[Certificate] = []
    speaks_for = claim_id if claim_id in claims else None
    try:
        for certificate in built(instance):
            text = certificate.for_claim(speaks_for).to_json() + "\n"
            if folder is None:
                outcome = check(text)
            else:
                file = folder / f"{claim_id}-{first + len(accepted):04d}.json"
                file.write_text(text, encoding="ascii")
                outcome = check(file)
            if not outcome.accepted:
                which = f"certificate {len(accepted)} of {instance.label}"
                new = outcome.reason.startswith("the claim ")  # may not carry such statements
                remedy = " After a change of the registry run `make claims`." if new else ""
                return accepted, f"{which} was rejected: {outcome.reason}{remedy}"
            accepted.append(certificate)
    except Undecided as error:
        return accepted, f"not built: {instance.label}: {error}"
    except Exception as error:
        # whatever stops one certificate stops no other instance and no other claim
        return accepted, f"not built: {instance.label}: {type(error).__name__}: {error}"
    return accepted, ""


def built(instance: Instance) -> Iterator[Certificate]:
    """Yield the certificates of an instance, made where that is still to be done."""
    for source in instance.certificates:
        built = source if isinstance(source, Certificate) else source()
        if built is None:
            raise Undecided("no certificate was found")
        for certificate in built if isinstance(built, tuple) else (built,):
            if not isinstance(certificate, Certificate):
                raise InputTypeError(
                    f"{shown(certificate)} is no certificate; expected a Certificate"
                )
            yield certificate
