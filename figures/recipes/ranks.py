"""Three ranks that must not share a name: of the logits, of the context, and the log-rank.

Logits are products of random integers and the context is 2^L with its columns divided by their
sums, which has the rank of the integers 2^L: so all three are exact. No two keys or queries agree
in the first coordinate, which by the generalised Vandermonde determinant gives a head of size 1 a
context of full rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from matplotlib.axes import Axes

import rankbound as rb
from rankbound import canvas
from recipes.recipe import Recipe, Row, on_one_axes

COLUMNS: Mapping[str, type] = MappingProxyType(
    {
        "n": int,
        "head_size": int,
        "seed": int,
        "logits": int,  # rank of L
        "context": int,  # rank of P
        "log_rank": int,  # rank of C L: what a head needs
    }
)
SETTINGS: Mapping[str, Any] = MappingProxyType(
    {"n": 16, "seed": 0, "bound": 3, "head_size": list(range(1, 21))}
)
SERIES = MappingProxyType(
    {
        "context": ("context P", canvas.RED, "s"),
        "logits": ("logits L", canvas.GREEN, "D"),
        "log_rank": ("centred log P: the log-rank", canvas.BLUE, "o"),
    }
)


def ranks_rows(settings: Mapping[str, Any]) -> Iterator[Row]:
    """Rows by head size; the head of size k has the first k coordinates of the largest."""
    n, seed, bound = settings["n"], settings["seed"], settings["bound"]
    rng = np.random.default_rng(seed)
    factors = rng.integers(-bound, bound, (2, max(settings["head_size"]), n), endpoint=True)
    for side in factors:
        side[0] = rng.permutation(n) - n // 2
    for k in settings["head_size"]:
        yield ranks_row(factors[0, :k], factors[1, :k], seed)


def ranks_row(keys: Any, queries: Any, seed: int) -> Row:
    """The three ranks of one head, by elimination over the rationals."""
    L = keys.T @ queries
    # n C L, as C = I - 11^T/n
    centred = len(L) * L - L.sum(axis=0)
    powers = [[2 ** int(entry - L.min()) for entry in row] for row in L]
    return {
        "n": len(L),
        "head_size": len(keys),
        "seed": seed,
        "logits": int(rb.exact_rank(L.tolist())),
        "context": int(rb.exact_rank(powers)),
        "log_rank": int(rb.exact_rank(centred.tolist())),
    }


def three_ranks(rows: canvas.Rows, ax: Axes | None = None) -> Axes:
    """Draw the three ranks against head size; a ``gid`` is the name of the column."""
    keys = ("n", "head_size", *SERIES)
    records = [record for _, record in canvas.checked(rows, keys)]
    n, sizes = records[0]["n"], [record["head_size"] for record in records]
    with canvas.panel(ax, (canvas.WIDE, 2.9)) as axes:
        axes.axvline(n - 1, color="0.8", linewidth=0.6, zorder=0)
        for place, (name, (said, colour, marker)) in enumerate(SERIES.items()):
            # the log-rank inside the rank of the logits, with which it agrees up to n - 1
            size, face = ((3.4, colour), (5.0, "none"), (2.6, colour))[place]
            (line,) = axes.plot(sizes, [record[name] for record in records], marker + "-")
            line.set(color=colour, markersize=size, markerfacecolor=face, gid=name)
            line.set_label(f"rank of the {said}")
        axes.set_xlim(0, max(sizes) + 0.5)
        axes.set_ylim(0, n + 1.5)
        axes.set_xticks(sorted({1, *range(4, max(sizes) + 1, 4), n - 1} - {n}))
        axes.set_yticks(sorted({1, *range(4, n + 1, 4), n - 1} - {n - 1}))
        title = f"A context has full rank at every head size; its log-rank is what counts (n = {n})"
        canvas.label(axes, title=title, x="head size", y="rank")
        canvas.dress(axes)
        canvas.legend(axes)
    return axes


RANKS = Recipe(
    COLUMNS,
    SETTINGS,
    ranks_rows,
    on_one_axes(three_ranks),
    (2.9, 3.2),
    "Three ranks of random heads on 16 tokens against head size: that of the context is 16 at "
    "every size, that of the logits rises to 16, and the log-rank with it, but only to 15",
)
