"""Addresses as operators type them."""

from journalrelay.errors import UsageError
from journalrelay.grant import Address, Network, fold, parse_address, spell


def typed_address(text: str) -> Address:
    """Return the address that ``text`` spells, or raise UsageError."""
    address = parse_address(text.encode("utf-8", "replace"))
    if address is None:
        raise UsageError(f"{text!r} is not an address (try '192.0.2.7' or '2001:db8::7')")
    return address


def typed_network(text: str, ipv6_prefix: int) -> Network:
    """Return what granting ``text`` means: the address, or with ``relay.ipv6_prefix`` 64 its /64,
    which may also be written as ``list`` prints it."""
    bare, slash, _ = text.partition("/")
    network = fold(typed_address(bare), ipv6_prefix)
    if slash and spell(network) != text:
        raise UsageError(
            f"{text!r}: only single addresses can be granted, or with relay.ipv6_prefix = 64 a "
            "/64, written as 2001:db8:1:2::/64"
        )
    return network


def revoked_network(text: str, ipv6_prefix: int) -> Network:
    """Return what revoking ``text`` means: what a login from there is granted, or the /64 that is
    named, whatever is granted now."""
    return typed_network(text, 64 if "/" in text else ipv6_prefix)
