"""Fitted heads, beside SciPy's L-BFGS-B on the same objective; and the proved bracket."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import rankbound as rb
from benchmarks.races import Entries, Race, Wanted

SAME = 1 + 1e-6  # KL divergences within this factor are one minimum: gradients end at 1e-8
BRACKET_SIZES = (1, 2, 4, 8, 16, 24)


def no_worse(found: Mapping[str, Any]) -> tuple[bool, dict[str, Any]]:
    """Whether the fit is as close as the peer's."""
    ours, peer = found["rankbound"], found.get("peer")
    facts = {"kl": ours.kl, "iterations": ours.iterations, "converged": ours.converged}
    if peer is None:
        return ours.converged, facts
    facts |= {"the peer's kl": peer.kl, "the peer's iterations": peer.iterations}
    return ours.converged and ours.kl <= SAME * peer.kl, facts


def near_the_cliff() -> Entries:
    """One start, the truncated decomposition, to a gradient norm of 1e-8."""
    P = rb.random_context(64, 0)
    fit = partial(rb.fit_head, P, 48, random_starts=0)
    return Entries(fit, lambda: fit(method="l-bfgs"), verdict=no_worse)


def large() -> Entries:
    """The same, sixteen times the entries; without a peer, which takes minutes."""
    P = rb.random_context(256, 0)
    return Entries(lambda: rb.fit_head(P, 192, random_starts=0), verdict=no_worse)


def all_starts() -> Entries:
    """All starts, beside a single one of the peer."""
    P = rb.random_context(64, 0)
    return Entries(
        lambda: rb.fit_head(P, 16),
        lambda: rb.fit_head(P, 16, random_starts=0, method="l-bfgs"),
        verdict=no_worse,
    )


def bracket() -> Entries:
    """Both sides at six sizes for a context with zeros, where no minimum need be attained."""
    P = rb.random_context(32, 0, "sparse", nonzeros=8)

    def verdict(found: Mapping[str, Any]) -> tuple[bool, dict[str, Any]]:
        sides = found["rankbound"]
        return bool((sides.lower <= sides.upper).all()), {
            "lower": sides.lower.tolist(),
            "upper": sides.upper.tolist(),
        }

    return Entries(lambda: rb.kl_bracket(P, BRACKET_SIZES), verdict=verdict)


LBFGS = "SciPy's L-BFGS-B, same objective and start"
RACES = (
    Race(
        "fit-cliff",
        "fit, n = 64, k = 48, one start, to a gradient norm of 10⁻⁸",
        LBFGS,
        "",
        Wanted(10),
        near_the_cliff,
    ),
    Race(
        "fit-large",
        "fit, n = 256, k = 192, one start, to a gradient norm of 10⁻⁸",
        "",
        "",
        Wanted(30, "seconds"),
        large,
    ),
    Race(
        "fit-all-starts",
        "fit, n = 64, k = 16, all four starts, at no worse KL",
        "one start of SciPy's L-BFGS-B",
        "",
        Wanted(1),
        all_starts,
    ),
    Race(
        "kl-bracket",
        "KL bracket, n = 32 with 8 keys per query and zeros, six head sizes",
        "",
        "",
        Wanted(5, "seconds"),
        bracket,
    ),
)
