"""The daemon and its commands on log files: live, through rotation, by hand, and which is read."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lab import mailfile, room
from lab.journald import Journald, Sender, login_line
from lab.poprelayd import TOP, Poprelayd, journalrelay
from lab.torture import KINDS, Torture
from lab.wait import wait_for
from tests.support import now_us

HOSTS = '[source]\nhosts = ["mail"]\n'
SECONDS = 1.5


@pytest.fixture
def log(place: Path) -> Path:
    path = place / "mail.log"
    path.touch(mode=0o640)
    return path


def write(log: Path, *addresses: str) -> None:
    with log.open("ab") as file:
        for address in addresses:
            file.write(mailfile.line(login_line(address), now_us()))


def await_granted(daemon: Poprelayd, *addresses: str) -> None:
    wait_for(lambda: set(addresses) <= set(daemon.granted()), f"{addresses} in the map")


def following(place: Path, log: Path, config: str = HOSTS) -> Poprelayd:
    return Poprelayd(place, "--logfile", str(log), config=config)


def test_a_login_in_a_file_is_granted_as_in_the_journal(place: Path, log: Path) -> None:
    at_us = now_us()
    log.write_bytes(mailfile.line(login_line("192.0.2.7"), at_us))
    with following(place, log) as daemon:
        write(log, "192.0.2.8")
        await_granted(daemon, "192.0.2.7", "192.0.2.8")
        assert daemon.granted()["192.0.2.7"] == (at_us + 900_000_000) // 1_000_000
        log.rename(f"{log}.1")
        write(log, "192.0.2.9")
        await_granted(daemon, "192.0.2.9")
        daemon.kill()
        write(log, "192.0.2.10")
        log.with_name("mail.log.1").rename(f"{log}.2")
        log.rename(f"{log}.1")
        write(log, "192.0.2.11")
        daemon.start()
        await_granted(daemon, "192.0.2.10", "192.0.2.11")
        status = json.loads(daemon.run("status", "--json").stdout)
        assert status["source"].startswith("logfile-") and status["why"].startswith(str(log))
        assert f"source     {log}: as configured" in daemon.run("status").stdout


def test_what_lies_in_the_future_is_refused(place: Path, log: Path) -> None:
    log.write_bytes(mailfile.line(login_line("192.0.2.7"), now_us() + 120_000_000))
    with following(place, log) as daemon:
        write(log, "192.0.2.8")
        await_granted(daemon, "192.0.2.8")
        assert set(daemon.granted()) == {"192.0.2.8"}
        daemon.stop()
        daemon.start()
        assert "set back" not in daemon.log.read_text(), "a line's time is no clock"


def test_what_sendmail_quotes_is_not_granted(place: Path, log: Path) -> None:
    """CVE-2001-1075, and the same in Dovecot's words."""
    quotes = [
        'AAA: POP login by user "admin" at (203.0.113.66) 203.0.113.66',
        f"AAA: from=<{login_line('203.0.113.66')}>, size=0",
        login_line("203.0.113.66"),
    ]
    with following(place, log, HOSTS + '[daemons]\nenable = "all"\n') as daemon:
        with log.open("ab") as file:
            for quote in quotes:
                file.write(mailfile.line(quote, now_us(), identifier="sm-mta", pid=7))
        write(log, "192.0.2.8")
        await_granted(daemon, "192.0.2.8")
        assert set(daemon.granted()) == {"192.0.2.8"}
        wait_for(lambda: "courier" in daemon.log.read_text(), "what is not read")
        assert "not read from a log file" in daemon.log.read_text()


def test_replay_walks_a_file_and_its_predecessors(place: Path, log: Path) -> None:
    at_us = now_us() - 60_000_000
    log.with_name("mail.log.1").write_bytes(mailfile.line(login_line("192.0.2.7"), at_us))
    log.write_bytes(mailfile.line(login_line("192.0.2.8"), at_us + 1))
    (place / "c").write_text(HOSTS)
    files = ["--logfile", str(log), "--map", str(place / "m.db"), "--state", str(place)]

    def rows(*start: str) -> list[dict[str, object]]:
        done = journalrelay("-c", str(place / "c"), "replay", "--json", *start, *files)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    both = rows("--all", "--dry-run")
    assert [row["address"] for row in both] == ["192.0.2.7", "192.0.2.8"]
    assert rows("--cursor", str(both[0]["cursor"]), "--dry-run") == both
    assert rows("--cursor", str(both[1]["cursor"]), "--dry-run") == both[1:]
    rows()
    assert list(place.glob("logfile-*.cursor"))
    assert rows() == []
    done = journalrelay("-c", str(place / "c"), "replay", "--cursor", "x", *files)
    assert done.returncode == os.EX_USAGE and "is no cursor" in done.stderr


