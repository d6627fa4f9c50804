"""``status``: what it gathers, and how a person sees it."""

import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from journalrelay.commands import units
from journalrelay.commands.screen import lines
from journalrelay.telling.message import COUNTED, EXPIRED, GRANTED
from journalrelay.telling.teller import LISTED_AT_MOST
from lab.journald import Journald, Sender, login_line
from lab.poprelayd import COMMAND, IN_JOURNAL, TOP, Poprelayd
from lab.wait import wait_for
from tests.support import address, now_us

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# systemctl show --timestamp=unix of systemd 252
SHOWN = """\
Id=poprelayd.service
LoadState=loaded
NRestarts=2
Result=success

Id=poprelayd-expire.timer
LoadState=loaded
Result=success
NextElapseUSecMonotonic=1d 2h 3min 4.005006s
LastTriggerUSec=@1795000000

Id=poprelayd-expire.service
LoadState=loaded
NRestarts=0
Result=success
"""
SECOND_US = 1_000_000


@pytest.fixture
def daemon(journald: Journald, place: Path) -> Iterator[Poprelayd]:
    config = '[relay]\nwindow = "2s"\n'
    with Poprelayd(place, config=config, wrapper=IN_JOURNAL) as running:
        yield running


def facts(daemon: Poprelayd) -> dict[str, Any]:
    return dict(json.loads(daemon.run("status", "--json").stdout))


