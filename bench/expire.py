"""Taking out what has expired: cost, the lock, and what makemap needs to write the map anew."""

import subprocess
import time
from pathlib import Path

from bench import locks, maps, place
from bench.commandline import program
from bench.measures import Figures
from bench.table import Row, number, ratio_row

_EXPIRED = 1_000
_SMALL, _LARGE = 10_000, 1_000_000


def measure(full: bool) -> list[Row]:
    """Return the rows of this group."""
    with place.scratch() as here:
        small, seen_small = _expire_s(here, _SMALL)
        large, seen_large = _expire_s(here, _LARGE)
        makemap_s = _makemap_s(here, _LARGE)
    ratio = large.over(small)
    cheaper = Figures(tuple(makemap_s / s for s in large.values))
    took = f"{number(large.median * 1000)} ms; of 10,000 {number(small.median * 1000)} ms"
    longest = max(seen_small.held_ms + seen_large.held_ms)
    slowest = max(seen_small.syncs_ms + seen_large.syncs_ms)
    return [
        ratio_row("expire 1,000 of 1 M: 1,000 of 10,000 × 3 at most", took, ratio, most=3),
        ratio_row(
            "the same against makemap writing the map anew: 50 times cheaper",
            f"makemap {number(makemap_s)} s",
            cheaper,
            least=50,
        ),
        Row(
            "expire holds the lock: longest ≤ 20 ms",
            f"{number(longest)} ms; longest sync {number(slowest)} ms",
            met=longest <= 20,
        ),
    ]


def _expire_s(here: Path, count: int) -> tuple[Figures, locks.Seen]:
    """Return how long taking out the expired ones takes, in s, and what the command that does it
    is seen to do."""
    path = here / f"{count}.db"
    popmap = maps.live(path, count - _EXPIRED)
    maps.expire(path)  # what it makes for itself at the first time is there then
    took = []
    for _ in range(5):
        maps.add_expired(popmap, count, _EXPIRED)
        began_s = time.perf_counter()
        gone = maps.expire(path)
        took.append(time.perf_counter() - began_s)
        assert len(gone) == _EXPIRED
    maps.add_expired(popmap, count, _EXPIRED)
    seen = locks.seen(program("-c", "/dev/null", "expire", "--map", str(path)), path)
    return Figures(tuple(took)), seen


def _makemap_s(here: Path, count: int) -> float:
    text = b"".join(b"%b\t1800000000\n" % key for key in maps.keys(0, count))
    began_s = time.perf_counter()
    subprocess.run(["makemap", "hash", str(here / "made")], input=text, check=True)
    return time.perf_counter() - began_s
