"""All registered claims: an immutable mapping built from explicit tuples, one per file."""

from __future__ import annotations

from collections.abc import Mapping

from rankbound.registry import (
    adler2025,
    amsel2024,
    any_tokens,
    approximation,
    bhojanapalli2020,
    cordonnier2020,
    cut_queries,
    dong2021,
    grivas2022,
    kajitsuka2024,
    kobayashi2024,
    lesens2025,
    lialin2023,
    likhosherstov2023,
    mahdavi2024,
    sanford2023,
    selection,
    song2024,
    sui2026,
    theorem_2,
    theorem_c,
    theorems,
    variants,
    weller2025,
    xiao2024,
    yan2021,
    yao2026,
)
from rankbound.registry.claim import Claim, by_id

# the papers that cite or sharpen B20, as docs/papers.md tells them
PAPERS = (
    grivas2022,
    likhosherstov2023,
    sanford2023,
    weller2025,
    adler2025,
    amsel2024,
    yao2026,
    sui2026,
    lesens2025,
    kajitsuka2024,
    mahdavi2024,
    cordonnier2020,
    xiao2024,
    yan2021,
    song2024,
    lialin2023,
    dong2021,
    kobayashi2024,
)

claims: Mapping[str, Claim] = by_id(
    *theorems.CLAIMS,
    *theorem_c.CLAIMS,
    *any_tokens.CLAIMS,
    *bhojanapalli2020.CLAIMS,
    *theorem_2.CLAIMS,
    *variants.CLAIMS,
    *approximation.CLAIMS,
    *selection.CLAIMS,
    *cut_queries.CLAIMS,
    *(claim for paper in PAPERS for claim in paper.CLAIMS),
)
