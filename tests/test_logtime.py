"""Times as log files tell them: what a line leaves open is filled in so that it grants less."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journalrelay.sources import logtime
from journalrelay.sources.logtime import Known, Moment, parse, resolve

Zone = Callable[[str], ZoneInfo]
SECOND = 1_000_000
DAY = 86_400 * SECOND


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Zone]:
    """Return a function that makes a zone this host's."""

    def become(name: str) -> ZoneInfo:
        monkeypatch.setenv("TZ", name)
        time.tzset()
        logtime._minute_s.cache_clear()
        return ZoneInfo(name)

    yield become
    monkeypatch.undo()
    time.tzset()
    logtime._minute_s.cache_clear()


def us(*when: int, tz: ZoneInfo | None = None, fold: int = 0) -> int:
    at = datetime(*when, tzinfo=tz or UTC, fold=fold)  # type: ignore[arg-type, misc]
    return round(at.timestamp() * SECOND)


def told(text: str, known: Known) -> int | None:
    moment = parse(text.encode())
    assert moment is not None, text
    return resolve(moment, known)


@pytest.mark.parametrize(
    ("text", "when_us"),
    [
        ("2026-11-22T21:21:57.900252+00:00", us(2026, 11, 22, 21, 21, 57, 900252)),
        ("2024-10-22T20:00:01.276189+09:00", us(2024, 10, 22, 11, 0, 1, 276189)),
        ("2026-11-22T21:21:57-0330", us(2026, 11, 23, 0, 51, 57)),
        ("2026-11-22T21:21:57Z", us(2026, 11, 22, 21, 21, 57)),
        ("2026-11-22 21:21:57,123456789Z", us(2026, 11, 22, 21, 21, 57, 123456)),
        ("@4000000069d9c2a51a1b3c4d", 1775878811 * SECOND + 437992),
    ],
)
def test_a_time_with_its_zone_is_exact(text: str, when_us: int) -> None:
    assert told(text, Known(0)) == when_us


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Nov 22",
        "Nob 22 21:21:57",
        "Nov 22 21:21:57 ",
        "2026-11-22T21:21",
        "2026-11-22",
        "@4000",
        "@4000000069d9c2a5ffffffff",
        "@ffffffffffffffff00000000",
        "22 Nov 21:21:57",
    ],
)
def test_what_is_no_time_is_none(text: str) -> None:
    assert parse(text.encode()) is None


@pytest.mark.parametrize(
    "text", ["Feb 30 10:00:00", "Nov 00 10:00:00", "2026-13-01T00:00:00Z", "Nov 22 25:00:00"]
)
def test_a_day_that_there_is_not_has_no_time(text: str) -> None:
    moment = parse(text.encode())
    assert moment is None or resolve(moment, Known(us(2026, 11, 22))) is None


def test_a_local_time_is_of_this_hosts_zone(zone: Zone) -> None:
    berlin = zone("Europe/Berlin")
    known = Known(us(2026, 11, 25))
    assert told("Nov  2 21:21:57", known) == us(2026, 11, 2, 21, 21, 57, tz=berlin)
    assert told("Jul  2 2025 21:21:57", known) == us(2025, 7, 2, 21, 21, 57, tz=berlin)
    assert told("2026-07-02 21:21:57", known) == us(2026, 7, 2, 21, 21, 57, tz=berlin)


def test_new_year_is_seen_from_when_the_file_was_written(zone: Zone) -> None:
    zone("UTC")
    known = Known(us(2027, 1, 1, 0, 0, 5))
    assert told("Dec 31 23:59:58", known) == us(2026, 12, 31, 23, 59, 58)
    assert told("Jan  1 00:00:04", known) == us(2027, 1, 1, 0, 0, 4)
    assert told("Feb 29 12:00:00", known) == us(2024, 2, 29, 12)


def test_a_line_from_the_near_future_is_seen_to_be_from_there(zone: Zone) -> None:
    zone("UTC")
    known = Known(us(2026, 12, 31, 23, 59, 58))
    assert told("Jan  1 00:30:00", known) == us(2027, 1, 1, 0, 30)
    assert told("Jan  2 00:30:00", known) == us(2026, 1, 2, 0, 30), "older, never ahead"


def test_turns_of_the_year_behind_a_line_make_it_older(zone: Zone) -> None:
    zone("UTC")
    last = Moment(0, 11, 25, 9, 0, 0)
    known = Known(us(2026, 11, 25, 9), turns=1, last=last)
    assert told("Nov 25 08:55:00", known) == us(2025, 11, 25, 8, 55)


AUTUMN = (2026, 10, 25, 2, 30)


def test_of_an_hour_that_comes_twice_it_is_the_first(zone: Zone) -> None:
    berlin = zone("Europe/Berlin")
    late = us(2026, 10, 25, 6, tz=berlin)
    assert told("Oct 25 02:30:00", Known(late)) == us(*AUTUMN, tz=berlin)


def test_unless_the_line_was_written_after_that(zone: Zone) -> None:
    berlin = zone("Europe/Berlin")
    second = us(*AUTUMN, tz=berlin, fold=1)
    assert told("Oct 25 02:30:00", Known(second, after_us=second - SECOND)) == second
    first = us(*AUTUMN, tz=berlin)
    assert told("Oct 25 02:30:00", Known(first, after_us=first - SECOND)) == first


def test_of_an_hour_that_is_left_out_it_is_what_came_before(zone: Zone) -> None:
    berlin = zone("Europe/Berlin")
    known = Known(us(2026, 3, 29, 12))
    assert told("Mar 29 02:30:00", known) == us(2026, 3, 29, 1, 30, tz=berlin)


@given(st.integers(us(2020, 1, 1), us(2035, 1, 1)), st.integers(0, 300 * DAY), st.integers(0, 50))
def test_a_yearless_time_is_never_later_than_it_was(at_us: int, age_us: int, ahead_s: int) -> None:
    """Whatever the zone of this host is: local midnight and the turn of the year included."""
    at_us -= at_us % SECOND
    at = datetime.fromtimestamp(at_us // SECOND)
    found = told(f"{at:%b} {at.day:2d} {at:%H:%M:%S}", Known(at_us + age_us - ahead_s * SECOND))
    assert found is not None and found <= at_us
    assert found >= at_us - 3600 * SECOND
