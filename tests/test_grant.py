"""Addresses, and their spelling as sendmail asks for them."""

import contextlib
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journalrelay.grant import client_keys, fold, map_key, parse_address, parse_key, spell

addresses = st.ip_addresses(v=4) | st.ip_addresses(v=6)


@pytest.mark.parametrize(
    ("text", "prefix", "key", "spelled"),
    [
        ("192.0.2.7", 128, b"192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", 64, b"192.0.2.7", "192.0.2.7"),
        ("2001:DB8::1", 128, b"ipv6:2001:db8:0:0:0:0:0:1", "2001:db8::1"),
        ("2001:db8:1:2::9", 64, b"ipv6:2001:db8:1:2", "2001:db8:1:2::/64"),
    ],
)
def test_key_is_what_sendmail_asks_for(text: str, prefix: int, key: bytes, spelled: str) -> None:
    address = parse_address(text.encode())
    assert address is not None
    network = fold(address, prefix)
    assert (map_key(network), spell(network)) == (key, spelled)


@pytest.mark.parametrize(
    "text", [b"", b"192.0.2", b"192.0.2.007", b"1.2.3.4.5", b"fe80::1%eth0", b"localhost", b"\xff"]
)
def test_what_is_no_address_is_none(text: bytes) -> None:
    assert parse_address(text) is None


@given(addresses, st.sampled_from([64, 128]))
def test_a_key_reads_back_as_its_network(address: ipaddress.IPv4Address, prefix: int) -> None:
    network = fold(address, prefix)
    assert parse_key(map_key(network)) == network


@given(st.binary(max_size=50))
def test_only_the_canonical_spelling_is_a_key(key: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert map_key(parse_key(key)) == key


@pytest.mark.parametrize(
    "key", [b"IPv6:2001:db8:0:0:0:0:0:1", b"ipv6:2001:db8::1", b"192.0.2.7\0", b"192.0.2", b"all"]
)
def test_other_spellings_are_no_keys(key: bytes) -> None:
    with pytest.raises(ValueError):
        parse_key(key)


def test_sendmail_asks_for_the_address_then_its_64() -> None:
    six = ipaddress.ip_address("2001:db8:1:2:3:4:5:6")
    assert client_keys(six) == (b"ipv6:2001:db8:1:2:3:4:5:6", b"ipv6:2001:db8:1:2")
    assert client_keys(ipaddress.ip_address("192.0.2.7")) == (b"192.0.2.7",)
