"""One log: the file at a path, those that rotation has made of it, and how far they are read.

A file is held open from when it is first seen. It stays open when it is renamed, since its writer
may go on for a while, and is read before its successor on every look. So rotation by renaming loses
nothing and needs no name. Where the file itself is truncated, what was not read yet is looked for
in the copy that was made of it before; it is known by what stands before the place.
"""

import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from journalrelay import clock
from journalrelay.sources.logline import Hosts, Line, LogRecord, take_apart
from journalrelay.sources.logtime import SECOND_US
from journalrelay.sources.openlog import PRINT, Log, Plain, Spot
from journalrelay.sources.reading import BLOCK, Reading, Rewritten, is_removed, written_us
from journalrelay.sources.rotation import Chain, chain_of

_QUIET_US = 600 * SECOND_US
_MOST = 16  # files of one log that are held open; no writer keeps to one for so long
_TICK_US = 20_000  # the system's times of files lag behind its clock by a tick
_RETRY_S = 1.0
_MISSING_S = 10.0
_NEWLINE = 10

CursorOf = Callable[["Stream", Reading, Spot], str]


class Stream:
    """The lines of one log that ``select`` finds and ``hosts`` have."""

    def __init__(self, path: Path, select: re.Pattern[bytes], hosts: Hosts) -> None:
        self.path = path
        self._select = select
        self._hosts = hosts
        self._readings: list[Reading] = []
        self._from_us = 0
        self._retry_at_s = self._missing_since_s = 0.0
        self._refused: str | None = None
        self._last: Reading | None = None
        self.heartbeat: Callable[[], None] = lambda: None
        self.changed = True
        self.foreign: set[bytes] = set()
        self.remarks: list[str] = []

    # Where to read

    def seek_time(self, time_us: int) -> None:
        """Go before the first line at or after a time."""
        chain = self._chain()
        first = len(chain.logs)
        while first and self._may_hold(chain.logs[first - 1 :], time_us):
            first -= 1
        self._begin([Reading(log) for log in chain.take(chain.logs[first:])], chain.head)
        self._from_us = time_us
        if self._readings:
            self._readings[0].go_to(time_us)
            if self._readings[-1].log.read(0, len(chain.head)) != chain.head:  # truncated since
                self.seek_time(time_us)
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

    def _may_hold(self, logs: Sequence[Log], time_us: int) -> bool:
        """Tell whether the first of ``logs`` may hold lines at or after a time: it is the last
        one, was written then, or its successor begins too late to hold all of them."""
        if len(logs) == 1 or written_us(logs[0]) >= time_us:
            return True
        began_us = Reading(logs[1]).first_time_us()
        return began_us is None or began_us >= time_us

    def seek(self, spots: Sequence[Spot], *, inclusive: bool = False) -> bool:
        """Go behind the last of these places, or before the record that it is behind of; False
        when it is gone, and then to the beginning of all there is."""
        chain = self._chain()
        self._from_us = 0
        found = {id(log): spot for spot in spots if (log := _holding(chain.logs, spot))}
        numbers = [n for n, log in enumerate(chain.logs) if id(log) in found]
        if spots and spots[-1] not in found.values():
            numbers = [n for n, log in enumerate(chain.logs) if spots[-1].is_behind(log)]
            if not numbers:
                self._begin([Reading(log) for log in chain.take(chain.logs)], chain.head)
                return False
        newest = max(numbers, default=-1)
        wanted = [log for n, log in enumerate(chain.logs) if n >= newest or id(log) in found]
        readings = []
        for log in chain.take(wanted):
            spot = found.get(id(log))
            if spot:
                readings.append(Reading(log, spot.start if inclusive else spot.end))
            else:
                behind = bool(spots) and spots[-1].is_behind(log)
                readings.append(Reading(log, _length(log) if behind else 0))
        self._begin(readings, chain.head)
        located = [(found[id(r.log)], r.log) for r in readings if id(r.log) in found]
        if not all(spot.is_in(log) for spot, log in located):  # truncated since it was found
            return self.seek(spots, inclusive=inclusive)
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

    def _begin(self, readings: list[Reading], head: bytes) -> None:
        self.close()
        self._readings = readings
        if readings:
            readings[-1].expected = head
        self._last = None
        self.changed = True

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
        if len(self._readings) > 1:
            self._let_go()

    def _rotated(self) -> None:
        """Read on in what has come behind the last file."""
        if self._refused:
            return
        chain = self._chain()
        newer = chain.take(self._newer(chain))
        self._readings += [Reading(log) for log in newer]
        if newer:
            self._readings[-1].expected = b""
            self.changed = True

    def _newer(self, chain: Chain) -> list[Log]:
        """Return the files that come after the last one read: behind it, behind what was
        compressed from it, or if it is gone all that were written since."""
        if not self._readings:
            return chain.logs
        known = _Known(self._readings)
        numbers = [n for n, log in enumerate(chain.logs) if known.has(log)]
        if numbers:
            return chain.logs[numbers[-1] + 1 :]
        since_us = written_us(self._readings[-1].log)
        return [
            log for log in chain.logs if written_us(log) >= since_us or log.name == str(self.path)
        ]

    def _let_go(self) -> None:
        """Close the files that nobody can be expected to write to any more: those at their end
        that have been quiet for ten minutes, the last predecessor only if it was removed, and the
        oldest ones when there are many."""
        now_us = clock.now_us()
        for reading in self._readings[:-1]:
            previous = reading is self._readings[-2] and not is_removed(reading.log)
            quiet = now_us - written_us(reading.log) > _QUIET_US
            if not reading.at_end():
                return  # what was read last is kept longest: by it the next ones are told
            wanted = (previous and not reading.log.packed) or not quiet
            if len(self._readings) > _MOST or not wanted:
                self._close(reading)

    def _renewed(self, reading: Reading) -> None:
        """Begin the last file anew, after what came between it and what was read: it was truncated
        or written anew, or it holds its first line, and before that may have been truncated too.

        What it held is in the copies that were made of it; one of what it holds now is none yet.
        """
        spot, chain = reading.spot(), self._chain()
        own = bool(chain.logs) and chain.logs[-1].key == reading.log.key
        head = chain.head if own else reading.log.read(0, PRINT)
        fresh = self._unread(chain, head)
        copy = _holding(fresh, spot) if spot.end else None
        ends = [n for n, log in enumerate(fresh) if log is copy or spot.is_behind(log)]
        if ends:
            wanted = fresh[ends[-1] :]
        else:
            wanted = self._since(chain, fresh, reading)
            if spot.end:
                self.remarks.append(
                    f"{self.path}: it was truncated, and no copy of it is there: what was logged "
                    "right before is lost if it was not read yet"
                )
        older = [
            Reading(log, _length(log) if spot.is_behind(log) else spot.end if log is copy else 0)
            for log in chain.take(wanted)
        ]
        anew = Reading(reading.log)
        anew.touched, anew.expected = True, head
        self._readings[-1:] = [*older, anew]
        self.changed = True

    def _unread(self, chain: Chain, head: bytes) -> list[Log]:
        """Return the predecessors of the last file that are not being read, nor are a copy that
        is being made of it, which begins with ``head``, or with some of that so far."""
        known = _Known(self._readings)
        numbers = [n for n, log in enumerate(chain.logs) if log.key == self._readings[-1].log.key]
        return [
            log
            for log in chain.logs[: numbers[0] if numbers else None]
            if not known.has(log) and not head.startswith(log.read(0, PRINT))
        ]

    def _since(self, chain: Chain, fresh: list[Log], reading: Reading) -> list[Log]:
        """Return those of the fresh files that came after the last predecessor read; without one,
        those that were written since ``reading`` was opened."""
        before = _Known(self._readings[:-1])
        numbers = [n for n, log in enumerate(chain.logs) if before.has(log)]
        if numbers:
            later = {id(log) for log in chain.logs[numbers[-1] + 1 :]}
            return [log for log in fresh if id(log) in later]
        return [log for log in fresh if written_us(log) >= reading.opened_us - _TICK_US]

    def _close(self, reading: Reading) -> None:
        self._readings.remove(reading)
        reading.log.close()
        self.changed = True

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
                    self._renewed(reading)
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
            self.heartbeat()
            for start, found in _chosen(text, self._select):
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
        other = Stream(self.path, self._select, self._hosts)
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


