"""What docs/security.md says of those who can only have lines logged, where no other room holds
it: local users, mail clients, a POP server that was broken into, guests and other hosts."""

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from journalrelay.map.popmap import PopMap
from journalrelay.patterns.identity import listed
from journalrelay.telling.message import HAND_GRANT, HAND_REVOCATION
from lab import room
from lab.journald import Journald, Sender, login_line
from lab.journalfile import entry, make_journal
from lab.poprelayd import COMMAND, Poprelayd
from lab.sendmail import Sendmail
from lab.wait import wait_for
from tests.support import now_us
from tests.test_daemon import await_granted
from tests.test_live_daemons import ALL, BY_SYSLOG, first, sample

LOCAL_USER = 1002
NOT_OURS = "f" * 32
LIE, MARK = "203.0.113.66", "192.0.2.7"
ELSEWHERE = "friend@elsewhere.example"
NASTY = "\x1b]0;gone\x07\x1b[2J\r\x9b31m\u202e\u2066$(id)`id`%s%n'\"\\"
MACHINE = Path("/etc/machine-id")


@pytest.fixture
def daemon(journald: Journald, place: Path) -> Iterator[Poprelayd]:
    with Poprelayd(place) as running:
        yield running


def settle(daemon: Poprelayd) -> set[str]:
    """Have a genuine login granted, behind all that was logged before; return who is."""
    with Sender() as dovecot:
        dovecot.send(login_line(MARK))
        await_granted(daemon, MARK)
    return set(daemon.granted())


# A local user without privileges


@pytest.mark.parametrize(
    "inner", ["app.slice/dovecot.service", "system.slice/dovecot.service", "dovecot.service"]
)
def test_a_users_own_unit_is_his_however_it_is_called(
    journald: Journald, daemon: Poprelayd, inner: str
) -> None:
    own = f"../user.slice/user-{LOCAL_USER}.slice/user@{LOCAL_USER}.service/{inner}"
    with Sender(unit=own) as forger:
        forger.send(login_line(LIE))
        (told,) = journald.entries("SYSLOG_IDENTIFIER=dovecot")
    assert told["_SYSTEMD_UNIT"] == f"user@{LOCAL_USER}.service"
    assert settle(daemon) == {MARK}


