"""Lines that read as a login at one of our daemons and were logged by somebody else.

The daemon never sees them: it asks the journal for what the servers' own units log.
"""

from collections.abc import Iterable
from typing import NamedTuple

from journalrelay.event import Record
from journalrelay.patterns import Daemon, Dispatch
from journalrelay.patterns.unvouched import identifiers, unvouched

_TOLD = (("_UID", "uid"), ("_EXE", ""), ("_COMM", ""), ("_SYSTEMD_UNIT", "unit"))


class Stranger(NamedTuple):
    """The daemon that a line pretends to be of, and who logged it, as the journal knows it."""

    daemon: str
    who: str


class Strangers:
    """Recognises the lines of strangers among the records that tell the daemon nothing; what they
    claim is compared with ``daemons``."""

    def __init__(self, daemons: Iterable[Daemon]) -> None:
        daemons = tuple(daemons)
        claimed = unvouched(daemons)
        self._claimed, self._trusted = Dispatch(claimed), Dispatch(daemons)
        self.matches = sorted(b"SYSLOG_IDENTIFIER=%b" % n.encode() for n in identifiers(claimed))

    def read(self, record: Record) -> Stranger | None:
        """Return who it was, None when the record is no login or its sender the daemon itself."""
        told = self._claimed.read(record)
        if told is None or told.tells != "login" or self._trusted.read(record) is not None:
            return None
        return Stranger(told.daemon.name, _who(record))


def _who(record: Record) -> str:
    """Return who logged a record, as far as the journal knows."""
    known = {name: record.field(name) for name, _ in _TOLD}
    if known["_EXE"]:
        known["_COMM"] = None  # says the same
    parts = [
        f"{word} {value.decode('utf-8', 'backslashreplace')}".strip()
        for name, word in _TOLD
        if (value := known[name])
    ]
    return ", ".join(parts) or "unknown"
