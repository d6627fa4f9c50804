"""Spans and times as systemd spells them (systemd.time(7)). Pure: the clock is passed in."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # seldom needed, and long to import
    from datetime import date, time

_UNITS_US = {
    unit: factor
    for factor, units in (
        (1, "us usec µs μs"),
        (1_000, "ms msec"),
        (1_000_000, "s sec second seconds"),
        (60_000_000, "m min minute minutes"),
        (3_600_000_000, "h hr hour hours"),
        (86_400_000_000, "d day days"),
        (604_800_000_000, "w week weeks"),
        (2_629_800_000_000, "M month months"),  # 30.44 days, as systemd counts
        (31_557_600_000_000, "y year years"),  # 365.25 days
    )
    for unit in units.split()
}
_PART = re.compile(r"\s*([0-9]{1,12})(?:\.([0-9]{1,6}))?\s*([a-zA-Zµμ]*)")
# Compiled when they are asked for, which is seldom.
_WEEKDAY = r"(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*\s+"
_CLOCK = r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,6}))?)?"
_DATE = r"([0-9]{4}|[0-9]{2})-([0-9]{1,2})-([0-9]{1,2})"
_DAYS = {"yesterday": -1, "today": 0, "tomorrow": 1}

MAX_SPAN_US = 100 * _UNITS_US["year"]


def parse_span(text: str) -> int:
    """Return the length of a time span such as ``15min``, ``1h 30min`` or ``900``, in µs.

    A bare number is seconds. Raises ValueError for what is not a span, for zero and for more
    than a hundred years: a window has a length and an end.
    """
    total, position = 0, 0
    while position < len(text.rstrip()):
        part = _PART.match(text, position)
        factor = part and _UNITS_US.get(part[3] or "s")
        if not part or not factor:
            raise ValueError(f"{text!r} is not a time span (try '15min' or '1h 30min')")
        total += int(part[1]) * factor + int((part[2] or "0").ljust(6, "0")) * factor // 1_000_000
        position = part.end()
    if not 0 < total <= MAX_SPAN_US:
        raise ValueError(f"{text!r} is not a positive time span of at most 100 years")
    return total


def format_span(span_us: int) -> str:
    """Return a span as systemd prints it, to the second: ``14min 3s``."""
    rest = max(0, span_us) // 1_000_000
    parts = []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts) or "0s"


def parse_time(text: str, now_us: int) -> int:
    """Return a point of time in journalctl's words, in µs since the epoch.

    ``2026-11-22 10:00``, ``10:00``, ``yesterday``, ``now``, ``-10min``, ``+5min``, ``1h ago``,
    ``@1795382573``; local time unless ``UTC`` stands behind it. ``now_us`` is the clock. Raises
    ValueError for anything else.
    """
    words = text.strip()
    try:
        if words == "now":
            return now_us
        if words.startswith("@"):
            return _epoch_us(words[1:])
        if words.startswith("-"):
            return now_us - parse_span(words[1:])
        if words.startswith("+"):
            return now_us + parse_span(words[1:])
        if words.endswith(" ago"):
            return now_us - parse_span(words[:-4])
        return _calendar_us(words, now_us)
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"{text!r} is not a time (try '2026-11-22 10:00', 'yesterday' or '-10min')"
        ) from error


def _epoch_us(digits: str) -> int:
    seconds = re.fullmatch(r"([0-9]{1,11})(?:\.([0-9]{1,6}))?", digits)
    if not seconds:
        raise ValueError(digits)
    return int(seconds[1]) * 1_000_000 + int((seconds[2] or "0").ljust(6, "0"))


def _calendar_us(words: str, now_us: int) -> int:
    from datetime import UTC, datetime, time, timedelta

    zone = UTC if words.endswith(" UTC") else None
    words = re.sub(_WEEKDAY, "", words.removesuffix(" UTC"), count=1, flags=re.IGNORECASE)
    day = datetime.fromtimestamp(now_us / 1_000_000, zone).date()
    if words in _DAYS:
        moment = datetime.combine(day + timedelta(days=_DAYS[words]), time())
    elif re.fullmatch(_CLOCK, words):
        moment = datetime.combine(day, _clock(words))
    else:
        date_text, _, clock_text = words.replace("T", " ", 1).partition(" ")
        moment = datetime.combine(_date(date_text), _clock(clock_text) if clock_text else time())
    return round(moment.replace(tzinfo=zone).timestamp() * 1_000_000)


def format_time(time_us: float) -> str:
    """Write a time, µs since the epoch, as people of this zone do."""
    from datetime import datetime

    return f"{datetime.fromtimestamp(time_us / 1e6):%Y-%m-%d %H:%M:%S}"


def _date(text: str) -> "date":
    from datetime import date

    found = re.fullmatch(_DATE, text)
    if not found:
        raise ValueError(text)
    year = int(found[1])
    return date(year if year > 99 else 2000 + year, int(found[2]), int(found[3]))


def _clock(text: str) -> "time":
    from datetime import time

    found = re.fullmatch(_CLOCK, text.strip())
    if not found:
        raise ValueError(text)
    micro = int((found[4] or "0").ljust(6, "0"))
    return time(int(found[1]), int(found[2]), int(found[3] or 0), micro)
