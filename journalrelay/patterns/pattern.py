"""The shape of a daemon's entry in the registry: who it is, and what it logs for a login."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from journalrelay.event import Login, Record
from journalrelay.grant import parse_address

TRUSTED_FIELDS = ("_SYSTEMD_UNIT", "_EXE", "_UID", "_TRANSPORT", "SYSLOG_IDENTIFIER")


@dataclass(frozen=True)
class Pattern:
    """One wording of a login, matched against the whole MESSAGE, never against a part of it.

    ``regex`` has the groups ``user`` and ``address``, and where the line shows them ``service``
    and ``server`` (the daemon's own end of the connection). ``samples`` are real lines that it
    takes, with the address of each.
    """

    regex: re.Pattern[bytes]
    samples: Mapping[str, str]


@dataclass(frozen=True)
class Daemon:
    """A POP or IMAP daemon: its identity in the journal's trusted fields, and its patterns.

    ``identity`` names for each of TRUSTED_FIELDS the values that count; an entry that lacks one
    of the fields is not the daemon's. ``traps`` are lines of its own that must never match.
    """

    name: str
    identity: Mapping[str, tuple[str, ...]]
    patterns: tuple[Pattern, ...]
    traps: tuple[str, ...]

    def owns(self, record: Record) -> bool:
        """Tell whether every trusted field of the record names this daemon."""
        return all(
            (value := record.field(name)) is not None and value.decode("utf-8", "replace") in values
            for name, values in self.identity.items()
        )

    def read(self, record: Record) -> Login | None:
        """Return the login that the record proves, or None. The text is looked at first: it is
        cheap, and most records are no logins."""
        message = record.message
        for pattern in self.patterns:
            found = pattern.regex.fullmatch(message)
            if found and self.owns(record):
                return self._login(found, record)
        return None

    def _login(self, found: re.Match[bytes], record: Record) -> Login | None:
        parts = found.groupdict()
        address = parse_address(parts["address"])
        if address is None:
            return None
        return Login(
            address=address,
            user=parts["user"],
            service=parts["service"].decode("ascii"),
            daemon=self.name,
            logged_at_us=record.logged_at_us(),
            server=parse_address(parts["server"]) if parts.get("server") else None,
            clock_ahead_us=record.clock_ahead_us(),
        )
