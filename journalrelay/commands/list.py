"""``list``: what is granted, to whom, and since when."""

import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from journalrelay import clock
from journalrelay.commands.live import Grant, in_words, live
from journalrelay.errors import RelayError, UnavailableError, printable
from journalrelay.grant import Network
from journalrelay.history import History
from journalrelay.openings import Opening, openings
from journalrelay.options import Options, Parser, a_network, add_journal, add_json, add_map
from journalrelay.site import Site
from journalrelay.timespan import format_time

HELP = "print what is granted"
EXAMPLE = "list --user anna --sort since"
_UNKNOWN = Opening(0, None, None)
_BY_MAP = ("left", "address")


class Row(NamedTuple):
    """A grant, and how it came to be."""

    grant: Grant
    opening: Opening


# Among equals the soonest to end is first; what is not known is last.
_ORDERS: Mapping[str, Callable[[Row], Any]] = {
    "left": lambda row: row.grant.expiry_s,
    "address": lambda row: (row.grant.network.version, row.grant.network),
    "user": lambda row: (row.opening.user is None, row.opening.user),
    "daemon": lambda row: (row.opening.daemon is None, row.opening.daemon),
    "since": lambda row: row.opening.since_us or math.inf,
}


def options(parser: Parser) -> None:
    """Add its options; ``--bare`` is the ancestor's form: address and seconds left."""
    parser.add_argument(
        "networks", metavar="ADDRESS", nargs="*", type=a_network, help="only what is among these"
    )
    form = parser.add_mutually_exclusive_group()
    add_json(form, "a JSON array")
    form.add_argument("--bare", action="store_true", help="print address and seconds left")
    parser.add_argument("--user", metavar="NAME", help="only what logins of NAME opened")
    parser.add_argument("--daemon", metavar="NAME", help="only what logins at NAME opened")
    parser.add_argument(
        "--sort", metavar="KEY", choices=_ORDERS, default="left", help=f"by {', '.join(_ORDERS)}"
    )
    add_journal(parser)
    add_map(parser)


def act(site: Site, options: Options) -> int:
    """Print what is granted, the soonest to end first unless ``--sort`` says otherwise."""
    journal = _journal(site) if _asks_journal(options) else None
    now_s = clock.now_us() // 1_000_000
    grants = live(site, now_s)
    if options.networks:
        grants = [grant for grant in grants if _among(grant.network, options.networks)]
    known = _known(journal, grants)
    rows = [Row(grant, known.get(grant.address, _UNKNOWN)) for grant in grants]
    if options.user is not None:
        rows = [row for row in rows if row.opening.user == options.user]
    if options.daemon is not None:
        rows = [row for row in rows if row.opening.daemon == options.daemon]
    if options.sort != "left":
        rows.sort(key=_ORDERS[options.sort])
    if options.json:
        print(json.dumps([_as_json(row, now_s) for row in rows]))
    elif options.bare:
        for row in rows:
            print(row.grant.address, row.grant.expiry_s - now_s)
    else:
        _print(rows, now_s)
    return os.EX_OK


def _asks_journal(options: Options) -> bool:
    """Tell whether what is asked for needs more than the map: the ancestor's form does not."""
    return not options.bare or options.user or options.daemon or options.sort not in _BY_MAP


def _journal(site: Site) -> History | RelayError | None:
    """Return the journal, opened while root may, or why it cannot be read; None on a host that
    has none."""
    try:
        return History(site.where(), site.map_path)
    except UnavailableError:
        return None
    except RelayError as error:
        return error


def _known(journal: History | RelayError | None, grants: Sequence[Grant]) -> Mapping[str, Opening]:
    """Return the openings that the journal knows; say why when it cannot be read."""
    try:
        if isinstance(journal, RelayError):
            raise journal
        networks = {grant.address: grant.network for grant in grants}
        return openings(journal, networks) if journal else {}
    except RelayError as error:
        text = f"journalrelay: who opened these grants is not known: {error}"
        print(printable(text), file=sys.stderr)
        return {}
    finally:
        if isinstance(journal, History):
            journal.close()


def _among(network: Network, networks: Sequence[Network]) -> bool:
    return any(network.version == one.version and network.overlaps(one) for one in networks)


def _as_json(row: Row, now_s: int) -> Mapping[str, Any]:
    since_us = row.opening.since_us
    return {
        "address": row.grant.address,
        "expiry": row.grant.expiry_s,
        "remaining_s": row.grant.expiry_s - now_s,
        "user": row.opening.user,
        "daemon": row.opening.daemon,
        "since": since_us / 1_000_000 if since_us else None,
    }


def _print(rows: Sequence[Row], now_s: int) -> None:
    """Print columns: address, time left, since when, daemon, user."""
    table = [_cells(row, now_s) for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        print("  ".join(map(str.ljust, cells, widths)).rstrip())


def _cells(row: Row, now_s: int) -> tuple[str, ...]:
    since_us, user, daemon = row.opening
    return (
        row.grant.address,
        in_words(row.grant.expiry_s - now_s),
        format_time(since_us) if since_us else "-",
        printable(daemon or "-"),
        printable(user or "-"),
    )
