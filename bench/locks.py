"""How long the map's lock is held, and how often the map is synced, by the system calls for it."""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.measures import TOP, BenchError

# 811 1732540000.123456 flock(3</var/cache/popip.db>, LOCK_EX|LOCK_NB) = 0 <0.000006>
_CALL = re.compile(
    r"^(?:\d+ +)?(\d+\.\d+) (\w+)\((\d+)<(.*)>(?:, (\S+))?\) += (-?\d+).* <(\d+\.\d+)>$", re.M
)
_STRACE = ("strace", "-f", "-y", "-ttt", "-T", "-e", "trace=flock,close,fdatasync,fsync")


@dataclass
class Seen:
    """Each exclusive lock on a map, in ms from its being granted to the close; each sync of it."""

    held_ms: list[float] = field(default_factory=list)
    syncs_ms: list[float] = field(default_factory=list)

    def add(self, log: str, path: Path) -> None:
        """Add what a trace tells of the map at ``path``."""
        since: dict[str, float] = {}
        for at, call, fd, name, operation, result, took in _CALL.findall(log):
            if name != str(path):
                continue
            if call == "flock" and operation.startswith("LOCK_EX") and result == "0":
                since[fd] = float(at)
            elif call in ("fdatasync", "fsync"):
                self.syncs_ms.append(float(took) * 1000)
            elif call == "close" and fd in since:
                self.held_ms.append((float(at) - since.pop(fd)) * 1000)
        if not self.held_ms:
            raise BenchError(f"{path}: strace saw no lock on it: {log[:200]!r}")


def seen(command: Sequence[str], path: Path) -> Seen:
    """Return what a command does with the map at ``path``.

    Only these calls stop for strace (--seccomp-bpf), so that it hardly slows the command.
    """
    log, found = path.with_name("strace"), Seen()
    done = subprocess.run(
        [*_STRACE, "--seccomp-bpf", "-o", str(log), *command],
        capture_output=True,
        text=True,
        cwd=TOP,
        check=False,
    )
    if done.returncode not in (os.EX_OK, 1):
        raise BenchError(f"strace: {done.stderr.strip()}")
    found.add(log.read_text(), path)
    return found


@contextmanager
def watched(pid: int, path: Path) -> Iterator[Seen]:
    """Yield what has, after the block, seen what a running process does in it with a map."""
    log, found = path.with_name("strace"), Seen()
    command = [*_STRACE, "-o", str(log), "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as strace:
        assert strace.stderr
        strace.stderr.readline()  # it says that it has attached itself
        try:
            yield found
        finally:
            strace.terminate()
    found.add(log.read_text(), path)
