"""The laboratory is what it claims: real parts, true identities, nothing left behind."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lab import cgroup, room
from lab.dovecot import USERS, Dovecot
from lab.journald import Journald, Sender, login_line
from lab.journalfile import entry, make_journal
from lab.wait import wait_for

DOVECOT_LOG = {  # facts of Dovecot 2.3 and 2.4 on Debian
    "_SYSTEMD_UNIT": "dovecot.service",
    "SYSLOG_IDENTIFIER": "dovecot",
    "_UID": "0",
    "_EXE": "/usr/lib/dovecot/log",
    "_TRANSPORT": "syslog",
    "SYSLOG_FACILITY": "2",
}
CLIENT, CLIENT6 = "198.51.100.7", "2001:db8:1:2::7"


def identity(recorded: dict[str, Any]) -> dict[str, Any]:
    return {name: recorded.get(name) for name in DOVECOT_LOG}


def one_entry(journald: Journald, text: str) -> dict[str, Any]:
    (found,) = journald.entries(f"MESSAGE={text}")
    return found


def shape(line: str) -> str:
    """Blank what differs between two logins."""
    return re.sub(r"mpid=\d+|session=<[^>]*>", "…", line)


def in_a_room(*command: str) -> list[str]:
    return [sys.executable, "-m", "lab.room", "--", *command]


def test_clients_of_the_room_have_names_and_can_connect() -> None:
    assert socket.gethostname() == "mail.example.test"
    assert socket.gethostbyaddr("192.0.2.7")[0] == "client-7.example.net"
    assert socket.gethostbyaddr(CLIENT6)[0] == "client6-7.example.org"
    with (
        socket.create_server((room.SERVER6, 0), family=socket.AF_INET6) as server,
        socket.create_connection(server.getsockname()[:2], 5, (CLIENT6, 0)),
    ):
        connection, peer = server.accept()
        connection.close()
    assert peer[0] == CLIENT6


def test_scratch_is_safe_for_sendmail_all_the_way_up() -> None:
    place = room.scratch()
    for directory in (place, *place.parents):
        status = directory.stat()
        assert status.st_uid == 0
        assert status.st_mode & 0o777 == 0o755


def test_any_user_can_read_the_checkout_wherever_it_lies() -> None:
    nobody = ["setpriv", "--reuid", "65534", "--clear-groups"]
    subprocess.run([*nobody, "test", "-r", room.CHECKOUT / "lab/room.py"], check=True)
    assert Path(room.__file__).is_relative_to(room.CHECKOUT)


def test_sender_is_recorded_as_dovecots_log_process(journald: Journald) -> None:
    with Sender() as sender:
        sender.send("a line")
        recorded = one_entry(journald, "a line")
    assert identity(recorded) == DOVECOT_LOG
    assert recorded["_PID"] == str(sender.pid)


@pytest.mark.parametrize(
    ("deviation", "field", "value"),
    [
        ({"unit": "other.service"}, "_SYSTEMD_UNIT", "other.service"),
        ({"uid": 1000}, "_UID", "1000"),
        ({"exe": "/usr/bin/logger"}, "_EXE", "/usr/bin/logger"),
        ({"exe": "/usr/lib/nowhere/log"}, "_EXE", "/usr/lib/nowhere/log"),
        ({"identifier": "sm-mta"}, "SYSLOG_IDENTIFIER", "sm-mta"),
        ({"transport": "journal"}, "_TRANSPORT", "journal"),
        ({"facility": 16}, "SYSLOG_FACILITY", "16"),
    ],
    ids=str,
)
def test_spoofing_sender_deviates_in_one_field(
    journald: Journald, deviation: dict[str, Any], field: str, value: str
) -> None:
    with Sender(**deviation) as sender:
        sender.send("a lie")
        recorded = one_entry(journald, "a lie")
    assert identity(recorded) == DOVECOT_LOG | {field: value}


def test_native_sender_can_give_two_messages(journald: Journald) -> None:
    with Sender(transport="journal") as sender:
        sender.send_fields([("MESSAGE", "one"), ("MESSAGE", "two\nlines")])
        recorded = one_entry(journald, "one")
    assert recorded["MESSAGE"] == ["one", "two\nlines"]


def test_real_dovecot_is_recorded_with_the_same_identity(journald: Journald) -> None:
    with Dovecot() as dovecot:
        dovecot.pop3_login(CLIENT)
        dovecot.imap_login(CLIENT6, USERS[1], tls=True)
        logins = journald.entries(*(f"{name}={value}" for name, value in DOVECOT_LOG.items()))
    lines = [shape(login["MESSAGE"]) for login in logins if "user=<" in login["MESSAGE"]]
    version = dovecot.version
    assert shape(login_line(CLIENT, USERS[0], "pop3", version)) in lines
    ours = login_line(CLIENT6, USERS[1], "imap", version, tls=True, local=room.SERVER6)
    assert shape(ours) in lines


def test_rotation_makes_a_new_file(journald: Journald) -> None:
    active = journald.directory / "system.journal"
    before = active.stat().st_ino
    journald.rotate()
    assert active.stat().st_ino != before
    assert len(list(journald.directory.glob("system@*.journal"))) == 1
    journald.vacuum()
    assert not list(journald.directory.glob("system@*.journal"))


@pytest.mark.parametrize("end", [Journald.stop, Journald.kill])
def test_lines_logged_while_journald_is_down_are_recorded(journald: Journald, end: Any) -> None:
    with Sender() as sender:
        end(journald)
        sender.send("meanwhile")
        journald.start()
        assert identity(one_entry(journald, "meanwhile")) == DOVECOT_LOG


def test_namespaced_journald_keeps_a_journal_of_its_own(journald: Journald) -> None:
    with Journald(namespace="lab") as other, Sender(namespace="lab") as sender:
        sender.send("elsewhere")
        assert identity(one_entry(other, "elsewhere")) == DOVECOT_LOG
        assert not journald.entries("MESSAGE=elsewhere")
        assert other.directory.name.endswith(".lab")


def test_made_journal_file_holds_what_was_asked_for() -> None:
    when_us = 1_700_000_000_123_456
    path = make_journal(
        [entry("first", when_us), entry(b"raw \xff\n\0", when_us + 1, unit=None)],
        room.scratch() / "made.journal",
    )
    command = ["journalctl", "--file", str(path), "-o", "export"]
    text = subprocess.run(command, check=True, capture_output=True).stdout
    first, second = text.rstrip(b"\n").split(b"\n\n")
    assert b"__REALTIME_TIMESTAMP=%d" % when_us in first
    assert {b"_EXE=/usr/lib/dovecot/log", b"_SYSTEMD_UNIT=dovecot.service"} <= set(
        first.split(b"\n")
    )
    assert b"raw \xff\n\0" in second
    assert b"_SYSTEMD_UNIT" not in second


def test_room_leaves_nothing_on_its_host() -> None:
    script = "from lab.journald import *\nJournald().start()\nSender().send('x')\nprint('did it')"
    before = host_state()
    command = in_a_room(sys.executable, "-c", script)
    outermost = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output, _ = outermost.communicate()
    assert (outermost.returncode, output) == (0, b"did it\n")
    assert host_state() == before
    assert not any(place.exists() for place in slices(outermost.pid))


def host_state() -> list[object]:
    """List what a room covers: its places and mounts."""
    places = [sorted(os.listdir(place)) for place in ("/etc", "/run", "/srv", "/dev", "/var/log")]
    return [places, Path("/proc/self/mounts").read_text(), Path("/etc/hosts").read_bytes()]


def slices(pid: int) -> list[Path]:
    """Return where the cgroups of a room are while it lives."""
    return [top / cgroup.slice_name(pid) for top in cgroup.hierarchies()]


def test_room_gives_back_the_commands_status() -> None:
    def status(*command: str) -> int:
        return subprocess.run(in_a_room(*command), capture_output=True, check=False).returncode

    assert status("sh", "-c", "exit 7") == 7
    assert status("sh", "-c", "kill -9 $$") == 128 + signal.SIGKILL
    assert status("/nonexistent") == 127


def test_killed_room_takes_its_processes_along_and_the_next_one_tidies_up() -> None:
    outermost = subprocess.Popen(in_a_room("sleep", "86399"))
    wait_for(lambda: running("sleep\0" + "86399"), "the command in the room")
    left = slices(outermost.pid)
    assert all(place.is_dir() for place in left)
    outermost.kill()
    outermost.wait()
    wait_for(lambda: not running("sleep\0" + "86399"), "the command to be gone")
    wait_for(lambda: swept(left), "the slice to be gone")


def swept(places: list[Path]) -> bool:
    cgroup.sweep()
    return not any(place.is_dir() for place in places)


def running(command: str) -> bool:
    """Tell whether a process with this command line (words ended by NUL) is there."""
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if place.read_text() == command + "\0":
                return True
    return False


def test_a_room_told_to_end_tells_its_command() -> None:
    said = 'trap "echo the sum; exit 3" TERM; echo begun; while :; do read -t 1 <> <(:); done'
    outermost = subprocess.Popen(in_a_room("bash", "-c", said), stdout=subprocess.PIPE, text=True)
    assert outermost.stdout is not None
    assert outermost.stdout.readline() == "begun\n"
    outermost.terminate()
    assert outermost.communicate(timeout=30)[0] == "the sum\n"
    assert outermost.returncode == 3
