"""``python -m dualgrad``."""

import sys

from dualgrad.cli import main

sys.exit(main())
