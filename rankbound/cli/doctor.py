"""``rankbound doctor``: what is installed, and what that allows."""

from __future__ import annotations

import argparse
import platform
from importlib import metadata
from typing import Any

__all__ = ["add_command"]

CORE = (
    "numpy",
    "scipy",
    "sympy",
    "mpmath",
    "python-flint",
    "matplotlib",
    "rich",
    "joblib",
    "threadpoolctl",
    "cloudpickle",
)
EXTRAS = {
    "test": ("hypothesis", "pytest"),
    "models": ("torch", "transformers", "safetensors", "gguf", "accelerate", "pandas"),
    "experiments": ("torch", "safetensors", "pandas"),
    "notebook": ("jupyter", "nbclient", "pandas"),
    "docs": ("sphinx", "pydata-sphinx-theme", "myst-nb", "numpydoc"),
}


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "doctor",
        help="say what is installed and what is missing",
        description="List versions and BLAS; exit 1 if a core dependency does not work.",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the table of versions and the missing pieces."""
    from rankbound.reporting.tables import answer_table, console

    rows = [("rankbound", _version("rankbound")), ("python", platform.python_version())]
    rows += [(name, _version(name)) for name in CORE]
    rows += [("BLAS", blas) for blas in _blas()]
    rows += [(f"extra {extra}", _extra(extra, names)) for extra, names in EXTRAS.items()]
    works, exact = _exact()
    rows.append(("exact arithmetic", exact))
    out = console()
    out.print(answer_table(rows))
    broken = [name for name in CORE if _version(name) == "missing"]
    if broken or not works:
        out.print(f"broken: pip install {' '.join(broken or ['python-flint'])}", markup=False)
        return 1
    return 0


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "missing"


def _extra(extra: str, names: tuple[str, ...]) -> str:
    missing = [name for name in names if _version(name) == "missing"]
    if not missing:
        return "complete"
    return f'without {", ".join(missing)}: pip install "rankbound[{extra}]"'


def _blas() -> list[str]:
    import numpy.linalg  # noqa: F401 - loads the BLAS that is to be described
    from threadpoolctl import threadpool_info

    pools: list[dict[str, Any]] = [i for i in threadpool_info() if i["user_api"] == "blas"]
    return [
        f"{pool['internal_api']} {pool['version']}, {pool.get('architecture', 'unknown kernel')}, "
        f"{pool['num_threads']} threads"
        for pool in pools
    ]


def _exact() -> tuple[bool, str]:
    from rankbound.errors import BackendMissing
    from rankbound.ranks.exact import exact_rank

    try:
        works = int(exact_rank([[1, 2], [2, 4]])) == 1
    except BackendMissing as error:  # no wheel for musl, for one
        return False, f"not available: {error}"
    return works, "works" if works else "wrong: the rank of [[1, 2], [2, 4]] is not 1"
