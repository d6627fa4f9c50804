"""Measure everything, or the groups that are named, and print one table.

    python3 -m lab.room -- python3 -m bench [--full] [--write] [GROUP...]

``--full`` takes all the time it wants; ``--write`` writes the table into docs/performance.md.
"""

import argparse
import importlib
import sys
import time

from bench import document, table
from bench.measures import BenchError
from lab.poprelayd import NotReady
from lab.room import RoomError
from lab.sendmail import SendmailError

GROUPS = (
    "reading",
    "catchup",
    "peers",
    "live",
    "idle",
    "load",
    "commits",
    "expire",
    "lookups",
    "memory",
    "start",
    "commandline",
    "growth",
)


def main() -> int:
    """Do what the command line says; return the exit status."""
    parser = argparse.ArgumentParser(prog="bench", description="measure journalrelay")
    parser.add_argument("--full", action="store_true", help="all of it, however long it takes")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md's table")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help="which; default: all")
    options = parser.parse_args()
    if unknown := set(options.groups) - set(GROUPS):
        parser.error(f"no group: {', '.join(sorted(unknown))} (they are: {', '.join(GROUPS)})")
    rows = [row for name in options.groups or GROUPS for row in _measured(name, options.full)]
    print(table.text(rows))
    if options.write:
        document.write(rows, options.full)
    return 0


def _measured(name: str, full: bool) -> list[table.Row]:
    """Return a group's rows; one that cannot be measured does not lose the others."""
    began_s = time.monotonic()
    try:
        rows: list[table.Row] = importlib.import_module(f"bench.{name}").measure(full)
    except (BenchError, RoomError, SendmailError, NotReady, TimeoutError) as error:
        rows = [table.Row(name, f"not measured: {' '.join(str(error).split())}", met=False)]
    print(f"{name}: {time.monotonic() - began_s:.0f} s", file=sys.stderr, flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(main())
