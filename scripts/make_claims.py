"""Write ``rankbound/certificates/claims.json``: which statements a claim's certificates may carry.

The checker rejects a certificate that speaks for a claim with a statement of another kind. The file
is generated from the registry, by building one quick run's certificates; a test compares the two.
"""

from __future__ import annotations

from pathlib import Path

import rankbound as rb
from rankbound.registry.verification import as_json, statement_kinds

TARGET = Path(__file__).parent.parent / "rankbound" / "certificates" / "claims.json"


if __name__ == "__main__":
    text = as_json(statement_kinds(rb.claims))  # before the file is touched: the checker reads it
    TARGET.write_text(text, encoding="ascii")
