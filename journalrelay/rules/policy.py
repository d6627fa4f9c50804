"""Decide what a login is worth: a pure function of the login, what was revoked, and the clock."""

import ipaddress
from collections.abc import Mapping
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Literal, NamedTuple

from journalrelay.event import HandGrant, Login, Revocation
from journalrelay.grant import Address, Network, client_keys, login_key, map_key
from journalrelay.map.changes import Changes
from journalrelay.map.spelling import opens_others

_CUT = b"..."  # how Dovecot ends a name that it does not show whole

Word = Literal["granted", "expired", "refused"]

# First and last address, as numbers, and the reason.
Ranges = tuple[tuple[int, int, str], ...]

# No client of another host has these addresses, so a grant to one would be a grant to this host's
# own web mail, proxy or neighbour (RFC 6890).
NEVER = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/128",
        "::1/128",
        "fe80::/10",
        "ff00::/8",
    )
)


class _Rules(NamedTuple):
    window_us: int
    windows_us: Mapping[str, int]
    never: tuple[Network, ...]
    ipv6_prefix: int
    max_grant_us: int
    skew_us: int
    never_users: frozenset[bytes] = frozenset()
    only_users: frozenset[bytes] = frozenset()
    max_addresses_per_user: int = 16
    max_addresses: int = 100_000
    max_addresses_of: Mapping[str, int] = MappingProxyType({})
    while_connected_us: int = 0
    spelling: str = "sendmail"


class Rules(_Rules):
    """The operator's part of the decision, from ``[relay]`` and ``[daemons]``. Spans are in µs.

    Of the limits on addresses 0 is none. ``only_users`` empty is all users; ``while_connected_us``
    is 0 when a session does not hold its address; ``spelling`` is the map's.
    """

    @cached_property
    def ranges(self) -> Mapping[int, "Ranges"]:
        """Return what is never granted, for IPv4 (4) and IPv6 (6)."""
        return {version: _ranges(self.never, version) for version in (4, 6)}

    @cached_property
    def choosy(self) -> bool:
        """Tell whether there are logins that users, or the map's spelling, keep from counting."""
        return bool(self.never_users or self.only_users) or self.spelling != "sendmail"

    @property
    def limited(self) -> bool:
        """Tell whether the addresses are counted at all."""
        return bool(
            self.max_addresses_per_user or self.max_addresses or any(self.max_addresses_of.values())
        )

    @property
    def longest_us(self) -> int:
        """Return the longest window of any server."""
        return max(self.window_us, *self.windows_us.values(), 0)

    @property
    def shortest_us(self) -> int:
        """Return the shortest window of any server."""
        return min([self.window_us, *self.windows_us.values()])

    @property
    def memory_us(self) -> int:
        """Return how far back logins must be known to weigh the next one, in µs."""
        return max(self.while_connected_us, self.longest_us if self.limited else 0)

    def window_of(self, daemon: str) -> int:
        """Return how long a login at ``daemon`` is good for, in µs."""
        return self.windows_us.get(daemon, self.window_us)

    @property
    def look_back_us(self) -> int:
        """Return the age, in µs, from which on no login can still matter."""
        return self.longest_us + self.skew_us

    @property
    def furthest_us(self) -> int:
        """Return the longest time, in µs, that any honest grant can lie ahead of the clock."""
        return max(self.look_back_us, self.max_grant_us) + self.skew_us


class Revocations:
    """The last revocation of each network, and of all: what is remembered between events."""

    def __init__(self) -> None:
        self.everything_us = 0
        self.by_key: dict[bytes, int] = {}

    def record(self, revocation: Revocation, ipv6_prefix: int, now_us: int) -> bool:
        """Remember a revocation; tell whether it is later than what was known.

        One that a clock ahead stamped counts from when it was made, and one from the future as
        made now: it must not be lost, and must not lock a client out until that time comes.
        """
        # in whole seconds: measured again, the same distance differs by microseconds
        ahead_us = max(0, revocation.clock_ahead_us) // 1_000_000 * 1_000_000
        at = min(revocation.logged_at_us - ahead_us, now_us)
        if revocation.network is None:
            known, self.everything_us = self.everything_us, max(self.everything_us, at)
            return at > known
        keys = {map_key(revocation.network)}
        if ipv6_prefix == 64:  # who has the address revoked means what its login was granted
            keys.add(login_key(revocation.network.network_address, 64))
        known = min(self.by_key.get(key, 0) for key in keys)
        for key in keys:
            self.by_key[key] = max(self.by_key.get(key, 0), at)
        return at > known

    def last(self, address: Address) -> int:
        """Return when what a login from ``address`` is granted was last revoked, in µs since the
        epoch, 0 if never. A /64 that was revoked holds its addresses."""
        if not self.by_key:
            return self.everything_us
        return max(self.everything_us, *(self.by_key.get(key, 0) for key in client_keys(address)))


class Verdict(NamedTuple):
    """What a login came to. ``expiry_s`` is None when refused; ``key`` is the map's."""

    word: Word
    reason: str
    key: bytes
    expiry_s: int | None


def revoked_keys(network: Network) -> tuple[bytes, ...]:
    """Return the keys that a revocation of ``network`` takes out of the map: the address's, and
    that of its /64, under which its login may have been granted."""
    if network.prefixlen == 64:
        return (map_key(network),)
    return client_keys(network.network_address)


