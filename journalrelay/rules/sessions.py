"""Sessions that go on, each of which holds its address (``relay.while_connected``).

What a session is worth is a function of its login and the clock: half a window after the login,
and again after each further half, its grant is a window long from there. It never lasts longer
than the login and ``relay.while_connected``, or the login's own window. So whoever reads the same
lines, at once or later, comes to the same expiry. The clock goes in steps, an eighth of a
window, so that all that is due comes in one commit.
"""

import ipaddress
import struct
from collections.abc import Iterator
from typing import NamedTuple

from journalrelay.event import Login, Logout
from journalrelay.grant import Address, login_key
from journalrelay.rules.limits import Place, key_id, place_of
from journalrelay.rules.policy import Rules, end_s

# More than a host serves at once; where as many are open, a further one holds nothing.
MOST = 100_000

_PACKED = struct.Struct("=QQB")  # since (µs), user, server; the address follows


class Session(NamedTuple):
    """Whose it is, and since when."""

    address: Address
    place: Place
    key: bytes
    since_us: int


class Sessions:
    """The sessions that have begun and not ended, under ``rules``."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._step_us = max(1, min([rules.window_us, *rules.windows_us.values()]) // 8)
        self._servers: list[str] = []
        self.forget()

    def __len__(self) -> int:
        return len(self._open)

    def forget(self) -> None:
        """Know of no session."""
        self._open: dict[int, bytes] = {}
        self._boot = b""
        self._seen_us = 0

    def begin(self, login: Login, key: bytes) -> None:
        """Note the session of a login; another one that had its name has ended."""
        name = _name(login.daemon, login.session)
        self._open.pop(name, None)
        if len(self._open) >= MOST:
            return
        if login.daemon not in self._servers:
            self._servers.append(login.daemon)
        server = self._servers.index(login.daemon)
        user = place_of(login, key).user
        self._open[name] = _PACKED.pack(login.logged_at_us, user, server) + login.address.packed

    def end(self, logout: Logout) -> Session | None:
        """Return the session that a logout has ended, None when it is not known."""
        packed = self._open.pop(_name(logout.daemon, logout.session), None)
        return None if packed is None else self._unpacked(packed)

    def end_before(self, time_us: int) -> None:
        """End what began until then: the host was started anew after it."""
        for name, packed in list(self._open.items()):
            if _since(packed) <= time_us:
                del self._open[name]

    def due(self, now_us: int) -> Iterator[tuple[Session, int]]:
        """Yield each session whose grant has become longer since this was asked last, with its
        expiry (s); what is too old is forgotten."""
        now_us -= now_us % self._step_us
        before_us = self._seen_us
        if now_us <= before_us:
            return
        self._seen_us = now_us
        for name, packed in list(self._open.items()):
            since_us = _since(packed)
            half_us = self._window_us(packed) // 2
            steps = (now_us - since_us) // half_us
            if steps > 0 and steps > (before_us - since_us) // half_us:
                yield self._unpacked(packed), self._expiry_s(packed, since_us + steps * half_us)
            if now_us - since_us >= self._rules.while_connected_us:
                self._open.pop(name, None)

    def last_expiry_s(self, session: Session, ended_us: int) -> int:
        """Return when the grant of a session ends that ended: a window later."""
        return self._bounded(session.since_us, session.place.daemon, ended_us)

    def _expiry_s(self, packed: bytes, at_us: int) -> int:
        return self._bounded(_since(packed), self._server(packed), at_us)

    def _bounded(self, since_us: int, daemon: str, at_us: int) -> int:
        window_us = self._rules.window_of(daemon)
        last_us = since_us + max(0, self._rules.while_connected_us - window_us)
        return end_s(min(at_us, last_us), window_us)

    def _window_us(self, packed: bytes) -> int:
        return max(2, self._rules.window_of(self._server(packed)))

    def _server(self, packed: bytes) -> str:
        return self._servers[packed[_PACKED.size - 1]]

    def _unpacked(self, packed: bytes) -> Session:
        since_us, user, server = _PACKED.unpack_from(packed)
        address = ipaddress.ip_address(packed[_PACKED.size :])
        key = login_key(address, self._rules.ipv6_prefix)
        return Session(address, Place(user, key_id(key), self._servers[server]), key, since_us)

    def see(self, boot: bytes) -> None:
        """Note by which boot a line was logged: the sessions of an earlier one have ended."""
        if boot != self._boot:
            self._open.clear()
            self._boot = boot


def _since(packed: bytes) -> int:
    return int(_PACKED.unpack_from(packed)[0])


def _name(daemon: str, session: bytes) -> int:
    """Return a short name for a session's own: a number that takes up little room."""
    return hash((daemon, session)) & (1 << 60) - 1
