"""What stands first on the page of an audit that measured it: the loss curve and the plan."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

WIDTH, HEIGHT, LEFT, BELOW, TOP = 560, 260, 60, 40, 14
BAR, DEEP = 34, 90  # of the plan's picture: a layer's least width, the height of a full head size
KINDS = {"refitted": "refitted to this text", "fixed": "fixed, calibrated on another"}
WHOSE = {"head": "a basis per head", "key/value head": "a basis per key/value head"}


def section(record: Mapping[str, Any]) -> str:
    """The section, as HTML; empty where no loss was measured."""
    loss, plan = record.get("loss"), record.get("plan")
    if not loss:
        return ""
    points = [point for point in loss["points"] if point["layer"] is None]
    name = "divergence" if loss["loss"] is None else "increase"
    what = {
        "increase": f"Increase of the loss of {loss['objective']}s, in nats",
        "divergence": "KL divergence of the output, in nats"
        if loss["output"] == "kl"
        else "Squared distance of the last hidden states over their spread",
    }[name]
    return (
        '<section aria-labelledby="loss-title">\n'
        '<h2 id="loss-title">What smaller heads cost the model</h2>\n'
        f'<p class="caption">{what}, where all heads have a smaller size. Refitted heads are the '
        "nearest to the model's on this very text, which no fixed weights are; fixed ones are "
        "projections calibrated on another text, as a smaller model has. One basis per key/value "
        "head is what shrinks a cache of keys.</p>\n"
        f'<div class="cost">\n{_picture(points, name, what, _full(record))}\n'
        f"{_table(points)}\n</div>\n{_plan(plan)}</section>\n"
    )


def headline(record: Mapping[str, Any]) -> str:
    """What heads of about half the size cost, in a sentence; empty where no loss was measured."""
    loss: Mapping[str, Any] = record.get("loss") or {}
    full, points = _full(record), [p for p in loss.get("points", ()) if p["layer"] is None]
    if not points or not full:
        return ""
    size = min((p["head_size"] for p in points), key=lambda k: (abs(2 * k - full), -k))
    costs = {
        p["kind"]: p for p in points if p["head_size"] == size
    }  # a basis per group stands last
    said = []
    for kind, words in (("fixed", "fixed projections"), ("refitted", "heads refitted to it")):
        if kind in costs and loss["loss"] is not None:
            said.append(f"{words} raise the loss by {costs[kind]['increase']:.3f} nats")
        elif kind in costs:
            said.append(f"{words} move the output by {costs[kind]['divergence']:.3g}")
    return f"At head size {size} of {full}, on this text, {', '.join(said)}. "


def _full(record: Mapping[str, Any]) -> int:
    """The largest head size of the model, at which nothing is cut."""
    return max((head["head_size"] for head in record["heads"]), default=0)


def _picture(points: Sequence[Mapping[str, Any]], name: str, what: str, full: int) -> str:
    """The curves, each from the model itself, where a cost is 0."""
    sizes = sorted({full, *(point["head_size"] for point in points)} - {0})
    values = [point[name] for point in points]
    low, high = float(min([0.0, *values])), float(max([*values, 1e-9]))

    def x(size: int) -> float:
        span = max(sizes[-1] - sizes[0], 1)
        return float(LEFT + 14 + (size - sizes[0]) / span * (WIDTH - LEFT - 28))

    def y(value: float) -> float:
        return HEIGHT - BELOW - (value - low) / (high - low) * (HEIGHT - BELOW - TOP)

    drawn = [_line("grid", LEFT, y(v), WIDTH, y(v)) for v in (0.0, high / 2, high)]
    drawn += [_text(LEFT - 6, y(v) + 4, "end", f"{v:.3g}") for v in (0.0, high / 2, high)]
    drawn += [_text(x(size), HEIGHT - BELOW + 16, "middle", str(size)) for size in sizes]
    drawn.append(_text(WIDTH - 4, HEIGHT - 4, "end", "head size"))
    keys = []
    for kind, per in dict.fromkeys((point["kind"], point["basis_per"]) for point in points):
        mine = {
            p["head_size"]: p[name] for p in points if (p["kind"], p["basis_per"]) == (kind, per)
        }
        places = [
            (x(size), y(value)) for size, value in sorted({full: 0.0, **mine}.items()) if size
        ]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        marks = "".join(_mark(per, a, b) for a, b in places)
        drawn.append(f'<g class="{kind}"><polyline points="{path}"/>{marks}</g>')
        sample = f'<polyline points="1,6 27,6"/>{_mark(per, 14, 6)}'
        keys.append(
            f'<span class="key"><svg width="28" height="12"><g class="{kind}">{sample}</g></svg>'
            f"{KINDS[kind]}, {WHOSE[per]}</span>"
        )
    return (
        f'<figure class="curve"><svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img" aria-label="{html.escape(what)} against head size">'
        f'{"".join(drawn)}</svg><figcaption class="legend">{"".join(keys)}</figcaption></figure>'
    )


def _mark(per: str, a: float, b: float) -> str:
    if per == "head":
        return f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5"/>'
    return f'<rect x="{a - 3:.1f}" y="{b - 3:.1f}" width="6" height="6"/>'


def _line(name: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{name}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, anchor: str, said: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(said)}</text>'


def _table(points: Sequence[Mapping[str, Any]]) -> str:
    told = points[0]["loss"] is not None
    names = ["heads", "one basis per", "head size", *(["loss", "increase"] if told else [])]
    rows = [
        [
            point["kind"],
            point["basis_per"],
            str(point["head_size"]),
            *([f"{point['loss']:.3f}", f"{point['increase']:+.3f}"] if told else []),
            f"{point['divergence']:.3g}",
        ]
        for point in points
    ]
    return _rows([*names, "divergence"], rows)


def _rows(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    table = f'<table class="plain"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="box fit">{table}</div>'


def _plan(plan: Mapping[str, Any] | None) -> str:
    if not plan:
        return ""
    told = (
        "" if plan["increase"] is None else f"the loss rises by {plan['increase']:.3f} nats, and "
    )
    rows = [[str(la["layer"]), _sizes(la), f"{la['divergence']:.2g}"] for la in plan["layers"]]
    return (
        "<h3>The plan</h3>\n"
        f'<p class="caption">Measured by a run at the plan: {told}the divergence is '
        f"{plan['divergence']:.3g}, where the layers alone sum to {plan['predicted']:.3g}. "
        f"Keys and values take {plan['cache_bytes']:,} bytes per token of "
        f"{plan['full_cache_bytes']:,}. A bar per key/value head; above a layer stands the "
        "mean of its sizes.</p>\n"
        f"{_bars(plan['layers'])}\n<details><summary>Layer by layer</summary>\n"
        f"{_rows(['layer', 'head sizes', 'divergence alone'], rows)}\n</details>\n"
    )


def _sizes(layer: Mapping[str, Any]) -> str:
    sizes = layer["head_sizes"]
    same = len(set(sizes)) == 1
    return f"{', '.join(map(str, sizes[:1] if same else sizes))} of {layer['full_size']}"


def _bars(layers: Sequence[Mapping[str, Any]]) -> str:
    """The head sizes of each layer, a bar per key/value head, as shares of its own."""
    bar = max(BAR, min(2 * BAR, (WIDTH - LEFT) // len(layers)))
    width, foot = LEFT + bar * len(layers), DEEP + TOP
    drawn = [_text(LEFT - 6, TOP + 4, "end", "full"), _text(LEFT - 6, foot + 16, "end", "layer")]
    drawn.append(_line("grid", LEFT, TOP, width, TOP))
    for i, layer in enumerate(layers):
        highs = [DEEP * size / layer["full_size"] for size in layer["head_sizes"]]
        wide, middle = (bar - 4) / len(highs), LEFT + bar * (i + 0.5)
        drawn += [
            f'<rect x="{LEFT + bar * i + 2 + wide * g:.1f}" y="{foot - high:.1f}" '
            f'width="{wide:.1f}" height="{high:.1f}"/>'
            for g, high in enumerate(highs)
        ]
        mean = f"{fmean(layer['head_sizes']):.3g}"
        drawn.append(_text(middle, foot - max(highs) - 3, "middle", mean))
        drawn.append(_text(middle, foot + 16, "middle", str(layer["layer"])))
    return (
        f'<figure class="curve bars"><svg viewBox="0 0 {width} {foot + 20}" width="{width}" '
        f'height="{foot + 20}" role="img" aria-label="Head sizes of each layer in the plan">'
        f"{''.join(drawn)}</svg></figure>"
    )
