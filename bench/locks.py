"""How long a command holds the map's lock, by the system calls that it makes."""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.measures import TOP, BenchError

# 811 1732540000.123456 flock(3, LOCK_EX|LOCK_NB) = 0 <0.000006>
_CALL = re.compile(
    r"^(?:\d+ +)?(\d+\.\d+) (\w+)\((\d+)(?:, (\S+))?\) += (-?\d+).*<(\d+\.\d+)>$", re.M
)
_CALLS = "flock,close,fdatasync,fsync"


class Held(NamedTuple):
    """How long an exclusive lock was held, how much of that the disk took, in ms, and how often
    it was asked to sync."""

    ms: float
    sync_ms: float
    syncs: int


def held(command: Sequence[str], here: Path) -> list[Held]:
    """Return every exclusive lock, from its being granted to the close.

    Only these calls stop for strace (--seccomp-bpf), so that it hardly slows the command.
    """
    log = here / "strace"
    strace = ["strace", "-f", "--seccomp-bpf", "-ttt", "-T", "-e", f"trace={_CALLS}"]
    done = subprocess.run(
        [*strace, "-o", str(log), *command], capture_output=True, text=True, cwd=TOP, check=False
    )
    if done.returncode not in (os.EX_OK, 1):
        raise BenchError(f"strace: {done.stderr.strip()}")
    return _locks(log.read_text())


@contextmanager
def watched(pid: int, here: Path) -> Iterator[list[Held]]:
    """Yield a list that has, after the block, the locks that a running process took in it."""
    log, found = here / "strace", list[Held]()
    command = ["strace", "-f", "-ttt", "-T", "-e", f"trace={_CALLS}", "-o", str(log), "-p"]
    with subprocess.Popen([*command, str(pid)], stderr=subprocess.PIPE) as strace:
        assert strace.stderr
        strace.stderr.readline()  # it says that it has attached itself
        try:
            yield found
        finally:
            strace.terminate()
    found += _locks(log.read_text())


def _locks(log: str) -> list[Held]:
    found, since = [], dict[str, float]()
    syncs: list[float] = []
    for at, call, fd, operation, result, took in _CALL.findall(log):
        if call == "flock" and operation.startswith("LOCK_EX") and result == "0":
            since[fd] = float(at)
            syncs.clear()
        elif call in ("fdatasync", "fsync"):
            syncs.append(float(took) * 1000)
        elif call == "close" and fd in since:
            held_ms = (float(at) - since.pop(fd)) * 1000
            found.append(Held(held_ms, sum(syncs), len(syncs)))
    if not found:
        raise BenchError(f"strace saw no lock: {log[:200]!r}")
    return found
