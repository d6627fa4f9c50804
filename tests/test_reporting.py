"""What the page is made of: bins, counting in a bounded room, floods, scales, and its colours."""

import ipaddress
import itertools
import os
import time
from collections.abc import Iterator
from datetime import datetime

import pytest

from journalrelay.event import Login, Lost
from journalrelay.grant import login_key
from journalrelay.reporting import bounded, style
from journalrelay.reporting.bounded import Distinct, Spread, Top
from journalrelay.reporting.chart import Plot, drawn
from journalrelay.reporting.floods import LEAST, Floods
from journalrelay.reporting.gaps import LOST, Gaps
from journalrelay.reporting.span import DAY_US, HOUR_US, MINUTE_US, MOST_BINS, MOST_MARKS, Span
from journalrelay.reporting.tally import Tally
from journalrelay.rules.policy import Verdict
from lab.week import END_S
from tests.support import address

END_US = END_S * 1_000_000  # 2026-11-22 09:00 UTC


@pytest.fixture
def berlin() -> Iterator[None]:
    """Let it be the time of Berlin, where a clock is set back on 2026-10-25."""
    former = os.environ.get("TZ")
    os.environ["TZ"] = "Europe/Berlin"
    time.tzset()
    yield
    if former is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = former
    time.tzset()


LENGTHS_US = (1, MINUTE_US, HOUR_US, DAY_US, 7 * DAY_US, 31 * DAY_US, 400 * DAY_US, 9000 * DAY_US)


@pytest.mark.parametrize("length_us", LENGTHS_US)
def test_bins_cover_the_span_and_are_few(length_us: int) -> None:
    span = Span(END_US - length_us, END_US)
    assert 1 <= span.bins <= MOST_BINS + 1
    assert span.bin(span.from_us) == 0
    assert span.bin(END_US - 1) == span.bins - 1
    marks = list(span.marks())
    assert len(marks) <= MOST_MARKS + 1
    assert [mark.at for mark in marks] == sorted({mark.at for mark in marks})
    covered = [number for _, bins in span.groups() for number in bins]
    assert covered == list(range(span.bins))


def test_bins_begin_at_local_round_times(berlin: None) -> None:
    week = Span(END_US - 7 * DAY_US + 1, END_US)
    assert (week.width, datetime.fromtimestamp(week.start_us / 1e6).minute) == ("hour", 0)
    quarter = Span(END_US - 90 * DAY_US, END_US)
    assert quarter.width == "12 hours"
    assert datetime.fromtimestamp(quarter.start_us / 1e6).hour in (0, 12)


def test_marks_stand_at_midnight_on_both_sides_of_a_clock_set_back(berlin: None) -> None:
    change_us = 1_792_890_000_000_000  # 2026-10-25 01:00 UTC
    span = Span(change_us - 3 * DAY_US, change_us + 4 * DAY_US)
    named = {mark.text: mark.at for mark in span.marks()}
    assert {"Sat 24", "Sun 25", "Mon 26", "Tue 27"} <= set(named)
    hours = {day: named[day] * span.bins for day in named}
    assert round(hours["Sun 25"] - hours["Sat 24"]) == 24
    assert round(hours["Mon 26"] - hours["Sun 25"]) == 25


def test_distinct_is_exact_while_it_fits_and_a_sample_after_that() -> None:
    seen: Distinct[bytes] = Distinct()
    for n in range(bounded.KEYS):
        for value in range(1 + n % 3):
            seen.see(b"%d" % n, value)
    assert (seen.one_in, seen.keys) == (1, bounded.KEYS)
    assert sum(seen.counts().values()) == sum(1 + n % 3 for n in range(bounded.KEYS))
    for n in range(10 * bounded.KEYS):
        for value in range(1 + n % 3):
            seen.see(b"%d" % n, value)
    assert seen.one_in >= 8
    assert len(seen.counts()) <= bounded.KEYS
    assert abs(seen.keys / (10 * bounded.KEYS) - 1) < 0.1
    share = sum(count == 1 for count in seen.counts().values()) / len(seen.counts())
    assert abs(share - 1 / 3) < 0.05


def test_one_user_with_countless_addresses_fills_nothing() -> None:
    seen, spread = Distinct[bytes](), Spread[bytes]()
    for n in range(50_000):
        seen.see(b"anna", n)
        spread.see(b"anna", n)
    assert seen.counts() == {b"anna": bounded.EACH}
    assert spread.rows() == [(b"anna", bounded.EACH)]


def test_top_keeps_the_frequent_among_many() -> None:
    top: Top[str] = Top(most=50)
    for n in range(20_000):
        top.note(f"once-{n}", n, "x")
        top.note(f"often-{n % 10}", n, "y" if n % 3 else "z")
    rows = dict(top.rows()[:10])
    assert set(rows) == {f"often-{n}" for n in range(10)}
    assert all(row.count + row.missed >= 2000 and row.main == "y" for row in rows.values())
    assert len(top.rows()) <= 100


def test_spread_keeps_who_has_many_among_many() -> None:
    spread: Spread[bytes] = Spread(keys=100, values=2000)
    for n in range(20_000):
        spread.see(b"one-%d" % n, 0)
        if n % 100 == 0:
            spread.see(b"thief", n)
    assert spread.rows()[0] == (b"thief", 200)
    assert len(spread.rows()) <= 200


def logins(count: int) -> Iterator[tuple[Login, Verdict]]:
    """Yield logins of so many users from as many addresses, every second one refused."""
    for n in range(count):
        client = ipaddress.ip_address(address(n))
        login = Login(client, b"user-%d" % n, "pop3", "dovecot", END_US - DAY_US + n)
        key = login_key(client, 128)
        if n % 2:
            yield login, Verdict("refused", f"relay.never: {client}/32", key, None)
        else:
            yield login, Verdict("granted", "", key, END_S)


