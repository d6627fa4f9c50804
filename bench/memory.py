"""The daemon's own memory: anonymous pages, empty, with many addresses, and after a long life.

It runs with the environment of its unit, which says how malloc gives memory back.
"""

from bench import journals, place
from bench.journals import address
from bench.measures import TOP, Figures
from bench.processes import anonymous_kb
from bench.stage import Stage, stage
from bench.table import Row, figure_row, number
from lab.journald import login_line
from lab.poprelayd import Poprelayd

_CONFIG = '[relay]\nwindow = "100y"\nmax_addresses = 0\n'
_BASE_KB, _EACH = 12 * 1024, 200
_UNIT = TOP / "units/poprelayd.service"


def measure(full: bool) -> list[Row]:
    """Return the rows of this group."""
    rows = [_live(1)]
    rows += [_live(count) for count in (50_000, 100_000, *((1_000_000,) if full else ()))]
    rows.append(_grown(1000 if full else 100, 10_000_000 if full else 200_000))
    return rows


def _live(addresses: int) -> Row:
    directory = journals.journal("logins", addresses, addresses)
    most_kb = _BASE_KB + addresses * _EACH / 1024
    with place.scratch() as here:
        daemon = Poprelayd(
            here, "--directory", str(directory), config=_CONFIG, environment=_environment()
        )
        daemon.launch()
        daemon.await_ready(1200)
        used = Figures((anonymous_kb(daemon.process.pid) / 1024,))
        daemon.close()
    goal = f"memory, {addresses:,} addresses: ≤ 12 MB + 200 bytes each ({number(most_kb / 1024)})"
    return figure_row(goal, used, "MB", most=most_kb / 1024)


def _environment() -> dict[str, str]:
    """Return what the unit puts into the daemon's environment."""
    words = [line.partition("=") for line in _UNIT.read_text().splitlines()]
    settings = (value.partition("=") for name, _, value in words if name == "Environment")
    return {name: value for name, _, value in settings}


def _grown(rotations: int, entries: int) -> Row:
    """Return the row of what a long life adds: rotations, and entries of the same 1,000 clients.
    What grows without end grows in the second half as in the first."""
    used = []
    with stage(environment=_environment()) as host:
        _live_on(host, 10, 20_000)
        used.append(anonymous_kb(host.daemon.process.pid))
        for _ in range(2):
            _live_on(host, rotations // 2, entries // 2)
            used.append(anonymous_kb(host.daemon.process.pid))
    first, second = used[1] - used[0], used[2] - used[1]
    goal = f"memory after {rotations:,} rotations and {entries:,} entries: no growth"
    figure = f"{used[0]:,} KiB, {first:+d} in the first half, {second:+d} in the second"
    met = first + second < used[0] / 50 and second < used[0] / 100
    return Row(goal, figure, met=met)


def _live_on(host: Stage, rotations: int, entries: int) -> None:
    each = entries // rotations
    for turn in range(rotations):
        for start in range(0, each, 1000):
            lines = range(start, min(each, start + 1000))
            host.dovecot.send_many(login_line(address(n % 1000)) for n in lines)
        host.journald.rotate()
        if turn % 10 == 9:
            host.catch_up()  # what is vacuumed before it is read is lost
            host.journald.vacuum("--vacuum-files=2")
    host.catch_up()
