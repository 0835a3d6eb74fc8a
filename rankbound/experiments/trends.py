"""The trends: what the paper has, what the theory adds, and how runs decide, seed by seed.

Language models are compared each arm at its best learning rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rankbound.experiments.results import Arm, having, pick

REPRODUCED, PARTLY, NOT, NOT_TESTED = "reproduced", "partly", "not", "not tested"
SOLVED = 1e-3  # of the relative squared error: what training leaves of a layer that can be exact
CLIFF = 1e3  # a step of the KL divergence that no other head size makes
HAD = 1e-8  # of the KL divergence, in nats: far above what a fit that converged leaves, 1e-19
FAR = 100.0
TRAINED = {"farthest": 1500, "lookup": 1000}  # the least steps after which they say something

DEPTHS = 3  # layers after which residuals that fall doubly exponentially do so for certain
# Of language models.
TUNED = ("language", "head-size")
DECAY = 0.01  # of the arms that are compared; others are for the trained heads
LEAST_RATES = 3  # before one is called the best
LEAST_STEPS = 500
LEAST_SEEDS = 3


@dataclass(frozen=True)
class Check:
    """One comparison: what it says, with its numbers, and whether it holds, seed by seed."""

    says: str
    held: tuple[bool, ...]

    def __str__(self) -> str:
        held, seeds = sum(self.held), len(self.held)
        failing = "does not hold" if not held else f"holds for {held} of {seeds} seeds"
        return self.says if held == seeds else f"{self.says} ({failing})"


# from an experiment's arms to checks, the main one first; none where the arms do not suffice
Judge = Callable[[Sequence[Arm]], list[Check]]


@dataclass(frozen=True)
class Finding:
    """What the runs say of a trend.

    Its verdict is ``reproduced``: every check holds for every seed; ``partly``: not so, but the
    first holds for some seed; ``not``: it holds for none; ``not tested``: the runs are lacking.
    """

    trend: str
    experiment: str
    statement: str
    paper: str
    verdict: str
    checks: tuple[Check, ...]

    @property
    def evidence(self) -> str:
        """The checks in words, those that do not hold marked."""
        return "; ".join(map(str, self.checks))

    @property
    def seeds(self) -> int:
        """The fewest seeds that a check rests on."""
        return min((len(check.held) for check in self.checks), default=0)

    @property
    def words(self) -> str:
        """The verdict with its number of seeds."""
        if not self.seeds:
            return self.verdict
        return f"{self.verdict} ({self.seeds} seed{'s' if self.seeds > 1 else ''})"


@dataclass(frozen=True)
class Trend:
    """A trend of the paper, or of what it implies, that runs can show or not."""

    id: str
    experiment: str
    statement: str
    paper: str  # what the paper has, with its numbers, and where
    judge: Judge

    def finding(self, arms: Iterable[Arm]) -> Finding:
        """Judge the arms of this experiment."""
        mine = [arm for arm in arms if arm.experiment == self.experiment]
        checks = tuple(self.judge(mine))
        told = (self.id, self.experiment, self.statement, self.paper)
        return Finding(*told, _verdict(checks), checks)


def _verdict(checks: Sequence[Check]) -> str:
    if not checks or not all(check.held for check in checks):
        return NOT_TESTED
    if all(all(check.held) for check in checks):
        return REPRODUCED
    return PARTLY if any(checks[0].held) else NOT


def by_heads(arms: Iterable[Arm], **wanted: object) -> list[Arm]:
    """Return the arms with these attributes, by their number of heads."""
    return sorted(having(arms, **wanted), key=lambda arm: arm.heads)


def paired(says: str, first: Arm, second: Arm, holds: Callable[[float, float], bool]) -> Check:
    """Compare the values of two arms, for each seed that both have."""
    seeds = sorted(first.values.keys() & second.values.keys())
    return Check(says, tuple(holds(first.values[s], second.values[s]) for s in seeds))


def above(worse: Arm, better: Arm, factor: float = 1.0) -> Check:
    """Check that one arm's value is above another's, `factor` times or more, for every seed."""
    times = "" if factor == 1.0 else f"{factor:g} times "
    says = f"{worse.name}: {worse.range()}, {times}above {better.name}: {better.range()}"
    return paired(says, worse, better, lambda x, y: x > factor * y)


def rising(arms: Sequence[Arm], what: str = "") -> Check:
    """Check that values rise along the arms, named by their heads, for every seed."""
    what = what or f"{arms[0].kind}, {', '.join(str(arm.heads) for arm in arms)} heads"
    seeds = sorted(set.intersection(*(set(arm.values) for arm in arms)))
    along = ", ".join(arm.range() for arm in arms)
    return Check(
        f"{what}: {along}, rising",
        tuple(all(a.values[seed] < b.values[seed] for a, b in pairwise(arms)) for seed in seeds),
    )


def solved(arm: Arm, *, wanted: bool = True) -> Check:
    """Check that an arm's error is below 1e-3, or that it is not, for every seed."""
    side = "below" if wanted else "above"
    return Check(
        f"{arm.name}: {arm.range()}, {side} {SOLVED:g}",
        # not (value < SOLVED) == wanted: a diverged run, NaN, stays above nothing
        tuple(v < SOLVED if wanted else v >= SOLVED for v in arm.values.values()),
    )


