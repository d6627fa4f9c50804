"""The whole corpus once more, through a live journald: what was recorded is logged again, and the
running daemon grants what it must and nothing else."""

from pathlib import Path

import pytest

from lab.journald import Journald
from lab.journalfile import parse_export
from lab.poprelayd import Poprelayd
from lab.retell import Retelling
from tests.test_daemon import await_granted
from tests.test_patterns import CORPUS, LIE, expected

# one user was at many places in a short time
ALL = '[daemons]\nenable = "all"\n[relay]\nmax_addresses_per_user = 0\n'
OWN = {"192.0.2.1", "2001:db8::1", "127.0.0.1"}  # found, and refused
RECORDED = sorted(path for path in CORPUS.iterdir() if path.is_dir())


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda path: path.name)
def test_what_was_recorded_is_granted_live(journald: Journald, place: Path, recorded: Path) -> None:
    wanted: set[str] = set()
    with Poprelayd(place, config=ALL) as poprelayd:
        for scenario in sorted(recorded.glob("*.export")):
            wanted |= set(expected(scenario)) - OWN
            with Retelling(journald) as retelling:
                told = [retelling.tell(entry) for entry in parse_export(scenario.read_bytes())]
            assert any(told), scenario
        await_granted(poprelayd, *wanted)
        poprelayd.stop()  # everything logged by now is in the map
        granted = set(poprelayd.granted())
    assert granted == wanted
    assert LIE not in granted
