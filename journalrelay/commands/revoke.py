"""``revoke``: withdraw what was granted."""

import os

from journalrelay import clock
from journalrelay.commands.address import revoked_network
from journalrelay.commands.byhand import ledger_of, need_root
from journalrelay.errors import NoInputError, UnavailableError, UsageError
from journalrelay.grant import Network, spell
from journalrelay.map.changes import Changes
from journalrelay.options import Options, Parser, add_map, add_namespace
from journalrelay.rules.policy import withdraw
from journalrelay.site import Site
from journalrelay.telling import ledger

HELP = "withdraw what was granted"
EXAMPLE = "revoke 192.0.2.7"


def options(parser: Parser) -> None:
    """Add its options."""
    parser.add_argument("addresses", metavar="ADDRESS", nargs="*", help="as list prints it")
    parser.add_argument("--all", action="store_true", help="withdraw all grants")
    for add in (add_namespace, add_map):
        add(parser)


def act(site: Site, options: Options) -> int:
    """Withdraw what addresses, or all, were granted; later logins grant again."""
    if bool(options.addresses) == options.all:
        raise UsageError("revoke: name addresses, or --all")
    need_root("revoke")
    prefix = site.config.rules.ipv6_prefix
    networks: list[Network | None] = [revoked_network(text, prefix) for text in options.addresses]
    if options.all:
        networks = [None]
    changes = Changes()
    for network in networks:
        withdraw(network, changes)
    try:
        journal = ledger_of(site)
        for network in networks:
            if journal:
                ledger.log_revocation(journal, network, site.map_path)
    except UnavailableError as error:
        closed = _withdraw(site, changes)
        raise UnavailableError(
            f"{error}; {closed} taken out of the map, but not for good: revoke again"
        ) from error
    closed = _withdraw(site, changes)
    what = ", ".join(spell(network) if network else "all grants" for network in networks)
    print(f"{what} revoked ({closed} in the map)")
    return os.EX_OK


def _withdraw(site: Site, changes: Changes) -> int:
    try:
        return len(site.popmap_for_good().commit(changes, clock.now_us() // 1_000_000).closed)
    except NoInputError:  # no map: nothing is granted
        return 0