def _tuned(judge: Judge) -> Judge:
    """Show the judge only arms whose learning rate was tuned and that were trained.

    Differences between arms are no larger than what a seed or the decay may make: fewer than three
    seeds reproduce nothing, and are said to be too few.
    """

    def judged(arms: Sequence[Arm]) -> list[Check]:
        trained = [arm for arm in having(arms, weight_decay=DECAY) if arm.steps >= LEAST_STEPS]
        checks = judge([arm for arm in trained if len(arm.rates) >= LEAST_RATES])
        seeds = min((len(check.held) for check in checks), default=LEAST_SEEDS)
        if seeds < LEAST_SEEDS:
            checks.append(Check(f"{LEAST_SEEDS} seeds or more", (False,) * seeds))
        return checks

    return judged


_FOUND: list[Trend] = []  # in the order of reports


def _trend(name: str, experiment: str, statement: str, paper: str) -> Callable[[Judge], Judge]:
    """Enter a trend, judged by the function below it."""

    def entered(judge: Judge) -> Judge:
        judged = _tuned(judge) if experiment in TUNED else judge
        _FOUND.append(Trend(name, experiment, statement, paper, judged))
        return judge

    return entered


@_trend(
    "context-cliff",
    "context",
    "A trained head has a dense context from head size n - 1 on, and from no smaller one.",
    "Theorem 1: head size >= n suffices, below it some P is out of reach. "
    "(Sharpened here: n - 1, and almost every P.)",
)
def _cliff(arms: Sequence[Arm]) -> list[Check]:
    checks, flat = [], []
    for n in sorted({arm.n for arm in arms}):
        before, under, at = (pick(arms, n=n, d_k=n - less) for less in (3, 2, 1))
        if before is None or under is None or at is None:
            continue
        checks.append(above(under, at, CLIFF))
        exact = tuple(value < HAD for value in at.values.values())
        flat.append(Check(f"{at.name}: {at.range()}, below {HAD:g}", exact))
        says = f"no such step from {n - 3} to {n - 2}: {before.range()} to {under.range()}"
        flat.append(paired(says, before, under, lambda x, y: x < CLIFF * y))
    return checks + flat


@_trend(
    "separation-fixed",
    "separation",
    "A layer of four full heads is learnt; standard ones of two heads or more do not learn it.",
    "Theorem 2: one layer of fixed head size differs from every standard layer whose heads are "
    "smaller.",
)
def _separation(arms: Sequence[Arm]) -> list[Check]:
    fixed = pick(arms, kind="fixed", heads=4, d_k=16)
    standard = [arm for arm in by_heads(arms, kind="standard") if arm.heads > 1]
    if fixed is None or len(standard) < 2:
        return []
    return [solved(fixed), *(solved(arm, wanted=False) for arm in standard), rising(standard)]


@_trend(
    "separation-queries",
    "separation",
    "At equal parameters the size of queries and keys is what matters, not that of values.",
    "Section 2.3: the bottleneck is that of W_q and W_k; no experiment.",
)
def _values_do_not_help(arms: Sequence[Arm]) -> list[Check]:
    queries = pick(arms, kind="sizes", heads=4, d_k=16, d_v=4)
    values = pick(arms, kind="sizes", heads=4, d_k=4, d_v=16)
    if queries is None or values is None:
        return []
    return [above(values, queries, FAR), solved(queries), solved(values, wanted=False)]


