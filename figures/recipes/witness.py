"""B20 Theorem 2 on its tokens: the attention of a standard layer and of one of fixed head size.

The two layers have the same values, ``Σ W_o W_v``, exactly; they differ in their attention alone.
``rb.separating_tokens`` finds tokens on which their outputs differ, with a certificate.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import rankbound as rb
from rankbound import canvas
from rankbound.attention.adversarial_layers import nearest_products, random_fixed_layer
from recipes.recipe import Recipe, Row

COLUMNS: Mapping[str, type] = MappingProxyType(
    {
        "layer": str,  # f: heads of size d/h; g: of size d
        "head": int,
        "head_size": int,
        "key": int,
        "query": int,
        "attention": float,
        "rounding": float,  # what float64 can change it by
        "relative_gap": float,  # certified lower bound of ‖f(X) - g(X)‖ / ‖g(X)‖
    }
)
SETTINGS: Mapping[str, Any] = MappingProxyType(
    {"d": 4, "heads": 2, "n": 4, "seed": 0, "logit_scale": 1.0}
)


def witness_rows(settings: Mapping[str, Any]) -> Iterator[Row]:
    """Rows by layer, head, key and query."""
    d, heads, seed = settings["d"], settings["heads"], settings["seed"]
    g = random_fixed_layer(d, heads, d, seed, logit_scale=settings["logit_scale"])
    f = nearest_products(g, heads, seed)
    found = rb.separating_tokens(f, g, settings["n"])
    for name, layer in (("f", f), ("g", g)):
        contexts, bounds = attention(layer, np.asarray(found.tokens))
        for (head, key, query), weight in np.ndenumerate(contexts):
            yield {
                "layer": name,
                "head": head + 1,
                "head_size": layer.head_size,
                "key": key + 1,
                "query": query + 1,
                "attention": weight,
                "rounding": bounds[head, key, query],
                "relative_gap": found.relative_gap,
            }


def attention(layer: rb.MultiHead, X: Any) -> tuple[Any, Any]:
    """Contexts (h, n, n), and what rounding can change each weight by.

    A logit is a sum of products over d, d and k coordinates: it is off by at most ``(2 d + k + 4)
    eps`` times the same sum of absolute values (Higham 2002, section 3.5), at first order. A weight
    is off by at most its product with twice the largest of these in its column, and n + 4 eps for
    the exponentials and their sum.
    """
    n = X.shape[1]
    keys, queries = layer.W_k @ X, layer.W_q @ X
    P = rb.column_softmax(layer.scale * np.swapaxes(keys, 1, 2) @ queries)
    eps = np.finfo(np.float64).eps
    sizes = [np.abs(W) @ np.abs(X) for W in (layer.W_k, layer.W_q)]
    terms = 2 * layer.d + layer.head_size + 4
    logits = terms * eps * abs(layer.scale) * np.swapaxes(sizes[0], 1, 2) @ sizes[1]
    return P, P * (2 * logits.max(axis=1, keepdims=True) + (n + 4) * eps)


def attention_map(rows: canvas.Rows, ax: Axes | None = None) -> Axes:
    """Draw one head's attention, keys down and queries across, with its weights written in."""
    keys = ("layer", "head", "head_size", "key", "query", "attention")
    records = [record for _, record in canvas.checked(rows, keys)]
    n = max(record["key"] for record in records)
    P = np.zeros((n, n))
    for record in records:
        P[record["key"] - 1, record["query"] - 1] = record["attention"]
    one = records[0]
    with canvas.panel(ax, (1.6, 1.7)) as axes:
        axes.imshow(P, cmap="Blues", vmin=0, vmax=1, gid=f"{one['layer']}-{one['head']}")
        for (key, query), weight in np.ndenumerate(P):
            colour = "white" if weight > 0.5 else "black"
            axes.text(query, key, f"{weight:.2f}", ha="center", va="center", color=colour)
        axes.set_xticks(range(n), [str(place + 1) for place in range(n)])
        axes.set_yticks(range(n), [str(place + 1) for place in range(n)])
        title = f"{one['layer']}, head {one['head']}, size {one['head_size']}"
        canvas.label(axes, title=title, x="query", y="key", left=0.25)
        canvas.dress(axes, "left", "bottom")
        axes.tick_params(length=0)
    return axes


def draw(rows: Sequence[Row], figure: Figure) -> None:
    """Draw a map per head, a layer's beside each other, and the gap of the outputs."""
    groups = canvas.grouped(rows, lambda row: (row["layer"], row["head"]))
    beside = figure.get_figwidth() > canvas.NARROW
    across = len(groups) if beside else len({head for _, head in groups})
    panels = figure.subplots(len(groups) // across, across).flat
    for axes, (_, group) in zip(panels, sorted(groups.items()), strict=True):
        attention_map(group, ax=axes)
    gap = math.floor(100 * rows[0]["relative_gap"])
    words = (
        "To the first query all keys look alike for the small heads of f, not for those of g: the "
        f"outputs differ by {gap} % of g's or more (certified)"
    )
    words = canvas.broken(words, figure.get_figwidth() - 0.2)
    figure.suptitle(words, x=0.01, ha="left", fontsize=mpl.rcParams["axes.titlesize"])


def rounded(settings: Mapping[str, Any], published: Row, computed: Row) -> float:
    """Both computations round."""
    return float(2 * published["rounding"])


def share(published: Row) -> float:
    """By what share of itself rounding can change a weight."""
    return float(published["rounding"] / published["attention"])


def of_norms(settings: Mapping[str, Any], published: Row, computed: Row) -> float:
    """The weight, and a sum of positive products of d, d and k terms, to within its roundings."""
    terms = (4 * settings["d"] + 8) * np.finfo(np.float64).eps
    return float((2 * share(published) + terms) * published["rounding"])


def of_weights(settings: Mapping[str, Any], published: Row, computed: Row) -> float:
    """Norms of sums of values by weights, f's of a decomposition: a share of the gap and of 1."""
    return float(2 * share(published) * (1 + published["relative_gap"]))


WITNESS = Recipe(
    COLUMNS,
    SETTINGS,
    witness_rows,
    draw,
    (2.2, 4.1),
    "Attention maps, on the tokens that separate them, of a standard layer of two heads of size 2 "
    "and of a layer of two heads of size 4 that share one map, which the small heads do not have",
    MappingProxyType({"attention": rounded, "rounding": of_norms, "relative_gap": of_weights}),
)
