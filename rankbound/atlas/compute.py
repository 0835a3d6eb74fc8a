"""Compute the atlas for a number of tokens."""

from __future__ import annotations

from rankbound._validate import check_int, check_real
from rankbound.atlas.dense import dense_entries
from rankbound.atlas.entry import Atlas
from rankbound.atlas.patterns import pattern_entries
from rankbound.errors import InputError

__all__ = ["compute_atlas"]

LARGEST = 512  # tokens for which every entry takes seconds, not hours


def compute_atlas(n: int, seed: int = 0, *, scale: float = 50.0, error: float = 0.01) -> Atlas:
    """What head size each class of patterns of n tokens needs, in each sense.

    Every entry is computed for one pattern of its class: exact and certified ranks, KL bounds,
    heads that are built, and sign ranks. It is an interval where the two sides do not meet.

    Parameters
    ----------
    n : int
        Tokens, from 3 to 512.
    seed : int
        Of the random patterns.
    scale, error : float
        In the bounded sense: the largest ``|q| |k|``, and the total variation a column.

    Returns
    -------
    Atlas

    Raises
    ------
    InputError, InputTypeError
        If an argument is out of range.

    References
    ----------
    docs/theory.md, sections 1, 3 and 5.

    Examples
    --------
    >>> from rankbound.atlas.compute import compute_atlas
    >>> atlas = compute_atlas(8)
    >>> atlas.entry("random-causal", "exact").interval
    '4'
    """
    n = check_int("n", n, least=3, most=LARGEST, why="patterns differ from 3 tokens on")
    seed = check_int("seed", seed, least=0)
    scale = check_real("scale", scale, above=0.0)
    error = check_real("error", error, above=0.0)
    if not error < 1:
        raise InputError(f"error is {error}; expected a total variation below 1.")
    entries = (*dense_entries(n, seed), *pattern_entries(n, seed, scale, error))
    return Atlas(n, seed, scale, error, entries)
