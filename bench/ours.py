"""journalrelay's own parts at work in a process of their own; prints what a limit program prints.

    python3 -m bench.ours next DIRECTORY MOST PLACE   reading each entry's text, nothing else
    python3 -m bench.ours read DIRECTORY MOST PLACE   reading, and recognising the logins
    python3 -m bench.ours relay DIRECTORY PLACE       the daemon's catch-up: map, sync, then cursor
    python3 -m bench.ours matches PLACE [DIRECTORY]   what the journal is asked for, "+" between;
                                                      only what some entry there has

Time is counted from after the imports.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from journalrelay import clock
from journalrelay.config import load
from journalrelay.recognition.logins import Logins, matches
from journalrelay.relay import Relay
from journalrelay.site import Site
from journalrelay.sources.openjournal import Where, open_reader, present
from journalrelay.telling import ledger

# Kept journals grow old; with a window like this every login in them still counts.
CONFIG = """
[relay]
window = "100y"
max_addresses = 0
[source]
kind = "journal"
"""
WINDOW_S = 100 * 31_557_600


def site(directory: Path, place: Path) -> Site:
    """Return an installation that reads ``directory`` and keeps everything in ``place``."""
    file = place / "poprelay.conf"
    if not file.exists():
        file.write_text(CONFIG)
    config = load(file)._replace(directory=directory, map_path=place / "popip.db")
    return Site(config, place)


def read(
    directory: Path, place: Path, most: int, *, recognising: bool = True
) -> Callable[[], tuple[int, int]]:
    """Return what reads up to ``most`` entries and, if asked for, recognises the logins; it tells
    how many there were of each."""
    parts = site(directory, place).parts()
    recognise = Logins(parts.daemons).read
    parts.source.seek_time(0)

    def act() -> tuple[int, int]:
        entries = logins = 0
        for record in parts.source.read(most):
            entries += 1
            if recognising:
                logins += recognise(record) is not None
        return entries, logins

    return act


def relay(directory: Path, place: Path) -> tuple[int, int]:
    """Catch up as the daemon does from its place, here the first entry, on a map that is there and
    empty; return how many entries were read, and how many logins granted."""
    granted = 0

    def witness(_record: object, _login: object, verdict: object) -> None:
        nonlocal granted
        granted += 1

    parts = site(directory, place).parts()
    parts.popmap.create()
    road = Relay(parts, witness)
    road.settle_map(clock.now_us(), [])
    road.recall(clock.now_us())
    road.begin(0)
    entries, more = 0, True
    while more:
        parts.source.refresh()
        step = road.step(clock.now_us())
        entries, more = entries + step.records, step.more
    road.save()
    return entries, granted


def asked(place: Path, directory: Path | None) -> list[str]:
    """Return what the journal is asked for; of that in ``directory`` once much is read."""
    here = site(place, place)
    groups = [*matches(here.config.daemons), ledger.matches(here.map_path)]
    if directory:
        groups = present(open_reader(Where(directory=directory)), groups)
    words: list[str] = []
    for group in groups:
        words += ["+", *(match.decode() for match in group)]
    return words[1:]


def timed(act: Callable[[], tuple[int, int]]) -> None:
    """Do it and print seconds, entries and logins."""
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    entries, logins = act()
    took = {"seconds": time.perf_counter() - began_s, "cpu": time.process_time() - began_cpu_s}
    print(json.dumps({**took, "entries": entries, "logins": logins}))


def main(words: list[str]) -> None:
    """Do what the words say."""
    verb, first = words[0], Path(words[1])
    if verb in ("next", "read"):
        timed(read(first, Path(words[3]), int(words[2]), recognising=verb == "read"))
    elif verb == "relay":
        timed(lambda: relay(first, Path(words[2])))
    else:
        print(json.dumps(asked(first, Path(words[2]) if words[2:] else None)))


if __name__ == "__main__":
    main(sys.argv[1:])