def test_root_of_a_users_own_namespace_is_that_user(journald: Journald, daemon: Poprelayd) -> None:
    daemon.map.parent.chmod(0o755)
    become = ["setpriv", f"--reuid={LOCAL_USER}", f"--regid={LOCAL_USER}", "--clear-groups"]
    become += ["--inh-caps=+sys_admin", "--ambient-caps=+sys_admin"]  # some hosts ask for it
    become += ["unshare", "--user", "--map-root-user", "--"]
    for words in (["grant", LIE], ["revoke", "--all"]):
        done = subprocess.run(
            [*become, *COMMAND, "-c", str(daemon.config), *words, "--map", str(daemon.map)],
            cwd=room.CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == os.EX_NOPERM, done.stderr
    told = journald.entries(f"MESSAGE_ID={HAND_GRANT.id}", f"RELAY_MAP={daemon.map}")
    assert [row["_UID"] for row in told] == [str(LOCAL_USER)]
    assert settle(daemon) == {MARK}
    daemon.map.unlink()  # what is made anew believes it no more
    await_granted(daemon, MARK)  # it is made anew
    assert set(daemon.granted()) == {MARK}


def test_a_flood_by_a_local_user_hides_no_login(journald: Journald, daemon: Poprelayd) -> None:
    flood = [login_line(f"203.0.113.{number % 250 + 1}") for number in range(20_000)]
    with Sender(uid=LOCAL_USER, unit=f"user@{LOCAL_USER}.service") as forger:
        forger.send_many(flood[:10_000])
        with Sender() as dovecot:  # lives on, so that journald learns who it is
            dovecot.send(login_line("192.0.2.8"))
            forger.send_many(flood[10_000:])
            journald.sync()
    await_granted(daemon, "192.0.2.8")
    assert settle(daemon) == {MARK, "192.0.2.8"}


def test_whoever_can_read_the_map_can_hold_sendmail_up(place: Path) -> None:
    """flock(2) needs no right to write, and sendmail waits for it. Nothing is granted by it."""
    path = place / "popip.db"
    PopMap(path, "hash").replace({})
    with Sendmail(room.scratch("sendmail-"), popip=place / "popip") as sendmail:
        nobody = ["setpriv", f"--reuid={LOCAL_USER}", "--clear-groups"]
        holder = subprocess.Popen([*nobody, "flock", "--no-fork", str(path), "sleep", "60"])
        inode = f":{path.stat().st_ino} "
        wait_for(lambda: [row for row in locks(inode) if "->" not in row], "the lock")
        answers: list[int] = []
        client = threading.Thread(
            target=lambda: answers.append(
                sendmail.rcpt(LIE, "anna@mail.example.test", ELSEWHERE).code
            )
        )
        client.start()
        wait_for(lambda: [row for row in locks(inode) if "->" in row], "sendmail to wait for it")
        assert answers == []
        holder.terminate()
        holder.wait()
        client.join()
        assert answers == [550]


def locks(inode: str) -> list[str]:
    """Return the kernel's lines about locks on a file, ``->`` in those that are waited for."""
    rows = Path("/proc/locks").read_text().splitlines()
    return [row for row in rows if inode in row and "FLOCK" in row]


# A mail client without an account


def test_no_word_to_sendmail_is_a_login(journald: Journald, place: Path) -> None:
    words = ("HELO", "EHLO", "MAIL FROM:", "RCPT TO:", "VRFY", "AUTH", "HELP", "")
    lines = [f"{word} {text}".encode() for word in words for text in (login_line(LIE), NASTY)]
    lines.append(b"HELO " + b"x" * 65_536)
    with (
        Poprelayd(place, config=ALL) as daemon,
        Sendmail(room.scratch("sendmail-"), popip=place / "popip") as sendmail,
    ):
        with sendmail.session(LIE) as session:
            for line in lines:
                session.smtp.send(line + b"\r\n")
                session.smtp.getreply()
        told = [str(row["MESSAGE"]) for row in journald.entries("_COMM=sendmail")]
        assert any(f"rip={LIE}" in line for line in told)
        assert settle(daemon) == {MARK}
        assert sendmail.rcpt(LIE, "anna@mail.example.test", ELSEWHERE).code == 550


# A POP server that was broken into


def hand_entry(kind: str, address: str, map_path: Path) -> list[tuple[str, str]]:
    return [
        ("MESSAGE", f"relay by hand: {address} granted until 9999999999"),
        ("MESSAGE_ID", kind),
        ("RELAY_ADDRESS", address),
        ("RELAY_EXPIRY", "9999999999"),
        ("RELAY_MAP", str(map_path)),
    ]


@pytest.mark.parametrize(("unit", "believed"), [("dovecot.service", False), ("cron.service", True)])
def test_a_server_cannot_do_the_operators_work(
    journald: Journald, daemon: Poprelayd, unit: str, believed: bool
) -> None:
    """Dovecot's log process is root's: without a look at the unit it would be the operator."""
    with Sender() as dovecot:
        dovecot.send(login_line("192.0.2.8"))
        await_granted(daemon, "192.0.2.8")
    with Sender(unit=unit, transport="journal") as root:
        root.send_fields(hand_entry(HAND_GRANT.id, LIE, daemon.map))
        root.send_fields(hand_entry(HAND_REVOCATION.id, "192.0.2.8", daemon.map))
        journald.sync()
    assert settle(daemon) == {MARK, LIE if believed else "192.0.2.8"}
    daemon.map.unlink()
    await_granted(daemon, MARK)  # it is made anew
    assert set(daemon.granted()) == {MARK, LIE if believed else "192.0.2.8"}


def test_a_server_speaks_for_no_other(journald: Journald, place: Path) -> None:
    with Poprelayd(place, config=ALL) as daemon, Sender() as dovecot:
        for server in BY_SYSLOG:
            if server.name == "dovecot":
                continue
            login = first(server, "login")
            dovecot.identifier = listed(server.identity_of(login), "SYSLOG_IDENTIFIER")[0]
            if "address" not in login.regex.groupindex:
                dovecot.send(sample(first(server, "connect"), LIE))
            dovecot.send_many([server.traps[0], sample(login, LIE)])
        assert settle(daemon) == {MARK}


def test_a_server_that_lies_opens_no_more_than_its_limit(journald: Journald, place: Path) -> None:
    config = '[relay]\nnever = ["203.0.113.0/24"]\n[daemons.dovecot]\nmax_addresses = 3\n'
    with Poprelayd(place, config=config) as daemon, Sender() as dovecot:
        dovecot.send(login_line(MARK))
        await_granted(daemon, MARK)
        dovecot.send_many([login_line(f"203.0.113.{number}") for number in range(1, 30)])
        dovecot.send_many([login_line(f"198.51.100.{number}") for number in range(1, 30)])
        dovecot.send(login_line("127.0.0.1"))
        journald.sync()
        wait_for(lambda: len(daemon.granted()) == 3, "three grants")
        with Sender(
            unit="cyrus-imapd.service",
            exe="/usr/lib/cyrus/bin/pop3d",
            uid=102,
            identifier="cyrus/pop3",
        ) as cyrus:
            cyrus.send("login: [192.0.2.9] bob plaintext User logged in SESSIONID=<x>")
            await_granted(daemon, "192.0.2.9")
        granted = daemon.granted()
        assert len(granted) == 4 and {MARK, "192.0.2.9"} < set(granted)
        assert not [address for address in granted if address.startswith(("203.", "127."))]
        longest_us = 15 * 60 * 1_000_000
        assert max(granted.values()) * 1_000_000 <= now_us() + longest_us


# A guest's journal, or another host's, beside ours


@pytest.fixture
def cleared() -> Iterator[None]:
    """Take away what was laid beside this machine's journal."""
    yield
    for path in [*Path("/var/log").glob("journal/*"), *Path("/run/log").glob("journal/*")]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def lay_beside() -> None:
    """Write journal files with perfect logins everywhere below the two journal directories."""
    ours = MACHINE.read_text().strip()
    where = [
        (f"{NOT_OURS}/system.journal", NOT_OURS),
        (f"{ours}/remote-guest.journal", NOT_OURS),
        (f"{ours}.guest/system.journal", ours),
        ("remote/remote-guest.journal", ours),
        ("guest.journal", NOT_OURS),
    ]
    for number, (name, machine) in enumerate(where, 1):
        for top, network in (("/var/log/journal", "198.51.100"), ("/run/log/journal", "203.0.113")):
            lay(Path(top, name), f"{network}.{number}", machine)
    lay(Path("/var/log/journal", NOT_OURS, "forged.journal"), "198.51.100.99", ours)


def lay(file: Path, address: str, machine: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    make_journal([entry(login_line(address), now_us(), machine_id=machine)], file)


@pytest.mark.usefixtures("cleared")
def test_no_journal_beside_ours_is_believed(journald: Journald, place: Path) -> None:
    with Poprelayd(place) as daemon:
        lay_beside()
        assert settle(daemon) == {MARK}
        done = daemon.run("replay", "--all", "--dry-run", "--json").stdout.splitlines()
        assert {json.loads(row)["address"] for row in done} == {MARK}
        daemon.map.unlink()
        await_granted(daemon, MARK)  # it is made anew
        assert set(daemon.granted()) == {MARK}


@pytest.mark.usefixtures("cleared")
def test_who_writes_files_among_ours_is_believed(journald: Journald, place: Path) -> None:
    """In these files nothing but what they say of themselves tells whose they are."""
    ours = MACHINE.read_text().strip()
    files = {
        f"/var/log/journal/{ours}/remote.journal": "203.0.113.1",
        "/var/log/journal/received.journal": "203.0.113.2",
        f"/run/log/journal/{NOT_OURS}/system.journal": "203.0.113.3",
    }
    with Poprelayd(place) as daemon:
        for name, address in files.items():
            lay(Path(name), address, ours)
        assert settle(daemon) <= {MARK, *files.values()}
        done = daemon.run("replay", "--all", "--dry-run", "--json").stdout.splitlines()
        assert {json.loads(row)["address"] for row in done} == {MARK, *files.values()}


def test_what_is_named_is_read_whoever_logged_it(journald: Journald, place: Path) -> None:
    """The operator has said so: a directory that was received is read by its name."""
    file = place / "guest.journal"
    make_journal([entry(login_line(LIE), now_us(), machine_id=NOT_OURS)], file)
    with Poprelayd(place) as daemon:
        done = daemon.run("replay", "--all", "--dry-run", "--json", "--file", str(file))
        assert [json.loads(row)["address"] for row in done.stdout.splitlines()] == [LIE]


def test_a_replay_needs_no_root(journald: Journald, place: Path) -> None:
    """The daemon's user with the journal's group is enough, as in the unit."""
    with Sender() as dovecot:
        dovecot.send(login_line(MARK))
        journald.sync()
    os.chown(place, LOCAL_USER, LOCAL_USER)
    own = ["setpriv", f"--reuid={LOCAL_USER}", f"--regid={LOCAL_USER}", "--groups=systemd-journal"]
    files = ["--map", str(place / "popip.db"), "--state", str(place)]
    done = subprocess.run(
        [*own, *COMMAND, "-c", "/dev/null", "replay", *files],
        cwd=room.CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(PopMap(place / "popip.db", "hash").read()) == {MARK.encode()}
