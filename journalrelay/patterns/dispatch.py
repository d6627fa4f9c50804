"""One look at a record for all the daemons that are read.

Most records are no logins, and must cost next to nothing however many patterns there are. So all
texts are one alternation, which misses in one step, and only a hit asks the journal for a field:
the identifier, which leaves the few patterns of one daemon. The one that told last is tried before
that: where many log in, lines are alike.
"""

import re
from collections.abc import Iterable

from journalrelay.event import Record
from journalrelay.patterns.identity import listed
from journalrelay.patterns.pattern import LONGEST, Daemon, Line, Told, read

_AS_FAR = LONGEST + 1  # to where a text is looked at, so that the steps are bounded (linear.py)
_NAMED = re.compile(rb"\(\?P<\w+>")


class Dispatch:
    """The patterns of ``daemons`` by which logins are recognised, with ``by_name`` also those
    that have a host name in the address's place, with ``logouts`` also the ends of sessions."""

    def __init__(
        self, daemons: Iterable[Daemon], *, by_name: bool = False, logouts: bool = False
    ) -> None:
        self._by_identifier: dict[bytes, list[Line]] = {}
        texts: dict[bytes, None] = {}
        for line in (line for daemon in daemons for line in daemon.lines):
            told = logouts or line.pattern.tells != "logout"
            if told and (by_name or not line.pattern.by_name):
                texts[_NAMED.sub(b"(?:", line.pattern.text)] = None
                identity = line.daemon.identity_of(line.pattern)
                fields = tuple(field for field in line.fields if field[0] != "SYSLOG_IDENTIFIER")
                for identifier in listed(identity, "SYSLOG_IDENTIFIER"):
                    lines = self._by_identifier.setdefault(identifier.encode(), [])
                    lines.append(line._replace(fields=fields))
        self._likely: Line | None = None  # the one that told last
        self._any = re.compile(b"|".join(b"(?:%s)" % text for text in texts)).fullmatch

    def gist(self, record: Record) -> int | None:
        """Return a number for what a login's line says, the same for two of one client that differ
        in nothing but their session; None for any other line. Who logged it is not asked."""
        identifier = record.field("SYSLOG_IDENTIFIER") or b""
        for line in self._by_identifier.get(identifier, ()):
            found = line.pattern.regex.fullmatch(record.message, 0, _AS_FAR)
            if found is not None:
                telling = line.pattern.telling
                return hash((line.daemon.name, found.group(*telling))) if telling else None
        return None

    def read(self, record: Record) -> Told | None:
        """Return what the record tells, None when it is no line of these daemons."""
        message, likely = record.message, self._likely
        found = likely and likely.pattern.regex.fullmatch(message, 0, _AS_FAR)
        if found is None and self._any(message, 0, _AS_FAR) is None:
            return None
        identifier = record.field("SYSLOG_IDENTIFIER") or b""
        for line in self._by_identifier.get(identifier, ()):
            told = read(record, line, found if line is likely else None)
            if told is not None:
                self._likely = line
                return told
        return None
