"""The paper's trends of language models, judged on one of bytes, each arm at its best rate."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rankbound.experiments.arms import Arm, pick
from rankbound.experiments.judging import Check, Trend, above, by_heads, rising

__all__ = ["LANGUAGE_TRENDS"]

DECAY = 0.01  # of the arms that are compared; others are for the heads that come of them
LEAST_RATES = 3  # before one is called the best
LEAST_STEPS = 500
LEAST_SEEDS = 3


def _tuned(judge: Callable[[Sequence[Arm]], list[Check]]) -> Callable[[Sequence[Arm]], list[Check]]:
    """Show the judge only arms whose learning rate was tuned and that were trained.

    Differences between arms are no larger than what a seed or the decay may make: fewer than three
    seeds reproduce nothing, and are said to be too few.
    """

    def judged(arms: Sequence[Arm]) -> list[Check]:
        checks = judge(
            [
                arm
                for arm in arms
                if arm.weight_decay == DECAY
                and len(arm.rates) >= LEAST_RATES
                and arm.steps >= LEAST_STEPS
            ]
        )
        seeds = min((len(check.held) for check in checks), default=LEAST_SEEDS)
        if seeds < LEAST_SEEDS:
            checks.append(Check(f"{LEAST_SEEDS} seeds or more", (False,) * seeds))
        return checks

    return judged


@_tuned
def _too_many(arms: Sequence[Arm]) -> list[Check]:
    standard = by_heads(arms, kind="standard", d=32)
    if len(standard) < 3:
        return []
    best = min(standard[:-1], key=lambda arm: arm.middle)
    place = standard.index(best)
    heads = ", ".join(str(arm.heads) for arm in standard[place:])
    return [above(standard[-1], best), rising(standard[place:], f"standard, {heads} heads")]


@_tuned
def _fixed_help(arms: Sequence[Arm]) -> list[Check]:
    fixed = by_heads(arms, kind="fixed")[::-1]
    if len(fixed) < 2:
        return []
    return [rising(fixed, f"fixed, {', '.join(str(arm.heads) for arm in fixed)} heads")]


@_tuned
def _bigger_heads(arms: Sequence[Arm]) -> list[Check]:
    small, large = (pick(arms, kind=kind, d=32, heads=8) for kind in ("standard", "fixed"))
    return [] if small is None or large is None else [above(small, large)]


@_tuned
def _matched(arms: Sequence[Arm]) -> list[Check]:
    pairs = [(pick(arms, kind="matched", heads=a.heads), a) for a in by_heads(arms, kind="fixed")]
    return [above(other, arm) for other, arm in reversed(pairs) if other is not None]


@_tuned
def _smaller_d(arms: Sequence[Arm]) -> list[Check]:
    wide = pick(arms, kind="standard", d=64, heads=8)
    fixed = by_heads(arms, kind="fixed")[::-1]
    return [] if wide is None else [above(wide, arm) for arm in fixed]


@_tuned
def _knee(arms: Sequence[Arm]) -> list[Check]:
    """The prescription's knee: all sizes d / h here are below n, so every halving must cost."""
    standard = by_heads(arms, kind="standard", d=32)
    if len(standard) < 4 or standard[0].d_k >= standard[0].n:
        return []
    best = min(standard[1:], key=lambda arm: arm.middle)
    return [
        above(best, standard[0]),
        rising(standard, f"n = {best.n}, d / h = {', '.join(str(arm.d_k) for arm in standard)}"),
    ]


LANGUAGE_TRENDS: tuple[Trend, ...] = (
    Trend(
        "language-heads",
        "language",
        "At fixed d, too many standard heads hurt.",
        "Figure 1, LM1B, n = 256: standard d = 256 to 512 degrades beyond 16 heads (plotted only). "
        "Table 1: F1 90.89, 90.61, 90.45 for 8, 16, 32 heads.",
        _too_many,
    ),
    Trend(
        "language-fixed",
        "language",
        "With a fixed head size more heads help, and never hurt.",
        "Table 3, d = 768, d_p = 128, 8, 12, 16, 20 heads: F1 90.35, 90.48, 90.92, 90.89. "
        "Figure 3: d_p = 32 improves from 4 to 70 heads.",
        _fixed_help,
    ),
    Trend(
        "language-size",
        "language",
        "With a fixed number of heads bigger heads help.",
        "Table 2B, d = 512, 8 heads, d_p = 32, 64, 128, 256: F1 88.53, 89.51, 89.6, 90.33.",
        _bigger_heads,
    ),
    Trend(
        "language-matched",
        "language",
        "At equal parameters heads of fixed size beat standard heads.",
        "Section 4: the comparison with larger d at similar parameters, Figures 1 and 3.",
        _matched,
    ),
    Trend(
        "language-smaller-d",
        "language",
        "A smaller d with fixed heads does as well as a larger one with standard heads.",
        "Figure 3: fixed d_p = 32 with d = 256 beats standard d = 512 (plotted only).",
        _smaller_d,
    ),
    Trend(
        "language-knee",
        "language",
        "Standard heads hurt as soon as d / h falls below n.",
        "The prescription of Section 3: head size n, the sequence length.",
        _knee,
    ),
)
