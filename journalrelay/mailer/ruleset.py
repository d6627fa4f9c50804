"""How the rules in sendmail.cf decide by a client's address: which keys they ask for, in which
order, and what they make of the answers. Pure; sendmail/feature/poprelay.m4 and sendmail's own
m4/proto.m4 (SRelay_ok, SA, SBasic_check_relay) say the same in rules.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Literal

from journalrelay.grant import Address, login_key

Answer = Literal["yes", "no", "rejects"]
_DENIES = {"no", "reject", "deny", "discard", "error"}  # class PopRelayNo
_ITSELF = {b"127.0.0.1", b"ipv6:0:0:0:0:0:0:0:1"}
_NOT_REJECTED = {"ok", "skip"}
_WORD = r"[^\s.:%@!^/\[\]+]+"  # up to one of OperatorChars
_TOKENS = r"[^.:]+|[.:]"


def is_itself(address: Address) -> bool:
    """Tell whether it is an address at which sendmail takes mail for its own host's."""
    return _key(address) in _ITSELF


def in_class(address: Address, members: Iterable[str]) -> str | None:
    """Return the member of class R with which the address begins, token by token; None if it
    begins with none."""
    wanted = re.findall(_TOKENS, _key(address).decode())
    for member in members:
        tokens = re.findall(_TOKENS, member.lower())
        if tokens and wanted[: len(tokens)] == tokens:
            return member
    return None


def access_keys(address: Address) -> Iterator[bytes]:
    """Yield the keys of access: the address and its leading parts, each with its tag first."""
    for part in _parts(_key(address), least=1):
        yield b"connect:" + part
        yield part


def access_says(value: str) -> Answer:
    """Return what a value of access means for a client: it relays, goes on, or is rejected."""
    if value == "RELAY":
        return "yes"
    return "no" if value.lower() in _NOT_REJECTED else "rejects"


def localip_keys(address: Address) -> Iterator[bytes]:
    """Yield the keys of localip: the address and its leading parts; ``IPv6`` alone is none."""
    yield from _parts(_key(address), least=1 if address.version == 4 else 2)


def relay_keys(recipient: str) -> Iterator[bytes]:
    """Yield the keys of relay for a recipient, or a domain: the domain and those around it; none
    for a local part that names a second address."""
    local, _, domain = recipient.rpartition("@")
    if re.search(r'[@%!"\\]', local):
        return
    labels = domain.lower().rstrip(".").split(".")
    for at in range(len(labels)):
        yield ".".join(labels[at:]).encode("utf-8", "replace")


def permits(value: str) -> bool:
    """Tell whether a value of localip or relay lets pass: one that is empty, begins with a word
    that denies, or has a mark in it does not."""
    word = re.match(_WORD, value.strip())
    return word is not None and word[0].lower() not in _DENIES and "<" not in value


def _key(address: Address) -> bytes:
    return login_key(address, 128)


def _parts(key: bytes, least: int) -> Iterator[bytes]:
    """Yield the key, and what is left of it as its last parts go one by one."""
    mark = b":" if b":" in key else b"."
    parts = key.split(mark)
    for count in range(len(parts), least - 1, -1):
        yield mark.join(parts[:count])
