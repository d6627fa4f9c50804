"""A client's address, the part of it that is granted, and its spelling as a key of the map.

The spelling is what sendmail asks for (``&{client_addr}`` folded to lower case, measured on 8.17
and 8.18): ``192.0.2.7``, ``ipv6:2001:db8:0:0:0:0:0:1`` with all eight groups, and for a /64 its
four groups, ``ipv6:2001:db8:1:2``.
"""

import ipaddress
import re
import struct
from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_ntoa, inet_pton

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

IPV6 = b"ipv6:"
_KEY, _KEY_64 = IPV6 + b"%x" + b":%x" * 7, IPV6 + b"%x" + b":%x" * 3
COLON = ord(":")  # a number is found in a tenth of the time of a text of one byte
_GROUPS = struct.Struct(">8H")
_MAPPED = 0xFFFF  # what stands above the IPv4 address in ::ffff:0:0/96
_HOST = rb"[A-Za-z0-9_-][A-Za-z0-9._-]{0,252}\.[A-Za-z][A-Za-z0-9-]{0,62}"


@lru_cache(maxsize=256)
def parse_address(text: bytes) -> Address | None:
    """Return the address that a log line or a person spelled, or None if it is none.

    An IPv4 address inside IPv6 (``::ffff:192.0.2.7``) is the IPv4 address; a zone (``%eth0``)
    makes an address unusable, since sendmail never asks for one.
    """
    family = AF_INET6 if COLON in text else AF_INET
    try:
        number = int.from_bytes(inet_pton(family, text.decode("ascii")))
    except (ValueError, OSError):
        return None
    if family == AF_INET:
        return ipaddress.IPv4Address(number)
    if number >> 32 == _MAPPED:
        return ipaddress.IPv4Address(number & 0xFFFFFFFF)
    return ipaddress.IPv6Address(number)


def parse_host(text: bytes) -> str | None:
    """Return the host name that a log line spelled, in lower case, or None if it is none.

    The last part begins with a letter and is not the only one: what a resolver takes for an
    address however it is spelled (``203.0.113.66``, ``0x7f.1``) is no name, nor is ``UNKNOWN``.
    """
    return text.decode("ascii").lower() if re.fullmatch(_HOST, text) else None


def fold(address: Address, ipv6_prefix: int) -> Network:
    """Return what a login from ``address`` grants: itself, or its /64 (``relay.ipv6_prefix``)."""
    if isinstance(address, ipaddress.IPv4Address):
        return ipaddress.IPv4Network(address)
    return ipaddress.IPv6Network((address, ipv6_prefix), strict=False)


def login_key(address: Address, ipv6_prefix: int) -> bytes:
    """Return the key under which a login from ``address`` is granted: itself, or its /64."""
    if address.version == 4:
        return inet_ntoa(address.packed).encode()
    groups = _GROUPS.unpack(address.packed)
    return _KEY % groups if ipv6_prefix == 128 else _KEY_64 % groups[:4]


def map_key(network: Network) -> bytes:
    """Return the key under which ``network`` (a single address, or an IPv6 /64) is granted."""
    return login_key(network.network_address, network.prefixlen)


def parse_key(key: bytes) -> Network:
    """Return the network that a key of the map stands for; ValueError if sendmail never asks it."""
    text = key.decode("ascii")
    network: Network
    if not text.startswith("ipv6:"):
        network = ipaddress.IPv4Network(text)
    elif text.count(":") == 8:
        network = ipaddress.IPv6Network(text[5:])
    else:
        network = ipaddress.IPv6Network(f"{text[5:]}::/64")
    if map_key(network) != key:
        raise ValueError(f"{key!r} is not spelled as sendmail asks for it")
    return network


def client_keys(address: Address) -> tuple[bytes, ...]:
    """Return the keys that sendmail's popip rule asks for when ``address`` connects."""
    prefixes = (128,) if address.version == 4 else (128, 64)
    return tuple(login_key(address, prefix) for prefix in prefixes)


def spell(network: Network) -> str:
    """Return a granted network as people and JSON read it (RFC 5952; a /64 with its length)."""
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return str(network)


def parse_network(text: str) -> Network:
    """Return the address or IPv6 /64 that :func:`spell` wrote; ValueError for anything else."""
    network = ipaddress.ip_network(text)
    if network.prefixlen not in (network.max_prefixlen, 64):
        raise ValueError(f"{text!r} is no address")
    return network
