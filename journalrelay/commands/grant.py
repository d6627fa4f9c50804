"""``grant``: let addresses relay, by hand."""

import os
import sys

from journalrelay import clock
from journalrelay.commands import NO
from journalrelay.commands.address import typed_network
from journalrelay.commands.byhand import ledger_of, need_root
from journalrelay.errors import UsageError
from journalrelay.grant import map_key, spell
from journalrelay.map.changes import Changes
from journalrelay.options import Options, Parser, a_span, add_map, add_namespace
from journalrelay.rules.policy import never_granted, unspellable
from journalrelay.site import Site
from journalrelay.telling import ledger
from journalrelay.timespan import format_span

HELP = "let addresses relay, by hand"
EXAMPLE = "grant 192.0.2.7 --for 1h"


def options(parser: Parser) -> None:
    """Add its options."""
    parser.add_argument("addresses", metavar="ADDRESS", nargs="+", help="IPv4 or IPv6")
    parser.add_argument(
        "--for", metavar="SPAN", dest="span_us", type=a_span, help="how long (default: the window)"
    )
    for add in (add_namespace, add_map):
        add(parser)


def act(site: Site, options: Options) -> int:
    """Let addresses relay for a span, or for the window."""
    need_root("grant")
    rules = site.config.rules
    span_us = options.span_us
    if span_us is None:
        span_us = min(rules.window_us, rules.max_grant_us)
    if span_us < 1_000_000:
        raise UsageError("--for: a grant lasts a second at least")
    if span_us > rules.max_grant_us:
        raise UsageError(f"--for: longer than relay.max_grant, {format_span(rules.max_grant_us)}")
    networks = [typed_network(text, rules.ipv6_prefix) for text in options.addresses]
    for network in networks:
        address = network.network_address
        reason = never_granted(address, rules.ipv6_prefix, rules.never)
        reason = reason or unspellable(address, rules)
        if reason:
            print(f"journalrelay: {spell(network)} is not granted: {reason}", file=sys.stderr)
            return NO
    now_us = clock.now_us()
    expiry_s = (now_us + span_us) // 1_000_000
    journal = ledger_of(site)
    changes = Changes()
    for network in networks:
        if journal:
            ledger.log_grant(journal, network, expiry_s, site.map_path)
        changes.grant(map_key(network), expiry_s)
    popmap = site.popmap_for_good()
    popmap.create()
    popmap.commit(changes, now_us // 1_000_000)
    for network in networks:
        print(f"{spell(network)} may relay for {format_span(span_us)}")
    return os.EX_OK
