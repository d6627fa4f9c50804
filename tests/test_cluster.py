"""More than one machine: the simulation in short, and the files of units/several-hosts.

Whole it is `make cluster-test`.
"""

import re
import subprocess
from pathlib import Path

import pytest

from lab.certificates import Authority
from lab.modelhosts import HOUR_US, PopHost, truth
from lab.simulation import NotTheTruthError, Simulation, compare

TOP = Path(__file__).resolve().parent.parent
UNITS = TOP / "units/several-hosts"
WINDOW_S = 3600


def test_all_relay_hosts_come_to_the_same_map_after_partitions() -> None:
    with Simulation(hosts=12, relays=2, seed=4) as simulation:
        simulation.run(rounds=40)
        simulation.settle()
        assert simulation.done["cuts"] and simulation.done["sent again"]
        assert sum(link.again for relay in simulation.relays for link in relay.links)


def test_a_map_that_lacks_or_has_too_much_is_not_the_truth() -> None:
    compare({b"192.0.2.1": 5}, {b"192.0.2.1": 5})
    for seen in ({}, {b"192.0.2.1": 4}, {b"192.0.2.1": 5, b"192.0.2.2": 5}):
        with pytest.raises(NotTheTruthError, match="of 1 differ"):
            compare(seen, {b"192.0.2.1": 5})


def test_the_truth_is_the_latest_login_at_a_host_whose_clock_is_right() -> None:
    early, late, ahead = PopHost("a"), PopHost("b"), PopHost("c", 2 * HOUR_US)
    early.log("192.0.2.1", 10_999_999)
    late.log("192.0.2.1", 20_000_000)
    ahead.log("192.0.2.2", 20_000_000)
    assert truth([late, early, ahead], WINDOW_S) == {b"192.0.2.1": 3620}


@pytest.mark.parametrize("name", sorted(path.name for path in UNITS.glob("*@.s*")))
def test_systemd_finds_nothing_wrong_with_a_unit(name: str, tmp_path: Path) -> None:
    for unit in (*UNITS.glob("*.service"), *UNITS.glob("*.socket")):
        (tmp_path / unit.name).write_bytes(unit.read_bytes())
    instance = tmp_path / name.replace("@", "@pop1.example")
    instance.symlink_to(name)
    command = ["systemd-analyze", "verify", "--man=no", str(instance)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert [line for line in done.stderr.splitlines() if str(tmp_path) in line] == []
    assert done.returncode == 0, done.stderr


def test_a_certificate_names_its_host_and_is_of_the_authority(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    _, certificate = authority.issue("pop1.example")
    verify = ["openssl", "verify", "-CAfile", str(authority.trusted)]
    named = [*verify, "-verify_hostname", "pop1.example", str(certificate)]
    assert subprocess.run(named, capture_output=True, check=False).returncode == 0
    other = [*verify, "-verify_hostname", "pop2.example", str(certificate)]
    assert subprocess.run(other, capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ("CN=pop1.example", "pop1.example"),
        ("CN=..", None),
        ("CN=../pop1.example", None),
        ("CN=pop1.example,O=other", None),
        ("O=other,CN=pop1.example", None),
        ("CN=pop1.example:/x", None),
        ("", None),
    ],
)
def test_nginx_takes_a_name_alone_for_a_host(subject: str, name: str | None) -> None:
    text = (UNITS / "journal-receive.nginx").read_text()
    told = re.search(r'"~(\^CN=.*\$)"', text)
    assert told is not None
    found = re.search(told[1].replace("?<", "?P<"), subject)
    assert (found["name"] if found else None) == name


def test_the_manual_page_copies_files_that_there_are() -> None:
    page = (TOP / "docs/journal-transport.md").read_text()
    copied = {name for line in re.findall(r"^# cp (.*) /etc", page, re.M) for name in line.split()}
    assert copied == {path.name for path in UNITS.iterdir()}
