"""The checker: verifies a certificate from its JSON alone.

It shares no code with what produces certificates: Python's integers, ``fractions`` and, for
logarithms and exponentials, ``mpmath``. An accepted certificate proves its statement; a rejected
one refutes nothing. The rules of each kind are in docs/certificates.md.
"""

from rankbound.certificates.checker.checking import check
from rankbound.certificates.checker.outcome import Check

__all__ = ["Check", "check"]
