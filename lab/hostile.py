"""Clients who choose their names with care, and what is read from the lines about them.

A client chooses the text of his user's name, and by reverse DNS the name of his host; never the
address of his connection. Whatever a daemon logs for him (lab/voices.py), only his own address may
be read from it, and a login only where there was one.
"""

import re
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from journalrelay.grant import parse_address
from journalrelay.patterns import REGISTRY, TRUSTED_FIELDS, Daemon, Dispatch
from journalrelay.patterns.identity import Like, example
from lab.voices import Client, Said

LIE = b"203.0.113.66"
_ADDRESS = re.compile(rb"(?:192\.0\.2|203\.0\.113)\.[0-9]{1,3}|2001:db8::[0-9a-f]{1,4}")
_BENDS = re.compile(rb"(?<=[ ,:;<>()\[\]\"'`=])")  # where daemons' lines part


class Heard(NamedTuple):
    """Whether a line was taken for anything, and what is wrong with that, "" when nothing is."""

    taken: bool
    wrong: str = ""


@dataclass
class Entry:
    """A journal entry, as a source would show it."""

    message: bytes
    fields: dict[str, str]

    def field(self, name: str) -> bytes | None:
        return self.fields[name].encode() if name in self.fields else None

    def logged_at_us(self) -> int:
        return 0

    def clock_ahead_us(self) -> int:
        return 0

    def cursor(self) -> str:
        return ""


def _lies(daemon: Daemon) -> list[bytes]:
    """Return the daemon's own lines, as they would be if they told of the lie."""
    lines = [*daemon.traps, *(line for pattern in daemon.patterns for line in pattern.samples)]
    return [_ADDRESS.sub(LIE, line.encode()) for line in lines]


class Crowd:
    """Clients of one daemon, each with names made of pieces of the daemon's own lines."""

    def __init__(self, daemon: Daemon) -> None:
        self._lines = _lies(daemon)
        self._pieces = sorted({piece for line in self._lines for piece in _BENDS.split(line)})
        self._pieces += [LIE, b"\n", b"\r", b"\0", b"\x7f", b"\xff", b"\xc3\xa9", b" ", b"%s"]

    def client(self, random: Random) -> Client:
        """Return another of them."""
        number = random.randrange(2, 255)
        address = b"2001:db8::%x" % number if random.randrange(4) == 0 else b"192.0.2.%d" % number
        return Client(address, self._user(random), self._host(random))

    def _user(self, random: Random) -> bytes:
        kind = random.randrange(6)
        if kind == 0:
            return bytes(random.choices(b"abcdefghijklmnopqrstuvwxyz0123456789.-_@", k=8))
        if kind == 1:
            return random.choice(self._lines)
        if kind == 2:  # the end of a lie, from anywhere on
            line = random.choice(self._lines)
            return b"x" + line[random.randrange(len(line)) :]
        text = b"".join(random.choices(self._pieces, k=random.randrange(1, 12)))
        if kind == 3:
            return text[: random.choice((40, 64, 77, 80, 155, 255))]
        if kind == 4:  # so that a cut is right behind a lie
            line = random.choice(self._lines)
            return b"x" * (random.choice((40, 64, 77, 80, 155)) - len(line)) + line
        return text

    def _host(self, random: Random) -> bytes:
        """Return a name that a resolver gives: letters, digits, dots, dashes."""
        kind = random.randrange(4)
        if kind == 0:
            return LIE
        if kind == 1:
            return LIE + b"." * random.randrange(2) + b"x" * random.randrange(68)
        if kind == 2:
            return b"a" * random.randrange(1, 80)
        return b"client.example.org"


class Ear:
    """Reads what one daemon has said, as each of the senders that its patterns know."""

    def __init__(self, daemon: Daemon, daemons: tuple[Daemon, ...] = REGISTRY) -> None:
        self.daemon = daemon
        self._dispatch = Dispatch(daemons)
        self._senders: list[dict[str, str]] = []
        for pattern in daemon.patterns:
            units = daemon.identity_of(pattern)["_SYSTEMD_UNIT"]
            by_unit = isinstance(units, Like) and "address" in units.regex.groupindex
            sender = example(daemon.identity_of(pattern))
            if not by_unit and sender not in self._senders:
                self._senders.append(sender)

    def hear(self, said: Said, who: Client) -> Heard:
        """Read a line that was said of a client."""
        taken = False
        for sender in self._senders:
            told = self._dispatch.read(Entry(said.line, sender))
            if told is None:
                continue
            taken = True
            if told.tells != said.tells:
                return Heard(taken, f"taken for a {told.tells}")
            if told.address not in (None, parse_address(who.address)):
                return Heard(taken, f"taken for one of {told.address}")
        return Heard(taken)

    def overhear(self, line: bytes) -> Heard:
        """Read a line of which nothing is known: an address in it must at least stand there."""
        taken = False
        for sender in self._senders:
            told = self._dispatch.read(Entry(line, sender))
            taken = taken or told is not None
            if told and told.address and not _stands(told.address.packed, line):
                return Heard(taken, f"{told.address} does not stand there")
        return Heard(taken)

    def fooled(self, line: bytes, random: Random) -> str:
        """Return the forged field with which a line was believed, "" when none was."""
        for sender in self._senders:
            name = random.choice(TRUSTED_FIELDS)
            forged = dict(sender)
            value = random.choice(
                ("", "user@1002.service", f"{sender[name]}x", f"y{sender[name]}", "-1", None)
            )
            if value is None:
                del forged[name]
            else:
                forged[name] = value
            if self._dispatch.read(Entry(line, forged)):
                return f"{name}={value}"
        return ""


def _stands(packed: bytes, line: bytes) -> bool:
    """Tell whether an address is spelled out somewhere in a line."""
    words = re.findall(rb"[0-9A-Fa-f:.]{2,45}", line)
    found = [parse_address(word) for word in words] + [
        parse_address(word[: word.rindex(b":")]) for word in words if b":" in word
    ]
    return any(address is not None and address.packed == packed for address in found)
