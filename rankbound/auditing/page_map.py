"""The map of an audit's page: what each head's cell shows, its legend, and a picture of it."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rankbound.table import finite

SHARE = 0.75  # of the head size, from which an effective log-rank is marked
CELL, LABEL = 30, 26  # of the picture, in its own units


@dataclass(frozen=True)
class HeadMap:
    """One entry per row of the record.

    Colours run over the range of the data, so that heads differ where they do. What is marked is
    the exception: heads at their bound, or those below it where most are at it.
    """

    shares: list[float | None]  # effective log-rank over head size
    colours: list[float | None]  # 0 at the least share of the record, 1 at the largest
    rings: list[bool]  # a share of at least SHARE
    corners: list[bool]
    below: bool  # whether the corners mark heads below their bound, not at it
    least: float
    most: float

    @staticmethod
    def of(heads: Sequence[Mapping[str, Any]]) -> HeadMap:
        """Return the map of a record's rows."""
        shares = [share_of(head) for head in heads]
        known = [share for share in shares if share is not None]
        least, most = (min(known), max(known)) if known else (0.0, 1.0)
        wide = most - least
        full = [head["log_rank_lower"] == head["log_rank_bound"] for head in heads]
        below = 2 * sum(full) > len(full)
        return HeadMap(
            shares,
            [None if s is None else (s - least) / wide if wide > 0 else 0.5 for s in shares],
            [share is not None and share >= SHARE for share in shares],
            [at != below for at in full],
            below,
            least,
            most,
        )

    def legend(self) -> str:
        """Return what the colours and marks mean, as HTML; a mark that no head has is left out."""
        middle = (self.least + self.most) / 2
        ticks = "".join(f"<span>{x:.2f}</span>" for x in (self.least, middle, self.most))
        bar = f'<span class="bar"></span><span class="ticks">{ticks}</span>'
        parts = [f'<span class="scale">{bar}</span>']
        if any(self.rings):
            said = f"at least {SHARE:.0%} of the head size".replace("%", "\N{NO-BREAK SPACE}%")
            parts.append(f'<span class="key"><span class="swatch ring"></span>{said}</span>')
        side = "below" if self.below else "at"
        if any(self.corners):
            said = f"log-rank {side} its bound"
            parts.append(f'<span class="key"><span class="swatch corner"></span>{said}</span>')
        elif self.below:
            parts.append('<span class="key">every log-rank at its bound</span>')
        return "\n".join(parts)

    def picture(self, heads: Sequence[Mapping[str, Any]]) -> str:
        """Return the map of the first window as an SVG element, for a reader without scripts."""
        if not heads:
            return ""
        first = min(head["window"] for head in heads)
        mine = [i for i, head in enumerate(heads) if head["window"] == first]
        layers = sorted({heads[i]["layer"] for i in mine})
        across = 1 + max(heads[i]["head"] for i in mine)
        width, height = LABEL + CELL * across, LABEL + CELL * len(layers)
        parts = [
            f'<svg class="picture" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img" aria-label="Effective log-rank as a share of the head '
            'size, layers down, heads across">'
        ]
        parts += [_text(LABEL + CELL * (h + 0.5), LABEL - 8, h) for h in range(across)]
        parts += [_text(LABEL / 2, LABEL + CELL * (y + 0.6), n) for y, n in enumerate(layers)]
        for i in mine:
            x, y = LABEL + CELL * heads[i]["head"], LABEL + CELL * layers.index(heads[i]["layer"])
            box = f'x="{x}" y="{y}" width="{CELL - 1}" height="{CELL - 1}"'
            share, colour = self.shares[i], self.colours[i]
            parts.append(f'<rect class="low" {box}/>')
            if share is not None and colour is not None:
                parts.append(f'<rect class="high" {box} fill-opacity="{colour:.2f}"/>')
                ink = "over" if colour > 0.64 else "under-ink"
                parts.append(_text(x + CELL / 2 - 0.5, y + 0.6 * CELL, f"{share:.2f}", ink))
        return "".join([*parts, "</svg>"])


def share_of(head: Mapping[str, Any]) -> float | None:
    """The effective log-rank over the head size, where it is a number."""
    value = finite(head["log_effective_rank"])
    return None if value is None else float(value) / head["head_size"]


def _text(x: float, y: float, text: object, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    said = html.escape(str(text))
    return f'<text x="{x:g}" y="{y:g}" text-anchor="middle"{named}>{said}</text>'