def test_what_cannot_be_read_ends_with_its_code(place: Path, log: Path) -> None:
    def ended(*options: str) -> tuple[int, str]:
        files = ["--map", str(place / "m.db"), "--state", str(place), *options]
        done = journalrelay("replay", *files)
        assert len(done.stderr.splitlines()) == 1
        return done.returncode, done.stderr

    code, said = ended("--logfile", str(place / "none.log"))
    assert (code, "there is no such log file" in said) == (os.EX_NOINPUT, True)
    log.chmod(0o666)
    code, said = ended("--logfile", str(log))
    assert (code, f"(chmod o-w {log})" in said) == (os.EX_NOPERM, True)


def test_lines_of_this_host_count_by_default(place: Path, log: Path) -> None:
    own = room.HOSTNAME.partition(".")[0]
    with following(place, log, "") as daemon:
        for address, host in (("203.0.113.66", "elsewhere"), ("192.0.2.7", own)):
            with log.open("ab") as file:
                file.write(mailfile.line(login_line(address), now_us(), host=host))
        await_granted(daemon, "192.0.2.7")
        assert set(daemon.granted()) == {"192.0.2.7"}
        wait_for(lambda: "host elsewhere" in daemon.log.read_text(), "the remark")


def test_what_is_done_by_hand_is_in_the_journal(journald: Journald, place: Path, log: Path) -> None:
    with following(place, log) as daemon:
        write(log, "192.0.2.7", "192.0.2.8")
        await_granted(daemon, "192.0.2.7", "192.0.2.8")
        assert daemon.run("revoke", "192.0.2.7").returncode == 0
        assert daemon.run("grant", "192.0.2.9").returncode == 0
        journald.sync()
        daemon.stop()
        daemon.map.unlink()
        daemon.start()
        await_granted(daemon, "192.0.2.8", "192.0.2.9")
        assert set(daemon.granted()) == {"192.0.2.8", "192.0.2.9"}


def test_auto_reads_the_journal_where_servers_log_to_it(
    journald: Journald, place: Path, log: Path
) -> None:
    config = f'[source]\nhosts = ["mail"]\nlogfile = ["{log}"]\n'
    with Poprelayd(place, config=config) as daemon:
        why = json.loads(daemon.run("status", "--json").stdout)["why"]
        assert why == f"{log}: the journal has no entry of the servers that are read"
        write(log, "192.0.2.7")
        await_granted(daemon, "192.0.2.7")
        with Sender() as sender:  # journald must see who it is: it may not be gone before
            sender.send(login_line("192.0.2.8"))
            journald.sync()
        daemon.reload()
        await_granted(daemon, "192.0.2.8")
        why = json.loads(daemon.run("status", "--json").stdout)["why"]
        assert why == "the journal: it has entries of the servers that are read"


def test_auto_without_a_file_reads_a_journal_that_is_still_empty(
    journald: Journald, place: Path
) -> None:
    with Poprelayd(place) as daemon, Sender() as sender:
        sender.send(login_line("192.0.2.8"))
        await_granted(daemon, "192.0.2.8")
        assert "no log file is named" in daemon.run("status").stdout


def test_auto_reads_a_file_where_there_is_no_journal(place: Path, log: Path) -> None:
    for directory in ("/run/log/journal", "/var/log/journal"):  # of earlier tests in this room
        for journal in Path(directory).glob("*"):
            shutil.rmtree(journal)
    config = f'[source]\nhosts = ["mail"]\nlogfile = ["{place}/mail*.log"]\n'
    write(log, "192.0.2.7")
    with Poprelayd(place, config=config) as daemon:
        await_granted(daemon, "192.0.2.7")
        assert "this machine has no journal" in daemon.run("status").stdout


def test_a_login_is_granted_soon_after_its_line(place: Path, log: Path) -> None:
    """Not by the clock: a daemon that looks every 20 ms is asked whether it was woken."""
    with following(place, log) as daemon:
        trace = [f for f in Path(f"/proc/{daemon.process.pid}/fd").iterdir() if "inotify" in aim(f)]
        assert trace
        write(log, "192.0.2.7")
        await_granted(daemon, "192.0.2.7")


def aim(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


@pytest.mark.parametrize("kind", KINDS)
def test_no_rotation_and_no_kill_loses_a_login(place: Path, kind: str) -> None:
    """A short torture; a long one is run by hand: python3 -m lab.torture SECONDS."""
    came = Torture(place, kind, seed=20261125, kills=True).run(SECONDS)
    assert (came.lost, came.wrong, came.faults) == (0, 0, [])
    assert came.logins and came.rotations


@pytest.mark.parametrize("kind", ["create", "copytruncate", "newsyslog"])
def test_no_rotation_has_a_login_read_twice(place: Path, kind: str) -> None:
    came = Torture(place, kind, seed=20261125, kills=False).run(SECONDS)
    assert (came.lost, came.wrong, came.doubled, came.faults) == (0, 0, 0, [])


def test_the_bench_measures(place: Path) -> None:
    command = [sys.executable, "-m", "bench.catchup_logfile", "1", "100", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=TOP, check=True)
    assert done.stdout.count("logins") == 4 and "entries read" in done.stdout
