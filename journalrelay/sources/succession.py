"""Which files come after those of a log that were read: rotation has made them meanwhile."""

from collections.abc import Iterable, Sequence

from journalrelay.sources.logtime import SECOND_US
from journalrelay.sources.openlog import Log, is_removed, written_us
from journalrelay.sources.reading import Reading, length_of
from journalrelay.sources.rotation import Chain
from journalrelay.sources.spot import PRINT, holding

_QUIET_US = 600 * SECOND_US
_MOST = 16  # files of one log that are held open; no writer keeps to one for so long
_TICK_US = 20_000  # the system's times of files lag behind its clock by a tick


def newer(chain: Chain, readings: Sequence[Reading]) -> list[Log]:
    """Return the files that come after the last one read: behind it, behind what was compressed
    from it, or if it is gone the one at the path and all that were written since."""
    if not readings:
        return chain.logs
    known = _Known(readings)
    numbers = [n for n, log in enumerate(chain.logs) if known.has(log)]
    if numbers:
        return chain.logs[numbers[-1] + 1 :]
    since_us = written_us(readings[-1].log)
    return [log for log in chain.logs if written_us(log) >= since_us or log.name == str(chain.path)]


def renewed(chain: Chain, readings: Sequence[Reading]) -> tuple[list[Reading], bool]:
    """Return what is to be read instead of the last of ``readings``, and whether nothing is known
    to be lost: its file was truncated or written anew, or it holds its first line, and before
    that may have been truncated too.

    What it held is in the copies that were made of it; one of what it holds now is none yet.
    """
    last = readings[-1]
    spot = last.spot()
    own = bool(chain.logs) and chain.logs[-1].key == last.log.key
    head = chain.head if own else last.log.read(0, PRINT)
    fresh = _unread(chain, readings, head)
    copy = holding(fresh, spot) if spot.end else None
    ends = [n for n, log in enumerate(fresh) if log is copy or spot.is_behind(log)]
    wanted = fresh[ends[-1] :] if ends else _since(chain, fresh, readings)
    older = [
        Reading(log, length_of(log) if spot.is_behind(log) else spot.end if log is copy else 0)
        for log in chain.take(wanted)
    ]
    anew = Reading(last.log)
    anew.touched, anew.expected = True, head
    return [*older, anew], bool(ends) or not spot.end


def _unread(chain: Chain, readings: Sequence[Reading], head: bytes) -> list[Log]:
    """Return the predecessors of the last file that are not being read, nor are a copy that is
    being made of it, which begins with ``head``, or with some of that so far."""
    known = _Known(readings)
    return [
        log
        for log in _until(chain, readings[-1].log)
        if not known.has(log) and not head.startswith(log.read(0, PRINT))
    ]


def _until(chain: Chain, last: Log) -> list[Log]:
    """Return the files that come before one: it may have been renamed since, or compressed, or
    removed, and what came after it must not be read before it."""
    keys = [log.key for log in chain.logs]
    if last.key in keys:
        return chain.logs[: keys.index(last.key)]
    head = last.read(0, PRINT)
    packed = [n for n, log in enumerate(chain.logs) if head and log.read(0, PRINT) == head]
    if packed:
        return chain.logs[: packed[-1]]
    return [log for log in chain.logs if written_us(log) < written_us(last)]


def _since(chain: Chain, fresh: list[Log], readings: Sequence[Reading]) -> list[Log]:
    """Return those of the fresh files that came after the last predecessor read; without one,
    those that were written since the last of ``readings`` was opened."""
    before = _Known(readings[:-1])
    numbers = [n for n, log in enumerate(chain.logs) if before.has(log)]
    if numbers:
        later = {id(log) for log in chain.logs[numbers[-1] + 1 :]}
        return [log for log in fresh if id(log) in later]
    return [log for log in fresh if written_us(log) >= readings[-1].opened_us - _TICK_US]


def spent(readings: Sequence[Reading], now_us: int) -> list[Reading]:
    """Return the files that nobody can be expected to write to any more: those at their end that
    have been quiet for ten minutes, the last predecessor only if it was removed, and the oldest
    ones when there are many."""
    found: list[Reading] = []
    for reading in readings[:-1]:
        if not reading.at_end():
            break  # what was read last is kept longest: by it the next ones are told
        previous = reading is readings[-2] and not is_removed(reading.log)
        quiet = now_us - written_us(reading.log) > _QUIET_US
        wanted = (previous and not reading.log.packed) or not quiet
        if len(readings) - len(found) > _MOST or not wanted:
            found.append(reading)
    return found


class _Known:
    """Files that are being read, and what was copied or compressed from what they hold now."""

    def __init__(self, readings: Iterable[Reading]) -> None:
        readings = tuple(readings)
        self._keys = {reading.log.key for reading in readings}
        self._heads = {head for r in readings if (head := r.log.read(0, PRINT))}

    def has(self, log: Log) -> bool:
        """Tell whether a file is one of them."""
        if log.key in self._keys:
            return True
        start = log.read(0, PRINT)
        return any(start.startswith(head) for head in self._heads)
