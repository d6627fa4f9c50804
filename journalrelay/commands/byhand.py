"""Changes of the map that no login made, and who may make them.

A grant or revocation is first an entry in the journal, which the daemon and every rebuild honour,
and then a change of the map, so that it holds at once and without a daemon.
"""

import os
import sys

from journalrelay.errors import PermissionRelayError, UnavailableError
from journalrelay.site import Site
from journalrelay.telling.ledger import Journal


def need_root(verb: str) -> None:
    """Raise PermissionRelayError unless root does it."""
    if os.getuid() != 0:
        raise PermissionRelayError(
            f"{verb} needs root: the journal proves who did it (try: sudo journalrelay {verb})"
        )


def ledger_of(site: Site) -> Journal | None:
    """Return the journal to write to; None, and a warning, on a host that has none."""
    journal = site.journal()
    if journal.exists():
        return journal
    if site.config.namespace:
        raise UnavailableError(f"there is no journal namespace {site.config.namespace!r} here")
    print(
        "journalrelay: this host has no journal: what is done by hand holds until the map is "
        "made anew",
        file=sys.stderr,
    )
    return None
