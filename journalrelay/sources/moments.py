"""The times that the lines of a file tell, without reading more of it than need be."""

from bisect import bisect_right
from collections.abc import Iterator

from journalrelay.sources import logtime
from journalrelay.sources.logline import HEAD, moment_of
from journalrelay.sources.logtime import Moment
from journalrelay.sources.openlog import BLOCK, Log

_EVERY_LINE = 4 << 20  # bytes; in a longer rest of a file one line in 64 KiB tells the year
_STEP = 1 << 16


def every_moment(log: Log, offset: int) -> Iterator[tuple[int, Moment]]:
    """Yield offset and time of each line from the beginning of one on, where it tells a time."""
    while got := log.read(offset, BLOCK):
        at, end = 0, got.rfind(b"\n") + 1
        while at < end:
            behind = got.find(b"\n", at) + 1
            moment = moment_of(got[at : min(behind, at + HEAD)])
            if moment:
                yield offset + at, moment
            at = behind
        if not end and len(got) < BLOCK:
            return
        offset += end or len(got)


def sampled_moments(log: Log, offset: int, step: int) -> Iterator[tuple[int, Moment]]:
    """Yield the same for one line at ``offset``, where one begins, and behind every ``step``
    bytes, where one is found nearby."""
    began = offset
    while got := log.read(offset, _STEP):
        at = 0 if offset == began else got.find(b"\n") + 1
        while 0 <= at < len(got) and (at or offset == began):
            moment = moment_of(got[at : at + HEAD])
            if moment:
                yield offset + at, moment
                break
            at = got.find(b"\n", at) + 1
            if not at:
                break
        offset += step


class Samples:
    """Times of lines from an offset to the end of the file, to see where the year turns."""

    def __init__(self, log: Log, offset: int) -> None:
        size = log.status().st_size
        if size - offset <= _EVERY_LINE or log.packed:
            seen = every_moment(log, offset)
        else:
            seen = sampled_moments(log, offset, _STEP)
        found = [(at, moment) for at, moment in seen if moment.offset_s is None]
        self._offsets = [at for at, _ in found]
        self._moments = [moment for _, moment in found]
        self._turns = [0] * len(found)
        for index in range(len(found) - 2, -1, -1):
            turn = logtime.turns_between(self._moments[index], self._moments[index + 1])
            self._turns[index] = self._turns[index + 1] + turn

    def turns(self, moment: Moment, offset: int) -> tuple[int, Moment | None]:
        """Return how often the year turns behind the line at an offset, and the last line."""
        index = bisect_right(self._offsets, offset)
        if index == len(self._offsets):
            return 0, None
        turn = logtime.turns_between(moment, self._moments[index])
        return self._turns[index] + turn, self._moments[-1]
