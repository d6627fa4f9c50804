"""Maps of many addresses."""

import time
from pathlib import Path

from bench.journals import address
from journalrelay.grant import login_key, parse_address
from journalrelay.map.changes import Changes
from journalrelay.map.popmap import PopMap

_LIVE_S = 900


def keys(start: int, count: int) -> list[bytes]:
    """Return the keys of so many clients."""
    found = (parse_address(address(n).encode()) for n in range(start, start + count))
    return [login_key(one, 128) for one in found if one]


def live(path: Path, count: int) -> PopMap:
    """Make a map with so many addresses that may relay for a while."""
    popmap = PopMap(path, "hash", careful=False)
    until_s = int(time.time()) + _LIVE_S
    popmap.replace({key: until_s + n % 60 for n, key in enumerate(keys(0, count))})
    return popmap


def expire(path: Path) -> dict[bytes, int]:
    """Take out what has expired, as the command does."""
    return PopMap(path, "hash").expire(int(time.time()))


def add_expired(popmap: PopMap, start: int, count: int) -> None:
    """Add so many addresses whose grants ended a minute ago."""
    now_s = int(time.time())
    for at in range(start, start + count, 1000):
        granted = dict.fromkeys(keys(at, min(1000, start + count - at)), now_s - 60)
        popmap.commit(Changes(granted=granted), now_s)
