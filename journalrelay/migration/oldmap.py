"""What an old map grants: a pure function of its keys and values, the rules and the clock.

The ancestor's value is the end of the grant in seconds since the epoch, and so is DRAC's;
``poprelayd -p`` prints the seconds that are left. pop-before-smtp's is a word (``ok``) without a
time; at its own start it gives each of them one window more. No login is known here, so a key
without a time is good for one window from the last change of its file.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from journalrelay.grant import Network, fold, parse_address, parse_key
from journalrelay.migration import btree185, dump, hash185, laterdb
from journalrelay.rules.policy import Rules, never_granted, unspellable

_TAG = re.compile(rb"POP:", re.IGNORECASE)  # pop-before-smtp's contrib/popauth.m4
_TIME = re.compile(rb"[0-9]{1,12}")
_EPOCH_S = 10**8  # a smaller number is seconds that are left: 10**8 of them are three years
_READERS = (hash185, btree185)


class OldMap(NamedTuple):
    """The content of a file, what wrote it, and its last change in s since the epoch."""

    name: str
    pairs: dict[bytes, bytes]
    changed_s: int


class Granted(NamedTuple):
    """What a map grants, with expiries in s; what it had that is over; what is refused, and why."""

    expiries: Mapping[Network, int]
    over: int
    refused: list[str]
    bounded: int
    undated: int


def read(content: bytes, changed_s: int) -> OldMap | None:
    """Return the map in a file's content, None when it is none; ValueError for a damaged one."""
    for reader in _READERS:
        if reader.is_one(content):
            kind = reader.__name__.rpartition(".")[2].removesuffix("185")
            return OldMap(f"Berkeley DB 1.85 {kind}", _whole(reader.pairs(content)), changed_s)
    if laterdb.is_one(content):
        return OldMap(laterdb.name(content), _whole(laterdb.pairs(content)), changed_s)
    text = content.decode("utf-8", "replace")
    if b"\0" not in content and dump.is_one(text):
        return OldMap("text", _whole(dump.pairs(text)), changed_s)
    return None


def _whole(pairs: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    return {key.rstrip(b"\0"): value.rstrip(b"\0") for key, value in pairs}


def granted(old: OldMap, rules: Rules, now_s: int) -> Granted:
    """Return what of an old map is taken over at ``now_s``."""
    expiries: dict[Network, int] = {}
    refused: list[str] = []
    over = bounded = undated = 0
    furthest_s = now_s + rules.max_grant_us // 1_000_000
    for key, value in sorted(old.pairs.items()):
        network = _network(key, rules.ipv6_prefix)
        if network is None:
            refused.append(f"{_shown(key)}: it is no address")
            continue
        address = network.network_address
        reason = never_granted(address, rules.ipv6_prefix, rules.never)
        reason = reason or unspellable(address, rules)
        expiry_s = _expiry_s(value, old.changed_s, rules.window_us // 1_000_000)
        if reason:
            refused.append(f"{_shown(key)}: {reason}")
        elif expiry_s <= now_s:
            over += 1
        else:
            undated += not _TIME.fullmatch(value)
            bounded += expiry_s > furthest_s
            expiries[network] = max(min(expiry_s, furthest_s), expiries.get(network, 0))
    kept = _at_most(expiries, rules.max_addresses)
    refused += [f"{network}: relay.max_addresses" for network in expiries.keys() - kept.keys()]
    return Granted(kept, over, refused, bounded, undated)


def _network(key: bytes, ipv6_prefix: int) -> Network | None:
    bare = _TAG.sub(b"", key, count=1) if _TAG.match(key) else key
    address = parse_address(bare)
    if address is not None:
        return fold(address, ipv6_prefix)
    try:
        return parse_key(bare.lower())
    except ValueError:
        return None


def _expiry_s(value: bytes, changed_s: int, window_s: int) -> int:
    """Return the end of a grant in s since the epoch."""
    if not _TIME.fullmatch(value):
        return changed_s + window_s
    number = int(value)
    return number if number >= _EPOCH_S else changed_s + number


def _at_most(expiries: Mapping[Network, int], most: int) -> Mapping[Network, int]:
    """Return those that end last, if they are more than may relay at once (0 is no limit)."""
    if not most or len(expiries) <= most:
        return expiries
    last = sorted(expiries.items(), key=lambda item: item[1], reverse=True)
    return dict(last[:most])


def _shown(key: bytes) -> str:
    return key[:60].decode("utf-8", "backslashreplace")


def merged(many: Iterable[Granted]) -> Iterator[tuple[Network, int]]:
    """Yield what several maps grant, each network once, with the latest expiry."""
    expiries: dict[Network, int] = {}
    for one in many:
        for network, expiry_s in one.expiries.items():
            expiries[network] = max(expiry_s, expiries.get(network, 0))
    yield from expiries.items()
