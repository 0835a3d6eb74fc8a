"""Formulas as they are written in code and statements, ``rank(C log P) <= k``, as LaTeX.

What is not wholly understood is no formula: a name of code, a path, prose.
"""

from __future__ import annotations

import re
from collections.abc import Callable

TOKEN = re.compile(
    r"\s+|\d+(?:\.\d+)?e-?\d+|\d*\.?\d+|<=>|<=|>=|!=|->|<<|>>|∝|[A-Za-z]+'*|[α-ωΑ-Ωℓ]'*|\S"
)


def words(text: str) -> list[str]:
    """What stands between blanks."""
    return text.split()


NAMES = frozenset(
    words(
        "rank logrank softmax exp log det sign max min KL TV dim span tr diag tanh coth sinh cosh "
        "mean argmax argmin mod conv sup inf E Pr cos sin kl fl signrank eps tiny res"
    )
)
WORDS = frozenset(words("left right cap uniform query key mean loss mix stored rest"))
PRODUCTS = frozenset(words("ij mn ah du ru hk tt"))
PROSE = WORDS | PRODUCTS | {"in", "max", "min", "sign", "softmax"}
ARTICLES = ("a", "A", "I", "|", "")  # "A," is a matrix
BUILT_IN = frozenset(words("exp log det max min dim tanh coth sinh cosh sup inf Pr cos sin"))
BELOW = frozenset(words("min max new old eff qk"))  # words as an index
GREEK = dict(
    zip(
        "αβγδεζηθικλμνξπρστφχψωΓΔΘΛΞΦΨΩ",
        words(
            "alpha beta gamma delta varepsilon zeta eta theta iota kappa lambda mu nu xi pi rho "
            "sigma tau varphi chi psi omega Gamma Delta Theta Lambda Xi Phi Psi Omega"
        ),
        strict=True,
    )
)
SIGNS = {
    "<=": r"\le",
    ">=": r"\ge",
    "!=": r"\ne",
    "->": r"\to",
    "<<": r"\ll",
    ">>": r"\gg",
    "<": r"\lt",
    ">": r"\gt",
    "∝": r"\propto",
    "∈": r"\in",
    "∉": r"\notin",
    "⊇": r"\supseteq",
    "⊆": r"\subseteq",
    "⊂": r"\subset",
    "∪": r"\cup",
    "∩": r"\cap",
    "…": r"\dots",
    "×": r"\times",
    "·": r"\cdot",
    "*": r"\cdot",
    "⊗": r"\otimes",
    "⊙": r"\odot",
    "±": r"\pm",
    "∞": r"\infty",
    "≈": r"\approx",
    "∇": r"\nabla",
    "∂": r"\partial",
    "‖": r"\Vert",
    "⟨": r"\langle",
    "⟩": r"\rangle",
    "⌊": r"\lfloor",
    "⌋": r"\rfloor",
    "⌈": r"\lceil",
    "⌉": r"\rceil",
    "{": r"\{",
    "}": r"\}",
    "∫": r"\int",
    "½": r"\tfrac12",
    "¼": r"\tfrac14",
    "²": "^2",
    "³": "^3",
    "Σ": r"\sum",
    "ℓ": r"\ell",
    "%": r"\%",
    "⊤": r"\top",
    "|": r"\vert",
} | {sign: sign for sign in "+-=,;:/!()[]"}
LETTER = "[A-Za-z]'*|[α-ωΑ-Ωℓ]'*"
OPEN, CLOSE = "([{⟨⌊⌈", ")]}⟩⌋⌉"
INFIX = (
    "=",
    "<=",
    ">=",
    "!=",
    "->",
    "<",
    ">",
    "∝",
    "∈",
    "+",
    "·",
    "×",
    "/",
    "*",
    "-",
    ",",
    "^",
    "_",
)


NAMED = re.compile("[Tt]heorem|appendix")  # before a letter that is no matrix
_ANGLES = re.compile(r"<(\w[^<>=]*, [^<>=]*)>")  # an inner product


class NoFormulaError(ValueError):
    """A text is not wholly understood."""


def latex(text: str) -> str | None:
    """A formula in LaTeX, without dollars; None where the text is none."""
    text = re.sub(r"\^(\w)T\b", r"^{\1 ⊤}", _ANGLES.sub(r"⟨\1⟩", text))
    text = re.sub(r"_(\d[a-z])\b", r"_{\1}", re.sub(r"\blog2\b", "log_2", text))
    tokens = [token for token in TOKEN.findall(text) if not token.isspace()]
    dangling = tokens[1:] and tokens[-1] in INFIX and tokens[-2] not in ("^", "_")
    if not tokens or dangling or (tokens[0] in INFIX and tokens[0] != "-"):
        return None
    try:
        found, rest = _read(tokens, "")
    except NoFormulaError:
        return None
    is_formula = any(re.fullmatch(rf"{LETTER}|\d.*", token) for token in tokens)
    return found if is_formula and not rest else None


def _read(tokens: list[str], end: str) -> tuple[str, list[str]]:
    """What stands before a closing bracket, and what comes after that."""
    parts: list[str] = []
    before = ""
    while tokens and tokens[0] != end:
        if tokens[0] in CLOSE:
            raise NoFormulaError
        is_vector = tokens[0] == "1" and (
            re.fullmatch(LETTER, before)
            or tokens[1:2] == ["("]
            or (tokens[2:4] == ["^", "T"] and re.fullmatch(LETTER, tokens[1]))
        )
        before = tokens[0]
        part, tokens = (r"\mathbf 1", tokens[1:]) if is_vector else _item(tokens)
        parts.append(part)
    if end:
        if not tokens:
            raise NoFormulaError
        tokens = tokens[1:]
    return " ".join(parts), tokens


