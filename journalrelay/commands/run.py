"""``run``: the daemon."""

import os

from journalrelay.daemon import Daemon
from journalrelay.options import Options, Parser, add_map, add_source, add_state, site_of
from journalrelay.site import Site

HELP = "be the daemon, in the foreground"
EXAMPLE = "run"


def options(parser: Parser) -> None:
    """Add its options."""
    for add in (add_source, add_map, add_state):
        add(parser)


def act(_checked: Site, options: Options) -> int:
    """Be the daemon until a signal ends it; a reload reads the configuration again."""
    Daemon(lambda: site_of(options)).run()
    return os.EX_OK