@_trend(
    "distinct-fixed",
    "separation-distinct",
    "Four heads with maps of their own take four of full size: two, or standard ones, fail.",
    "Not in the paper: the layer of Theorem 2 has one map for all heads.",
)
def _distinct(arms: Sequence[Arm]) -> list[Check]:
    four, two = (pick(arms, kind="fixed", heads=h, d_k=16) for h in (4, 2))
    standard = by_heads(arms, kind="standard")
    if four is None or two is None or len(standard) < 2:
        return []
    return [solved(four), *(solved(arm, wanted=False) for arm in (*standard, two))]


@_trend(
    "mixing-heads",
    "mixing",
    "At fixed d, standard heads help and then hurt: a U over their number.",
    "Table 1, d = 1024, n = 128, 8, 16, 32 heads: SQuAD F1 90.89±.15, 90.61±.14, 90.45±.08; "
    "MNLI 85.0, 84.5, 84.4.",
)
@_trend(
    "distinct-heads",
    "separation-distinct",
    "At fixed d, standard heads help and then hurt: a U over their number.",
    "Table 1, d = 1024, n = 128, 8, 16, 32 heads: SQuAD F1 90.89±.15, 90.61±.14, 90.45±.08.",
)
def _bend(arms: Sequence[Arm]) -> list[Check]:
    """A U over standard heads."""
    standard = by_heads(arms, kind="standard", d=min((arm.d for arm in arms), default=0))
    if len(standard) < 3:
        return []
    inner = standard[1:-1]  # the bottom of a U: at an end there is none
    best = min(inner, key=lambda arm: arm.middle)
    place = standard.index(best)
    sides = standard[place:], standard[place::-1]  # both away from the bottom
    return [above(standard[-1], best), *(rising(side) for side in sides)]


@_trend(
    "mixing-fixed",
    "mixing",
    "With a fixed head size more heads help, and never hurt.",
    "Table 2A, d = 512, d_p = 128, 8, 12, 16, 32 heads: F1 89.6, 90.25, 90.43, 90.95.",
)
def _fixed_never_hurts(arms: Sequence[Arm]) -> list[Check]:
    fixed = by_heads(arms, kind="fixed")
    needed = [arm for arm in fixed if arm.heads >= 4]
    few = [arm for arm in fixed if arm.heads <= 4]
    if len(needed) < 2 or len(few) < 2:  # not hurting and helping: both are claimed
        return []
    return [*(solved(arm) for arm in needed), rising(few[::-1])]


@_trend(
    "mixing-knee",
    "mixing",
    "Head sizes help up to n - 1, and no further.",
    "Theorem 1 puts the knee at head size n. (Sharpened here: n - 1.)",
)
def _knee(arms: Sequence[Arm]) -> list[Check]:
    """Of four heads with value size 8 the error falls until head size n - 1, then no more.

    At its own floor training still gains a little; the knee is where the gains fall.
    """
    sizes = sorted(having(arms, kind="sizes", heads=4, d_v=8), key=lambda arm: -arm.d_k)
    beyond = pick(arms, kind="standard", heads=4, d_k=8)
    if len(sizes) < 3 or beyond is None or sizes[0].d_k != sizes[0].n - 1:
        return []
    at = sizes[0]
    along = ", ".join(str(arm.d_k) for arm in sizes)
    return [rising(sizes, f"head size {along}"), _bends(sizes[1], at, beyond)]


def _bends(under: Arm, at: Arm, beyond: Arm) -> Check:
    """The last step below the knee gains more, as a factor, than the first beyond it."""
    gains = [
        (_factor(under.values[seed], at.values[seed]), _factor(at.values[seed], value))
        for seed, value in sorted(beyond.values.items())
        if seed in under.values and seed in at.values
    ]
    along = ", ".join(f"{last:.2g} and {first:.2g}" for last, first in gains)
    return Check(
        f"from {under.d_k} to {at.d_k} and to {beyond.d_k} (at {beyond.range()}) the error falls "
        f"by factors {along}, the first the greater",
        tuple(last > first for last, first in gains),
    )


def _factor(worse: float, better: float) -> float:
    return worse / better if better else math.inf


