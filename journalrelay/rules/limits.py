"""How many addresses may relay at once: of one user, by one server's logins, in all.

A login takes a place with its address, until its grant ends; who has one keeps it with every
further login, and where no place is free a login is refused. So what was refused, for whatever
reason, has no part in what is refused later, and there are never more grants than places.

Everything is told by the login's own time. Users and keys are remembered by hashes that nobody
outside can choose: of 2**64, two that are taken for one are not met.
"""

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

from journalrelay.event import Login
from journalrelay.grant import COLON, Network
from journalrelay.rules.places import LATEST_S, WORD, Ends, Table
from journalrelay.rules.policy import Rules, Verdict

_HALF = (1 << 32) - 1


class Place(NamedTuple):
    """Who takes what: hashes of a user (0: not known) and of a key, and the server's name; of
    another host all servers are one, ``remote.`` and its name."""

    user: int
    key: int
    daemon: str


class Limits:
    """The places that are taken, under ``rules``."""

    _now_s: int

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._limited = rules.limited
        self._numbers = _Numbers()
        self.forget()

    def forget(self) -> None:
        """Let all places be free."""
        self._by_user, self._by_key = Table(), Table(members="I")
        self._count_anew()

    def admit(self, login: Login, verdict: Verdict, now_us: int) -> Verdict:
        """Return the verdict as it stands, with its place taken, or the refusal of a login for
        which there was none. One that is over by now has held its place in its time."""
        end_s = verdict.expiry_s
        if end_s is None or not self._limited:
            return verdict
        at_s = self._at(min(login.logged_at_us, now_us))
        place = place_of(login, verdict.key)
        if self._prolonged(place, end_s, at_s):  # as most are
            return verdict
        holders = self._holders(place, at_s)
        excess = self._excess(place, holders, at_s)
        if excess:
            return Verdict("refused", excess, verdict.key, None)
        self._take(place, holders, end_s, at_s)
        return verdict

    def hold(self, place: Place, end_s: int, at_us: int) -> None:
        """Hold a place until ``end_s``, or longer if it is held for longer already."""
        if not self._limited:
            return
        at_s = self._at(at_us)
        if not self._prolonged(place, end_s, at_s):
            self._take(place, self._holders(place, at_s), end_s, at_s)

    def withdraw(self, network: Network | None, keys: tuple[bytes, ...]) -> None:
        """Free the places of what was revoked: ``keys``, with a /64 all in it, everything when
        ``network`` is None."""
        if network is None:
            self.forget()
            return
        gone = {key_id(key) for key in keys}
        around = {key >> 32 for key in gone} if network.prefixlen == 64 else set()

        def stays(key: int) -> bool:
            return key not in gone and key >> 32 not in around

        self._by_user.keep(lambda _user, key: stays(key))
        self._by_key.keep(lambda key, _server: stays(key))
        self._count_anew()

    def _at(self, time_us: int) -> int:
        """Return the second at which places are looked at: what comes late finds those that are
        taken now."""
        time_s = time_us // 1_000_000
        if time_s > self._now_s:
            self._now_s = time_s
        return self._now_s

    def _prolonged(self, place: Place, end_s: int, at_s: int) -> bool:
        """Hold a place for longer; False when it is not held."""
        row = self._by_key.find(place.key, self._numbers[place.daemon], at_s)
        if row < 0:
            return False
        if place.user:
            own = self._by_user.find(place.user, place.key, at_s)
            if own < 0:
                return False
            self._by_user.prolong(own, end_s)
        self._by_key.prolong(row, end_s)
        return True

    def _holders(self, place: Place, at_s: int) -> list[int]:
        """Return the numbers of the servers by whose logins the place's key is held."""
        return [server for server, end_s in self._by_key.rows(place.key) if end_s > at_s]

    def _excess(self, place: Place, holders: list[int], at_s: int) -> str:
        """Return for want of which place a login must be refused, empty if for none."""
        rules, most = self._rules, self._rules.max_addresses_per_user
        if most and place.user:
            held = [key for key, end_s in self._by_user.rows(place.user) if end_s > at_s]
            if len(held) >= most and place.key not in held:
                return f"relay.max_addresses_per_user: {most}"
        most = rules.max_addresses
        if most and not holders and self._ends.left(at_s) >= most:
            return f"relay.max_addresses: {most}"
        own = self._ends_of.get(place.daemon)
        most = rules.max_addresses_of.get(place.daemon, 0)
        if own and self._numbers[place.daemon] not in holders and own.left(at_s) >= most:
            _, remote, host = place.daemon.partition(".")
            if remote:
                return f'remote."{host}".max_addresses: {most}'
            return f"daemons.{place.daemon}.max_addresses: {most}"
        return ""

    def _take(self, place: Place, holders: list[int], end_s: int, at_s: int) -> None:
        if end_s <= at_s:
            return
        if place.user:
            self._by_user.put(place.user, place.key, end_s, at_s)
        server = self._numbers[place.daemon]
        self._by_key.put(place.key, server, end_s, at_s)
        if not holders:
            self._ends.left(at_s)
            self._ends.add(place.key, end_s)
        own = self._ends_of.get(place.daemon)
        if own and server not in holders:
            own.left(at_s)
            own.add(place.key, end_s)

    def _count_anew(self) -> None:
        """Count what is held."""
        self._now_s = 0
        self._ends = Ends(self._end_of)
        self._ends_of = {
            name: Ends(partial(self._end_of, server=self._numbers[name]))
            for name, most in self._rules.max_addresses_of.items()
            if most
        }
        for key in {key for key, _, _ in self._by_key.all()}:
            self._ends.add(key, self._end_of(key))
        for name, ends in self._ends_of.items():
            server = self._numbers[name]
            for key, number, end_s in self._by_key.all():
                if number == server:
                    ends.add(key, end_s)

    def _end_of(self, key: int, server: int | None = None) -> int:
        """Return when a key is held no more, by one server's logins or by any."""
        rows = self._by_key.rows(key)
        return max((end_s for number, end_s in rows if server in (None, number)), default=0)


class _Numbers(dict[str, int]):
    """A number for each server."""

    def __missing__(self, daemon: str) -> int:
        return self.setdefault(daemon, len(self))


def place_of(login: Login, key: bytes) -> Place:
    """Return the place that a login takes with its ``key``. One user is one name, at whatever
    server, and in whatever case: who may write his name in several ways gets no more by it."""
    user = hash(login.user.lower()) & WORD or 1 if login.user else 0
    server = f"remote.{login.remote}" if login.remote else login.daemon
    return Place(user, key_id(key), server)


def key_id(key: bytes) -> int:
    """Return a number for a key of the map; its upper half stands for the /64 around it."""
    number = hash(key)
    around = hash(tuple(key.split(b":", 5)[:5])) if COLON in key else number
    return (around & _HALF) << 32 | number & _HALF


class Known:
    """What the map says was granted, in few bytes."""

    def __init__(self, items: Iterable[tuple[bytes, int]] = ()) -> None:
        self._table = Table(members="B")
        self.add(items)

    def add(self, items: Iterable[tuple[bytes, int]]) -> None:
        """Know more of it."""
        for key, expiry_s in items:
            if expiry_s:
                self._table.put(key_id(key), 0, expiry_s, 0)

    def covers(self, verdict: Verdict) -> bool:
        """Tell whether a login that grants so much has been granted it."""
        known_s = self._table.end(key_id(verdict.key), 0)
        return 0 < known_s >= min(verdict.expiry_s or 0, LATEST_S)
