"""How the figures grow: with the entries that are read, and with the addresses that are live."""

import time
from pathlib import Path

from bench import catchup, journals, maps, place, plot
from bench.lookups import lookups
from bench.measures import TOP
from bench.plot import Panel, Series
from bench.table import Row, number
from journalrelay.map.changes import Changes

_PICTURE = TOP / "docs" / "growth.svg"
_ENTRIES = (10_000, 100_000, 1_000_000)
_ADDRESSES = (1_000, 10_000, 100_000)
_BATCH = 1_000


def measure(full: bool) -> list[Row]:
    """Draw docs/growth.svg and return the rows of this group."""
    panels = [
        _entries((*_ENTRIES, 10_000_000) if full else _ENTRIES),
        _addresses((*_ADDRESSES, 1_000_000) if full else _ADDRESSES),
    ]
    _PICTURE.write_text(plot.svg(panels))
    return [_row(panel, series) for panel in panels for series in panel.series]


def _row(panel: Panel, series: Series) -> Row:
    figures = ", ".join(f"{plot.short(at)}: {number(value)}" for at, value in series.points)
    return Row(f"growth, {series.name} ({panel.unit}) by {panel.across}", figures)


def _entries(counts: tuple[int, ...]) -> Panel:
    ours, theirs = [], []
    for count in counts:
        addresses = min(50_000, count // 20)
        directory = journals.journal("mixed", count, addresses)
        with place.scratch() as here:
            took, limit = catchup.side_by_side(directory, here, addresses, 1)
        ours.append((count, took.cpu.median))
        theirs.append((count, limit.cpu.median))
    series = (Series("catch-up", tuple(ours)), Series("the C program", tuple(theirs)))
    return Panel("Catching up, mixed host", "entries in the journal", "s", series)


def _addresses(counts: tuple[int, ...]) -> Panel:
    commit, expire, lookup = [], [], []
    for count in counts:
        with place.scratch() as here:
            path = here / "popip.db"
            commit.append((count, _commit_ms(path, count)))
            expire.append((count, _expire_ms(path, count)))
            with lookups(path) as process:
                time.sleep(1)
            lookup.append((count, process.seen["median"]))
    series = (
        Series("commit 1,000 logins", tuple(commit)),
        Series("expire 1,000", tuple(expire)),
        Series("a lookup", tuple(lookup)),
    )
    return Panel("Work on the map", "live addresses", "ms", series)


def _commit_ms(path: Path, count: int) -> float:
    """Return what a commit of logins from addresses that are in the map takes, in ms."""
    popmap = maps.live(path, count)
    now_s, took = int(time.time()), []
    for turn in range(3):
        changes = Changes(granted=dict.fromkeys(maps.keys(0, _BATCH), now_s + 1000 + turn))
        began_s = time.perf_counter()
        popmap.commit(changes, now_s)
        took.append((time.perf_counter() - began_s) * 1000)
    return min(took)


def _expire_ms(path: Path, count: int) -> float:
    """Return what taking out a thousand takes, in ms."""
    popmap = maps.live(path, count)
    maps.expire(path)
    took = []
    for _ in range(3):
        maps.add_expired(popmap, count, _BATCH)
        began_s = time.perf_counter()
        maps.expire(path)
        took.append((time.perf_counter() - began_s) * 1000)
    return min(took)
