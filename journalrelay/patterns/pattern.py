"""The shape of a daemon's entry in the registry: who it is, and what it logs for a login."""

import re
from collections.abc import Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Literal, NamedTuple

from journalrelay.event import Record
from journalrelay.grant import Address, parse_address, parse_host
from journalrelay.patterns.identity import Fields, Identity, fields_of, fitting

LONGEST = 450  # bytes; what is longer may have been cut, and what follows a cut is the client's
SERVICES = ("pop2", "pop3", "imap")

_NUL, _LF, _CR = b"\0\n\r"

Tells = Literal["login", "connect", "logout"]


class _Pattern(NamedTuple):
    text: bytes
    samples: Mapping[str, str]
    tells: Tells = "login"
    service: str | Mapping[str, str] = ""
    identity: Identity = MappingProxyType({})


class Pattern(_Pattern):
    """One wording of a line, matched against the whole MESSAGE, never against a part of it.

    ``text`` is a regular expression, compiled when a line of the daemon is read: few of them are
    here. ``tells`` is what the line proves: a login, the connection that a later login of the same
    process came by, or the end of a session. Its groups: ``user``; ``address``, missing
    where a connect line or the unit's instance tells it, or ``host`` where the line has the
    client's name alone, which is read only if the operator says so; and where shown ``server``
    (the daemon's own end), ``service`` and ``session``, which tells a session from the others of
    its daemon, or of its address if the logout line names that too. ``service`` is the word for
    what the line does not say, or a mapping from the line's own word (else the SYSLOG_IDENTIFIER)
    to it; what is not in the mapping is not read. ``identity`` names the fields that are not the
    daemon's usual ones. ``samples`` are real lines that it takes, each with its address or host
    name, empty where a connect line tells it.
    """

    @cached_property
    def regex(self) -> re.Pattern[bytes]:
        """Return the text, compiled."""
        return re.compile(self.text)

    @cached_property
    def by_name(self) -> bool:
        """Tell whether a host name stands in the address's place."""
        return b"(?P<host>" in self.text

    @cached_property
    def telling(self) -> tuple[int, ...]:
        """Return the groups that tell who logged in from where, empty where the line does not."""
        groups = self.regex.groupindex
        if self.tells != "login" or "address" not in groups:
            return ()
        return tuple(number for name, number in groups.items() if name != "session")


class _Daemon(NamedTuple):
    name: str
    identity: Identity
    patterns: tuple[Pattern, ...]
    traps: tuple[str, ...]
    programs: tuple[str, ...] = ()
    forgeable: str = ""


class Daemon(_Daemon):
    """A POP or IMAP daemon: its identity in the journal's trusted fields, and its patterns.

    ``identity`` names for each of TRUSTED_FIELDS the values that count; an entry that lacks one
    of the fields is not the daemon's. ``traps`` are lines of its own that must never match.
    ``programs`` are files whose presence says that this host has it. ``forgeable`` says in one
    sentence how a client that never logged in can have it log a login; it is read only by name.
    """

    @cached_property
    def lines(self) -> tuple["Line", ...]:
        """Return its patterns, ready to be held against a record."""
        return tuple(
            Line(self, pattern, fields_of(self.identity_of(pattern))) for pattern in self.patterns
        )

    def identity_of(self, pattern: Pattern) -> Identity:
        """Return who logs the lines of one of its patterns."""
        return {**self.identity, **pattern.identity}


class Line(NamedTuple):
    """A pattern of a daemon, with the fields of who logs it."""

    daemon: Daemon
    pattern: Pattern
    fields: Fields


class Told(NamedTuple):
    """What one record tells. ``address`` is None where another line, or ``host``, tells it."""

    tells: Tells
    daemon: Daemon
    service: str
    user: bytes
    address: Address | None
    server: Address | None
    host: str = ""
    session: bytes = b""


def sound(message: bytes) -> bool:
    """Tell whether a text can be believed to be one whole line, as the daemon wrote it."""
    # a number is found six times sooner than a text of one byte, or by a regex
    broken = _LF in message or _CR in message or _NUL in message
    return len(message) <= LONGEST and not broken


def read(record: Record, line: Line, found: re.Match[bytes] | None = None) -> Told | None:
    """Return what the record tells by this pattern, or None: the text is another, or it was
    logged by somebody else. ``found`` is how the pattern fits, where that is known."""
    if not sound(record.message):
        return None
    pattern = line.pattern
    found = found or pattern.regex.fullmatch(record.message)
    if found is None:
        return None
    around = fitting(record, line.fields)
    if around is None:
        return None
    said = found.groupdict()
    service = _service(record, pattern, said.get("service"))
    client = said.get("address") or around.get("address")
    server = said.get("server") or around.get("server")
    address = parse_address(client) if client else None
    host = parse_host(said["host"]) if pattern.by_name else ""
    if service is None or host is None or (client and address is None):
        return None
    return Told(
        pattern.tells,
        line.daemon,
        service,
        said.get("user") or b"",
        address,
        parse_address(server) if server else None,
        host,
        said.get("session") or b"",
    )


def _service(record: Record, pattern: Pattern, said: bytes | None) -> str | None:
    """Return the service that a line is about, None when it is none that counts."""
    if isinstance(pattern.service, str):
        return said.decode("ascii", "replace") if said is not None else pattern.service
    word = said if said is not None else record.field("SYSLOG_IDENTIFIER") or b""
    return pattern.service.get(word.decode("ascii", "replace"))
