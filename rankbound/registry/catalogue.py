"""All registered claims: an immutable mapping built from explicit tuples, one per file."""

from __future__ import annotations

from collections.abc import Mapping

from rankbound.registry import (
    adler2025,
    approximation,
    bhojanapalli2020,
    cordonnier2020,
    lialin2023,
    mahdavi2024,
    song2024,
    sui2026,
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
    weller2025,
    adler2025,
    yao2026,
    mahdavi2024,
    cordonnier2020,
    sui2026,
    xiao2024,
    yan2021,
    song2024,
    lialin2023,
)

claims: Mapping[str, Claim] = by_id(
    *theorems.CLAIMS,
    *bhojanapalli2020.CLAIMS,
    *variants.CLAIMS,
    *approximation.CLAIMS,
    *(claim for paper in PAPERS for claim in paper.CLAIMS),
)
