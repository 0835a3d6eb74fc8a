"""Run the checks of claims and report what they show."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rankbound._validate import check_int
from rankbound.errors import InputError, InputTypeError
from rankbound.registry.claim import LEVELS, Claim, Instance, Trial
from rankbound.registry.writing import prove
from rankbound.verdict import Verdict

__all__ = ["Report", "Row", "run", "verify"]


@dataclass(frozen=True, eq=False)
class Row:
    """What verification showed of one claim.

    Attributes
    ----------
    id, statement, source : str
        Of the claim.
    registered, evidence : Verdict
        The evidence it is registered with, and the evidence reached.
    instances : int
        How many cases were tried.
    residual, tolerance : float
        By how much the relation failed in the worst case (the one with the largest ratio of the
        two), and by how much it may fail there.
    worst : str
        Which case that was; for a refuted claim, the witness.
    reason : str
        What stopped the check, or which certificate was not built or was rejected, and why.
    certificates : int
        How many certificates were built and accepted by the checker.
    """

    id: str
    statement: str
    source: str
    registered: Verdict
    evidence: Verdict
    instances: int
    residual: float
    tolerance: float
    worst: str
    reason: str = ""
    certificates: int = 0

    @property
    def ok(self) -> bool:
        """Whether the evidence is as registered."""
        return self.evidence is self.registered

    def as_dict(self) -> dict[str, Any]:
        """Return plain data; an infinite residual becomes "inf", as JSON has no number for it."""
        verdicts = {"registered": self.registered.value, "evidence": self.evidence.value}
        residual = self.residual if math.isfinite(self.residual) else str(self.residual)
        return {**self.__dict__, **verdicts, "residual": residual, "ok": self.ok}


@dataclass(frozen=True, eq=False)
class Report:
    """The rows of a verification, with what reproduces it.

    Attributes
    ----------
    rows : tuple of Row
        In the order of the claims.
    level : str
        "quick" or "full".
    seed : int
        From which every instance is drawn.
    """

    rows: tuple[Row, ...]
    level: str
    seed: int

    @property
    def ok(self) -> bool:
        """Whether every claim is as registered."""
        return all(row.ok for row in self.rows)

    def to_json(self) -> str:
        """Return the report as JSON; the same bytes for any number of jobs."""
        data = {"ok": self.ok, "level": self.level, "seed": self.seed}
        rows = [row.as_dict() for row in self.rows]
        return json.dumps({**data, "claims": rows}, indent=2, ensure_ascii=False)

    def to_markdown(self) -> str:
        """Return the report as a Markdown table."""
        lines = ["| claim | evidence | instances | residual | source |", "|---|---|---|---|---|"]
        for row in self.rows:
            mark = row.evidence.value if row.ok else f"**{row.evidence} (not {row.registered})**"
            lines.append(
                f"| {row.id} | {mark} | {row.instances} | {row.residual:.1e} | {row.source} |"
            )
        return "\n".join(lines) + "\n"

    def _repr_markdown_(self) -> str:
        return self.to_markdown()


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
        All registered claims unless given.
    level : {"quick", "full"}
        How many instances to try.
    seed : int
        Each claim draws from its own stream, ``SeedSequence([seed, hash of its id])``.
    jobs : int
        Worker processes. Any number gives the same report.
    certificates : path, optional
        A folder to write the certificates of all instances to, one JSON file each; it is then the
        files that are checked.

    Returns
    -------
    Report

    Raises
    ------
    InputError, InputTypeError
        If a claim or level is unknown.

    Examples
    --------
    >>> import rankbound as rb
    >>> rb.verify("softmax-gauge").rows[0].evidence
    <Verdict.PROVED: 'proved'>
    """
    chosen = select(claims)
    rows = tuple(run(chosen, level, seed, jobs, certificates))
    return Report(rows, level, int(seed))


def select(claims: Mapping[str, Claim] | Iterable[Claim | str] | str | None) -> list[Claim]:
    """Return the claims meant: all, by id, or as given."""
    from rankbound.registry.catalogue import claims as registered

    if claims is None:
        return list(registered.values())
    if isinstance(claims, str):
        claims = [claims]
    if isinstance(claims, Mapping):
        claims = list(claims.values())
    if not isinstance(claims, Iterable):
        raise InputTypeError(f"claims is {claims!r}; expected ids, claims or a mapping of them.")
    chosen = []
    for claim in claims:
        if isinstance(claim, Claim):
            chosen.append(claim)
        elif not isinstance(claim, str):
            raise InputTypeError(f"{claim!r} is no claim; expected a Claim or the id of one.")
        elif claim in registered:
            chosen.append(registered[claim])
        else:
            raise InputError(
                f"no claim {claim!r}; expected one of {', '.join(registered)} "
                "(`rankbound claims` lists them)."
            )
    return chosen


def run(
    claims: list[Claim], level: str, seed: int, jobs: int, certificates: str | Path | None = None
) -> Iterator[Row]:
    """Yield one row per claim, in order, as each is done."""
    if level not in LEVELS:
        raise InputError(f"level is {level!r}; expected one of {', '.join(LEVELS)}.")
    seed = check_int("seed", seed, least=0)
    jobs = check_int("jobs", jobs, least=1)
    folder = None if certificates is None else Path(certificates)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    if jobs == 1 or len(claims) < 2:
        return (run_claim(claim, level, seed, folder=folder) for claim in claims)
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=jobs, return_as="generator")
    rows: Iterator[Row] = parallel(
        delayed(run_claim)(claim, level, seed, folder=folder) for claim in claims
    )
    return rows


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
