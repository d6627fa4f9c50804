"""How long a command holds the map's lock, by the system calls that it makes."""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.measures import TOP, BenchError

# 811 1732540000.123456 flock(3, LOCK_EX|LOCK_NB) = 0 <0.000006>
_CALL = re.compile(
    r"^(?:\d+ +)?(\d+\.\d+) (\w+)\((\d+)(?:, (\S+))?\) += (-?\d+).*<(\d+\.\d+)>$", re.M
)
_CALLS = "flock,close,fdatasync,fsync"


class Held(NamedTuple):
    """How long an exclusive lock was held, and how much of that the disk took, in ms."""

    ms: float
    sync_ms: float


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


def _locks(log: str) -> list[Held]:
    found, since = [], dict[str, float]()
    sync_ms = 0.0
    for at, call, fd, operation, result, took in _CALL.findall(log):
        if call == "flock" and operation.startswith("LOCK_EX") and result == "0":
            since[fd], sync_ms = float(at), 0.0
        elif call in ("fdatasync", "fsync"):
            sync_ms += float(took) * 1000
        elif call == "close" and fd in since:
            found.append(Held((float(at) - since.pop(fd)) * 1000, sync_ms))
    return found
