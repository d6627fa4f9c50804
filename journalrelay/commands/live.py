"""What is granted now, as verbs show it."""

from contextlib import suppress
from typing import NamedTuple

from journalrelay.errors import NoInputError
from journalrelay.grant import Network, parse_key, spell
from journalrelay.site import Site
from journalrelay.timespan import format_span


class Grant(NamedTuple):
    """What may relay, as people read it, and until when, s since the epoch."""

    network: Network
    address: str
    expiry_s: int


def live(site: Site, now_s: int) -> list[Grant]:
    """Return what is granted, the soonest to end first; nothing without a map."""
    try:
        content = site.popmap_for_good().read()
    except NoInputError:
        return []
    grants = []
    for expiry_s, key in sorted((end_s, key) for key, end_s in content.items() if end_s > now_s):
        with suppress(ValueError):  # no address: sendmail never asks for it
            network = parse_key(key)
            grants.append(Grant(network, spell(network), expiry_s))
    return grants


def in_words(seconds: int) -> str:
    """Return a span for people."""
    return format_span(seconds * 1_000_000)
