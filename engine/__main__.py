"""`python -m spar_engine` is the command `spar`."""

import sys

from .cli import main

sys.exit(main())
