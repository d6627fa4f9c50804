"""A place in a log file, and how it is found again.

A file's name is nothing to go by, since rotation renames, nor is its inode alone: that of a removed
file is given out again, a copy has another one, and so has what was compressed. So a place is known
by what stands there: the file's first bytes, and the last ones before the place.
"""

import hashlib
import re
from collections.abc import Sequence
from typing import NamedTuple

from journalrelay.sources.openlog import Key, Log, written_us

PRINT = 256  # bytes at either end that a fingerprint is made of


def digest(content: bytes) -> str:
    """Return a short fingerprint of some bytes."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()


class Spot(NamedTuple):
    """A place in a file: behind the record from ``start`` to ``end``, with what it is known by.

    ``head`` is the fingerprint of the first ``min(PRINT, end)`` bytes, ``tail`` that of as many
    before ``end``. At the very beginning of a file nothing stands that tells it from others, and
    ``tail`` is when what there was until then was last written, in µs.
    """

    dev: int
    ino: int
    start: int
    end: int
    head: str
    tail: str

    @property
    def key(self) -> Key:
        """Return the file's device and inode."""
        return self.dev, self.ino

    def __str__(self) -> str:
        return f"{self.dev:x}.{self.ino:x}.{self.start:x}.{self.end:x}.{self.head}.{self.tail}"

    def heads(self, log: Log) -> bool:
        """Tell whether a file begins as this one did."""
        return self.end > 0 and digest(log.read(0, min(PRINT, self.end))) == self.head

    def is_in(self, log: Log) -> bool:
        """Tell whether a file holds this place; at its very beginning only the inode tells."""
        if self.end == 0:
            return log.key == self.key
        count = min(PRINT, self.end)
        return self.heads(log) and digest(log.read(self.end - count, count)) == self.tail

    def is_before(self, log: Log) -> bool:
        """Tell whether a file was made, or written, after this place at the beginning of another
        was noted: what it holds may have stood there."""
        return self.end == 0 and written_us(log) > int(self.tail, 16)

    def is_behind(self, log: Log) -> bool:
        """Tell whether a file is a copy that was made of this one before the place was reached."""
        return log.key != self.key and self.heads(log) and not log.read(self.end - 1, 1)


_FURTHEST = (1 << 63) - 1  # what a file's offset can be
_SPOT = re.compile(
    "([0-9a-f]{1,16})" + r"\.([0-9a-f]{1,16})" * 3 + r"\.([0-9a-f]{16})" * 2, re.ASCII
)


def spot_of(text: str) -> Spot:
    """Return the place that a text spells, or raise ValueError."""
    found = _SPOT.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is no place in a file")
    dev, ino, start, end = (int(number, 16) for number in found.groups()[:4])
    if not start <= end <= _FURTHEST:
        raise ValueError(f"{text!r} is no place in a file")
    return Spot(dev, ino, start, end, found[5], found[6])


def beginning_of(log: Log, since_us: int) -> Spot:
    """Return the place before all that a file holds."""
    return Spot(*log.key, 0, 0, digest(b""), f"{since_us:016x}")


def holding(logs: Sequence[Log], spot: Spot) -> Log | None:
    """Return the file that holds a place: itself if it is there still, else the newest copy."""
    same = [log for log in logs if log.key == spot.key]
    others = [log for log in reversed(logs) if log.key != spot.key]
    return next((log for log in (*same, *others) if spot.is_in(log)), None)
