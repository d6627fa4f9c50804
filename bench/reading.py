"""Reading alone: our loop against the C loop over sd-journal, in instructions an entry."""

import sys
from collections.abc import Sequence
from pathlib import Path

from bench import journals, limit, place
from bench.measures import Figures, instructions_each, interleaved, told
from bench.table import Row, number, ratio_row, spread

_FEW, _MANY = 1_000, 6_000  # entries under callgrind


def measure(full: bool) -> list[Row]:
    """Return the rows of this group."""
    rows = []
    for kind, addresses in (("mixed", 50_000), ("logins", 50_000)):
        directory = journals.journal(kind, 1_000_000, addresses)
        with place.scratch() as here:
            rows += [_counted(kind, directory, here), _timed(kind, directory, here)]
    return rows


def command(directory: Path, here: Path, most: int, verb: str = "read") -> Sequence[str]:
    """Return the command that reads with our parts."""
    return [sys.executable, "-m", "bench.ours", verb, str(directory), str(most), str(here)]


def _counted(kind: str, directory: Path, here: Path) -> Row:
    ours = instructions_each(lambda n: command(directory, here, n), _FEW, _MANY)
    theirs = _limit(directory, here, "-")
    asking = _limit(directory, here, limit.TRUSTED)
    floor = [sys.executable, "-m", "bench.floor", "read", str(directory)]
    calls = instructions_each(lambda n: [*floor, str(n)], _FEW, _MANY)
    return ratio_row(
        f"reading, {kind}: instructions an entry, C loop × 1.3 at most",
        f"{ours / 1000:.1f}k; C {theirs / 1000:.1f}k, asking who logged it {asking / 1000:.1f}k; "
        f"the calls alone, from one Python function {calls / 1000:.1f}k",
        Figures((ours / theirs,)),
        most=1.3,
    )


def _limit(directory: Path, here: Path, fields: str) -> float:
    return instructions_each(
        lambda most: limit.read_command(directory, here, most, fields), _FEW, _MANY
    )


def _timed(kind: str, directory: Path, here: Path) -> Row:
    most = 100_000
    runs = interleaved(
        3,
        ours=lambda: told(command(directory, here, most))["cpu"],
        limit=lambda: told(limit.read_command(directory, here, most))["cpu"],
    )
    ratio = runs["ours"].over(runs["limit"])
    rate = number(most / runs["ours"].median)
    return Row(
        f"reading, {kind}: processor time, C loop", f"{rate}/s", number(ratio.median), spread(ratio)
    )
