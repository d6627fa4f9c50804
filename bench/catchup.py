"""Catching up: journal → map, synced → place, against the C program that does the whole job."""

import sys
from pathlib import Path
from typing import NamedTuple

from bench import journals, limit, place
from bench.measures import Figures, told
from bench.ours import WINDOW_S
from bench.table import Row, number, ratio_row, spread
from journalrelay.relay import BATCH

_TOGETHER = 80_000  # entries that are committed at once: as many as ours reads in a second

_FLOOR = [sys.executable, "-m", "bench.floor", "relay"]


def measure(full: bool) -> list[Row]:
    """Return the rows of this group."""
    return [
        *_rows("mixed", 1_000_000, 50_000),
        *_rows("logins", 1_000_000, 50_000),
        _distinct(200_000),
    ]


def _rows(kind: str, entries: int, addresses: int) -> list[Row]:
    directory = journals.journal(kind, entries, addresses)
    with place.scratch() as here:
        ours, theirs = side_by_side(directory, here, addresses, 3)
        plain = limit.relay(directory, here, BATCH, addresses, WINDOW_S)["seconds"]
        floor_s = told(_FLOOR + [str(directory), str(here)])["seconds"]
    goal = f"catch-up, {kind}, 1 M entries: C program × 1.8 at most"
    figure = (
        f"{number(ours.wall.median)} s; C {number(theirs.wall.median)} s, plain {number(plain)} s"
    )
    ratio = ours.cpu.over(theirs.cpu)
    cpu = f"{number(ours.cpu.median)} s; C {number(theirs.cpu.median)} s"
    return [
        ratio_row(goal, figure, ours.wall.over(theirs.wall), most=1.8),
        Row("the same, processor time", cpu, number(ratio.median), spread(ratio)),
        Row(
            "the same, the calls alone, from one Python function",
            f"{number(floor_s)} s",
            number(floor_s / theirs.wall.median),
        ),
    ]


def _distinct(addresses: int) -> Row:
    with place.scratch() as here:
        directory = journals.journal("logins", addresses, addresses)
        ours, theirs = side_by_side(directory, here, addresses, 3)
    rate = Figures(tuple(addresses / s for s in ours.wall.values))
    return Row(
        "catch-up, every login another address: 40k addresses/s at least",
        f"{number(rate.median)}/s",
        number(ours.wall.over(theirs.wall).median),
        spread(rate),
        rate.median >= 40_000,
    )


class Took(NamedTuple):
    """Seconds on the wall, and of the processor's time, without the program's start."""

    wall: Figures
    cpu: Figures


def side_by_side(directory: Path, here: Path, addresses: int, repeats: int) -> tuple[Took, Took]:
    """Catch up with ours and with the C program, in turn. It asks only for what there is, and
    commits as much at once; the plain one asks for all that may be, and commits 10,000 entries."""
    took: list[tuple[dict[str, float], dict[str, float]]] = []
    for _ in range(repeats):
        for old in (here / "popip.db", *here.glob("*.cursor")):
            old.unlink(missing_ok=True)
        command = [sys.executable, "-m", "bench.ours", "relay", str(directory), str(here)]
        ours = told(command)
        theirs = limit.relay(directory, here, _TOGETHER, addresses, WINDOW_S, narrow=True)
        took.append((ours, theirs))
    return _took([ours for ours, _ in took]), _took([theirs for _, theirs in took])


def _took(runs: list[dict[str, float]]) -> Took:
    return Took(
        Figures(tuple(run["seconds"] for run in runs)), Figures(tuple(run["cpu"] for run in runs))
    )
