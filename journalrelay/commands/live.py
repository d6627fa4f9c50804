"""What is granted now, as verbs show it."""

from contextlib import suppress
from typing import NamedTuple

from journalrelay.errors import NoInputError
from journalrelay.grant import Network, parse_key
from journalrelay.site import Site
from journalrelay.timespan import format_span


class Grant(NamedTuple):
    """What may relay, and until when, s since the epoch."""

    network: Network
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
            grants.append(Grant(parse_key(key), expiry_s))
    return grants


def in_words(seconds: int) -> str:
    """Return a span for people."""
    return format_span(seconds * 1_000_000)
