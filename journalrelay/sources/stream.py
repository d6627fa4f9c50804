"""One log: the file at a path, those that rotation has made of it, and how far they are read.

A file is held open from when it is first seen. It stays open when it is renamed, since its writer
may go on for a while, and is read before its successor on every look. So rotation by renaming loses
nothing and needs no name. Where the file itself is truncated, what was not read yet is looked for
in the copy that was made of it before; it is known by what stands before the place.
"""

import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from journalrelay import clock
from journalrelay.sources import beginning, succession
from journalrelay.sources.logline import Hosts, Line, LogRecord, take_apart
from journalrelay.sources.logtime import SECOND_US
from journalrelay.sources.openlog import Plain, written_us
from journalrelay.sources.reading import Reading, Rewritten
from journalrelay.sources.rotation import Chain, chain_of
from journalrelay.sources.sieve import Sieve
from journalrelay.sources.spot import Spot

_RETRY_S = 1.0
_MISSING_S = 10.0

CursorOf = Callable[["Stream", Reading, Spot], str]


class Stream:
    """The lines of one log that ``sieve`` finds and ``hosts`` have."""

    def __init__(self, path: Path, sieve: Sieve, hosts: Hosts) -> None:
        self.path = path
        self._sieve = sieve
        self._hosts = hosts
        self._readings: list[Reading] = []
        self._from_us = 0
        self._retry_at_s = self._missing_since_s = 0.0
        self._refused: str | None = None
        self._last: Reading | None = None
        self.heartbeat: Callable[[], None] = lambda: None
        self.changed = self.moved = True
        self.foreign: set[bytes] = set()
        self.remarks: list[str] = []

    # Where to read

    def seek_time(self, time_us: int) -> None:
        """Go before the first line at or after a time."""
        chain = self._chain()
        self._begin(beginning.at_time(chain, time_us), chain)
        self._from_us = time_us
        if self._readings and self._readings[-1].log.read(0, len(chain.head)) != chain.head:
            self.seek_time(time_us)  # truncated since
            return
        self._pass_over()
        self._from_us = 0  # what is written from now on counts, whatever time it tells

    def _pass_over(self) -> None:
        """Go on to the first line that counts."""
        with suppress(Rewritten):  # seen again when it is read
            for reading in self._readings:
                for _ in self._lines(reading, _nowhere):
                    reading.go_back()
                    return

    def seek(self, spots: Sequence[Spot], *, inclusive: bool = False) -> bool:
        """Go behind the last of these places, or before the record that it is behind of; False
        when it is gone, and then to the beginning of all there is."""
        chain = self._chain()
        self._from_us = 0
        found = beginning.behind(chain, spots, inclusive=inclusive)
        if found is None:
            self._begin([Reading(log) for log in chain.take(chain.logs)], chain)
            return False
        self._begin([reading for reading, _ in found], chain)
        if not all(spot.is_in(reading.log) for reading, spot in found if spot):
            return self.seek(spots, inclusive=inclusive)  # truncated since it was found
        return True

    def spots(self) -> list[Spot]:
        """Return the places that have been reached, oldest file first."""
        begun = [reading for reading in self._readings if reading.touched and reading.end]
        return [reading.spot() for reading in begun or self._readings[:1]]

    def last_record(self) -> Spot | None:
        """Return the place of the last record read."""
        if self._last is None or self._last not in self._readings:
            return None
        return self._last.spot(start=self._last.start)

    def _begin(self, readings: list[Reading], chain: Chain) -> None:
        self.close()
        self._readings = readings
        if readings:
            readings[0].since_us = chain.written_us
            readings[-1].expected = chain.head
        self._last = None
        self.changed = self.moved = True

    def _chain(self) -> Chain:
        chain = chain_of(self.path)
        self._refused = chain.refused.pop(self.path, None)
        self.remarks += chain.refused.values()
        return chain

    # What becomes of the files

    def refresh(self) -> None:
        """Take notice of a new file at the path, and let go of old ones."""
        try:
            status = os.stat(self.path)
        except OSError:
            now_s = time.monotonic()
            self._missing_since_s = self._missing_since_s or now_s
            return
        self._missing_since_s = 0.0
        if status.st_mode & stat.S_IWOTH and not self._refused:
            self._refused = f"{self.path}: everybody can write it (chmod o-w {self.path})"
        if self._refused and time.monotonic() >= self._retry_at_s:
            self._chain().close()
            self._retry_at_s = time.monotonic() + _RETRY_S
        key = status.st_dev, status.st_ino
        if not self._readings or key != self._readings[-1].log.key:
            self._rotated()
        for reading in succession.spent(self._readings, clock.now_us()):
            self._close(reading)

    def _rotated(self) -> None:
        """Read on in what has come behind the last file."""
        if self._refused:
            return
        chain = self._chain()
        newer = chain.take(succession.newer(chain, self._readings))
        self._readings += [Reading(log) for log in newer]
        if newer:
            self._readings[-1].expected = b""
            self.changed = self.moved = True

    def _renewed(self) -> None:
        """Begin the last file anew, after what came between it and what was read."""
        came, whole = succession.renewed(self._chain(), self._readings)
        self._readings[-1:] = came
        self.changed = self.moved = True
        if not whole:
            self.remarks.append(
                f"{self.path}: it was truncated, and no copy of it is there: what was logged "
                "right before is lost if it was not read yet"
            )

    def _close(self, reading: Reading) -> None:
        self._readings.remove(reading)
        first = self._readings[0]
        first.since_us = max(first.since_us, written_us(reading.log))
        reading.log.close()
        self.changed = self.moved = True

    # Reading

    def read(self, cursor_of: CursorOf) -> Iterator[LogRecord]:
        """Yield the next lines, up to the end of what there is."""
        if self._refused:
            return
        pending = list(self._readings)
        while pending:
            reading = pending.pop(0)
            try:
                yield from self._lines(reading, cursor_of)
            except Rewritten:
                if reading is self._readings[-1]:
                    self._renewed()
                    pending = list(self._readings)
                elif reading.end == 0 and reading.expected is not None:
                    reading.expected = None
                    pending.insert(0, reading)
                else:
                    self._close(reading)  # an old file that is no log any more

    def _lines(
        self, reading: Reading, cursor_of: CursorOf, stop_at: int | None = None
    ) -> Iterator[LogRecord]:
        for text, offset in reading.blocks():
            self.moved = True
            self.heartbeat()
            for start, found in self._sieve.found(text):
                at = offset + start
                if stop_at is not None and at >= stop_at:
                    return
                line = take_apart(found)
                if line is None or not self._counts(line, reading, at):
                    continue
                reading.advance(at + len(found) + 1, at)
                self._last = reading
                yield self._record(line, reading, cursor_of)
            if stop_at is not None and offset + len(text) >= stop_at:
                return

    def _counts(self, line: Line, reading: Reading, offset: int) -> bool:
        """Tell whether a line is of a host that is read, and not before what was sought."""
        host = line.fields.get("HOSTNAME")
        if not self._hosts.have(host):
            if len(self.foreign) < 100:
                self.foreign.add(host or b"")
            return False
        if not self._from_us:
            return True
        moment = line.moment
        at_us = reading.time_us(moment, offset)
        if moment is None or at_us is None:
            return False
        if at_us + (SECOND_US - 1 if moment.whole else 0) < self._from_us:
            return False
        self._from_us = 0
        return True

    def _record(self, line: Line, reading: Reading, cursor_of: CursorOf) -> LogRecord:
        offset, end = reading.start, reading.end
        return LogRecord(
            line.message,
            line.fields,
            lambda: reading.time_us(line.moment, offset) or 0,
            lambda: cursor_of(self, reading, reading.spot(start=offset, end=end)),
        )

    def before(self, time_us: int, cursor_of: CursorOf) -> Iterator[LogRecord]:
        """Yield, apart from reading, the lines from a time on up to the next one to be read."""
        reached = {reading.log.key: reading.end for reading in self._readings}
        other = Stream(self.path, self._sieve, self._hosts)
        other.seek_time(time_us)
        try:
            numbers = [n for n, r in enumerate(other._readings) if r.log.key in reached]
            for reading in other._readings[: max(numbers, default=-1) + 1]:
                stop_at = reached.get(reading.log.key)
                if stop_at != 0:
                    with suppress(Rewritten):
                        yield from other._lines(reading, cursor_of, stop_at)
        finally:
            other.close()

    def last_time_us(self) -> int | None:
        """Return the time of the last line there is."""
        chain = self._chain()
        try:
            for log in reversed(chain.logs):
                found = Reading(log).last_time_us()
                if found is not None:
                    return found
            return None
        finally:
            chain.close()

    def reached_us(self) -> int | None:
        """Return the time of the last line that was read, whoever logged it."""
        for reading in reversed(self._readings):
            if reading.touched:
                return reading.reached_us()
        return None

    def exists(self) -> bool:
        """Tell whether there is a file of this log."""
        return bool(self._readings)

    def trouble(self) -> str | None:
        """Return what keeps the log from being read."""
        if self._refused:
            return self._refused
        if self.is_missing():
            return f"{self.path}: it is missing (its writer must make it: is syslogd running?)"
        return None

    def is_missing(self) -> bool:
        """Tell whether there is no file at the path, for longer than a rotation takes."""
        missing_s = time.monotonic() - self._missing_since_s
        return self._missing_since_s > 0 and (missing_s > _MISSING_S or not self._readings)

    def files(self) -> list[int]:
        """Return the descriptors of the files that may be written to."""
        return [r.log.fd for r in self._readings if isinstance(r.log, Plain)]

    def directories(self) -> set[str]:
        """Return the directories in which the log can be rotated."""
        return {str(self.path.parent), os.path.dirname(os.path.realpath(self.path))}

    def close(self) -> None:
        """Let go of all files."""
        for reading in self._readings:
            reading.log.close()
        self._readings = []


def _nowhere(_stream: Stream, _reading: Reading, _spot: Spot) -> str:
    return ""