@_trend(
    "mixing-smaller-d",
    "mixing",
    "A smaller d with fixed heads does as well as a larger one with standard heads.",
    "Figure 3: fixed d_p = 32 with d = 256 beats standard d = 512 (plotted only).",
)
def _smaller_d(arms: Sequence[Arm]) -> list[Check]:
    checks = []
    for arm in by_heads(arms, kind="fixed", d=32):
        wide = pick(arms, kind="standard", d=64, heads=arm.heads)
        if wide is not None:
            says = f"{arm.name}: {arm.range()}, below {wide.name}: {wide.range()}"
            says = f"{says}, or both below {SOLVED:g}"
            checks.append(paired(says, arm, wide, lambda x, y: x < max(y, SOLVED)))
    return checks


@_trend(
    "farthest-size",
    "farthest",
    "Heads smaller than d miss the farthest point, also where their size is n - 1 or more.",
    "Not in the paper, whose condition is head size n: the logits here need rank d (Amsel et al.).",
)
def _farthest(arms: Sequence[Arm]) -> list[Check]:
    trained = [arm for arm in arms if arm.steps >= TRAINED["farthest"]]
    fixed = pick(trained, kind="fixed", heads=4, d_k=16)
    standard = by_heads(trained, kind="standard")
    small = [arm for arm in standard if arm.d_k < arm.d]
    if fixed is None or len(standard) < 3 or all(arm.d_k < arm.n - 1 for arm in small):
        return []
    return [rising(standard), *(above(a, fixed, 2.0) for a in small)]


@_trend(
    "lookup-control",
    "lookup",
    "One-hot routing needs no head size: two are enough.",
    "Negative control: the theorem is of dense contexts.",
)
def _lookup(arms: Sequence[Arm]) -> list[Check]:
    trained = [a for a in by_heads(arms, kind="standard") if a.steps >= TRAINED["lookup"]]
    if not trained or min(arm.d_k for arm in trained) > 2:
        return []
    return [
        Check(
            f"{arm.name}: accuracy {arm.low:.4f}, 0.99 or more",
            tuple(value >= 0.99 for value in arm.values.values()),
        )
        for arm in reversed(trained)
    ]


@_trend(
    "language-heads",
    "language",
    "At fixed d, too many standard heads hurt.",
    "Figure 1, LM1B, n = 256: standard d = 256 to 512 degrades beyond 16 heads (plotted only). "
    "Table 1: F1 90.89, 90.61, 90.45 for 8, 16, 32 heads.",
)
def _too_many(arms: Sequence[Arm]) -> list[Check]:
    standard = by_heads(arms, kind="standard", d=32)
    if len(standard) < 3:
        return []
    best = min(standard[:-1], key=lambda arm: arm.middle)
    beyond = standard[standard.index(best) :]
    return [above(standard[-1], best), rising(beyond)]


@_trend(
    "language-fixed",
    "language",
    "With a fixed head size more heads help, and never hurt.",
    "Table 3, d = 768, d_p = 128, 8, 12, 16, 20 heads: F1 90.35, 90.48, 90.92, 90.89. "
    "Figure 3: d_p = 32 improves from 4 to 70 heads.",
)
def _fixed_help(arms: Sequence[Arm]) -> list[Check]:
    fixed = by_heads(arms, kind="fixed")[::-1]
    return [] if len(fixed) < 2 else [rising(fixed)]


@_trend(
    "language-size",
    "language",
    "With a fixed number of heads bigger heads help.",
    "Table 2B, d = 512, 8 heads, d_p = 32, 64, 128, 256: F1 88.53, 89.51, 89.6, 90.33.",
)
def _bigger_heads(arms: Sequence[Arm]) -> list[Check]:
    small, large = (pick(arms, kind=kind, d=32, heads=8) for kind in ("standard", "fixed"))
    return [] if small is None or large is None else [above(small, large)]


@_trend(
    "language-matched",
    "language",
    "At equal parameters heads of fixed size beat standard heads.",
    "Section 4: the comparison with larger d at similar parameters, Figures 1 and 3.",
)
def _matched(arms: Sequence[Arm]) -> list[Check]:
    pairs = [(pick(arms, kind="matched", heads=a.heads), a) for a in by_heads(arms, kind="fixed")]
    return [above(other, arm) for other, arm in reversed(pairs) if other is not None]


