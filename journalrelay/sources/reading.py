"""One file of a log, and how far it has been read."""

from collections.abc import Iterator

from journalrelay import clock
from journalrelay.sources import logtime
from journalrelay.sources.logline import LONGEST_LINE, moment_of
from journalrelay.sources.logtime import Known, Moment
from journalrelay.sources.moments import Samples, every_moment, sampled_moments
from journalrelay.sources.openlog import BLOCK, Log, written_us
from journalrelay.sources.spot import PRINT, Spot, beginning_of, digest

_COARSE_STEP = 1 << 20
_NOTHING = Known(0)


class Rewritten(Exception):
    """What stood before the place is not there any more: truncated, or written anew. At the
    beginning, where nothing stands before: what is there is not what was expected."""


class Reading:
    """A file and a place in it. Lines before ``end`` have been read, ``start`` is where the last
    record began. ``expected`` is how the file must begin for its first line to be read, empty when
    that is not known yet and None when it does not matter. ``since_us`` is when what there was
    before it, and it itself, was last written, as far as that is known."""

    def __init__(self, log: Log, end: int = 0, start: int | None = None) -> None:
        self.log = log
        self.touched = end > 0
        self.expected: bytes | None = None
        self.opened_us = clock.now_us()
        self.since_us = written_us(log)
        self._looked: tuple[int, int] | None = None
        self._ended_at = self._ended_us = 0
        self._go(end)
        self.start = end if start is None else start
        self._samples: Samples | None = None

    def _go(self, end: int) -> None:
        self.end = self.start = end
        self._base = max(0, end - PRINT)
        self._buffer = self.log.read(self._base, end - self._base)
        self._head = self.log.read(0, min(PRINT, end))

    def spot(self, *, start: int | None = None, end: int | None = None) -> Spot:
        """Return the place: of what was read so far, or of a record of the block at hand."""
        end = self.end if end is None else end
        if end == 0:
            return beginning_of(self.log, self.since_us)
        stop = end - self._base
        return Spot(
            *self.log.key,
            end if start is None else start,
            end,
            digest(self._head[: min(PRINT, end)]),
            digest(self._buffer[max(0, stop - PRINT) : stop]),
        )

    def blocks(self) -> Iterator[tuple[bytes, int]]:
        """Yield whole lines not read yet, and at which offset they begin, up to the end of what
        there is; ``advance`` says what of them has been read. Raises Rewritten."""
        while self._has_more():
            known = self._buffer[: self.end - self._base][-PRINT:]
            got = self.log.read(self.end - len(known), len(known) + BLOCK)
            if not got.startswith(known) or not self._is_of_one_piece(got):
                raise Rewritten
            self._buffer, self._base = got, self.end - len(known)
            if self._base == 0:
                self._head = got[:PRINT]
            start, stop = self._lines_in(len(known))
            if start < stop:
                yield got[start:stop], self._base + start
                self.advance(self._base + stop)
            if len(got) < len(known) + BLOCK:
                self._note_end()
                return

    def _is_of_one_piece(self, got: bytes) -> bool:
        """Tell whether what was just read is of the file that was expected. It was not truncated
        and written again meanwhile if it still begins as it did."""
        if self.log.packed or not got:
            return True
        expected = self.expected if self.end == 0 else None
        if expected is not None and not (expected and got.startswith(expected)):
            return False
        head = self._head[: min(PRINT, self.end)] if self.end else got[:PRINT]
        return self.log.read(0, len(head)) == head

    def advance(self, end: int, start: int | None = None) -> None:
        """Note that all before ``end`` has been read, lately the record at ``start``."""
        self.end = end
        self.touched = True
        if start is not None:
            self.start = start

    def go_back(self) -> None:
        """Go before the last record."""
        self.end = self.start
        self._looked = None

    def _lines_in(self, start: int) -> tuple[int, int]:
        """Return where in the buffer, from ``start`` on, whole lines begin and end.

        A line that is longer than any honest one is passed over as it comes, and so is what is
        left of it; NULs before a line are what a crash or a truncation left.
        """
        got = self._buffer
        if start and got[start - 1] not in b"\n\0":  # within such a line
            behind = got.find(b"\n", start) + 1
            if not behind:
                self.advance(self._base + len(got))
                return 0, 0
            self.advance(self._base + behind)
            start = behind
        stop = got.rfind(b"\n", start) + 1
        if not stop and len(got) - start > LONGEST_LINE:
            self.advance(self._base + len(got))
        return start, stop

    def _has_more(self) -> bool:
        status = self.log.status()
        if self.log.packed:
            return self._looked is None
        if status.st_size < self.end:
            raise Rewritten
        return (status.st_size, status.st_mtime_ns) != self._looked

    def _note_end(self) -> None:
        """Note the end of what there is, so that nothing is read before it grows."""
        status = self.log.status()
        reached = self._base + len(self._buffer)
        if self.log.packed or status.st_size == reached:
            self._looked = status.st_size, status.st_mtime_ns
        self._ended_at, self._ended_us = reached, clock.now_us()

    def at_end(self) -> bool:
        """Tell whether all there is has been read, but for a line that is not whole."""
        return self._looked is not None and not self._has_more()

    # Times

    def time_us(self, moment: Moment | None, offset: int) -> int | None:
        """Return the time of the line at an offset."""
        if moment is None:
            return None
        if moment.offset_s is not None:
            return logtime.resolve(moment, _NOTHING)
        return logtime.resolve(moment, self._known(moment, offset))

    def _known(self, moment: Moment, offset: int) -> Known:
        latest_us = self.log.status().st_mtime_ns // 1000
        after_us = self._ended_us if self._ended_at <= offset else 0
        if moment.year:
            return Known(latest_us, after_us)
        if self._samples is None:
            self._samples = Samples(self.log, offset)
        return Known(latest_us, after_us, *self._samples.turns(moment, offset))

    def first_time_us(self) -> int | None:
        """Return the time of the first line that tells one."""
        for offset, moment in every_moment(self.log, 0):
            return self.time_us(moment, offset)
        return None

    def reached_us(self) -> int | None:
        """Return the time of the last line that was read, whoever logged it."""
        stop = self.end - self._base
        at = self._buffer.rfind(b"\n", 0, max(0, stop - 1)) + 1
        moment = moment_of(self._buffer[at:stop])
        return self.time_us(moment, self._base + at) if moment else None

    def last_time_us(self) -> int | None:
        """Return the time of the last line that tells one."""
        offset = 0 if self.log.packed else max(0, self.log.status().st_size - BLOCK)
        last = list(every_moment(self.log, offset))[-1:]
        return self.time_us(last[0][1], last[0][0]) if last else None

    def go_to(self, time_us: int) -> None:
        """Go before the first line at or after a time, by a mebibyte at most where times grow."""
        before = 0
        if time_us > 0 and not self.log.packed:
            for offset, moment in sampled_moments(self.log, 0, _COARSE_STEP):
                at_us = self.time_us(moment, offset)
                if at_us is not None and at_us >= time_us:
                    break
                before = offset
        self._go(before)


def length_of(log: Log) -> int:
    """Return how many bytes a file holds, unpacked."""
    length = 0
    while got := log.read(length, BLOCK):
        length += len(got)
    return length
