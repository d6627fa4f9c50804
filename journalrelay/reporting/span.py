"""A stretch of time cut into equal bins, and the marks on its axis. Times are µs since the epoch;
bins and marks begin where clocks of this zone show round numbers."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

MINUTE_US, HOUR_US, DAY_US = 60_000_000, 3_600_000_000, 86_400_000_000
MOST_BINS, MOST_MARKS = 200, 9
_WIDTHS_US = (
    *(n * MINUTE_US for n in (1, 2, 5, 10, 15, 30)),
    *(n * HOUR_US for n in (1, 2, 3, 6, 12)),
    *(n * DAY_US for n in (1, 2, 7, 14, 28, 56, 112, 364)),
)
_NAMES = {MINUTE_US: "minute", HOUR_US: "hour", DAY_US: "day", 7 * DAY_US: "week"}


class Mark(NamedTuple):
    """A mark on the axis: where, as a part of its length, and what stands there, the time of day
    or at its beginning the date."""

    at: float
    text: str


class Span:
    """From one time until another, in MOST_BINS bins of a round width or one more; the first and
    the last may reach beyond."""

    def __init__(self, from_us: int, until_us: int) -> None:
        self.from_us, self.until_us = from_us, max(until_us, from_us + 1)
        self.width_us = _wide_enough(self.until_us - from_us, MOST_BINS)
        self.start_us = _round_down(from_us, self.width_us)
        self.bins = -(-(self.until_us - self.start_us) // self.width_us)

    def holds(self, time_us: int) -> bool:
        """Tell whether a time lies in it."""
        return self.from_us <= time_us < self.until_us

    def bin(self, time_us: int) -> int:
        """Return the number of the bin that a time of this span lies in."""
        return (time_us - self.start_us) // self.width_us

    def began_us(self, number: int) -> int:
        """Return when a bin begins."""
        return self.start_us + number * self.width_us

    def part(self, time_us: int) -> float:
        """Return where on the axis a time stands: 0 at its beginning, 1 at its end."""
        length_us = self.bins * self.width_us
        return min(1.0, max(0.0, (time_us - self.start_us) / length_us))

    @property
    def width(self) -> str:
        """Return how wide a bin is, in words that follow "per"."""
        return in_words(self.width_us)

    def marks(self) -> Iterator[Mark]:
        """Yield the marks of the axis, from left to right."""
        step_us = _wide_enough(self.bins * self.width_us, MOST_MARKS)
        at_us = _round_down(self.start_us, step_us)
        while at_us < self.start_us + self.bins * self.width_us:
            moment = datetime.fromtimestamp(at_us / 1e6)
            if at_us >= self.start_us:
                yield Mark(self.part(at_us), _mark(moment, step_us))
            at_us = _round_down(at_us + step_us + step_us // 2, step_us)

    def groups(self) -> Iterator[tuple[str, range]]:
        """Yield the rows of a table: what each is called, and its bins; days where there are
        several."""
        by_day = self.bins * self.width_us > 2 * DAY_US and self.width_us < DAY_US
        first = 0
        for number in range(1, self.bins + 1):
            name = self._row(first, by_day)
            if number == self.bins or self._row(number, by_day) != name:
                yield name, range(first, number)
                first = number

    def _row(self, number: int, by_day: bool) -> str:
        moment = datetime.fromtimestamp(self.began_us(number) / 1e6)
        day = f"{moment:%a} {moment.day} {moment:%b %Y}"
        return day if by_day or self.width_us >= DAY_US else f"{day}, {moment:%H:%M}"

    def named(self, number: int) -> str:
        """Return what a bin is called."""
        begin, end = (datetime.fromtimestamp(self.began_us(n) / 1e6) for n in (number, number + 1))
        if self.width_us < DAY_US:
            return f"{begin:%a} {begin.day} {begin:%b}, {begin:%H:%M} to {end:%H:%M}"
        end -= timedelta(seconds=1)
        first = f"{begin:%a} {begin.day} {begin:%b}"
        return first if begin.date() == end.date() else f"{first} to {end:%a} {end.day} {end:%b}"


def _mark(moment: datetime, step_us: int) -> str:
    if step_us >= 7 * DAY_US:
        return f"{moment.day} {moment:%b}"
    if moment.hour or moment.minute:
        return f"{moment:%H:%M}"
    return f"{moment:%a} {moment.day}"


def in_words(width_us: int) -> str:
    """Return a width: ``hour``, ``3 hours``."""
    for unit_us in (7 * DAY_US, DAY_US, HOUR_US, MINUTE_US):
        count, rest = divmod(width_us, unit_us)
        if not rest:
            return _NAMES[unit_us] if count == 1 else f"{count} {_NAMES[unit_us]}s"
    raise ValueError(f"{width_us} µs are no round width")


def _wide_enough(length_us: int, most: int) -> int:
    """Return the narrowest round width of which ``most`` and less cover a length."""
    for width_us in _WIDTHS_US:
        if length_us <= width_us * most:
            return width_us
    return -(-length_us // (_WIDTHS_US[-1] * most)) * _WIDTHS_US[-1]


def _round_down(time_us: int, width_us: int) -> int:
    """Return the last time before or at ``time_us`` at which a local clock shows a multiple of
    the width; of whole weeks they are those that begin on Mondays."""
    ahead_us = _ahead_us(time_us)
    week_us = 7 * DAY_US
    monday_us = 0 if width_us % week_us else 4 * DAY_US  # 1970 began on a Thursday
    local_us = time_us + ahead_us - monday_us
    found_us = local_us - local_us % width_us + monday_us - ahead_us
    return found_us + ahead_us - _ahead_us(found_us)  # a clock may have been changed in between


def _ahead_us(time_us: int) -> int:
    """Return how far local clocks were ahead of UTC at a time."""
    offset = datetime.fromtimestamp(time_us / 1e6).astimezone().utcoffset() or timedelta()
    return offset // timedelta(microseconds=1)
