"""Who opened each grant, and when, by what was told of it in the journal.

A renewed grant is not told again: its opening may be long ago. Openings are told one by one, but
for those of a catch-up and those of a second that had too many; so are ends. What was told last of
an address counts therefore, unless it has ended since, or may have ended and been opened again
with neither being told.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from journalrelay.grant import Network, fold, parse_network
from journalrelay.history import History, Told
from journalrelay.telling.message import (
    COUNTED,
    EXPIRED,
    GRANTED,
    HAND_GRANT,
    HAND_REVOCATION,
    READY,
    Kind,
)

BY_HAND = "by hand"
_KINDS = (GRANTED, HAND_GRANT, EXPIRED)
_FEW = 1000
_READ_AT_MOST = 200_000
_S_US = 1_000_000


class Opening(NamedTuple):
    """``since_us`` is µs since the epoch. Who is not known, or not logged, is None; of a grant by
    hand ``daemon`` is BY_HAND."""

    since_us: int
    user: str | None
    daemon: str | None


def openings(history: History, networks: Mapping[str, Network]) -> dict[str, Opening]:
    """Return how those ``networks``, each by its spelling, of which that is known came to be
    granted.

    A few are looked up one by one, by the journal's index; many are met on one walk back.
    """
    every = dict(networks)
    search = _Search(_Revoked(history), _untold_us(history))
    if len(every) > _FEW:
        search.walk(history.backwards(_KINDS), every)
        return search.found
    for name, network in every.items():
        only = (f"RELAY_ADDRESS={name}".encode(),)
        search.walk(history.backwards(_KINDS, only), {name: network})
    return search.found


class _Search:
    """What was ``found`` so far; ``untold_us`` is as :func:`_untold_us` returns it."""

    def __init__(self, revoked: "_Revoked", untold_us: int) -> None:
        self.found: dict[str, Opening] = {}
        self._revoked = revoked
        self._untold_us = untold_us

    def walk(self, entries: Iterator[Told], wanted: dict[str, Network]) -> None:
        """Take the newest opening that is told of each that is ``wanted``, by its address."""
        ended_us: dict[str, int] = {}
        for told in islice(entries, _READ_AT_MOST if wanted else 0):
            name = told.text("RELAY_ADDRESS") or ""
            network = wanted.get(name)
            if network is None:
                continue
            expiry_us = told.number("RELAY_EXPIRY") * _S_US
            if told.kind == EXPIRED:
                ended_us.setdefault(name, expiry_us)
                continue
            del wanted[name]
            opening = _opening(told)
            over_us = max(ended_us.get(name, 0), self._revoked.last_us(network))
            if opening.since_us > over_us and expiry_us >= self._untold_us:
                self.found[name] = opening
            if not wanted:
                break


def _opening(told: Told) -> Opening:
    daemon = BY_HAND if told.kind == HAND_GRANT else told.text("RELAY_DAEMON")
    return Opening(told.record.logged_at_us(), told.text("RELAY_USER"), daemon)


def _untold_us(history: History) -> int:
    """Return until when a grant may have ended, and have been opened again, without a word: to the
    last catch-up or count of openings, and to the last count of ends."""
    opened = _last_us(history, (READY,), ())
    opened = max(opened, _last_us(history, (COUNTED,), (b"RELAY_EVENT=granted",)))
    return min(opened, _last_us(history, (COUNTED,), (b"RELAY_EVENT=expired",)))


def _last_us(history: History, kinds: tuple[Kind, ...], fields: tuple[bytes, ...]) -> int:
    return next((told.record.logged_at_us() for told in history.backwards(kinds, fields)), 0)


class _Revoked:
    """When what was revoked by hand last."""

    def __init__(self, history: History) -> None:
        self._all_us = 0
        self._exactly: dict[Network, int] = {}
        self._within: dict[Network, int] = {}  # by the /64 of what was revoked
        for told in islice(history.backwards((HAND_REVOCATION,)), _READ_AT_MOST):
            at_us, name = told.record.logged_at_us(), told.text("RELAY_ADDRESS") or ""
            if name == "all":
                self._all_us = at_us  # what was revoked before it does not matter
                break
            with suppress(ValueError):
                network = parse_network(name)
                self._exactly.setdefault(network, at_us)
                self._within.setdefault(fold(network.network_address, 64), at_us)

    def last_us(self, network: Network) -> int:
        """Return when a grant to ``network`` was last withdrawn, 0 when it never was."""
        around = fold(network.network_address, 64)
        known = self._within if network == around else self._exactly
        return max(self._all_us, known.get(network, 0), self._exactly.get(around, 0))