@lru_cache(maxsize=16)
def _ranges(never: tuple[Network, ...], version: int) -> Ranges:
    """Return first, last and reason of each network of that version that is never granted."""
    told = [("never granted", network) for network in NEVER]
    told += [("relay.never", network) for network in never]
    return tuple(
        (int(network.network_address), int(network.broadcast_address), f"{kind}: {network}")
        for kind, network in told
        if network.version == version
    )


def never_granted(address: Address, ipv6_prefix: int, never: tuple[Network, ...]) -> str | None:
    """Return why ``address``, or the /64 around it, can never be granted, or None if it can.

    ``never`` is the operator's part of the reasons.
    """
    return _within(_ranges(never, address.version), *_span(address, ipv6_prefix))


def unspellable(address: Address, rules: Rules) -> str | None:
    """Return why the map has no key for ``address`` alone, or None if it has."""
    if rules.spelling == "postfix" and opens_others(address):
        return "map.spelling: Postfix would let its neighbours in with it"
    return None


def _within(ranges: Ranges, first: int, last: int) -> str | None:
    for low, high, reason in ranges:
        if first <= high and low <= last:
            return reason
    return None


def decide(login: Login, revocations: Revocations, now_us: int, rules: Rules) -> Verdict:
    """Return what ``login`` is worth at ``now_us``."""
    key = login_key(login.address, rules.ipv6_prefix)
    refusal = (
        login.doubt
        or _unwanted(login, rules)
        or (rules.choosy and (unspellable(login.address, rules) or _unwelcome(login.user, rules)))
        or _mistimed(login, revocations.last(login.address), now_us, rules)
    )
    if refusal:
        return Verdict("refused", refusal, key, None)
    return _timed(key, end_s(login.logged_at_us, rules.window_of(login.daemon)), now_us)


def past(login: Login, now_us: int, rules: Rules) -> Verdict | None:
    """Return the verdict on a login whose window is over, from wherever it came; else None."""
    key = login_key(login.address, rules.ipv6_prefix)
    verdict = _timed(key, end_s(login.logged_at_us, rules.window_of(login.daemon)), now_us)
    return verdict if verdict.word == "expired" else None


def decide_by_hand(
    grant: HandGrant, revocations: Revocations, now_us: int, rules: Rules
) -> Verdict:
    """Return what a hand grant is worth at ``now_us``; none outlives ``relay.max_grant``."""
    address, length = grant.network.network_address, grant.network.prefixlen
    key = map_key(grant.network)
    refusal = (
        never_granted(address, length, rules.never)
        or unspellable(address, rules)
        or _mistimed(grant, revocations.last(address), now_us, rules)
    )
    if refusal:
        return Verdict("refused", refusal, key, None)
    latest_s = (grant.logged_at_us + rules.max_grant_us) // 1_000_000
    return _timed(key, min(grant.expiry_s, latest_s), now_us)


def _unwanted(login: Login, rules: Rules) -> str | None:
    server, version = login.server, login.address.version
    first, last = _span(login.address, rules.ipv6_prefix)
    if server is not None and server.version == version and first <= int(server) <= last:
        return "the server's own address"
    return _within(rules.ranges[version], first, last)


def _unwelcome(user: bytes, rules: Rules) -> str | None:
    """Return why a user's logins grant nothing. Each list is read to the safe side: a name is
    kept out in any case of its letters, and let in byte for byte."""
    if rules.never_users:
        if user.endswith(_CUT):
            return "relay.never_users: the name is cut"
        name = _listed(user.lower(), rules.never_users)
        if name is not None:
            return f"relay.never_users: {name.decode('utf-8', 'backslashreplace')}"
    if rules.only_users and _listed(user, rules.only_users) is None:
        return "relay.only_users: not among them"
    return None


def _listed(user: bytes, names: frozenset[bytes]) -> bytes | None:
    """Return the name by which a user is listed: his own, or ``*@`` and his domain."""
    if user in names:
        return user
    _, at, domain = user.rpartition(b"@")
    return name if at and (name := b"*@" + domain) in names else None


def _span(address: Address, ipv6_prefix: int) -> tuple[int, int]:
    """Return the first and the last address, as numbers, that a login from ``address`` opens."""
    number = int(address)
    if ipv6_prefix == 128 or address.version == 4:
        return number, number
    rest = (1 << 128 - ipv6_prefix) - 1
    return number & ~rest, number | rest


def _mistimed(event: Login | HandGrant, revoked_us: int, now_us: int, rules: Rules) -> str | None:
    if event.logged_at_us > now_us + rules.skew_us:
        return "from the future"
    if event.clock_ahead_us > rules.skew_us:
        return "logged while the clock was ahead"
    if event.logged_at_us <= revoked_us:
        return "revoked"
    return None


def end_s(logged_at_us: int, window_us: int) -> int:
    """Return the expiry in whole seconds; a window with a fraction of one is rounded up, since
    it would have no length otherwise."""
    end_us = logged_at_us + window_us
    return end_us // 1_000_000 if window_us % 1_000_000 == 0 else -(-end_us // 1_000_000)


def _timed(key: bytes, expiry_s: int, now_us: int) -> Verdict:
    if expiry_s * 1_000_000 <= now_us:
        return Verdict("expired", "its window is over", key, expiry_s)
    return Verdict("granted", "", key, expiry_s)


def withdraw(network: Network | None, changes: Changes) -> None:
    """Take out of the map what a revocation of ``network``, or of all when None, means."""
    if network is None:
        changes.remove_all()
        return
    changes.remove(revoked_keys(network))
    if network.prefixlen == 64:
        changes.remove_within(map_key(network) + b":")
