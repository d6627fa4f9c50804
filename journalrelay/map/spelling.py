"""How the map's reader spells a client's address: ``map.spelling``.

The house has sendmail's spelling, as :mod:`journalrelay.grant` says. Postfix asks
``check_client_access`` for an address as getnameinfo(3) writes it: IPv4 alike, IPv6 compressed, as
``2001:db8::7``; then for what is left when the text is cut at its last colon, again and again
(access(5), measured on 3.7). So it has no name for a /64, and ``2001:db8::7`` is also asked for by
a client ``2001:db8::7:1``.
"""

from collections.abc import Callable
from socket import AF_INET6, inet_ntop
from typing import NamedTuple

from journalrelay.grant import IPV6, Address, login_key, parse_address, parse_key, spell


class Spelling(NamedTuple):
    """``written`` returns a key as the map has it, ``read`` such a key as the house has it; one
    that is no address stays as it is."""

    written: Callable[[bytes], bytes]
    read: Callable[[bytes], bytes]


def _as_it_is(key: bytes) -> bytes:
    return key


def _to_postfix(key: bytes) -> bytes:
    """Return a key in Postfix's words; a /64, which has none, with its length."""
    if not key.startswith(IPV6):
        return key
    network = parse_key(key)
    return (as_postfix(network[0]) if network.prefixlen == 128 else spell(network)).encode()


def _from_postfix(key: bytes) -> bytes:
    address = parse_address(key) if b":" in key else None
    return login_key(address, 128) if address else key


SPELLINGS = {
    "sendmail": Spelling(_as_it_is, _as_it_is),
    "postfix": Spelling(_to_postfix, _from_postfix),
}


def as_postfix(address: Address) -> str:
    """Return an address as Postfix asks for it."""
    return inet_ntop(AF_INET6, address.packed) if address.version == 6 else str(address)


def opens_others(address: Address) -> bool:
    """Tell whether the key of an address is also what Postfix asks for when others connect: those
    whose text goes on where this one ends."""
    further = f"{as_postfix(address)}:1"
    found = parse_address(further.encode()) if address.version == 6 else None
    return found is not None and as_postfix(found) == further
