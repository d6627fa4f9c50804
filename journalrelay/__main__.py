"""``python3 -m journalrelay``."""

import sys

from journalrelay.cli import main

sys.exit(main())
