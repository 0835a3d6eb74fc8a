"""``python -m rankbound``: the command line."""

import sys

from rankbound.cli.main import main

sys.exit(main())
