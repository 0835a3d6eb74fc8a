"""From a certificate to its outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rankbound.certificates.checker import (
    counterexample,
    factorisation,
    fields,
    masked_witness,
    nonsingular_enclosure,
    nonzero_minor,
    representation,
    separation,
    spectral_gap,
    unreachable,
)
from rankbound.certificates.checker.claimed import Statement
from rankbound.certificates.checker.claims import registered, require_claim
from rankbound.certificates.checker.limits import Budget
from rankbound.certificates.checker.outcome import Check, Rejected, shown
from rankbound.certificates.checker.reading import read_statement
from rankbound.certificates.checker.text import tree

__all__ = ["SCHEMA", "check"]

SCHEMA = "rankbound-certificate-1"

VERIFIERS: dict[str, Callable[[Statement, object, Budget], str]] = {
    "nonzero-minor": nonzero_minor.verify,
    "factorisation": factorisation.verify,
    "nonsingular-enclosure": nonsingular_enclosure.verify,
    "spectral-gap": spectral_gap.verify,
    "representation": representation.verify,
    "counterexample": counterexample.verify,
    "masked-witness": masked_witness.verify,
    "separation": separation.verify,
    "unreachable": unreachable.verify,
}


def check(certificate: object, *, claims: Mapping[str, list[str]] | None = None) -> Check:
    """Check a certificate from its content alone.

    Parameters
    ----------
    certificate : certificate, dict, str, bytes or os.PathLike
        A certificate (anything with ``to_json``), its JSON as a dict, text or bytes, or the path
        of a file that holds it. A str is JSON, never a path.
    claims : mapping of str to list of str, optional
        The statement kinds that each claim id may carry; default: the registry's.

    Returns
    -------
    Check
        Accepted only if the statement is proved. Anything malformed, beyond a limit, not allowed
        to its claim, or not proved is a rejection with its reason; a rejection refutes nothing.
        Checking never raises.
    """
    sentence = "no statement could be read"
    try:
        envelope = fields.keyed(
            tree(certificate), "the certificate", ("schema", "kind", "claim", "statement", "data")
        )
        if envelope["schema"] != SCHEMA:
            raise Rejected(f"the schema is {shown(envelope['schema'])}; expected {SCHEMA!r}.")
        kind, statement = read_statement(envelope["statement"])
        sentence = statement.sentence()
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
