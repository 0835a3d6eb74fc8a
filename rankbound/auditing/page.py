"""One page of an audit, in one file that needs nothing else: no network, no library.

What stands in the record may come from anywhere (the name of a model, say). As text of the page it
is escaped; as data of the page's script it is JSON in which ``<``, ``>`` and ``&`` are written as
escapes, so that nothing in it can end the script element. A content security policy lets the page
run its own script and style, by their hashes, and load nothing.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from importlib.metadata import metadata
from pathlib import Path
from statistics import median
from typing import Any

from rankbound._validate import shown
from rankbound.auditing.columns import COLUMNS, NOTATION
from rankbound.auditing.page_map import SHARE, HeadMap, share_of
from rankbound.auditing.texts import TextFacts
from rankbound.errors import InputTypeError
from rankbound.table import finite

SCRIPTS = tuple(f"page{part}.js" for part in ("_record", "_spectrum", "_map", "_table", ""))

Record = Mapping[str, Any]


def write_page(path: str | os.PathLike[str], record: Record) -> None:
    """Write the page of an audit's record to a file; OSError if it cannot be written."""
    if not isinstance(path, (str, os.PathLike)):
        raise InputTypeError(
            f"path is {shown(path)}; expected the path of a file, ending in .html."
        )
    # A path may hold what UTF-8 cannot: it is shown as a question mark.
    Path(path).write_bytes(page(record).encode("utf-8", "replace"))


def page(record: Record) -> str:
    """An audit's record, as :meth:`Audit.to_json` writes it, as one HTML document."""
    model, text, heads = record["model"], record["text"], record["heads"]
    style, script = _file("page.css"), "\n".join(map(_file, SCRIPTS))
    shown_heads = HeadMap.of(heads)
    parts = {
        "policy": f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'",
        "title": _escape(f"Audit of {model['name']}"),
        "name": _escape(model["name"]),
        "lead": _escape(_lead(heads)),
        "incomplete": ""
        if record["complete"]
        else ('<p class="note">The audit was interrupted: only finished layers are shown.</p>'),
        "facts": _facts(record),
        "limits": "\n".join(f"<li>{_typeset(limit)}</li>" for limit in _limits(record)),
        "picture": shown_heads.picture(heads),
        "legend": shown_heads.legend(),
        "notation": _typeset(NOTATION),
        "definitions": "\n".join(
            f"<dt>{_typeset(column.words)}<br><code>{column.name}</code></dt>"
            f'<dd id="column-{column.name}">{_typeset(column.meaning)}</dd>'
            for column in COLUMNS
        ),
        "footer": _escape(f"Written by rankbound. Input {text['sha256'][:12]}…, model as named. ")
        + _documentation(),
        "data": _data(heads, shown_heads),
        "style": style,
        "script": script,
    }
    # One pass: what was filled in is not looked at again.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _file("page.html"))


def _file(name: str) -> str:
    return resources.files("rankbound.auditing").joinpath(name).read_text(encoding="utf-8")


