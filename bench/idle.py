"""What it costs to wait, on a journal of a hundred files."""

import time

from bench.measures import Figures
from bench.processes import cpu_s
from bench.stage import Stage, stage
from bench.table import Row, figure_row, number

_FILES = 100
_WATCH_S, _STRETCH_S = 20, 75


def measure(full: bool) -> list[Row]:
    """Return the rows of this group."""
    awake, asleep, first = [], [], []
    with stage(journal_files=_FILES) as host:
        for _ in range(5 if full else 1):
            awake.append(_percent(host, _WATCH_S / 4, logins=True))
            time.sleep(_STRETCH_S)
            asleep.append(_percent(host, _WATCH_S))
            first.append(host.latency_ms())
    return [
        figure_row("idle, full readiness: ≤ 0.7 % of a core", Figures(tuple(awake)), "%", most=0.7),
        figure_row(
            f"idle for {_STRETCH_S} s: ≤ 0.15 % of a core", Figures(tuple(asleep)), "%", most=0.15
        ),
        Row(
            "the first login after it: not the journal's own late notice (0.3 s)",
            f"{number(Figures(tuple(first)).median)} ms",
            met=max(first) < 200,
        ),
    ]


def _percent(host: Stage, watch_s: float, *, logins: bool = False) -> float:
    """Return what of a core the daemon uses, in percent, while nothing is logged, or one login
    just before."""
    if logins:
        host.latency_ms()
    pid = host.daemon.process.pid
    began_s, before_s = time.monotonic(), cpu_s(pid)
    time.sleep(watch_s)
    return (cpu_s(pid) - before_s) / (time.monotonic() - began_s) * 100
