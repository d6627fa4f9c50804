"""A stranger adds his daemon: docs/add-a-daemon.md is played, and what a drop-in does live."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import room
from lab.journald import Journald, Sender, login_line
from lab.mailnook import Mailnook
from lab.poprelayd import Poprelayd
from lab.wait import wait_for

TOP = Path(__file__).resolve().parent.parent
DOC = TOP / "docs" / "add-a-daemon.md"
USUAL_MAP = "/var/lib/poprelayd/popip.db"
CLEVER = "x, client 203.0.113.66 port 1, pop3 with 0 messages"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", DOC.read_text("utf-8"), re.M | re.S)


def without_numbers(text: str) -> str:
    """Return a text in which ports, process numbers and seconds are alike."""
    text = re.sub(r"(port|session|closed after|pop3 with) [0-9]+", r"\1 N", text)
    return re.sub(r"(14min [0-9]+s|15min)\b", "14min Ns", text)


@pytest.fixture
def drop_ins(place: Path) -> Iterator[Path]:
    """Return the usual drop-in directory, for one test; the map is that of the test's own place."""
    directory = Path("/etc/mail/poprelay.conf.d")
    assert room.inside() and not directory.exists()
    directory.mkdir(parents=True)
    (directory / "00-place.conf").write_text(f'[map]\npath = "{place}/popip.db"\n')
    yield directory
    for file in directory.iterdir():
        file.unlink()
    directory.rmdir()


class Shell:
    """A shell of the stranger's, whose `journalrelay` and `systemctl` work on the room's daemon."""

    def __init__(self, place: Path, daemon: Poprelayd) -> None:
        self._place, self._daemon = place, daemon
        self._script("journalrelay", f'PYTHONPATH={TOP} exec {sys.executable} -m journalrelay "$@"')
        self._script("systemctl", '[ "$*" = "reload poprelayd" ]')

    def _script(self, name: str, text: str) -> None:
        script = self._place / name
        script.write_text(f"#!/bin/sh\n{text}\n")
        script.chmod(0o755)

    def run(self, command: str) -> str:
        """Return what a command prints, errors too."""
        if command == "systemctl reload poprelayd":
            self._daemon.reload()
        done = subprocess.run(
            ["bash", "-c", command],
            env={**os.environ, "PATH": f"{self._place}:{os.environ['PATH']}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self._place,
        )
        return done.stdout


def played(shell: Shell, block: str) -> str:
    """Return a console block with what its commands print now."""
    commands = re.findall(r"^([$#] )(.*)$", block, re.M)
    return "".join(f"{mark}{command}\n{shell.run(command)}" for mark, command in commands)


def test_the_document_is_what_happens(journald: Journald, place: Path, drop_ins: Path) -> None:
    seen, found = blocks("console"), []
    with Poprelayd(place, config=None) as daemon, Mailnook("anna") as mailnook:
        shell = Shell(place, daemon)
        mailnook.log_in("198.51.100.7")
        assert mailnook.log_in("198.51.100.8", password="wrong") is None
        journald.sync()
        found += [played(shell, block) for block in seen[:2]]
        (drop_ins / "mailnook.conf").write_text(blocks("toml")[0])
        found += [played(shell, block) for block in seen[2:5]]
        assert mailnook.log_in("203.0.113.99", CLEVER, "wrong") is None
        found.append(played(shell, seen[5]))
        mailnook.log_in("198.51.100.9")
        wait_for(lambda: "198.51.100.9" in daemon.granted(), "the login to be granted")
        assert set(daemon.granted()) == {"198.51.100.7", "198.51.100.9"}
        assert "mailnook" in daemon.run("status", "--json").stdout
    assert len(found) == len(seen)
    for told, happened in zip(seen, found, strict=True):
        happened = happened.replace(f"{place}/popip.db", USUAL_MAP)
        happened = happened.replace(f"{place}/", "/home/anna/")
        assert without_numbers(happened) == without_numbers(told)


def test_a_users_name_on_a_strangers_daemon_never_says_where_he_is(
    journald: Journald, place: Path
) -> None:
    with (
        Mailnook("anna", CLEVER) as mailnook,
        Poprelayd(place, config=blocks("toml")[0]) as daemon,
    ):
        assert mailnook.log_in("198.51.100.9", CLEVER)
        wait_for(daemon.granted, "the login to be granted")
        assert set(daemon.granted()) == {"198.51.100.9"}


def mailnooks(**other: Any) -> Sender:
    usual: dict[str, Any] = {"unit": "mailnook.service", "uid": 412, "exe": "/usr/sbin/mailnook"}
    return Sender(identifier="mailnook", **{**usual, **other})


def opened(address: str) -> str:
    return f"mailbox session 5 opened for anna, client {address} port 7, pop3 with 0 messages"


def test_only_the_daemon_itself_is_believed(journald: Journald, place: Path) -> None:
    deviations: list[dict[str, Any]] = [
        {"uid": 1000},
        {"exe": "/usr/bin/logger"},
        {"unit": "user@412.service"},
    ]
    deviations += [{"transport": "journal"}]
    with Poprelayd(place, config=blocks("toml")[0]) as daemon:
        for deviation in deviations:
            with mailnooks(**deviation) as liar:
                liar.send(opened("203.0.113.66"))
        with mailnooks() as sender:
            sender.send(opened("192.0.2.7"))
            wait_for(daemon.granted, "the login to be granted")
        assert set(daemon.granted()) == {"192.0.2.7"}


def test_a_reload_takes_a_new_drop_in_and_leaves_a_broken_one(
    journald: Journald, place: Path, drop_ins: Path
) -> None:
    file = drop_ins / "mailnook.conf"
    with Poprelayd(place, config=None) as daemon, mailnooks() as sender:
        sender.send(opened("192.0.2.6"))
        with Sender() as dovecot:
            dovecot.send(login_line("192.0.2.5"))
            wait_for(daemon.granted, "the login at dovecot to be granted")
        file.write_text(blocks("toml")[0])
        daemon.reload()
        sender.send(opened("192.0.2.7"))
        wait_for(lambda: len(daemon.granted()) == 2, "the next login to be granted")
        assert set(daemon.granted()) == {"192.0.2.5", "192.0.2.7"}, "the first is for a replay"
        file.write_text(blocks("toml")[0].replace("opened for", "(a+)+"))
        daemon.reload()
        assert f"{file}: pattern.mailnook.line[1].regex: it is not linear" in daemon.log.read_text()
        assert "the earlier configuration stays" in daemon.log.read_text()
        sender.send(opened("192.0.2.8"))
        file.write_text(blocks("toml")[0])
        wait_for(lambda: len(daemon.granted()) == 3, "another one to be granted")
        assert set(daemon.granted()) == {"192.0.2.5", "192.0.2.7", "192.0.2.8"}


def test_a_strangers_daemon_has_a_window_of_its_own(journald: Journald, place: Path) -> None:
    text = blocks("toml")[0] + '\n[daemons.mailnook]\nwindow = "2h"\n'
    with Poprelayd(place, config=text) as daemon, mailnooks() as sender:
        sender.send(opened("192.0.2.7"))
        (expiry,) = wait_for(lambda: list(daemon.granted().values()), "the login to be granted")
        (logged,) = journald.entries("_SYSTEMD_UNIT=mailnook.service")
        logged_us = int(logged["__REALTIME_TIMESTAMP"])
        assert expiry == (logged_us + 7_200_000_000) // 1_000_000