def _digest(source: str) -> str:
    digest = hashlib.sha256(source.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _escape(text: object) -> str:
    return html.escape(str(text))


def _typeset(text: str) -> str:
    """Escape a text; what stands in backquotes is code, and symbols elsewhere are in italics."""
    parts = _escape(text).split("`")
    parts[1::2] = [f"<code>{code}</code>" for code in parts[1::2]]
    parts[::2] = [_SYMBOL.sub(_italic, prose) for prose in parts[::2]]
    return "".join(parts)


# n, k, L, P, C, s, τ, … alone, with what stands below it: τ_j, s₁
_SYMBOL = re.compile(r"(?<![\w&#;])([nkjLPCsqdcτ])(?:_(\w)|([₀₁₂]))?(?![A-Za-z0-9'])")
_LOWERED = {"₀": "0", "₁": "1", "₂": "2"}


def _italic(found: re.Match[str]) -> str:
    symbol, letter, digit = found.groups()
    below = f"<i>{letter}</i>" if letter else _LOWERED.get(digit, "")
    return f"<i>{symbol}</i>" + (f"<sub>{below}</sub>" if below else "")


def _documentation() -> str:
    """A link to the project's documentation, where its metadata have one."""
    entries = metadata("rankbound").get_all("Project-URL") or []
    for label, _, address in (entry.partition(", ") for entry in entries):
        if label == "Documentation" and address.startswith("https://"):
            return f'<a href="{_escape(address)}">What an audit says, and what not</a>'
    return "What an audit says, and what not: docs/audit.md of rankbound."


def _data(heads: Sequence[Record], drawn: HeadMap) -> str:
    """The JSON of the page's script: rows exactly, spectra to four digits."""
    columns = [column.name for column in COLUMNS]
    data = {
        "columns": columns,
        "words": [column.words for column in COLUMNS],
        "rows": [[head[name] for name in columns] for head in heads],
        "thresholds": [head["threshold"] for head in heads],
        "spectra": [[float(f"{value:.4g}") for value in head["centred_values"]] for head in heads],
        "shares": drawn.shares,
        "colours": drawn.colours,
        "rings": drawn.rings,
        "corners": drawn.corners,
    }
    written = json.dumps(finite(data), separators=(",", ":"), allow_nan=False)  # in ASCII
    for sign in "<>&":
        written = written.replace(sign, f"\\u{ord(sign):04x}")
    return written


def _lead(heads: Sequence[Record]) -> str:
    """The result in a few sentences."""
    if not heads:
        return "No head was measured."
    shares = [share for share in map(share_of, heads) if share is not None]
    if not shares:
        return bottleneck(heads)
    above = sum(share >= SHARE for share in shares)
    return (
        f"{bottleneck(heads)} The effective log-rank is {_percent(min(shares))} to "
        f"{_percent(max(shares))} of the head size, in the median {_percent(median(shares))}, and "
        f"at least {_percent(SHARE)} in {above or 'none'}."
    )


def bottleneck(heads: Sequence[Record]) -> str:
    """In how many heads the log-rank is at its bound, and in how many of them the bound binds."""
    windows = len({head["window"] for head in heads})
    many = "heads" if windows == 1 else f"heads ({windows} windows, each counted)"
    full = sum(head["log_rank_lower"] == head["log_rank_bound"] for head in heads)
    binding = sum(head["at_bottleneck"] for head in heads)
    said = (
        f"In {full} of {len(heads)} {many} the log-rank is at its bound, and in {binding} this "
        "bound binds at this length"
    )
    cases = {(h["masked"], h["length"], h["generic_log_rank"], h["log_rank_bound"]) for h in heads}
    if len(cases) > 1 or (case := cases.pop())[2] is None:
        return f"{said}: almost every matrix of attention weights needs more."
    masked, length, generic, bound = case
    under = " under its mask" if masked else ""
    return (
        f"{said}: almost every matrix of attention weights of {length} tokens{under} needs "
        f"{generic}, and the bound is {bound}."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.0f}\N{NO-BREAK SPACE}%"


def _facts(record: Record) -> str:
    model, text, heads, proof = (record[part] for part in ("model", "text", "heads", "proof"))
    versions: Record = record["versions"]
    layers = {head["layer"] for head in heads}
    shown = f"{len(layers)} of {model['attention_layers']} shown"
    stored = f"{model['storage_dtype']}{', dequantised' if model['quantised'] else ''}"
    facts = [
        ("Model type", f"{model['model_type']} ({model['architecture']})"),
        ("Parameters", f"{model['parameters']:,}"),
        (
            "Attention layers",
            f"{model['attention_layers']}"
            + (f", {shown}" if len(layers) != model["attention_layers"] else ""),
        ),
        ("Query heads per layer", _counts(heads, "head")),
        ("Key/value heads per layer", _counts(heads, "key_value_head")),
        ("Head size", _span(head["head_size"] for head in heads)),
        ("Positions", "not stated" if model["positions"] is None else f"{model['positions']:,}"),
        ("Weights stored in", stored),
        ("Model run in", model["compute_dtype"]),
        ("Rounding unit", f"{model['unit']:.2g}"),
        *_given(text),
        ("Versions", ", ".join(f"{name} {number}" for name, number in versions.items())),
        (
            "Model's own weights reproduced",
            f"{proof['weights']:,} compared, largest difference "
            f"{proof['deviation']:.2g}, at most {proof['ratio']:.2g} of what rounding explains",
        ),
        ("SHA-256 of the input", text["sha256"]),
    ]
    if model["not_audited"]:
        facts.append(("Not audited", "; ".join(model["not_audited"])))
    wide = {
        "Not audited",
        "Versions",
        "Model's own weights reproduced",
        "SHA-256 of the input",
        "Inputs",
    }
    return "\n".join(
        f"<div{' class=wide' if name in wide else ''}><dt>{_escape(name)}</dt>"
        f"<dd>{_escape(value)}</dd></div>"
        for name, value in facts
    )


def _given(text: Record) -> list[tuple[str, str]]:
    """What the model was given."""
    if text["length"] is None:
        return [("Inputs", ", ".join(f"{n} {shape}" for n, shape in text["inputs"].items()))]
    return [
        ("Text", TextFacts(**text).extent),
        ("Windows", f"{text['windows']}, of {text['length']:,} tokens each"),
    ]


def _counts(heads: Iterable[Record], name: str) -> str:
    """How many heads of a kind the layers have."""
    found: dict[int, set[int]] = {}
    for head in heads:
        found.setdefault(head["layer"], set()).add(head[name])
    return _span(len(numbers) for numbers in found.values())


def _span(numbers: Iterable[int]) -> str:
    found = sorted(set(numbers))
    if not found:
        return "–"
    return str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _limits(record: Record) -> list[str]:
    """What a reader must not conclude."""
    model, text, heads = record["model"], record["text"], record["heads"]
    windows = f"{text['windows']} windows" if text["windows"] > 1 else "one window"
    one = (
        "One input: on another a head may use more or less of its size."
        if text["length"] is None
        else f"One text: the numbers are those of {windows} of {text['length']} tokens of a single "
        "text. On another text, or a longer window, a head may use more or less of its size."
    )
    limits = [
        one,
        f"One precision: the weights are stored in {model['storage_dtype']} and the model was run "
        f"in {model['compute_dtype']}. Ranks count the singular values that rounding in "
        f"{model['compute_dtype']} cannot explain; smaller ones cannot be told from zero. They are "
        "measured, not proved.",
        "A log-rank at its bound says that a head uses every direction it has, not that it needs "
        "them all. How much each is used show the effective log-rank and the spectrum.",
        "`kl_half` is the most that half the size costs a head refitted to this very text. "
        "Projections fixed before the text is seen, as a smaller model has, may cost far more.",
        "All of it is about attention weights. What a head of another size would do after "
        "training, or to the model's output, is not measured.",
    ]
    if any(head["masked"] for head in heads):
        limits.append(
            "Some pairs are hidden by a mask. Spectra, effective ranks and errors are then those "
            "of the head's own logits, hidden pairs included; as errors of what is visible they "
            "are upper bounds."
        )
    if any(head["log_rank_lower"] != head["log_rank_upper"] for head in heads):
        limits.append(
            "Where a mask is not nested, as sliding windows are not, the log-rank is known only "
            "between bounds, written as an interval; a head is marked only if its lower bound is "
            "at the bound of its size."
        )
    if any(head["biased"] for head in heads):
        limits.append(
            "Some layers add a bias to their products of queries and keys. It is taken as known: "
            "log-ranks, spectra and errors are those of the products without it."
        )
    if any(head["softcap"] is not None for head in heads):
        limits.append(
            "Some logits are capped by c tanh(L / c), which lifts ranks: there the head size is no "
            "bound of the log-rank, and an effective log-rank may exceed it."
        )
    return limits
