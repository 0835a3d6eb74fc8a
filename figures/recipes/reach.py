"""What heads of any size have of all contexts when n exceeds d: exact ranks of integer tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import rankbound as rb
from rankbound.plots import reach_by_length
from recipes.recipe import Recipe, Row, on_one_axes

COLUMNS: Mapping[str, type] = MappingProxyType(
    {
        "series": str,
        "n": int,
        "d": int,
        "dimension": int,  # of the contexts that heads of any size have on the tokens
        "contexts": int,  # of all contexts that are positive on the mask
    }
)
SETTINGS: Mapping[str, Any] = MappingProxyType({"d": 8, "n": list(range(2, 29))})


def reach_rows(settings: Mapping[str, Any]) -> Iterator[Row]:
    """Rows of all series, by n."""
    for n in settings["n"]:
        for series in ("causal", "causal-bias", "full"):
            yield reach_row(series, n, settings["d"])


def reach_row(series: str, n: int, d: int) -> Row:
    """The dimension on the powers 1 to d of 1, …, n, or 0 to d - 1, which hold the vector 1."""
    first = 0 if series == "causal-bias" else 1
    X = [[t**power for t in range(1, n + 1)] for power in range(first, first + d)]
    mask = rb.full_mask(n) if series == "full" else rb.causal_mask(n)
    return {
        "series": series,
        "n": n,
        "d": d,
        "dimension": rb.reachable_dimension(X, mask=mask),
        "contexts": int(mask.sum()) - n,
    }


REACH = Recipe(
    COLUMNS,
    SETTINGS,
    reach_rows,
    on_one_axes(reach_by_length),
    (2.9, 3.0),
    "Share of the dimensions of contexts that heads of any size have, against d/n: without a mask "
    "it falls below 1 at n = d + 1, under a causal mask only at n = d + 2",
)
