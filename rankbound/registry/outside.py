"""Claims of other packages: entry points of the group ``rankbound.claims``, read when asked for."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType

from rankbound._validate import listed, shown
from rankbound.errors import InputError, InputTypeError
from rankbound.registry import catalogue
from rankbound.registry.claim import Claim, by_id

GROUP = "rankbound.claims"


@cache
def outside() -> Mapping[str, tuple[Claim, str]]:
    """The claims that installed packages register, by id; with each the package and its version.

    An entry point names an iterable of claims, ``acme.claims:CLAIMS``. One that cannot be loaded or
    has an id that is taken is left out, with one warning that names its package.
    """
    found: dict[str, tuple[Claim, str]] = {}
    for point in sorted(entry_points(group=GROUP), key=lambda one: (_package(one), one.name)):
        try:
            new = _loaded(point)
            for id in new:
                if id in catalogue.claims or id in found:
                    owner = found[id][1] if id in found else "rankbound"
                    raise InputError(f"the id {id} is that of a claim of {owner}; expected another")
        except (Exception, SystemExit) as error:  # another's module may raise anything
            warnings.warn(
                f"the claims {point.value} of {_package(point)} are left out: "
                f"{type(error).__name__}: {error}. Mend or uninstall {_package(point)}.",
                stacklevel=2,
            )
        else:
            found |= {id: (claim, _package(point)) for id, claim in new.items()}
    return MappingProxyType(found)


def registered() -> Mapping[str, Claim]:
    """All registered claims: those of rankbound, then those of other packages."""
    return {**catalogue.claims, **{id: claim for id, (claim, _) in outside().items()}}


def origin(claim: Claim) -> str:
    """The package that registers a claim and its version; empty if none but rankbound does."""
    return outside()[claim.id][1] if claim.id in outside() else ""


def _loaded(point: EntryPoint) -> Mapping[str, Claim]:
    given = listed(point.value, point.load(), "the claims of a package")
    for one in given:
        if not isinstance(one, Claim):
            raise InputTypeError(f"{shown(one)} is not a Claim; expected what make_claim returns")
    return by_id(*given)


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unnamed package"
