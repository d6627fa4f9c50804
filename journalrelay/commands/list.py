"""``list``: what is granted, and to whom."""

import json
import os

from journalrelay import clock
from journalrelay.commands.live import in_words, live
from journalrelay.options import Options, Parser, add_json, add_map
from journalrelay.site import Site

HELP = "print what is granted"
EXAMPLE = "list --json"


def options(parser: Parser) -> None:
    """Add its options; ``--bare`` is the ancestor's form: address and seconds left."""
    form = parser.add_mutually_exclusive_group()
    add_json(form, "a JSON array")
    form.add_argument("--bare", action="store_true", help="print address and seconds left")
    add_map(parser)


def act(site: Site, options: Options) -> int:
    """Print what is granted, the soonest to end first."""
    rows = live(site, clock.now_us() // 1_000_000)
    if options.json:
        print(json.dumps(rows))
        return os.EX_OK
    for row in rows:
        left = str(row["remaining_s"]) if options.bare else in_words(row["remaining_s"])
        print(f"{row['address']} {left}" if options.bare else f"{row['address']:39} {left}")
    return os.EX_OK
