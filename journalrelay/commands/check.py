"""``check``: may an address relay?"""

import os
import sys

from journalrelay import clock
from journalrelay.commands import NO
from journalrelay.commands.address import typed_address
from journalrelay.commands.live import in_words
from journalrelay.errors import NoInputError
from journalrelay.grant import client_keys, parse_key, spell
from journalrelay.options import Options, Parser, add_map
from journalrelay.popmap import cut_short
from journalrelay.site import Site

HELP = "say whether an address may relay"
EXAMPLE = "check 192.0.2.7"


def options(parser: Parser) -> None:
    """Add its options."""
    parser.add_argument("address", metavar="ADDRESS", help="a client's, IPv4 or IPv6")
    add_map(parser)


def act(site: Site, options: Options) -> int:
    """Say whether popip lets an address relay, and why: 0 yes, 1 no."""
    address = typed_address(options.address)
    now_s = clock.now_us() // 1_000_000
    popmap = site.popmap_for_good()
    try:
        found = popmap.look_up(client_keys(address))
        if popmap.cut_short():
            print(f"journalrelay: {cut_short(popmap.path)}", file=sys.stderr)
    except NoInputError as error:
        print(f"{address}: may not relay: {error}")
        return NO
    key, expiry = max(found.items(), key=lambda item: item[1], default=(b"", 0))
    if not found:
        print(f"{address}: may not relay: it is not in {site.map_path}")
    elif expiry <= now_s:
        print(f"{address}: may not relay: its grant ended {in_words(now_s - expiry)} ago")
    else:
        left = in_words(expiry - now_s)
        print(f"{address}: may relay for {left}: {spell(parse_key(key))} is granted")
        return os.EX_OK
    return NO
