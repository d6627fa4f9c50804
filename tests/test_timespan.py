"""Spans and times are read as systemd reads them."""

import os
import subprocess
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journalrelay.timespan import format_span, parse_span, parse_time

NOW_US = 1_795_399_200_123_456


@pytest.fixture(autouse=True)
def _berlin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()


@pytest.mark.parametrize(
    "text",
    [
        "15min",
        "1h 30min",
        "900",
        "2.5s",
        "1d",
        "3w",
        "1month",
        "1M",
        "1y",
        "500ms",
        "10us",
        "1h30m",
    ],
)
def test_span_is_systemds_own(text: str) -> None:
    said = subprocess.run(
        ["systemd-analyze", "timespan", text], capture_output=True, text=True, check=True
    ).stdout
    microseconds = next(line.split()[-1] for line in said.splitlines() if "s:" in line)
    assert parse_span(text) == int(microseconds)


@pytest.mark.parametrize(
    "text", ["", " ", "15 mins ago", "30 mn", "-5min", "0", "0s", "infinity", "1e3", "101y", "٣min"]
)
def test_what_is_no_span_is_refused_with_advice(text: str) -> None:
    with pytest.raises(ValueError, match="time span"):
        parse_span(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22 10:00",
        "2026-11-22 10:00:07.25",
        "2026-11-22",
        "2026-11-22 10:00 UTC",
        "Sun 2026-11-22 10:00:00",
        "@1795382573",
        "@1795382573.5",
        "2026-07-01 12:00",
    ],
)
def test_absolute_time_is_journalctls_own(text: str) -> None:
    said = subprocess.run(
        ["systemd-analyze", "timestamp", text],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TZ": "Europe/Berlin", "LC_ALL": "C"},
    ).stdout
    seconds = next(line.split("@")[-1] for line in said.splitlines() if "UNIX" in line)
    assert parse_time(text, NOW_US) == round(float(seconds) * 1_000_000)


def test_relative_times() -> None:
    assert parse_time("now", NOW_US) == NOW_US
    assert parse_time("-10min", NOW_US) == NOW_US - 600_000_000
    assert parse_time("+1h", NOW_US) == NOW_US + 3_600_000_000
    assert parse_time("2h ago", NOW_US) == NOW_US - 7_200_000_000


def test_days_begin_at_local_midnight() -> None:
    midnight = parse_time("today", NOW_US)
    assert time.localtime(midnight / 1e6)[3:6] == (0, 0, 0)
    assert parse_time("yesterday", NOW_US) == midnight - 86_400_000_000
    assert parse_time("tomorrow", NOW_US) == midnight + 86_400_000_000
    assert parse_time("10:30", NOW_US) == midnight + 37_800_000_000


@given(st.text(max_size=30))
def test_any_text_is_a_time_or_a_clear_refusal(text: str) -> None:
    try:
        assert isinstance(parse_time(text, NOW_US), int)
    except ValueError as error:
        assert "is not a time" in str(error)


@given(st.integers(1, 10**15))
def test_a_printed_span_reads_back_to_the_second(span_us: int) -> None:
    printed = format_span(span_us)
    if span_us >= 1_000_000:
        assert parse_span(printed) == span_us // 1_000_000 * 1_000_000
    else:
        assert printed == "0s"