@_trend(
    "language-smaller-d",
    "language",
    "A smaller d with fixed heads does as well as a larger one with standard heads.",
    "Figure 3: fixed d_p = 32 with d = 256 beats standard d = 512 (plotted only).",
)
def _language_smaller_d(arms: Sequence[Arm]) -> list[Check]:
    wide = pick(arms, kind="standard", d=64, heads=8)
    fixed = by_heads(arms, kind="fixed")[::-1]
    return [] if wide is None else [above(wide, arm) for arm in fixed]


@_trend(
    "language-knee",
    "language",
    "Standard heads hurt as soon as d / h falls below n.",
    "The prescription of Section 3: head size n, the sequence length.",
)
def _language_knee(arms: Sequence[Arm]) -> list[Check]:
    """The prescription's knee: all sizes d / h here are below n, so every halving must cost."""
    standard = by_heads(arms, kind="standard", d=32)
    if len(standard) < 4 or standard[0].d_k >= standard[0].n:
        return []
    best = min(standard[1:], key=lambda arm: arm.middle)
    return [
        above(best, standard[0]),
        rising(standard, f"n = {best.n}, d / h = {', '.join(str(arm.d_k) for arm in standard)}"),
    ]


_SWEEP = (
    "Not in the paper. A sweep on tiny-shakespeare, d = 128, 2 layers, 600 steps, 2 seeds, found "
    "2.876, 2.887, 2.925, 3.024, 3.062, 3.093 bits per character for head size 128 to 4: "
    "undertrained, and 1/sqrt(d_k) not told from rank, as its authors say."
)


@_trend(
    "size-split",
    "head-size",
    "At equal parameters, from one initialisation, smaller heads lose.",
    _SWEEP,
)
def _smaller_split(arms: Sequence[Arm]) -> list[Check]:
    return _sizes(by_heads(arms, kind="scaled"))


@_trend(
    "size-temperature",
    "head-size",
    "They lose under QK-norm, too, where the largest logit is the same at every head size.",
    f"{_SWEEP} They propose this control.",
)
def _smaller_normed(arms: Sequence[Arm]) -> list[Check]:
    return _sizes(by_heads(arms, kind="qk-norm"))


def _sizes(arms: Sequence[Arm]) -> list[Check]:
    """The most heads, which are the smallest, lose to the fewest; and each step costs."""
    return [] if len(arms) < 3 else [above(arms[-1], arms[0]), rising(arms)]


@_trend(
    "size-rank",
    "head-size",
    "Under QK-norm a lower rank of queries and keys loses, with the number of heads and all values "
    "kept.",
    "Section 2.3: the bottleneck is that of W_q and W_k; no experiment.",
)
def _lower_rank(arms: Sequence[Arm]) -> list[Check]:
    return _against_whole(arms, "rank")


@_trend(
    "size-rank-matched",
    "head-size",
    "It loses at equal parameters, too: the feed-forward layers have those that rank does not use.",
    "Section 2.3, as above; no experiment.",
)
def _lower_rank_matched(arms: Sequence[Arm]) -> list[Check]:
    return _against_whole(arms, "rank-matched")


def _against_whole(arms: Sequence[Arm], kind: str) -> list[Check]:
    pairs = [(arm, pick(arms, kind="qk-norm", heads=arm.heads)) for arm in having(arms, kind=kind)]
    return [above(arm, whole) for arm, whole in pairs if whole is not None]


_DONG = "Dong et al. 2021, ICML form: ‖res‖ <= (4βH/√d_qk)^((3^L - 1)/2) ‖res(X)‖^(3^L)"


@_trend(
    "collapse-attention",
    "collapse",
    "Attention alone, untrained: residuals fall doubly exponentially, below the bound.",
    f"{_DONG}, where 4βH ‖res(X)‖²/√d_qk < 1.",
)
def _collapses(arms: Sequence[Arm]) -> list[Check]:
    stack, bound = (_by_depth(arms, kind) for kind in ("attention", "bound"))
    if len(stack) < DEPTHS or len(bound) < len(stack):
        return []
    pairs = zip(stack, bound, strict=False)
    return [
        _cubed(stack),
        *(
            paired(
                f"{a.name}: {a.range()}, at most {b.name}: {b.range()}", a, b, lambda x, y: x <= y
            )
            for a, b in pairs
        ),
    ]


