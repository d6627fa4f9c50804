"""Starting: imports, readiness, and a restart with much to remember."""

import sys
import time

from bench import journals, place
from bench.commandline import BARE, REPEATS, ms
from bench.measures import TOP, Figures, interleaved
from bench.table import Row, figure_row, number, ratio_row
from lab.poprelayd import Poprelayd

# As journalrelay.programs has it.
_IMPORTS = f"import gc, sys; gc.disable(); sys.path.insert(0, {str(TOP)!r}); "
_IMPORTS += "import journalrelay.cli, journalrelay.daemon"
_CONFIG = '[relay]\nwindow = "100y"\n'


def measure(full: bool) -> list[Row]:
    """Return the rows of this group."""
    return [_imports(), _ready(), *_restart()]


def _imports() -> Row:
    daemon = (sys.executable, "-c", _IMPORTS)
    runs = interleaved(REPEATS, bare=lambda: ms(BARE), daemon=lambda: ms(daemon))
    return ratio_row(
        "the daemon's imports: bare interpreter × 5 at most",
        f"{number(runs['daemon'].median)} ms; bare {number(runs['bare'].median)} ms",
        runs["daemon"].over(runs["bare"]),
        most=5,
    )


def _ready() -> Row:
    directory = journals.journal("logins", 1000, 1000)
    with place.scratch() as here:
        daemon = Poprelayd(here, "--directory", str(directory), config=_CONFIG)
        with daemon:  # the first start makes the map
            daemon.stop()
            took = [ready_ms(daemon) for _ in range(11)]
    return figure_row(
        "READY=1, nothing to catch up: < 150 ms", Figures(tuple(took)), "ms", most=150
    )


def ready_ms(daemon: Poprelayd) -> float:
    """Start a daemon, stop it again, and return how long it took to be ready, in ms."""
    began_s = time.perf_counter()
    daemon.launch()
    daemon.await_ready(600)
    took_s = time.perf_counter() - began_s
    daemon.stop()
    daemon.take_all_notified()
    return took_s * 1000


def _restart() -> list[Row]:
    directory = journals.journal("logins", 1_000_000, 50_000)
    with place.scratch() as here:
        daemon = Poprelayd(here, "--directory", str(directory), config=_CONFIG)
        lost_s = ready_ms(daemon) / 1000
        kept_s = [ready_ms(daemon) / 1000 for _ in range(2)]
        daemon.close()
    goal = "restart, 1 M logins of 50k addresses in the window: < 12 s"
    return [
        figure_row(goal, Figures(tuple(kept_s)), "s", most=12),
        figure_row("the same, the map lost: < 12 s", Figures((lost_s,)), "s", most=12),
    ]
