"""python -m spar_export: the command spar-export."""

import sys

from .cli import main

sys.exit(main())
