"""``expire``: remove what has expired; the timer's oneshot."""

import os
import sys
from collections.abc import Mapping

from journalrelay import clock
from journalrelay.map.popmap import cut_short
from journalrelay.options import Options, Parser, add_dry_run, add_map
from journalrelay.site import Site

HELP = "remove what has expired"
EXAMPLE = "expire"


def options(parser: Parser) -> None:
    """Add its options."""
    add_dry_run(parser)
    add_map(parser)


def act(site: Site, options: Options) -> int:
    """Remove what has expired; say how much that was."""
    now_s = clock.now_us() // 1_000_000
    popmap = site.popmap_for_good()
    if options.dry_run:
        count = sum(expiry <= now_s for expiry in popmap.read().values())
        print(f"{count} expired, would be removed")
    else:
        expired = popmap.expire(now_s)
        if expired:
            _tell(site, expired)
    if popmap.cut_short():
        print(f"journalrelay: {cut_short(popmap.path)}", file=sys.stderr)
    return os.EX_OK


def _tell(site: Site, expired: Mapping[bytes, int]) -> None:
    from journalrelay.telling.log import in_journal
    from journalrelay.telling.teller import tell_expired

    if in_journal():
        tell_expired(site.log(), expired, site.config.shown)
    else:
        print(f"{len(expired)} expired, removed")