def _item(tokens: list[str]) -> tuple[str, list[str]]:
    """One symbol with what stands above and below it."""
    first, rest = tokens[0], tokens[1:]
    if first in ("_", "^"):
        script, rest = _script(first, rest)
        return script, rest
    if first in ("sqrt", "√") and rest:
        inside, rest = _read(rest[1:], ")") if rest[0] == "(" else _item(rest)
        if rest[:1] == ["_"] and tokens[1] != "(":
            index, rest = _item(rest)
            inside += index
        return rf"\sqrt{{{inside}}}", rest
    if first == "floor" and rest[:1] == ["("]:
        inside, rest = _read(rest[1:], ")")
        return rf"\lfloor {inside} \rfloor", rest
    if first in OPEN:
        inside, rest = _read(rest, CLOSE[OPEN.index(first)])
        return f"{SIGNS[first]} {inside} {SIGNS[CLOSE[OPEN.index(first)]]}", rest
    if re.fullmatch("1+", first) and rest[:2] == ["^", "T"]:
        return " ".join([r"\mathbf 1"] * len(first)), rest
    return _symbol(first, rest), rest


def _symbol(token: str, rest: list[str]) -> str:
    name, primes = token.rstrip("'"), "'" * (len(token) - len(token.rstrip("'")))
    if token == "Π":
        return r"\prod" if rest[:1] == ["_"] else r"\Pi"
    if name in GREEK:
        return rf"\{GREEK[name]}{primes}"
    if token in SIGNS:
        return SIGNS[token]
    if name in BUILT_IN and not primes:
        return rf"\{name}"
    if name in NAMES and not primes and len(name) > 1:
        return rf"\operatorname{{{name}}}"
    if token in WORDS:
        return rf"\mathrm{{{token}}}"
    if token == "in":
        return r"\in"
    if token in PRODUCTS:
        return " ".join(token)
    if re.fullmatch(r"\d+(\.\d+)?e-?\d+", token):
        mantissa, _, power = token.partition("e")
        return rf"{'' if mantissa == '1' else mantissa + chr(92) + 'cdot '}10^{{{int(power)}}}"
    if re.fullmatch(r"[A-Za-z]|\d*\.?\d+", name):
        return token
    raise NoFormulaError


def _script(sign: str, tokens: list[str]) -> tuple[str, list[str]]:
    """An index or a power: a group, a sign with a symbol, or a symbol."""
    if not tokens:
        raise NoFormulaError
    first, rest = tokens[0], tokens[1:]
    if first in ("{", "("):
        inside, rest = _read(rest, "}" if first == "{" else ")")
        return f"{sign}{{{inside}}}", rest
    if sign == "^" and first == "T":
        return r"^\top", rest
    if sign == "^" and first in ("+", "-", "±") and rest and re.fullmatch(r"\w+", rest[0]):
        inside, after = _item(rest)
        if first != "+":
            return f"^{{{SIGNS[first]} {inside}}}", after
    if first in ("+", "*"):
        return f"{sign}{first}", rest
    if sign == "_" and first in BELOW:
        return rf"_{{\mathrm{{{first}}}}}", rest
    if re.fullmatch(r"[A-Za-z]|\d+|[α-ωΑ-Ωℓ½]", first) or first in PRODUCTS:
        return f"{sign}{{{_symbol(first, rest)}}}", rest
    raise NoFormulaError


def marked(text: str, plain: Callable[[str], str] = str) -> str:
    """A statement in which what is surely a formula stands between dollars; `plain` has the rest.

    The longest runs of words that are formulas are; a number alone, an article, and the rank of
    something in words are none.
    """
    left, parts, begin = _ANGLES.sub(r"⟨\1⟩", text).split(" "), list[str](), ""
    while left:
        count = next((n for n in range(len(left), 0, -1) if _is_formula(left[:n])), 0)
        if not count and not begin and re.match(r"\((?![a-z]\))\S", left[0]):
            begin, left[0] = plain("("), left[0][1:]  # a remark that may begin with a formula
            continue
        run, left = left[: count or 1], left[count or 1 :]
        body, end = _without_end(" ".join(run))
        is_name = re.fullmatch("[A-C]", body) and NAMED.search(" ".join(parts[-3:]))
        said = f"${latex(body)}${plain(end)}" if count and not is_name else plain(run[0])
        parts.append(begin + said)
        begin = ""
    return " ".join(parts)


def _is_formula(run: list[str]) -> bool:
    body, _ = _without_end(" ".join(run))
    if not re.search(r"[^\d.,% -]", body) or re.search(r"\b[A-Za-z]\d|^\([a-z]\)", body):
        return False
    if body.count("‖") % 2 or body.count("|") % 2:
        return False
    if re.search(r" \([^()]*[<>=]", body):  # a remark, not a factor
        return False
    depth = 0
    for before, word, after in zip(["", *run[:-1]], run, [*run[1:], ""], strict=True):
        bare = word.strip("(),.:;")
        depth += sum(word.count(sign) for sign in OPEN) - sum(word.count(sign) for sign in CLOSE)
        if after and depth <= 0 and word.endswith((",", ".", ":", ";")):
            return False
        if word in ARTICLES and before not in INFIX:
            return False
        if bare in PROSE or re.search("[a-z]-[a-z]{2}", word):
            return False
        if bare in NAMES - BUILT_IN and not after.startswith(("C", "(", "[", ">", "<", "=")):
            return False
    return latex(body) is not None


def _without_end(text: str) -> tuple[str, str]:
    """A run without the punctuation after it, and that."""
    body = text.rstrip(".,;:*")
    if body.count("(") < body.count(")") and body.endswith(")"):
        body = body[:-1]
    return body, text[len(body) :]
