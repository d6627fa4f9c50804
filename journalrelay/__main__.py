"""``python3 -m journalrelay``."""

import sys

from journalrelay.programs import journalrelay

sys.exit(journalrelay())
