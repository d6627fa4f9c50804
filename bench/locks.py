"""How long a command holds the map's lock, by the system calls that it makes."""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bench.measures import TOP, BenchError, Figures

_CALL = re.compile(r"^(?:\d+ +)?(\d+\.\d+) (flock|close)\((\d+)(?:, (\S+))?\) += (\S+)", re.M)


def held_ms(command: Sequence[str], here: Path) -> Figures:
    """Return how long each exclusive lock was held, from its being granted to the close, in ms.

    Only these calls stop for strace (--seccomp-bpf), so that it hardly slows the command.
    """
    log = here / "strace"
    strace = ["strace", "-f", "--seccomp-bpf", "-ttt", "-T", "-e", "trace=flock,close"]
    done = subprocess.run(
        [*strace, "-o", str(log), *command], capture_output=True, text=True, cwd=TOP, check=False
    )
    if done.returncode not in (os.EX_OK, 1):
        raise BenchError(f"strace: {done.stderr.strip()}")
    held, since = [], dict[str, float]()
    for at, call, fd, operation, result in _CALL.findall(log.read_text()):
        if call == "flock" and operation.startswith("LOCK_EX") and result == "0":
            since[fd] = float(at)
        elif call == "close" and fd in since:
            held.append((float(at) - since.pop(fd)) * 1000)
    return Figures(tuple(held))
