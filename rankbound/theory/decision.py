"""Which theorem answers: A, B or C, by tokens and mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from rankbound._validate import Array
from rankbound.attention.masks import Mask
from rankbound.errors import InputError, Undecided
from rankbound.ranks.bounds import RankBounds
from rankbound.theory.completion import complete, complete_anyhow, read_masked
from rankbound.theory.logs import Logs, read_logs
from rankbound.theory.reach import Reach
from rankbound.theory.tokens import Tokens, reach, read_tokens
from rankbound.verdict import Verdict

__all__ = ["decide"]


def decide(
    P: Any,
    X: Any,
    mask: Any,
    logits: Any,
    rtol: float | None,
    stored: npt.DTypeLike | None,
    rows: bool,
) -> tuple[Reach, Tokens | None, Array, Mask | None]:
    """The answer, the tokens, the logits that were given, and the mask in columns of queries."""
    if mask is not None and not _hides_nothing(mask, logits if P is None else P):
        if rtol is not None:
            raise InputError(
                "rtol and mask are not taken together: under a mask rows are compared with spans, "
                "and no singular value is counted."
            )
        return _decide_masked(P, X, mask, logits, stored, rows)
    logs = read_logs(P, logits, stored=stored, rows=rows)
    tokens = None if X is None else read_tokens(X, logs.n)
    if tokens is not None and tokens.rank < logs.n:
        _refuse_underflow(logs, rtol)
        return reach(logs, tokens, rtol), tokens, logs.scaled, None
    tolerance = 0.0 if logs.exact is not None else float(logs.tolerance)
    answer = Reach(int(logs.rank(rtol)), logs.scaled, logs.exponent, tolerance)
    _refuse_underflow(logs, rtol)
    return answer, tokens, logs.scaled, None


def _hides_nothing(mask: Any, data: Any) -> bool:
    """Whether this is the full mask of the matrix, under which Theorems A and B decide."""
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or not mask.all():
        return False
    return bool(mask.shape == np.shape(data))


def _refuse_underflow(logs: Logs, rtol: float | None) -> None:
    if logs.underflowed and rtol is None:
        remedy = "pass logits=, or rtol= to count singular values as they are"
        raise _underflow(int(logs.rank()), logs.n, remedy)


def _underflow(least: int, n: int, remedy: str) -> Undecided:
    return Undecided(
        "entries of P are so near the smallest positive number of its dtype that their logarithms "
        f"are unknown; the log-rank is at least about {least}. To decide, {remedy}.",
        bounds=RankBounds(least, n - 1, Verdict.SUPPORTED, "what is above rounding; the shape"),
        remedy=remedy,
    )


def _decide_masked(
    P: Any, X: Any, mask: Any, logits: Any, stored: npt.DTypeLike | None, rows: bool
) -> tuple[Reach, Tokens | None, Array, Mask | None]:
    if (P is None) == (logits is None):
        read_logs(P, logits)  # says what is missing, or too much
    logs = read_masked(P, logits, mask, stored=stored, rows=rows)
    n = len(logs.mask)
    tokens = None if X is None else read_tokens(X, n)
    answer = complete(logs)
    if answer is None:
        answer, known = complete_anyhow(logs)
    else:
        known = RankBounds(int(answer.least), n - 1, Verdict.SUPPORTED, "Theorem C; the shape")
    if logs.underflowed:
        raise _underflow(min(int(answer.least), int(known.lower)), n, "pass logits=")
    if tokens is not None and tokens.rank < n:
        raise Undecided(
            f"X has rank {tokens.rank} < n = {n} and there is a mask; with both, a head needs at "
            f"least size {known.lower}, and whether any has P is not decided here. "
            "Without the mask, or with X of full column rank, it is.",
            bounds=RankBounds(
                known.lower,
                n - 1,
                Verdict.SUPPORTED,
                "lower: Theorem C; upper: the shape, if any head has P",
            ),
            remedy="no mask, or tokens of full column rank",
        )
    if answer.least > known.lower:
        raise Undecided(
            f"the mask is not nested, and the least head size lies in [{known.lower}, "
            f"{known.upper}] ({known.method}).",
            bounds=known,
            remedy="a nested mask (rb.is_nested)",
        )
    return answer, tokens, logs.values, logs.mask
