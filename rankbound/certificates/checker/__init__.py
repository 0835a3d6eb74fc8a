"""The checker: verifies a certificate from its JSON alone.

It shares no code with what produces certificates: Python's integers, ``fractions`` and, for
logarithms and exponentials, ``mpmath``. An accepted certificate proves its statement; a rejected
one refutes nothing. The rules of each kind are in docs/certificates.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import NoReturn

from rankbound.certificates.checker import (
    divergence,
    fields,
    heads,
    packing,
    ranks,
    selection,
    signs,
)
from rankbound.certificates.checker.fields import Rejected, shown, tree
from rankbound.certificates.checker.reading import read_statement
from rankbound.certificates.checker.statements import Statement
from rankbound.certificates.checker.tables import Budget

__all__ = ["Check", "check"]

SCHEMA = "rankbound-certificate-1"


@dataclass(frozen=True, eq=False)
class Check:
    """The outcome of checking one certificate; a rejected one refutes nothing.

    Examples
    --------
    >>> import rankbound as rb
    >>> rb.check("{}").accepted
    False
    """

    accepted: bool  # whether the certificate proves its statement
    statement: str  # in words, as the checker read it
    reason: str  # what was verified, or why the certificate is rejected

    def __bool__(self) -> NoReturn:
        raise TypeError(
            "a Check is not a truth value: ask for .accepted; a rejection refutes nothing."
        )


@cache
def registered() -> Mapping[str, list[str]]:
    """The statement kinds of each claim id."""
    text = files("rankbound.certificates").joinpath("claims.json").read_text(encoding="utf-8")
    found: dict[str, list[str]] = json.loads(text)
    return found


def require_claim(claim: object, kind: str, claims: Mapping[str, list[str]]) -> None:
    """Reject a claim that may not carry a statement of this kind."""
    if claim is None:
        return
    if not isinstance(claim, str) or claim not in claims:
        raise Rejected(f"the claim {shown(claim)} is not in the registry.")
    if kind not in claims[claim]:
        raise Rejected(
            f"the claim {claim} carries statements of kind {', '.join(claims[claim])}, not {kind}."
        )


VERIFIERS: dict[str, Callable[[Statement, object, Budget], str]] = {
    "nonzero-minor": ranks.verify_nonzero_minor,
    "factorisation": ranks.verify_factorisation,
    "nonsingular-enclosure": ranks.verify_nonsingular_enclosure,
    "spectral-gap": ranks.verify_spectral_gap,
    "representation": heads.verify_representation,
    "counterexample": ranks.verify_counterexample,
    "masked-witness": heads.verify_masked_witness,
    "separation": heads.verify_separation,
    "unreachable": heads.verify_unreachable,
    "orthogonal-weights": heads.verify_orthogonal_weights,
    "selecting-queries": selection.verify_selecting_queries,
    "radon-partition": selection.verify_radon_partition,
    "column-budgets": divergence.verify_column_budgets,
    "wrong-signs": divergence.verify_wrong_signs,
    "forster": signs.verify_forster,
    "packing": packing.verify_packing,
}


def check(certificate: object, *, claims: Mapping[str, list[str]] | None = None) -> Check:
    """Check a certificate from its content alone.

    Parameters
    ----------
    certificate : certificate, dict, str, bytes or os.PathLike
        Anything with ``to_json``, its JSON as a dict, text or bytes, or the path of a file that
        holds it. A str is JSON, never a path.
    claims : mapping of str to list of str, optional
        The statement kinds that each claim id may carry; default: the registry's.

    Returns
    -------
    Check
        Accepted only if the statement is proved. Anything else is a rejection with its reason,
        which refutes nothing. Checking never raises.

    Examples
    --------
    >>> import rankbound as rb
    >>> certificate = rb.exact_rank([[1, 2], [2, 4]]).certify().certificate
    >>> checked = rb.check(certificate.to_json())
    >>> checked.accepted
    True
    """
    sentence = "no statement could be read"
    try:
        envelope = fields.keyed(
            tree(certificate), "the certificate", ("schema", "kind", "claim", "statement", "data")
        )
        if envelope["schema"] != SCHEMA:
            raise Rejected(f"the schema is {shown(envelope['schema'])}; expected {SCHEMA!r}.")
        kind, statement = read_statement(envelope["statement"])
        sentence = str(statement)
        require_claim(envelope["claim"], kind, registered() if claims is None else claims)
        verifier = VERIFIERS.get(fields.text(envelope["kind"], "the kind"))
        if verifier is None:
            raise Rejected(f"the certificate is of an unknown kind {shown(envelope['kind'])}.")
        reason = verifier(statement, envelope["data"], Budget())
    except Rejected as rejection:
        return Check(False, sentence, str(rejection))
    except Exception as error:  # sound: whatever went wrong, nothing was proved
        return Check(False, sentence, f"the checker failed with {type(error).__name__}.")
    return Check(True, sentence, reason)
