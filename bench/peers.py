"""Reading alone, beside the readers that others use. Each selects the same entries.

fail2ban's backend recognises logins as it reads: it is measured without a rule, and with one,
beside which we recognise them too.
"""

from pathlib import Path

from bench import journals, limit, place
from bench.commandline import ms
from bench.measures import TOP, BenchError, Figures, interleaved, output, told
from bench.peer import IMPORTS
from bench.reading import command
from bench.table import Row, number, spread

_PYTHON = str(TOP / ".peers/bin/python")
_MOST = 50_000
_GOALS = {"fail2ban": 9.0, "python-systemd": 4.0}


def measure(full: bool) -> list[Row]:
    """Return the rows of this group."""
    directory = journals.journal("mixed", 1_000_000, 50_000)
    with place.scratch() as here:
        return [
            *(_against(name, directory, here) for name in IMPORTS),
            _against_journalctl(directory, here),
        ]


def _against(name: str, directory: Path, here: Path) -> Row:
    least = _GOALS.get(name, 0.0)
    goal = f"reading, mixed, against {name}" + (f": {least:g} times faster" if least else "")
    peer = [_PYTHON, "bench/peer.py", name, str(directory), str(_MOST), *limit.matches(here)]
    verb = "read" if name.endswith("rule") else "next"
    ours, theirs = [], []
    try:
        output([_PYTHON, "-c", f"import {IMPORTS[name]}"])
        for _ in range(3):
            ours.append(told(command(directory, here, _MOST, verb))["cpu"])
            theirs.append(told(peer)["cpu"])
    except BenchError as error:
        why = str(error).splitlines()[-1]
        return Row(goal, f"not measured: {why}", met=False if least else None)
    ratio = Figures(tuple(theirs)).over(Figures(tuple(ours)))
    rates = [number(_MOST / Figures(tuple(took)).median) for took in (ours, theirs)]
    loop_s = min(told(limit.read_command(directory, here, _MOST))["cpu"] for _ in range(3))
    rates[0] += f"/s, the C loop {number(_MOST / loop_s)}"
    met = ratio.median >= least if least else None
    return Row(goal, f"{rates[0]}/s; {rates[1]}/s", number(ratio.median), spread(ratio), met)


def _against_journalctl(directory: Path, here: Path) -> Row:
    """Return the row of journalctl, which prints what it reads."""
    most = 100_000  # all that the matches select
    printing = ["journalctl", "--directory", str(directory), "--output=cat", *limit.matches(here)]
    output(printing)  # it must not fail
    runs = interleaved(
        3,
        ours=lambda: told(command(directory, here, most, "next"))["cpu"],
        theirs=lambda: ms(printing) / 1000,
    )
    ratio = runs["theirs"].over(runs["ours"])
    rates = [number(most / took.median) for took in runs.values()]
    figure = f"{rates[0]}/s; {rates[1]}/s"
    return Row("reading, mixed, against journalctl", figure, number(ratio.median), spread(ratio))
