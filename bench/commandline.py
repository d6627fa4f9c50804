"""Short commands against the start of an interpreter that does nothing."""

import os
import resource
import subprocess
import sys
from collections.abc import Sequence

from bench import maps, place
from bench.measures import TOP, interleaved
from bench.table import Row, number, ratio_row

_PROGRAM = f"import sys; sys.path.insert(0, {str(TOP)!r}); "
_PROGRAM += "from journalrelay.programs import journalrelay; sys.exit(journalrelay())"
BARE = (sys.executable, "-c", "pass")
REPEATS = 21


def program(*words: str) -> Sequence[str]:
    """Return the command that the installed program ``journalrelay WORDS`` is."""
    return [sys.executable, "-c", _PROGRAM, *words]


def ms(command: Sequence[str]) -> float:
    """Return the processor's time that a command takes, in ms: what else the machine does makes
    a long command longer than a short one."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True, cwd="/", env=_compiling(), check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


def _compiling() -> dict[str, str]:
    """Return an environment in which the first run leaves its bytecode for the others, as a
    package that is installed has it."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def measure(full: bool) -> list[Row]:
    """Return the rows of this group."""
    rows = []
    with place.scratch() as here:
        path = here / "popip.db"
        maps.live(path, 10_000)
        chosen = ("-c", "/dev/null")
        commands = {
            "check": program(*chosen, "check", "--map", str(path), "198.18.0.1"),
            "expire": program(*chosen, "expire", "--map", str(path)),
        }
        runs = interleaved(
            REPEATS,
            bare=lambda: ms(BARE),
            check=lambda: ms(commands["check"]),
            expire=lambda: ms(commands["expire"]),
        )
    for name, what in (("check", "check ADDRESS"), ("expire", "expire, nothing to do of 10,000")):
        rows.append(
            ratio_row(
                f"journalrelay {what}: bare interpreter × 4 at most",
                f"{number(runs[name].median)} ms; bare {number(runs['bare'].median)} ms",
                runs[name].over(runs["bare"]),
                most=4,
            )
        )
    return rows
