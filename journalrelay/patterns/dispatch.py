"""One look at a record for all the daemons that are read.

Most records are no logins, and must cost next to nothing however many patterns there are. So all
texts are one alternation, which misses in one step, and only a hit asks the journal for a field:
the identifier, which leaves the few patterns of one daemon.
"""

import re
from collections.abc import Iterable

from journalrelay.event import Record
from journalrelay.patterns import pattern as shape
from journalrelay.patterns.identity import Like
from journalrelay.patterns.pattern import Daemon, Pattern, Told

_NAMED = re.compile(rb"\(\?P<\w+>")
_READ = ("login", "connect")


class Dispatch:
    """The patterns of ``daemons`` by which logins are recognised."""

    def __init__(self, daemons: Iterable[Daemon]) -> None:
        self._by_identifier: dict[bytes, list[tuple[Daemon, Pattern]]] = {}
        texts: dict[bytes, None] = {}
        for daemon in daemons:
            for pattern in daemon.patterns:
                if pattern.tells in _READ:
                    texts[_NAMED.sub(b"(?:", pattern.regex.pattern)] = None
                    for identifier in _identifiers(daemon, pattern):
                        self._by_identifier.setdefault(identifier, []).append((daemon, pattern))
        self._any = re.compile(b"|".join(b"(?:%s)" % text for text in texts)).fullmatch

    def read(self, record: Record) -> Told | None:
        """Return what the record tells, None when it is no line of these daemons."""
        if self._any(record.message) is None:
            return None
        identifier = record.field("SYSLOG_IDENTIFIER") or b""
        for daemon, pattern in self._by_identifier.get(identifier, ()):
            told = shape.read(record, daemon, pattern)
            if told is not None:
                return told
        return None


def _identifiers(daemon: Daemon, pattern: Pattern) -> list[bytes]:
    values = daemon.identity_of(pattern)["SYSLOG_IDENTIFIER"]
    if isinstance(values, Like):
        raise TypeError(f"{daemon.name}: SYSLOG_IDENTIFIER: must be listed")
    return [value.encode() for value in values]
