"""The floor: the libraries' calls that reading a login and putting it into a map cannot do without,
made from one Python function that decides nothing.

    python3 -m bench.floor read DIRECTORY MOST    reading, and recognising the logins
    python3 -m bench.floor relay DIRECTORY PLACE  and a map of them, written once a second

It asks for Dovecot's entries only, takes an entry's fields, holds the text against one regular
expression and the five fields against one value each, and knows no other daemon, no clock, limits
or revocations, no lock, index or second look, and keeps no place.
"""

import sys
import time
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_pton

from bench.ours import WINDOW_S, timed
from journalrelay.map import libdb
from journalrelay.map.libdb import db
from journalrelay.patterns.dovecot import DOVECOT
from journalrelay.patterns.pattern import Pattern
from journalrelay.sources.openjournal import Where, add_matches, open_reader
from lab.journald import login_line

_PAGE, _FILL, _BUCKETS = 4096, 60, 4096
_TRUSTED = {
    "_SYSTEMD_UNIT": b"dovecot.service",
    "_EXE": b"/usr/lib/dovecot/log",
    "_UID": b"0",
    "_TRANSPORT": b"syslog",
    "SYSLOG_IDENTIFIER": b"dovecot",
}


def go_through(directory: Path, most: int, path: Path | None) -> tuple[int, int]:
    """Read up to ``most`` entries, all if 0, into a map at ``path``; return how many entries and
    how many logins there were."""
    reader = open_reader(Where(directory=directory))
    add_matches(reader, [[b"_SYSTEMD_UNIT=" + _TRUSTED["_SYSTEMD_UNIT"]]])
    step, fields_of, time_of = reader._next, reader._get_all, reader._get_realtime
    handle = _map(path) if path else None
    trusted = _TRUSTED.items()
    match = _pattern().regex.fullmatch
    ends: dict[bytes, int] = {}
    entries = logins = 0
    due_s = time.monotonic() + 1
    while step():
        entries += 1
        fields = fields_of()
        text = fields["MESSAGE"]
        found = match(text) if isinstance(text, bytes) else None
        if found is not None and trusted <= fields.items():
            logins += 1
            address, _user = found.group("address", "user")
            inet_pton(AF_INET6 if 58 in address else AF_INET, address.decode())
            ends[address] = time_of() // 1_000_000 + WINDOW_S
        if entries == most:
            break
        if handle is not None and entries % 10_000 == 0 and time.monotonic() > due_s:
            _commit(handle, ends)
            due_s = time.monotonic() + 1
    if handle is not None:
        _commit(handle, ends)
    return entries, logins


def _pattern() -> Pattern:
    """Return the pattern that takes the lines of the journals here."""
    line = login_line("192.0.2.7").encode()
    logins = [pattern for pattern in DOVECOT.patterns if pattern.tells == "login"]
    return next(pattern for pattern in logins if pattern.regex.fullmatch(line))


def _map(path: Path) -> "db.DB":
    handle = libdb.new()
    handle.set_pagesize(_PAGE)
    handle.set_h_ffactor(_FILL)
    handle.set_h_nelem(_BUCKETS * _FILL)
    handle.open(str(path), None, libdb.TYPES["hash"], db.DB_CREATE)
    return handle


def _commit(handle: "db.DB", ends: dict[bytes, int]) -> None:
    for key, end_s in ends.items():
        handle.get(key)
        handle.put(key, b"%d" % end_s)
    handle.sync()
    ends.clear()


def main(words: list[str]) -> None:
    """Do what the words say."""
    if words[0] == "read":
        timed(lambda: go_through(Path(words[1]), int(words[2]), None))
    else:
        timed(lambda: go_through(Path(words[1]), 0, Path(words[2]) / "floor.db"))


if __name__ == "__main__":
    main(sys.argv[1:])
