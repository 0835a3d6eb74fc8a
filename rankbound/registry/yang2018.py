"""The softmax gauge (Yang, Dai, Salakhutdinov & Cohen 2018) and the centring that removes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from rankbound.registry.claim import Instance, Mutant, Relation, Source, Trial, make_claim
from rankbound.verdict import Verdict


def check_gauge(
    trial: Trial, *, softmax: Callable[..., Any] = lambda exp, column, row: exp / column
) -> Iterator[Instance]:
    """Both directions for one entry and two entries of a column: n is arbitrary.

    An entry of P is `softmax` of the exponential of a logit and the sums of its column and row.
    """
    import sympy

    def entry(logit: Any, column: Any, row: Any) -> Any:
        return softmax(sympy.exp(logit), column, row)

    x, y, c = sympy.symbols("x y c", real=True)
    column, row = sympy.symbols("Z R", positive=True)
    shifted = entry(x + c, column * sympy.exp(c), row + (sympy.exp(c) - 1) * sympy.exp(x))
    same = sympy.simplify(shifted - entry(x, column, row)) == 0
    yield Instance("a constant added to a column leaves P alone", same, True, Verdict.PROVED)
    ratio = sympy.log(entry(x, column, row)) - sympy.log(entry(y, column, row))
    known = sympy.simplify(sympy.expand_log(ratio, force=True) - (x - y)) == 0
    yield Instance("P determines differences within a column", known, True, Verdict.PROVED)


def check_centring(
    trial: Trial, *, mean: Callable[[Any, Any], Any] = lambda ones, n: ones / n
) -> Iterator[Instance]:
    """C = I - 11^T/n is idempotent with trace n - 1, so its rank is n - 1, for every n."""
    import sympy

    n = sympy.Symbol("n", integer=True, positive=True)
    ones = sympy.OneMatrix(n, n)
    C = sympy.Identity(n) - mean(ones, n)
    # C = I - w 11^T, so C² = I - (2 w - w² n) 11^T by 11^T 11^T = n 11^T
    w, rest = (sympy.Identity(n) - C).doit().as_coeff_mmul()
    square = (ones * ones).doit() == n * ones and rest.doit() == ones
    idempotent = square and sympy.simplify(2 * w - w**2 * n - w) == 0
    yield Instance("C C = C, every n", idempotent, True, Verdict.PROVED)
    trace = sympy.simplify(sympy.Trace(C).doit() - (n - 1)) == 0
    yield Instance("trace C = n - 1, every n", trace, True, Verdict.PROVED)


CLAIMS = (
    make_claim(
        "softmax-gauge",
        "softmax(L) = softmax(L') iff L - L' = 1 c^T for some c.",
        check_gauge,
        Mutant("softmax over queries", {"softmax": lambda exp, column, row: exp / row}),
        Mutant("no normalisation", {"softmax": lambda exp, column, row: exp}),
        source=Source("yang2018", "Property 1", "there for softmax over rows; in our words"),
        hypotheses=("real logits, softmax over keys, every n",),
        relation=Relation.IFF,
        status=Verdict.PROVED,
    ),
    make_claim(
        "centring-rank",
        "C = I - 11^T/n has rank n - 1, so logrank(P) <= n - 1, for every n.",
        check_centring,
        Mutant("divides by n - 1", {"mean": lambda ones, n: ones / (n - 1)}),
        Mutant("forgets the mean", {"mean": lambda ones, n: 0 * ones}),
        Mutant("scales instead", {"mean": lambda ones, n: ones**0 / n}),
        source=Source("rankbound", "Lemma 1, definition", "derived here"),
        hypotheses=("n >= 1",),
        relation=Relation.EQ,
        status=Verdict.PROVED,
    ),
)
