"""Optional packages, imported when an audit needs them and with their chatter kept quiet."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from rankbound.errors import BackendMissing

__all__ = ["quiet", "require"]

INSTALL = 'pip install "rankbound[models]"'


def require(name: str, purpose: str) -> ModuleType:
    """Import an optional package.

    Raises
    ------
    BackendMissing
        If it is not installed; the message holds the install line.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what it says of itself at import is not the user's
            return import_module(name)
    except ImportError as error:
        raise BackendMissing(f"{purpose} needs {name} ({error}): {INSTALL}") from None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from printing; its settings are put back."""
    logging = require("transformers", "an audit").utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