@_trend(
    "collapse-beyond",
    "collapse",
    "Residuals fall so from tokens of unit variance, too, where the bound says nothing.",
    "Dong et al. 2021, Figure 2: attention alone collapses in BERT, ALBERT and XLNet (plotted).",
)
def _collapses_beyond(arms: Sequence[Arm]) -> list[Check]:
    stack = _by_depth(arms, "unit")
    return [] if len(stack) < DEPTHS else [_cubed(stack)]


@_trend(
    "collapse-ffn",
    "collapse",
    "Feed-forward layers slow it and do not stop it.",
    f"{_DONG}, with β λ for β where feed-forward layers have Lipschitz constant λ.",
)
def _slowed(arms: Sequence[Arm]) -> list[Check]:
    slow, stack = (_by_depth(arms, kind) for kind in ("ffn", "attention"))
    if len(slow) < DEPTHS or len(stack) < len(slow):
        return []
    return [_cubed(slow), *(above(a, b) for a, b in zip(slow, stack, strict=False))]


@_trend(
    "collapse-skip",
    "collapse",
    "With skip connections half of a residual or more stays, with feed-forward layers and without.",
    "Dong et al. 2021, Claim 3.1: with skips ‖res‖ >= ‖res(X)‖ for infinitely many weights.",
)
def _stays(arms: Sequence[Arm]) -> list[Check]:
    stacks = [_by_depth(arms, kind) for kind in ("skip", "skip-ffn", "unit-skip")]
    if any(len(stack) < DEPTHS for stack in stacks):
        return []
    return [
        Check(
            f"{arm.name}: {arm.range()}, 0.5 or more",
            tuple(value >= 0.5 for value in arm.values.values()),
        )
        for stack in stacks
        for arm in stack
    ]


def _by_depth(arms: Iterable[Arm], kind: str) -> list[Arm]:
    """The stacks of 1, 2, 3 layers and so on, as far as none is missing."""
    found = {arm.layers: arm for arm in having(arms, kind=kind)}
    return [found[at] for at in range(1, len(found) + 1) if at in found]


def _cubed(stack: Sequence[Arm]) -> Check:
    """Each layer's fall, in logarithms, is at least twice that before it: cubing makes it thrice.

    The residual at the start is 1.
    """

    def falls(seed: int) -> list[float]:
        left = [1.0, *(arm.values[seed] for arm in stack)]
        return [math.log(a / b) if b > 0 else math.nan for a, b in pairwise(left)]

    seeds = sorted(set.intersection(*(set(arm.values) for arm in stack)))
    along = ", ".join(arm.range() for arm in stack)
    return Check(
        f"{stack[0].kind}, {len(stack)} layers: {along}, each fall twice that before or more",
        tuple(f[0] > 0 and all(b >= 2 * a for a, b in pairwise(f)) for f in map(falls, seeds)),
    )


@_trend(
    "transition-heads",
    "transition",
    "Four maxima are learnt from four heads on: no other head lowers the error by such a factor.",
    "Yu et al. 2025, Theorem 2: with h = 4 heads of size 2 the FFN needs no more width as n grows, "
    "with fewer it does; n = 8 to 128, NMSE falls at h = 4 (plotted).",
)
def _transition(arms: Sequence[Arm]) -> list[Check]:
    checks = []
    for n in sorted({arm.n for arm in arms}):
        found = {arm.heads: arm for arm in having(arms, n=n)}
        if not {1, 2, 3, 4, 5} <= found.keys():
            continue
        row = [found[heads] for heads in (1, 2, 3, 4, 5)]
        seeds = sorted(set.intersection(*(set(arm.values) for arm in row)))
        steps = [[_factor(a.values[s], b.values[s]) for a, b in pairwise(row)] for s in seeds]
        along = ", ".join(arm.range() for arm in row)
        checks.append(
            Check(
                f"n={n}, 1 to 5 heads: {along}, the step to four the largest",
                tuple(all(f[2] > f[at] for at in (0, 1, 3)) for f in steps),
            )
        )
    return checks


TRENDS: tuple[Trend, ...] = tuple(_FOUND)
