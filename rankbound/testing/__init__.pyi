"""The strategies; ``__init__.py`` imports them when first used."""

from .strategies import contexts as contexts
from .strategies import heads as heads
from .strategies import logits as logits
from .strategies import multiheads as multiheads
from .strategies import tokens as tokens
