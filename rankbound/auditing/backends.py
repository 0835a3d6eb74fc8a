"""Optional packages, imported when an audit needs them and with their chatter kept quiet."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module, metadata
from types import ModuleType

from rankbound.errors import BackendMissing

__all__ = ["quiet", "require", "require_transformers", "versions"]

INSTALL = 'pip install "rankbound[models]"'
OLDEST = (5, 4)  # of transformers; pyproject.toml says what older ones lack


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


def require_transformers() -> ModuleType:
    """Import transformers, of a version in which attention can be observed.

    Raises
    ------
    BackendMissing
        If it is not installed or too old; the message holds the install line.
    """
    module = require("transformers", "an audit")
    version = str(module.__version__)
    if tuple(map(int, version.split(".")[:2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise BackendMissing(
            f"an audit needs transformers {oldest} or later; {version} is installed: "
            f"{INSTALL.replace('install', 'install --upgrade')}"
        )
    return module


def versions() -> dict[str, str]:
    """Of Python, rankbound and the packages on which the numbers of an audit depend."""
    found = {"Python": platform.python_version()}
    for name in ("rankbound", "numpy", "torch", "transformers"):
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


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
