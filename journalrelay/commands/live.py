"""What is granted now, as verbs show it."""

from contextlib import suppress
from typing import Any

from journalrelay.errors import NoInputError
from journalrelay.grant import parse_key, spell
from journalrelay.site import Site
from journalrelay.timespan import format_span


def live(site: Site, now_s: int) -> list[dict[str, Any]]:
    """Return ``address``, ``expiry`` (s since the epoch) and ``remaining_s`` of each grant, the
    soonest to end first; none without a map."""
    try:
        content = site.popmap_for_good().read()
    except NoInputError:
        return []
    rows = []
    for expiry, key in sorted((expiry, key) for key, expiry in content.items() if expiry > now_s):
        with suppress(ValueError):  # no address: sendmail never asks for it
            address = spell(parse_key(key))
            rows.append({"address": address, "expiry": expiry, "remaining_s": expiry - now_s})
    return rows


def in_words(seconds: int) -> str:
    """Return a span for people."""
    return format_span(seconds * 1_000_000)
