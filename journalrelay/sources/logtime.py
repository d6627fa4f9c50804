"""Times as lines of a log file tell them. Pure: what is known around a line is passed in.

A line of a flat file may lack the year (RFC 3164, 4.1.2), the zone, and fractions of a second. What
it leaves open is filled in so that a login counts for less rather than for more: an hour that the
clock goes through twice is the first one, a year is none in which the line would be from the
future, unless what is known of the file says otherwise.
"""

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US

_MONTHS = {
    name: number
    for number, name in enumerate(
        b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), start=1
    )
}
# Without groups, for the first look at a line; no blank is left open at either end.
YEARLESS = rb"[A-Z][a-z]{2} [ 0-3]?[0-9](?: [0-9]{4})? [0-9]{2}:[0-9]{2}:[0-9]{2}"
ISO = (
    rb"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]{1,9})?"
    rb"(?:Z|[+-][0-9]{2}:?[0-9]{2})?"
)
TAI64N = rb"@[0-9a-f]{24}"

_YEARLESS = re.compile(
    rb"([A-Z][a-z]{2}) ([ 0-3]?[0-9])(?: ([0-9]{4}))? ([0-9]{2}):([0-9]{2}):([0-9]{2})"
)
_ISO = re.compile(
    rb"([0-9]{4})-([0-9]{2})-([0-9]{2})[T ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:[.,]([0-9]{1,9}))?"
    rb"(?:(Z)|([+-])([0-9]{2}):?([0-9]{2}))?"
)
# What libtai adds to the seconds since the epoch, leap seconds left out (tai_now.c). Who counts
# them in, as s6 can be made to, is half a minute ahead.
_TAI_OFFSET = (1 << 62) + 10


class Moment(NamedTuple):
    """A time as a line tells it: local when ``offset_s`` is None, and without a year when that
    is 0. ``us`` is the fraction; ``whole`` tells that none was written."""

    year: int
    month: int
    day: int
    hour: int
    minute: int
    second: int
    us: int = 0
    whole: bool = True
    offset_s: int | None = None

    @property
    def day_number(self) -> int:
        """Return about the day of the year, for comparing days of unknown years."""
        return 31 * self.month + self.day


class Known(NamedTuple):
    """What is known of a line without looking at its text, µs since the epoch: ``latest_us``,
    when its file was last written, and that it was not there yet at ``after_us``, 0 if unknown.

    ``turns`` is how often the year turns between the line and ``last``, the last one of its file;
    where that is None, the line is as good as the last one.
    """

    latest_us: int
    after_us: int = 0
    turns: int = 0
    last: Moment | None = None


def parse(text: bytes) -> Moment | None:
    """Return the moment that a time of one of the three forms tells, None when it is none."""
    try:
        if text[:1] == b"@":
            return _tai64n(text)
        if text[:1].isdigit():
            return _iso(text)
        found = _YEARLESS.fullmatch(text)
        if found:
            month, day, year, hour, minute, second = found.groups()
            clock = int(day), int(hour), int(minute), int(second)
            return Moment(int(year or 0), _MONTHS[month], *clock)
        return None
    except (KeyError, ValueError, OverflowError, OSError):
        return None


def _iso(text: bytes) -> Moment | None:
    found = _ISO.fullmatch(text)
    if found is None:
        return None
    *date, fraction, utc, sign, hours, minutes = found.groups()
    offset_s: int | None = 0 if utc else None
    if sign:
        offset_s = (int(hours) * 3600 + int(minutes) * 60) * (-1 if sign == b"-" else 1)
    year, month, day, hour, minute, second = map(int, date)
    us = int((fraction or b"0")[:6].ljust(6, b"0"))
    return Moment(year, month, day, hour, minute, second, us, fraction is None, offset_s)


def _tai64n(text: bytes) -> Moment:
    seconds = int(text[1:17], 16) - _TAI_OFFSET
    at = datetime.fromtimestamp(seconds, UTC)
    us = int(text[17:25], 16) // 1000
    if us >= SECOND_US:
        raise ValueError(text)
    return Moment(at.year, at.month, at.day, at.hour, at.minute, at.second, us, False, 0)


def resolve(moment: Moment, known: Known) -> int | None:
    """Return the moment in µs since the epoch, None when there is no such time."""
    year = moment.year or _year(known.last or moment, known.latest_us) - known.turns
    if year <= 0:
        return None
    if moment.offset_s is None:
        return _local_us(moment, year, known.after_us)
    try:
        at = datetime(year, *moment[1:5], min(moment.second, 59), tzinfo=UTC)
    except ValueError:
        return None
    return (int(at.timestamp()) - moment.offset_s) * SECOND_US + moment.us


def _year(moment: Moment, latest_us: int) -> int:
    """Return the year of the last line of a file, which tells none: the last one in which it is
    not from after the file's last writing; 0 if there is none.

    A day is allowed for, so that a line from the near future is seen to be from there.
    """
    limit_us = latest_us + DAY_US
    last = datetime.fromtimestamp(limit_us / SECOND_US).year
    for year in range(last, last - 9, -1):  # 29 February
        at_us = _local_us(moment, year, 0)
        if at_us is not None and at_us <= limit_us:
            return year
    return 0


def _local_us(moment: Moment, year: int, after_us: int) -> int | None:
    """Return a local time in µs. Where the clock goes through an hour twice it is the first, but
    for a line that was written half an hour or more after that; where it leaves an hour out, a
    time within is what it would have been before."""
    found = _minute_s(year, moment.month, moment.day, moment.hour, moment.minute)
    if found is None:
        return None
    first, second = ((s + min(moment.second, 59)) * SECOND_US + moment.us for s in found)
    return second if first + 1800 * SECOND_US < after_us else first


@lru_cache(maxsize=512)
def _minute_s(year: int, month: int, day: int, hour: int, minute: int) -> tuple[int, int] | None:
    """Return the earlier and the later time that a minute of the local clock may be."""
    try:
        both = [
            int(datetime(year, month, day, hour, minute, fold=fold).timestamp()) for fold in (0, 1)
        ]
    except (ValueError, OverflowError, OSError):
        return None
    return min(both), max(both)


def turns_between(earlier: Moment, later: Moment) -> int:
    """Return 1 if between two lines that follow each other the year turns, else 0.

    A day back is a clock that was set; more is taken for the turn of a year. A clock that was
    wrong by months for a while makes what was logged before it older than it is, never younger.
    """
    return int(earlier.day_number > later.day_number + 1)
