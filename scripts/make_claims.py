"""Write ``rankbound/certificates/claims.json``: which statements a claim's certificates may carry.

The checker rejects a certificate that speaks for a claim with a statement of another kind. The file
is generated from the registry, by building one quick run's certificates; a test compares the two.
"""

from __future__ import annotations

import json
from pathlib import Path

import rankbound as rb
from rankbound.registry.verification import statement_kinds

TARGET = Path(__file__).parent.parent / "rankbound" / "certificates" / "claims.json"


if __name__ == "__main__":
    kinds = statement_kinds(rb.claims)  # before the file is touched: the checker reads it
    text = json.dumps(kinds, indent=2, sort_keys=True) + "\n"
    TARGET.write_text(text, encoding="ascii")
