"""What stands first on the page of an audit that measured it: the loss curve and the plan."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH, HEIGHT, LEFT, BELOW, TOP = 560, 260, 60, 40, 14
DASHES = {"refitted": "4 3", "fixed": "none"}
SHAPES = {"head": "circle", "key/value head": "rect"}


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
        f"{_picture(points, name, what)}\n{_table(points)}\n{_plan(plan)}</section>\n"
    )


def _picture(points: Sequence[Mapping[str, Any]], name: str, what: str) -> str:
    sizes = sorted({point["head_size"] for point in points})
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
    for kind, per in dict.fromkeys((point["kind"], point["basis_per"]) for point in points):
        mine = sorted(
            (x(p["head_size"]), y(p[name]))
            for p in points
            if (p["kind"], p["basis_per"]) == (kind, per)
        )
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in mine)
        drawn.append(f'<polyline class="line" points="{path}" stroke-dasharray="{DASHES[kind]}"/>')
        for a, b in mine:
            drawn.append(
                f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3.5"/>'
                if SHAPES[per] == "circle"
                else f'<rect x="{a - 3:.1f}" y="{b - 3:.1f}" width="6" height="6"/>'
            )
    key = "solid: fixed, dashed: refitted; dots: one basis per head, squares: per key/value head"
    return (
        f'<figure class="spectrum"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{html.escape(what)} against head size">{"".join(drawn)}</svg>'
        f'<figcaption class="caption">{key}</figcaption></figure>'
    )


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
    return (
        f'<div class="box"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _plan(plan: Mapping[str, Any] | None) -> str:
    if not plan:
        return ""
    told = (
        "" if plan["increase"] is None else f"the loss rises by {plan['increase']:.3f} nats, and "
    )
    rows = [
        [str(la["layer"]), f"{la['head_size']} of {la['full_size']}", f"{la['divergence']:.2g}"]
        for la in plan["layers"]
    ]
    return (
        "<h3>The plan</h3>\n"
        f'<p class="caption">Measured by a run at the plan: {told}the divergence is '
        f"{plan['divergence']:.3g}, where the layers alone sum to {plan['predicted']:.3g}. "
        f"Keys and values take {plan['cache_bytes']:,} bytes per token of "
        f"{plan['full_cache_bytes']:,}.</p>\n"
        f"{_rows(['layer', 'head size', 'divergence alone'], rows)}\n"
    )
