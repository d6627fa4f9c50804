"""Decide what a login is worth: a pure function of the login, what was revoked, and the clock."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, NamedTuple

from journalrelay.event import HandGrant, Login, Revocation
from journalrelay.grant import Network, fold, map_key

Word = Literal["granted", "expired", "refused"]

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


@dataclass(frozen=True)
class Rules:
    """The operator's part of the decision, from ``[relay]`` and ``[daemons]``. Spans are in µs."""

    window_us: int
    windows_us: Mapping[str, int]
    never: tuple[Network, ...]
    ipv6_prefix: int
    max_grant_us: int
    skew_us: int

    def window_of(self, daemon: str) -> int:
        """Return how long a login at ``daemon`` is good for, in µs."""
        return self.windows_us.get(daemon, self.window_us)

    @property
    def look_back_us(self) -> int:
        """Return the age, in µs, from which on no login can still matter."""
        return max(self.window_us, *self.windows_us.values(), 0) + self.skew_us

    @property
    def furthest_us(self) -> int:
        """Return the longest time, in µs, that any honest grant can lie ahead of the clock."""
        return max(self.look_back_us, self.max_grant_us) + self.skew_us


@dataclass
class Revocations:
    """The last revocation of each network, and of all: what is remembered between events."""

    everything_us: int = 0
    by_key: dict[bytes, int] = field(default_factory=dict)

    def record(self, revocation: Revocation, rules: Rules, now_us: int) -> None:
        """Remember a revocation. One from the future counts as made now: it must not be lost,
        and must not lock a client out until a clock that was wrong is reached again."""
        at = min(revocation.logged_at_us, now_us)
        if revocation.network is None:
            self.everything_us = max(self.everything_us, at)
            return
        for key in revoked_keys(revocation.network, rules):
            self.by_key[key] = max(self.by_key.get(key, 0), at)

    def last(self, key: bytes) -> int:
        """Return when ``key`` was last revoked, in µs since the epoch, 0 if never."""
        return max(self.everything_us, self.by_key.get(key, 0))


class Verdict(NamedTuple):
    """What a login came to. ``expiry_s`` is None when refused; ``key`` is the map's."""

    word: Word
    reason: str
    key: bytes
    expiry_s: int | None


def revoked_keys(network: Network, rules: Rules) -> tuple[bytes, ...]:
    """Return the keys that a revocation of ``network`` takes out of the map: its own, and those
    of what a login from it is granted."""
    address = network.network_address
    return tuple(dict.fromkeys((map_key(network), map_key(fold(address, rules.ipv6_prefix)))))


@lru_cache(maxsize=4096)
def never_granted(network: Network, never: tuple[Network, ...]) -> str | None:
    """Return why ``network`` can never be granted, or None if it can; ``never`` is the operator's
    part of the reasons."""
    for kind, networks in (("never granted", NEVER), ("relay.never", never)):
        for refused in networks:
            if network.version == refused.version and network.overlaps(refused):
                return f"{kind}: {refused}"
    return None


def decide(login: Login, revocations: Revocations, now_us: int, rules: Rules) -> Verdict:
    """Return what ``login`` is worth at ``now_us``."""
    network = fold(login.address, rules.ipv6_prefix)
    key = map_key(network)
    own = "the server's own address" if login.address == login.server else None
    refusal = (
        own
        or never_granted(network, rules.never)
        or _mistimed(login, revocations.last(key), now_us, rules)
    )
    if refusal:
        return Verdict("refused", refusal, key, None)
    return _timed(key, (login.logged_at_us + rules.window_of(login.daemon)) // 1_000_000, now_us)


def decide_by_hand(
    grant: HandGrant, revocations: Revocations, now_us: int, rules: Rules
) -> Verdict:
    """Return what a hand grant is worth at ``now_us``; none outlives ``relay.max_grant``."""
    network = fold(grant.network.network_address, rules.ipv6_prefix)
    key = map_key(network)
    refusal = never_granted(network, rules.never) or _mistimed(
        grant, revocations.last(key), now_us, rules
    )
    if refusal:
        return Verdict("refused", refusal, key, None)
    latest = (grant.logged_at_us + rules.max_grant_us) // 1_000_000
    return _timed(key, min(grant.expiry_s, latest), now_us)


def _mistimed(event: Login | HandGrant, revoked_us: int, now_us: int, rules: Rules) -> str | None:
    if event.logged_at_us > now_us + rules.skew_us:
        return "from the future"
    if event.clock_ahead_us > rules.skew_us:
        return "logged while the clock was ahead"
    if event.logged_at_us <= revoked_us:
        return "revoked"
    return None


def _timed(key: bytes, expiry_s: int, now_us: int) -> Verdict:
    if expiry_s * 1_000_000 <= now_us:
        return Verdict("expired", "its window is over", key, expiry_s)
    return Verdict("granted", "", key, expiry_s)