def held(tally: Tally) -> int:
    """Return how many keys and values a tally remembers."""
    return (
        len(tally.users.counts())
        + len(tally.addresses.counts())
        + sum(tally.users.counts().values())
        + sum(count for _, count in tally.spread.rows())
        + len(tally.refused.rows())
        + sum(map(len, tally.reasons.counts.values()))
    )


def test_tally_does_not_grow_with_the_logins() -> None:
    tally = Tally(Span(END_US - DAY_US, END_US))
    for login, verdict in logins(200_000):
        tally.login(login, verdict)
    assert tally.logins == 200_000
    assert tally.reasons.total("relay.never") == tally.outcomes.total("refused") == 100_000
    assert held(tally) < 3 * bounded.KEYS + bounded.VALUES // 2 + 4000 + 2000 + MOST_BINS


def flooded(*minutes: tuple[int, int]) -> Floods:
    floods = Floods()
    for minute, count in minutes:
        for n in range(count):
            floods.note(END_US + minute * MINUTE_US + n, f"192.0.2.{n % 2}", "relay.never")
    floods.close()
    return floods


def test_minutes_of_many_refusals_are_a_flood() -> None:
    floods = flooded((0, LEAST - 1), (10, LEAST), (11, LEAST + 7), (13, LEAST), (40, LEAST))
    first, second = floods.found
    assert (first.from_us, first.until_us) == (END_US + 10 * MINUTE_US, END_US + 14 * MINUTE_US)
    assert (first.refused, first.worst) == (3 * LEAST + 7, LEAST + 7)
    assert (first.reason, first.address, first.share) == ("relay.never", "192.0.2.0", 19)
    assert second.refused == LEAST


def test_losses_of_a_unit_that_are_near_are_one_gap() -> None:
    gaps = Gaps()
    for minute, unit in ((0, "a"), (2, "a"), (3, "b"), (30, "a")):
        gaps.lost(Lost(unit, 5, END_US + minute * MINUTE_US))
    found = [(gap.about, gap.lines) for gap in gaps.all(END_US + DAY_US)]
    assert found == [("a", 10), ("b", 5), ("a", 5)]
    assert {gap.kind for gap in gaps.all(END_US + DAY_US)} == {LOST}


def test_a_column_far_above_the_others_is_cut_and_its_figure_shown() -> None:
    span = Span(END_US - DAY_US, END_US)
    usual = [10 + n % 5 for n in range(span.bins)]
    plain = drawn(Plot("x", "A plot", "logins", {"granted": usual}), span)
    assert "that is cut" not in plain
    usual[7] = 9000
    cut = drawn(Plot("x", "A plot", "logins", {"granted": usual}), span)
    assert "that is cut" in cut and ">9\u202f000</span>" in cut
    assert '<span style="bottom:100.00%">15</span>' in cut


def test_more_series_than_colours_are_summed() -> None:
    span = Span(END_US - DAY_US, END_US)
    counts = {f"reason {n}": [20 - n] * span.bins for n in range(9)}
    html = drawn(Plot("x", "A plot", "refused", counts), span)
    rest = sum(20 - n for n in range(5, 9)) * span.bins
    assert f"others <b>{rest:,}</b>".replace(",", "\u202f") in html
    assert "reason 5" not in html


# Colours: relative luminance and contrast by WCAG 2.1; sight without one kind of cone by Machado,
# Oliveira and Fernandes, IEEE TVCG 15 (2009), severity 1.0, in linear RGB; distance in CIELAB.

SIGHT = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}
TOLD_APART = 20  # in CIELAB; 2.3 is a just noticeable difference

Three = tuple[float, float, float]


def linear(colour: str) -> Three:
    def one(at: int) -> float:
        value = int(colour[at : at + 2], 16) / 255
        return float(value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4)

    return one(1), one(3), one(5)


def luminance(colour: str) -> float:
    red, green, blue = linear(colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def seen(colour: str, sight: str) -> Three:
    """Return a colour in CIELAB as somebody sees it."""
    given = linear(colour)
    red, green, blue = (
        min(1.0, max(0.0, sum(a * b for a, b in zip(row, given, strict=True))))
        for row in SIGHT[sight]
    )
    white = (0.95047, 1.0, 1.08883)
    xyz = (
        0.4124 * red + 0.3576 * green + 0.1805 * blue,
        0.2126 * red + 0.7152 * green + 0.0722 * blue,
        0.0193 * red + 0.1192 * green + 0.9505 * blue,
    )
    x, y, z = (
        t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116
        for t in (value / w for value, w in zip(xyz, white, strict=True))
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("scheme", style.COLOURS)
def test_colours_stand_out_from_the_ground(scheme: str) -> None:
    for colour in style.COLOURS[scheme]:
        assert contrast(colour, style.GROUND[scheme]) >= 3, colour


@pytest.mark.parametrize("scheme", style.COLOURS)
def test_text_can_be_read(scheme: str) -> None:
    texts = style.TEXTS[scheme]
    for ink, ground in itertools.product(("ink", "soft"), (style.GROUND[scheme], texts["page"])):
        assert contrast(texts[ink], ground) >= 4.5, ink


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("scheme", style.COLOURS)
def test_colours_can_be_told_apart(scheme: str, sight: str) -> None:
    for one, other in itertools.combinations(style.COLOURS[scheme], 2):
        pairs = zip(seen(one, sight), seen(other, sight), strict=True)
        assert sum((a - b) ** 2 for a, b in pairs) ** 0.5 > TOLD_APART, (one, other)
