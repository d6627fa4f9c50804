"""Who opened each grant, and when, by what was told of it in the journal.

A renewed grant is not told again: its opening may be long ago. Openings are told one by one, but
for those of a catch-up and those of a second that had too many; so are ends. What was told last of
an address counts therefore, unless it has ended since, or may have ended and been opened again
with neither being told.
"""

from collections.abc import Iterable
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from journalrelay.grant import Network, fold, parse_network, spell
from journalrelay.history import History, Told
from journalrelay.message import COUNTED, EXPIRED, GRANTED, HAND_GRANT, HAND_REVOCATION, READY, Kind

BY_HAND = "by hand"
_FEW = 100  # addresses that are asked for one by one, each by a match
_READ_AT_MOST = 200_000
_S_US = 1_000_000


class Opening(NamedTuple):
    """``since_us`` is µs since the epoch. Who is not known, or not logged, is None; of a grant by
    hand ``daemon`` is BY_HAND."""

    since_us: int
    user: str | None
    daemon: str | None


def openings(history: History, networks: Iterable[Network]) -> dict[Network, Opening]:
    """Return how those ``networks`` of which that is known came to be granted."""
    wanted = {spell(network): network for network in networks}
    revoked, untold_us = _Revoked(history), _untold_us(history)
    only = [f"RELAY_ADDRESS={name}".encode() for name in wanted] if len(wanted) <= _FEW else []
    ended_us: dict[Network, int] = {}
    found: dict[Network, Opening] = {}
    entries = history.backwards((GRANTED, HAND_GRANT, EXPIRED), only) if wanted else ()
    for told in islice(entries, _READ_AT_MOST):
        network = wanted.get(told.text("RELAY_ADDRESS") or "")
        if network is None:
            continue
        expiry_us = told.number("RELAY_EXPIRY") * _S_US
        if told.kind == EXPIRED:
            ended_us.setdefault(network, expiry_us)
            continue
        opening = _opening(told)
        if expiry_us >= untold_us and opening.since_us > max(
            ended_us.get(network, 0), revoked.last_us(network)
        ):
            found[network] = opening
        del wanted[spell(network)]
        if not wanted:
            break
    return found


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
