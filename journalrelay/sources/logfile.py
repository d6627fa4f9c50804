"""Log files as a source of records: for hosts whose mail log is a file.

Nothing in a file can be trusted beyond that only its writers could write it; who may be a login's
sender there is decided before (journalrelay/patterns/unvouched.py). What was done by hand is in the
journal, where there is one.
"""

import glob
import hashlib
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from journalrelay import clock
from journalrelay.errors import NoInputError, PermissionRelayError, printable
from journalrelay.event import Record
from journalrelay.rules.repeats import Repeats
from journalrelay.sources.logline import Hosts, LogRecord
from journalrelay.sources.reading import Reading
from journalrelay.sources.rotation import is_rotated
from journalrelay.sources.sieve import Sieve
from journalrelay.sources.source import Source
from journalrelay.sources.spot import Spot, spot_of
from journalrelay.sources.stream import Stream
from journalrelay.sources.watch import Watch

_GLOB_EVERY_S = 1.0
_BEING_WRITTEN_US = 1_000_000
_FORMAT = "log1"


class Logfiles(NamedTuple):
    """Which log files: paths or shell patterns, and the hosts whose lines in them count."""

    patterns: tuple[str, ...]
    hosts: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return a file name that stands for exactly these files."""
        return f"logfile-{hashlib.sha256(os.fsencode(chr(0).join(self.patterns))).hexdigest()[:16]}"

    def paths(self) -> list[Path]:
        """Return the logs there are: all paths, and what the patterns find, predecessors left
        out."""
        found = [name for pattern in self.patterns for name in _found(pattern)]
        named = {pattern for pattern in self.patterns if not glob.has_magic(pattern)}
        return [
            Path(name)
            for name in dict.fromkeys(found)
            if name in named or not is_rotated(name, found)
        ]


def _found(pattern: str) -> list[str]:
    return sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]


class LogfileSource:
    """Lines of ``files`` that were logged under one of ``identifiers``. ``ledger`` is the journal
    in which is written what is done by hand, None when there is none."""

    vouched = False
    called = "the log file"
    turn_ms = 20
    at_rest = False

    def __init__(
        self, files: Logfiles, identifiers: Iterable[str], ledger: Source | None = None
    ) -> None:
        self._files = files
        self._sieve = Sieve(identifiers)
        self._hosts = Hosts(files.hosts)
        self._ledger = ledger
        self._watch = Watch()
        self._streams: list[Stream] = []
        self._glob_at_s = 0.0
        self.moves = 0
        self._place: tuple[str, int] | None = None
        self._from_us = 0
        self._told: set[str] = set()
        self._remarks: list[str] = []
        self.heartbeat: Callable[[], None] = lambda: None
        self._find()
        self.seek_time(clock.now_us())
        if ledger:
            ledger.seek_time(clock.now_us())
        self._check()

    @property
    def name(self) -> str:
        """Return the name of its saved place."""
        return self._files.name

    def fileno(self) -> int | None:
        """Return the descriptor of what is watched, None where that cannot be."""
        return self._watch.fd

    def refresh(self) -> None:
        """Take notice of new files, of rotation, and of what was done by hand."""
        self._watch.drain()
        if time.monotonic() >= self._glob_at_s:
            for stream in self._find():
                stream.seek(())
        for stream in self._streams:
            stream.refresh()
        self._rewatch()
        if self._ledger:
            self._ledger.refresh()

    def still(self) -> bool:
        """Return False: a turn costs no more than to ask each file."""
        return False

    def seek_time(self, time_us: int) -> None:
        """Go to the first line at or after a time, in each file."""
        self.moves += 1
        self._place, self._from_us = None, max(0, time_us)
        for stream in self._streams:
            stream.seek_time(self._from_us)
        self._rewatch()

    def seek_cursor(self, cursor: str, *, inclusive: bool) -> bool:
        """Go to a cursor's line or behind it, in each file; see :class:`Source`."""
        places, reached_us = _places_of(cursor)
        self.moves += 1
        self._place, self._from_us = None, reached_us
        found = [
            stream.seek(places.get(_digest(stream.path), ()), inclusive=inclusive)
            for stream in self._streams
        ]
        self._rewatch()
        if all(found) and not inclusive:
            self._place = cursor, reached_us
        return all(found)

    def read(self, limit: int) -> Iterator[Record]:
        """Yield the next lines, at most ``limit``, and what was done by hand meanwhile."""
        count = 0
        if self._ledger:
            for record in self._ledger.read(limit):
                count += 1
                yield record
        last: Stream | None = None
        self._streams = self._streams[1:] + self._streams[:1]  # a busy one lets the others go on
        for stream in self._streams:
            if count == limit:
                break
            for line in stream.read(self._cursor):
                count, last = count + 1, stream
                yield line
                if count == limit:
                    break
        self._note_place(last)

    def earlier(self, span_us: int, repeats: Repeats | None = None) -> Iterator[LogRecord]:
        """Yield the lines before the next ones to be read; see :class:`Source`."""
        since_us = (self._place[1] if self._place else self._from_us) - span_us
        for stream in self._streams:
            yield from stream.before(max(0, since_us), self._cursor)

    def place(self) -> tuple[str, int] | None:
        """Return cursor and time of what was read last."""
        return self._place

    def settle(self) -> bool:
        """Do nothing: a file shows its lines in the order in which they were written."""
        return True

    def by_hand(self, since_us: int) -> Iterator[Record]:
        """Yield what was done by hand, as the journal has it; nothing where there is none."""
        if self._ledger is None:
            return
        # what is being written at this moment, and what comes, is read with the lines
        self._ledger.seek_time(clock.now_us() - _BEING_WRITTEN_US)
        yield from self._ledger.by_hand(since_us)

    def last_time_us(self) -> int | None:
        """Return the time of the newest line."""
        times = [stream.last_time_us() for stream in self._streams]
        return max((time_us for time_us in times if time_us is not None), default=None)

    def first_time_us(self) -> int | None:
        """Return None: what is not read is not looked at, and a place in it that has gone is
        noticed as such."""
        return None

    def trouble(self) -> str | None:
        """Return what keeps a file from being read."""
        found = [trouble for stream in self._streams if (trouble := stream.trouble())]
        if self._ledger and (trouble := self._ledger.trouble()):
            found.append(trouble)
        return "; ".join(found) or None

    def remark(self, text: str) -> None:
        """Have an operator know something."""
        self._remarks.append(text)

    def remarks(self) -> list[str]:
        """Return what an operator should know of the files, each thing once."""
        found = self._remarks + [one for stream in self._streams for one in stream.remarks]
        hosts: set[bytes] = set()
        for stream in self._streams:
            stream.remarks.clear()
            hosts |= stream.foreign
        found += [
            f"lines of host {printable(host.decode('ascii', 'backslashreplace'))} are not read "
            "(source.hosts names the hosts whose lines count)"
            for host in sorted(hosts)
        ]
        new = [remark for remark in dict.fromkeys(found) if remark not in self._told]
        self._told.update(new)
        return new

    def close(self) -> None:
        """Let go of all files."""
        for stream in self._streams:
            stream.close()
        self._watch.close()
        if self._ledger:
            self._ledger.close()

    def _find(self) -> list[Stream]:
        """Look for logs that were not there before, and return them."""
        self._glob_at_s = time.monotonic() + _GLOB_EVERY_S
        known = {stream.path for stream in self._streams}
        new = [
            Stream(path, self._sieve, self._hosts)
            for path in self._files.paths()
            if path not in known
        ]
        for stream in new:
            stream.heartbeat = lambda: self.heartbeat()
        self._streams += new
        return new

    def _check(self) -> None:
        """Raise when there is nothing to read, or it must not be read."""
        for stream in self._streams:
            stream.refresh()
            refusal = stream.trouble()
            if refusal and not stream.is_missing():
                self.close()
                raise PermissionRelayError(refusal)
        if not any(stream.exists() for stream in self._streams):
            self.close()
            raise NoInputError(
                f"{', '.join(self._files.patterns)}: there is no such log file (name the file "
                "that syslogd writes the mail log to)"
            )

    def _rewatch(self) -> None:
        if any(stream.changed for stream in self._streams):
            files = [fd for stream in self._streams for fd in stream.files()]
            self._watch.watch(files, {name for s in self._streams for name in s.directories()})
            for stream in self._streams:
                stream.changed = False

    def _note_place(self, last: Stream | None) -> None:
        """Note the place once a batch, and the time that it stands for: not from the future,
        since a line can tell any time."""
        if not any(stream.moved for stream in self._streams):
            return
        for stream in self._streams:
            stream.moved = False
        times = [stream.reached_us() for stream in self._streams]
        reached = [time_us for time_us in times if time_us is not None]
        if not reached and last is None:
            return
        reached_us = min(max(reached, default=self._from_us), clock.now_us())
        spot = last.last_record() if last else None
        self._place = self._written(last, spot, reached_us), reached_us

    def _cursor(self, stream: Stream, reading: Reading, spot: Spot) -> str:
        reached_us = min(stream.reached_us() or 0, clock.now_us())
        return self._written(stream, spot, reached_us)

    def _written(self, stream: Stream | None, spot: Spot | None, reached_us: int) -> str:
        """Return the place in all logs as text; that of ``stream`` ends with ``spot``."""
        parts = []
        for one in sorted(self._streams, key=lambda one: one.path):
            spots = one.spots()
            if one is stream and spot is not None:
                spots = [*(other for other in spots if other.key != spot.key), spot]
            parts.append(f"{_digest(one.path)}={'+'.join(map(str, spots))}")
        return f"{_FORMAT};{reached_us:x};{';'.join(parts)}"


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:8]


def _places_of(cursor: str) -> tuple[dict[str, list[Spot]], int]:
    """Return the place in each log that a cursor tells, and its time; ValueError if it is none."""
    format_, _, rest = cursor.partition(";")
    if format_ != _FORMAT or not cursor.isascii():
        raise ValueError(f"{cursor!r} is no place in log files")
    reached, *parts = rest.split(";")
    places = {}
    for part in parts:
        name, equals, spots = part.partition("=")
        if len(name) != 8 or not equals:
            raise ValueError(f"{cursor!r} is no place in log files")
        places[name] = [spot_of(text) for text in spots.split("+") if text]
    return places, int(reached, 16)
