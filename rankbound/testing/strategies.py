"""Hypothesis strategies for tokens, heads, layers, logits and contexts, the hard kinds included.

Each strategy takes the sizes that matter to the test (those left out are drawn, up to `largest`)
and ``kinds=``, one name or several from the table in its docstring; without it, every kind that
exists at the sizes is drawn. Small integers and sizes are drawn by Hypothesis and shrink; Gaussian
entries come from a drawn seed, which shrinks towards 0.
"""

from __future__ import annotations

from collections.abc import Iterable

from rankbound._validate import Array
from rankbound.attention.head import AttentionHead
from rankbound.attention.layer import MultiHead
from rankbound.testing.kinds import CONTEXTS, HEADS, LOGITS, MULTIHEADS, TOKENS, drawn, st

__all__ = ["contexts", "heads", "logits", "multiheads", "tokens"]

Kinds = str | Iterable[str] | None


def logits(
    n: int | None = None, *, kinds: Kinds = None, largest: int = 8
) -> st.SearchStrategy[Array]:
    """Finite logits, [key, query].

    =================  =======================================================================
    kind               what it draws
    =================  =======================================================================
    ``constant``       one constant a column: the uniform context
    ``integer``        integers of dtype int64, which the package treats exactly
    ``low_rank``       a product of integer factors, exact in float64; rank below n
    ``repeated``       repeated columns, integer entries
    ``gaussian``       independent normal entries
    ``near_low_rank``  ``low_rank`` plus normal entries of size 10^-k, k = 1..16
    ``one_hot``        t times a permutation matrix, t = 1..1000
    ``underflow``      one key a query leads by 800 to 10^6: every other weight is 0 in float64
    ``huge``           integers times a power of two, from 10^30 up to about 10^307
    ``single``         n = 1
    =================  =======================================================================

    Parameters
    ----------
    n : int, optional
        Sequence length.
    kinds : str or iterable of str, optional
        Names above.
    largest : int
        Largest size that is drawn.

    Returns
    -------
    SearchStrategy of ndarray, shape (n, n)

    Raises
    ------
    InputError, InputTypeError
        If a size is below 1, or a kind is unknown or does not exist at these sizes.
    """
    return drawn("logits", {"n": n}, kinds, largest, LOGITS)


def contexts(
    n: int | None = None, *, kinds: Kinds = None, largest: int = 8
) -> st.SearchStrategy[Array]:
    """Positive column-stochastic matrices, [key, query].

    =================  =======================================================================
    kind               what it draws
    =================  =======================================================================
    ``uniform``        every entry 1/n
    ``low_rank``       softmax of logits of kind ``low_rank``: log-rank at most their rank
    ``repeated``       repeated columns
    ``gaussian``       softmax of independent normal logits
    ``near_low_rank``  softmax of logits of kind ``near_low_rank``
    ``one_hot``        a permutation but for a mass of about n e^-t, t = 1..600
    ``tiny``           entries down to about e^-700 = 1e-304, still normal numbers
    ``single``         n = 1
    =================  =======================================================================

    Parameters
    ----------
    n, kinds, largest
        As in :func:`logits`.

    Returns
    -------
    SearchStrategy of ndarray, shape (n, n)

    Raises
    ------
    InputError, InputTypeError
        As :func:`logits`.
    """
    return drawn("contexts", {"n": n}, kinds, largest, CONTEXTS)


def tokens(
    d: int | None = None, n: int | None = None, *, kinds: Kinds = None, largest: int = 8
) -> st.SearchStrategy[Array]:
    """Tokens, one a column.

    ====================  ====================================================================
    kind                  what it draws
    ====================  ====================================================================
    ``gaussian``          independent normal entries, any d and n
    ``full_column_rank``  d >= n, condition number at most 10
    ``low_rank``          a product of integer factors, exact in float64; rank below min(d, n)
    ``repeated``          repeated tokens, integer entries
    ``near_low_rank``     ``low_rank`` plus normal entries of size 10^-k, k = 1..16
    ``wide``              d < n: no tokens of full column rank
    ``huge``              normal entries times a power of two, from 10^30 up to about 10^150
    ``single``            n = 1
    ====================  ====================================================================

    Parameters
    ----------
    d, n : int, optional
        Embedding size and sequence length.
    kinds, largest
        As in :func:`logits`.

    Returns
    -------
    SearchStrategy of ndarray, shape (d, n)

    Raises
    ------
    InputError, InputTypeError
        As :func:`logits`.
    """
    return drawn("tokens", {"d": d, "n": n}, kinds, largest, TOKENS)


def heads(
    d: int | None = None, head_size: int | None = None, *, kinds: Kinds = None, largest: int = 8
) -> st.SearchStrategy[AttentionHead]:
    """Attention heads with query, key and value projections (head_size, d).

    ============  ============================================================================
    kind          what it draws
    ============  ============================================================================
    ``zero``      zero queries: the uniform context
    ``integer``   integer projections and scale 1, so that integer tokens have exact logits
    ``gaussian``  :func:`rankbound.random_head`
    ``low_rank``  keys that repeat one row, head_size >= 2: logits of rank 1
    ``sharp``     Gaussian, scale 10^2 to 10^6: contexts near one-hot, and underflow
    ``huge``      projections near 10^150, so that logits are near 10^300
    ``wide``      head_size > d
    ``single``    head_size = 1
    ============  ============================================================================

    Parameters
    ----------
    d, head_size : int, optional
        Embedding size (the sequence length where tokens are the identity) and head size.
    kinds, largest
        As in :func:`logits`.

    Returns
    -------
    SearchStrategy of AttentionHead

    Raises
    ------
    InputError, InputTypeError
        As :func:`logits`.
    """
    return drawn("heads", {"d": d, "head_size": head_size}, kinds, largest, HEADS)


def multiheads(
    d: int | None = None, heads: int | None = None, *, kinds: Kinds = None, largest: int = 8
) -> st.SearchStrategy[MultiHead]:
    """Layers of attention heads, Gaussian.

    ============  ============================================================================
    kind          what it draws
    ============  ============================================================================
    ``standard``  head size d/h; h divides d
    ``fixed``     a head size from 1 to 2d, whatever d and h are
    ``repeated``  the same head h times, h >= 2
    ``single``    h = 1, head size d
    ============  ============================================================================

    Parameters
    ----------
    d, heads : int, optional
        Embedding size and number of heads h.
    kinds, largest
        As in :func:`logits`.

    Returns
    -------
    SearchStrategy of MultiHead

    Raises
    ------
    InputError, InputTypeError
        As :func:`logits`.
    """
    return drawn("multiheads", {"d": d, "heads": heads}, kinds, largest, MULTIHEADS)