def expire(daemon: Poprelayd, count: int) -> None:
    """Run expire as its unit does until it has taken out ``count`` addresses."""
    words = [*IN_JOURNAL, *COMMAND, "-c", str(daemon.config), "expire", "--map", str(daemon.map)]

    def all_gone() -> bool:
        subprocess.run(words, check=True, cwd=TOP)
        return not daemon.popmap().read()

    wait_for(lambda: len(daemon.popmap().read()) == count, f"{count} grants")
    wait_for(lambda: not daemon.popmap().count(now_us() // SECOND_US), "their end")
    wait_for(all_gone, "an empty map")


@pytest.mark.parametrize("count", [3, LISTED_AT_MOST + 5])
def test_what_expired_is_counted_by_what_expire_told(
    daemon: Poprelayd, journald: Journald, count: int
) -> None:
    assert facts(daemon)["expired"] == 0
    with Sender() as dovecot:
        dovecot.send_many([login_line(address(n)) for n in range(count)])
        expire(daemon, count)
    journald.sync()
    kind = EXPIRED if count <= LISTED_AT_MOST else COUNTED
    assert journald.entries(f"MESSAGE_ID={kind.id}", "RELAY_EVENT=expired") or kind == EXPIRED
    found = facts(daemon)
    assert (found["expired"], found["expired_from_us"]) == (count, found["since_us"])
    assert f"expired    {count} addresses since" in daemon.run("status").stdout


def test_what_expired_before_the_daemon_was_reloaded_does_not_count(
    daemon: Poprelayd, journald: Journald
) -> None:
    with Sender() as dovecot:
        dovecot.send(login_line("192.0.2.7"))
        expire(daemon, 1)
    journald.sync()
    assert facts(daemon)["expired"] == 1
    daemon.reload()
    wait_for(lambda: facts(daemon)["expired"] == 0, "the report of after the reload")


def test_where_the_journal_begins_later_that_is_said(daemon: Poprelayd, journald: Journald) -> None:
    journald.rotate()
    with Sender() as dovecot:
        dovecot.send(login_line("192.0.2.7"))
        wait_for(lambda: journald.entries(f"MESSAGE_ID={GRANTED.id}"), "the grant")
    journald.vacuum()
    found = facts(daemon)
    assert found["expired_from_us"] > found["since_us"]


def test_who_may_not_read_the_journal_is_told_the_rest(daemon: Poprelayd) -> None:
    wait_for((daemon.place / "status.json").exists, "the report")
    drop = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    words = [*COMMAND, "status", "--map", str(daemon.map), "--state", str(daemon.place)]
    done = subprocess.run([*drop, *words], capture_output=True, text=True, cwd=TOP)
    assert (done.returncode, done.stderr) == (0, "")
    assert "running" in done.stdout
    assert "expired    not known" in done.stdout


def test_the_last_fault_has_its_time(daemon: Poprelayd) -> None:
    began_us = now_us()
    assert "fault" not in daemon.run("status").stdout
    daemon.config.write_text("nonsense")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.await_ready()
    daemon.config.write_text("")
    wait_for(lambda: facts(daemon)["last_fault"], "the fault in the report")
    found = facts(daemon)
    assert began_us < found["last_fault_us"] <= now_us()
    assert re.search(
        r"^fault +[\d-]{10} [\d:]{8} \(\d+s ago\): reload: ", daemon.run("status").stdout, re.M
    )


def test_a_screen_is_enough(daemon: Poprelayd) -> None:
    wait_for(lambda: "since" in daemon.run("status").stdout, "the report")
    said = daemon.run("status").stdout.splitlines()
    assert len(said) <= 24
    assert re.match(r"poprelayd +running, process \d+, since [\d-]+ [\d:]+ \(\d+s ago\)$", said[0])
    assert "expiry     no timer of systemd is due to run journalrelay expire" in said


def on_terminal(daemon: Poprelayd, **environment: str) -> str:
    """Return what a terminal is given of ``status``."""
    ours, theirs = pty.openpty()
    words = [*COMMAND, "status", "--map", str(daemon.map), "--state", str(daemon.place)]
    given = {**os.environ, "TERM": "xterm", **environment}
    subprocess.run(words, stdout=theirs, cwd=TOP, env=given, check=True)
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 65536):
            said += part
    except OSError:  # EIO: the other side is closed
        pass
    os.close(ours)
    return said.decode()


def test_colour_is_for_a_terminal_that_is_not_asked_to_go_without(daemon: Poprelayd) -> None:
    coloured = on_terminal(daemon, NO_COLOR="")
    assert "\x1b[32mrunning" in coloured
    for plain in (
        on_terminal(daemon, NO_COLOR="1"),
        on_terminal(daemon, TERM="dumb"),
        daemon.run("status").stdout,
    ):
        assert "running" in plain
        assert not COLOUR.search(plain)


# The units


def test_systemd_tells_when_expire_runs_next() -> None:
    day_us = 86_400 * SECOND_US
    assert units.read(SHOWN, offset_us=1_000) == {
        "restarts": 2,
        "expire_next_us": day_us + 7_384_005_006 + 1_000,
        "expire_last_us": 1_795_000_000 * SECOND_US,
        "expire_result": "success",
    }


@pytest.mark.parametrize(
    "said",
    [
        "",
        "System has not been booted with systemd as init system (PID 1). Can't operate.\n",
        SHOWN.replace("LoadState=loaded", "LoadState=not-found"),
        "Id=poprelayd-expire.timer\nLoadState=loaded\nNextElapseUSecMonotonic=infinity\n"
        "LastTriggerUSec=\n",
        "Id=poprelayd-expire.timer\nLoadState=loaded\nNextElapseUSecMonotonic=0\n"
        "LastTriggerUSec=n/a\n",
    ],
)
def test_what_systemd_does_not_know_is_none(said: str) -> None:
    assert units.read(said, 0) == units.UNKNOWN


def drawn(**known: Any) -> str:
    """Return the screen of a daemon of which this is known."""
    told = {
        "running": True,
        "pid": 7,
        "granted_now": 1,
        "daemons": ["dovecot"],
        "cut_short": False,
        "expired": None,
        "expired_from_us": None,
        **units.UNKNOWN,
        **known,
    }
    now = 1_795_000_000 * SECOND_US
    return "\n".join(line.drawn(coloured=False) for line in lines(told, "popip.db", now))


def test_the_screen_says_when_expire_runs() -> None:
    at = {"expire_next_us": 1_795_000_042 * SECOND_US, "expire_last_us": 1_794_999_982 * SECOND_US}
    assert "expiry     next in 42s, last 18s ago" in drawn(**at, expire_result="success")
    assert "last 18s ago: it failed (exit-code)" in drawn(**at, expire_result="exit-code")


def test_the_screen_says_what_is_odd() -> None:
    assert "map        a commit was cut short" in drawn(cut_short=True)
    assert "started again 3 times" in drawn(restarts=3)
    assert "lost       5 lines of dovecot.service" in drawn(suppressed={"dovecot.service": 5})
    assert "poprelayd  not running" in drawn(running=False)
