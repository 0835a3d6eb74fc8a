"""Formulas in code and statements as LaTeX: what is understood, and what is left alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import rankbound as rb
from rankbound.mathematics import latex, marked

DOCS = Path(__file__).parent.parent / "docs"


def tight(text: str) -> str:
    """Without the blanks that TeX does not need."""
    return re.sub(r" (?![A-Za-z])|(?<![A-Za-z]) ", "", text)


@pytest.mark.parametrize(
    ("text", "formula"),
    [
        ("rank(C log P) <= k", r"\operatorname{rank}(C\log P)\le k"),
        ("(W_k X)^T (W_q X) / sqrt(k)", r"(W_{k}X)^\top(W_{q}X)/\sqrt{k}"),
        ("I - 11^T/n", r"I-\mathbf 1\mathbf 1^\top/n"),
        ("P ∝ 2^{ij}", r"P\propto 2^{i j}"),
        ("X^+ = (X^T X)^{-1} X^T", r"X^+=(X^\top X)^{-1}X^\top"),
        ("‖G'‖ <= ‖A G‖ / s_min(A)", r"\Vert G'\Vert\le\Vert A G\Vert/s_{\mathrm{min}}(A)"),
        ("Σ_{r > k} s_r²", r"\sum_{r\gt k}s_{r}^2"),
        ("|<W, log P>| > ρ", r"\vert\langle W,\log P\rangle\vert\gt\rho"),
        ("W_k^1T W_q^1", r"W_{k}^{1\top}W_{q}^{1}"),
        ("floor(n/2)", r"\lfloor n/2\rfloor"),
        ("√d_qk", r"\sqrt{d_{\mathrm{qk}}}"),
        ("1e-9", r"10^{-9}"),
        ("log2 N", r"\log_{2}N"),
        ("‖B C‖_*", r"\Vert B C\Vert_*"),
        ("e^(2g)", r"e^{2 g}"),
        ("L - L' = 1 c^T", r"L-L'=\mathbf 1 c^\top"),
        ("N 1 != 0", r"N\mathbf 1\ne 0"),
        ("n - 1 < d", r"n-1\lt d"),
        ("2^±t", r"2^{\pm t}"),
    ],
)
def test_what_is_understood(text: str, formula: str) -> None:
    assert tight(latex(text) or "") == tight(formula)


@pytest.mark.parametrize(
    "text",
    [
        "theorem-a",
        "rb.log_rank(P)",
        "log_rank",
        "mask=",
        "X=",
        "P[i",
        "(a + b",
        "a)",
        "key, query",
        "scripts/make_docs.py",
        "...",
        "",
        "x_",
        "a ?",
        "P = {k",
    ],
)
def test_what_is_no_formula(text: str) -> None:
    assert latex(text) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A head of size k on X.", "A head of size $k$ on $X$."),
        ("On d = n - 1 a head has P: a key.", "On $d = n - 1$ a head has $P$: a key."),
        ("has rank n - 1, so do 3 of 4", "has rank $n - 1$, so do 3 of 4"),
        ("in dimension min(2q, n - 1) keys", r"in dimension $\min ( 2 q , n - 1 )$ keys"),
        ("up to 100,000 keys", "up to 100,000 keys"),
        ("for d < n (n >= 2) there", r"for $d \lt n$ $( n \ge 2 )$ there"),
        ("a mean KL of a head_size", "a mean KL of a head_size"),
        ("d-dimensional tokens, log-rank k", "d-dimensional tokens, log-rank $k$"),
    ],
)
def test_formulas_in_a_statement(text: str, said: str) -> None:
    assert marked(text) == said


def test_no_statement_loses_a_word() -> None:
    """Its letters are those it had; brackets of formulas are in pairs."""
    for claim in rb.claims.values():
        text = marked(claim.statement)
        prose = re.sub(r"\$[^$]*\$", "", text)
        assert set(re.findall(r"[a-z]{3,}", prose)) <= set(
            re.findall(r"[a-z]{3,}", claim.statement)
        )
        lost = set(re.findall(r"\b[a-z]{3,}\b", claim.statement)) - set(re.findall("[a-z]+", text))
        assert lost <= {"exp", "min", "max", "log", "tanh", "sinh", "coth", "floor", "sqrt"}, lost
        for formula in re.findall(r"\$([^$]*)\$", text):
            assert formula.count("{") == formula.count("}")
            assert len(re.findall(r"\\Vert|\\vert", formula)) % 2 == 0


def test_most_of_the_theory_is_typeset() -> None:
    """What is left as code is a name, or holds one."""
    text = re.sub(r"```.*?```", "", (DOCS / "theory.md").read_text("utf-8"), flags=re.DOTALL)
    spans = {" ".join(span.split()) for span in re.findall(r"`([^`]+)`", text)}
    left = {span for span in spans if latex(span) is None}
    assert len(spans - left) >= 350
    odd = {span for span in left if re.search("[<=>^]", span) and not re.search("[a-z]{4}", span)}
    assert odd == set()
