"""``rankbound doctor``: what is installed, and what that allows."""

from __future__ import annotations

import argparse
import platform
from importlib import metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from packaging.requirements import Requirement


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
    from rankbound.reporting import answer_table, console

    core = _needed()
    rows = [("rankbound", metadata.version("rankbound")), ("python", platform.python_version())]
    rows += [(one.name, _state(one)) for one in core]
    rows += [("BLAS", blas) for blas in _blas()]
    extras = metadata.metadata("rankbound").get_all("Provides-Extra") or []
    rows += [(f"extra {extra}", _extra(extra)) for extra in extras]
    works, exact = _exact()
    out = console()
    out.print(answer_table([*rows, ("exact arithmetic", exact)]))
    broken = [str(one) for one in core if not _works(one)]
    if broken or not works:
        wanted = " ".join(f'"{one}"' for one in broken or ["python-flint"])
        out.print(f"broken: pip install {wanted}", markup=False, soft_wrap=True)
        return 1
    return 0


def _needed(extra: str = "") -> list[Requirement]:
    """What an extra requires, or the core, as the installed package says."""
    from packaging.requirements import Requirement

    found = map(Requirement, metadata.requires("rankbound") or ())
    return [
        one for one in found if (one.marker.evaluate({"extra": extra}) if one.marker else not extra)
    ]


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _works(one: Requirement) -> bool:
    version = _version(one.name)
    return version is not None and one.specifier.contains(version, prereleases=True)


def _state(one: Requirement) -> str:
    version = _version(one.name) or "missing"
    return version if _works(one) else f"{version}; expected {one.name}{one.specifier}"


def _extra(extra: str) -> str:
    lacking = [one for one in _needed(extra) if not _works(one)]
    if not lacking:
        return "complete"
    names = ", ".join(f"{one.name} ({_version(one.name) or 'missing'})" for one in lacking)
    return f'without {names}: pip install "rankbound[{extra}]"'


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
