"""The limit programs in C, compiled where they run."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from bench.journals import KEPT
from bench.measures import BenchError, output, told

_SOURCE = Path(__file__).with_name("limit.c")
_FLAGS = ("-O2", "-std=gnu11", "-Wall", "-Wextra")
TRUSTED = "SYSLOG_IDENTIFIER,_SYSTEMD_UNIT,_EXE,_UID,_TRANSPORT"


@cache
def program(source: Path = _SOURCE) -> str:
    """Return the compiled program."""
    KEPT.mkdir(parents=True, exist_ok=True)
    made = KEPT / f"{source.stem}-{os.getpid()}"
    libraries = ["-lsystemd", "-ldb-5.3"]
    done = subprocess.run(
        ["gcc", *_FLAGS, "-o", str(made), str(source), *libraries], capture_output=True, text=True
    )
    if done.returncode:
        raise BenchError(f"{source}: {done.stderr.strip()} (run tools/setup --bench first)")
    kept = KEPT / source.stem
    made.rename(kept)
    return str(kept)


@cache
def matches(place: Path, *directory: Path) -> tuple[str, ...]:
    """Return what journalrelay asks the journal for, in journalctl's words; with a ``directory``
    what it asks that one for where it has much to read."""
    words = map(str, (place, *directory))
    return tuple(json.loads(output([sys.executable, "-m", "bench.ours", "matches", *words])))


def read_command(directory: Path, place: Path, most: int, fields: str = "-") -> Sequence[str]:
    """Return the command that only reads, and asks only for what some entry has; with ``fields``
    it fetches these too of a login."""
    asked = matches(place, directory)
    return [program(), "read", fields, str(most), str(directory), *asked]


def relay(
    directory: Path, place: Path, batch: int, room: int, window_s: int, *, narrow: bool = False
) -> dict[str, float]:
    """Do the whole job; the map is ``popip.db`` in ``place``. With ``narrow`` only what some entry
    has is asked for."""
    asked = matches(place, directory) if narrow else matches(place)
    settings = {"MAP": f"{place}/popip.db", "CURSOR": f"{place}/cursor"}
    settings |= {"ROOM": str(room), "WINDOW_S": str(window_s)}
    command = [program(), "relay", "-", str(batch), str(directory), *asked]
    return told(command, {**os.environ, **settings})
