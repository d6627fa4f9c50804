"""How soon a line of a log file is seen, with inotify and without, and what looking costs.

    python3 -m bench.latency_logfile [LINES [DIRECTORY]]

A writer appends a line at random moments, 30 ms apart on average. It is followed as the daemon does
it: wait for the descriptor, at most for the source's turn, look, read. What is measured is from
the time in the line to its being read. Then nothing is written for ten seconds, and the processor
time of the same loop is told in percent of one core.
"""

import random
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from journalrelay import clock
from journalrelay.sources import watch
from journalrelay.sources.logfile import Logfiles, LogfileSource
from lab import mailfile
from lab.journald import login_line

TOP = Path(__file__).resolve().parent.parent
_IDLE_S = 10.0
_GAP_S = 0.03


def write(path: str, lines: int) -> None:
    """Append lines, each at the time that it tells."""
    chance = random.Random(1)
    with open(path, "ab", buffering=0) as log:
        for number in range(lines):
            time.sleep(chance.expovariate(1 / _GAP_S))
            address = f"198.51.{number >> 8 & 255}.{number & 255}"
            log.write(mailfile.line(login_line(address), clock.now_us()))


def follow(source: LogfileSource, going: Callable[[int], bool]) -> list[float]:
    """Read on while ``going`` says so of the number of lines; return how late each was, in ms."""
    late_ms: list[float] = []
    poll = select.poll()
    fd = source.fileno()
    if fd is not None:
        poll.register(fd, select.POLLIN)
    while going(len(late_ms)):
        source.refresh()
        read = [record.logged_at_us() for record in source.read(1000)]
        now_us = clock.now_us()
        late_ms += [(now_us - at_us) / 1000 for at_us in read]
        if not read:
            poll.poll(source.turn_ms)
    return late_ms


def measure(title: str, path: Path, lines: int) -> None:
    """Print what came of one way of being woken."""
    path.touch(mode=0o640)
    source = LogfileSource(Logfiles((str(path),), (mailfile.HOST,)), ["dovecot"])
    writer = subprocess.Popen(
        [sys.executable, "-m", "bench.latency_logfile", "--write", str(path), str(lines)], cwd=TOP
    )
    late_ms = sorted(follow(source, lambda count: count < lines))
    writer.wait()
    until_s, began_s = time.monotonic() + _IDLE_S, time.process_time()
    follow(source, lambda _: time.monotonic() < until_s)
    idle = (time.process_time() - began_s) / _IDLE_S * 100
    source.close()
    p50, p99 = late_ms[lines // 2], late_ms[lines * 99 // 100]
    print(
        f"{title:16} {lines} lines: p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {late_ms[-1]:.1f} ms; "
        f"idle {idle:.2f} % of a core",
        flush=True,
    )


def main(arguments: Sequence[str]) -> None:
    """Measure both, print."""
    if arguments[:1] == ["--write"]:
        write(arguments[1], int(arguments[2]))
        return
    lines = int(arguments[0]) if arguments else 500
    with tempfile.TemporaryDirectory(dir=arguments[1] if arguments[1:] else "/var/lib") as name:
        if watch.library():
            measure("inotify", Path(name, "woken.log"), lines)
        watch.library = lambda: None
        measure("looking only", Path(name, "looked.log"), lines)


if __name__ == "__main__":
    main(sys.argv[1:])
