"""Sizes of the heads of a layer: those of an arm of an experiment."""

from __future__ import annotations

from dataclasses import dataclass

from rankbound._validate import check_int
from rankbound.errors import InputError

__all__ = ["Sizes", "check_word", "layer_sizes"]


@dataclass(frozen=True)
class Sizes:
    """A multi-head attention layer's sizes.

    Attributes
    ----------
    d : int
        Of a token.
    heads : int
    d_k, d_v : int
        Head size (of queries and keys) and value size.
    """

    d: int
    heads: int
    d_k: int
    d_v: int

    @property
    def parameters(self) -> int:
        """Number of entries of W_q, W_k, W_v and W_o."""
        return 2 * self.d * self.heads * (self.d_k + self.d_v)

    def facts(self) -> dict[str, int]:
        """What a result says of its layer."""
        return {"d_k": self.d_k, "d_v": self.d_v, "attention_parameters": self.parameters}


def layer_sizes(
    d: int, heads: int, head_size: int | None = None, value_size: int | None = None
) -> Sizes:
    """Return the sizes of a layer; the standard ones, d / heads, where no head size is given.

    Raises
    ------
    InputError, InputTypeError
        If a size is not a positive integer, or d is no multiple of heads in a standard layer.

    Examples
    --------
    >>> layer_sizes(32, 4)
    Sizes(d=32, heads=4, d_k=8, d_v=8)
    >>> layer_sizes(32, 4, head_size=7, value_size=8).parameters
    3840
    """
    d, heads = check_int("d", d, least=1), check_int("heads", heads, least=1)
    if head_size is None and d % heads:
        raise InputError(
            f"d is {d} and heads is {heads}; expected d to be a multiple of heads in a standard "
            "layer, whose heads have size d / heads. Pass head_size for a fixed one."
        )
    d_k = d // heads if head_size is None else check_int("head_size", head_size, least=1)
    d_v = d_k if value_size is None else check_int("value_size", value_size, least=1)
    return Sizes(d, heads, d_k, d_v)


def check_word(name: str, value: object, words: tuple[str, ...]) -> str:
    """Return a word that is one of these."""
    if value not in words:
        raise InputError(f"{name} is {value!r}; expected one of {', '.join(words)}.")
    return str(value)