def _chosen(text: bytes, select: re.Pattern[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield from whole lines those that are selected, each with where it begins.

    NULs part lines too: a crash leaves them between what was written before and after it.
    """
    begins = select.match
    lines = text.replace(b"\0", b"\n").split(b"\n") if b"\0" in text else text.split(b"\n")
    before = offset = 0
    for index in [index for index, line in enumerate(lines) if begins(line)]:
        offset += sum(map(len, lines[before:index])) + index - before
        before = index
        if text[offset + len(lines[index])] == _NEWLINE:  # else it was cut short
            yield offset, lines[index]


def _length(log: Log) -> int:
    """Return how many bytes a file holds, unpacked."""
    length = 0
    while got := log.read(length, BLOCK):
        length += len(got)
    return length


class _Known:
    """Files that are being read, and what was copied or compressed from what they hold now."""

    def __init__(self, readings: Sequence[Reading]) -> None:
        self._keys = {reading.log.key for reading in readings}
        self._heads = {head for r in readings if (head := r.log.read(0, PRINT))}

    def has(self, log: Log) -> bool:
        """Tell whether a file is one of them."""
        if log.key in self._keys:
            return True
        start = log.read(0, PRINT)
        return any(start.startswith(head) for head in self._heads)


def _holding(logs: Sequence[Log], spot: Spot) -> Log | None:
    """Return the file that holds a place: itself if it is there still, else the newest copy."""
    same = [log for log in logs if log.key == spot.key]
    others = [log for log in reversed(logs) if log.key != spot.key]
    return next((log for log in (*same, *others) if spot.is_in(log)), None)
