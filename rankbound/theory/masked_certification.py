"""The masked log-rank with both sides proved (Theorem C over the rationals)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from rankbound.attention.masks import Mask
from rankbound.certificates.matrices import Matrix
from rankbound.certificates.model import MaskedWitness
from rankbound.certificates.statements import MaskedLogRank
from rankbound.exact.completion import ExactCompletion, extend_exactly
from rankbound.exact.rational import is_exact, rational_matrix
from rankbound.ranks.bounds import RankBounds
from rankbound.theory.completion import MaskedLogs, complete_anyhow, essential, read_masked
from rankbound.verdict import Verdict

__all__ = ["masked_bounds"]

Rational = list[list[Fraction]]


def masked_bounds(P: Any, logits: Any, mask: Any, rows: bool) -> RankBounds:
    """Bounds of the masked log-rank: rigorous for logits under a nested mask, else supported."""
    if logits is not None and not is_exact(logits):
        shown = np.where(np.asarray(mask), np.asarray(logits, dtype=np.float64), 0.0)
        logits = rational_matrix("logits", shown, floats=True)[0]
    logs = read_masked(P, logits, mask, stored=None, rows=rows)
    keys, queries = essential(logs.mask)
    visible = logs.mask[np.ix_(keys, queries)]
    nested = not len(queries) or bool(visible[0].all() and (visible[:-1] >= visible[1:]).all())
    if logs.exact is None or not nested:
        return complete_anyhow(logs)[1]
    return _exact(logs, logs.exact, keys.tolist(), queries.tolist())


def _exact(logs: MaskedLogs, exact: Rational, keys: list[int], queries: list[int]) -> RankBounds:
    if queries:
        table = [[exact[i][j] for j in queries] for i in keys]
        found = extend_exactly(table, logs.mask[np.ix_(keys, queries)].tolist())
    else:
        found = ExactCompletion([], [], [], [])
    least = len(found.new)

    def prove(_: tuple[int, ...]) -> tuple[MaskedWitness]:
        n = len(exact)
        statement = MaskedLogRank(Matrix.of_rationals(exact), _mask_matrix(logs.mask), least, least)
        rows = tuple(keys[i] for i in found.new)
        directions = [[Fraction(0)] * least for _ in range(n)]
        head_keys = [[Fraction(0)] * n for _ in range(least)]
        head_queries = [[Fraction(0)] * n for _ in range(least)]
        for t in range(least):
            for j, query in enumerate(queries):
                directions[query][t] = found.witnesses[t][j]
                head_queries[t][query] = found.basis[t][j]
            for i, key in enumerate(keys):
                head_keys[t][key] = found.coefficients[i][t]
        witness = MaskedWitness(
            statement,
            rows,
            keys[0] if keys else 0,
            Matrix.of_rationals(directions, columns=least),
            Matrix.of_rationals(head_keys, columns=n),
            Matrix.of_rationals(head_queries, columns=n),
        )
        return (witness,)

    method = "lower: new rows with triangular witnesses; upper: an exact completion"
    return RankBounds(least, least, Verdict.RIGOROUS, method, prove)


def _mask_matrix(mask: Mask) -> Matrix:
    return Matrix.of_integers(mask.astype(int).tolist())
