"""The command line: every verb on real files and a real journal, its output as DESIGN.md has it."""

import fcntl
import ipaddress
import json
import os
import re
import subprocess
import sys
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import pytest

from journalrelay.map.changes import Changes
from journalrelay.map.popmap import PopMap
from journalrelay.telling.message import HAND_GRANT, HAND_REVOCATION
from lab.journald import Journald, Sender, login_line
from lab.journalfile import entry, make_journal
from lab.poprelayd import COMMAND, TOP, Poprelayd, journalrelay
from lab.wait import wait_for
from tests import support

S_US = 1_000_000
PIPE, SECOND_LOOK_S = 65536, 0.25  # bytes that a pipe takes, pipe(7); sources/journal.py
WINDOW_S = 900
FIELDS: dict[str, type | tuple[type, ...]] = {
    "cursor": str,
    "time": (int, float),
    "address": str,
    "user": str,
    "service": str,
    "daemon": str,
    "verdict": str,
    "reason": str,
    "expiry": (int, type(None)),
}
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--")
POPRELAYD = (sys.executable, "-c", "import sys; from journalrelay.cli import poprelayd as p; ")
Said = subprocess.CompletedProcess[str]


class Post:
    """A mail host's files in one directory: configuration, map, state, journal file."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.map = place / "popip.db"
        self.state = place / "state"
        self.state.mkdir()
        self.file = place / "mail.journal"
        self.config = place / "poprelay.conf"
        self.config.write_text("")

    def log(self, *lines: str | bytes, ago_s: float = 60, step_s: float = 1) -> list[int]:
        """Log lines as Dovecot's, a second apart; return the entries' times in µs."""
        first = time.time_ns() // 1000 - round(ago_s * S_US)
        times = [first + round(n * step_s * S_US) for n in range(len(lines))]
        make_journal(map(entry, lines, times), self.file)
        return times

    def run(self, verb: str, *arguments: str) -> Said:
        """Run a verb with ``--map``, and ``-c`` for an empty configuration."""
        return journalrelay("-c", str(self.config), verb, *arguments, "--map", str(self.map))

    def replay(self, *arguments: str) -> Said:
        """Run ``replay`` on the journal file; it must end well."""
        files = ("--file", str(self.file), "--state", str(self.state))
        done = self.run("replay", *arguments, *files)
        assert done.returncode == 0, done.stderr
        return done

    def logins(self, *arguments: str) -> list[dict[str, Any]]:
        """Return the objects that ``replay --json`` prints."""
        lines = self.replay("--json", *arguments).stdout.splitlines()
        return [json.loads(line) for line in lines]

    def listed(self) -> dict[str, int]:
        """Return what ``list --json`` prints: address and expiry."""
        rows = json.loads(self.run("list", "--json").stdout)
        return {row["address"]: row["expiry"] for row in rows}

    def content(self) -> dict[bytes, int]:
        """Return all that the map holds."""
        return PopMap(self.map, "hash").read()

    def put(self, granted_for_s: dict[bytes, int]) -> int:
        """Put keys with seconds from now into the map; return now."""
        popmap, changes, now_s = PopMap(self.map, "hash"), Changes(), int(time.time())
        for key, left_s in granted_for_s.items():
            changes.grant(key, now_s + left_s)
        popmap.replace({})
        popmap.commit(changes, 0)
        return now_s

    @property
    def kept(self) -> list[Path]:
        """The saved places."""
        return sorted(self.state.iterdir())


@pytest.fixture
def post(place: Path) -> Post:
    return Post(place)


def snapshot(top: Path) -> dict[str, object]:
    """Return everything about a directory that writing would change."""
    found: dict[str, object] = {}
    for path in (top, *top.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (status.st_ino, status.st_mode, status.st_mtime_ns, content)
    return found


def as_nobody(*arguments: str) -> Said:
    return subprocess.run(
        [*NOBODY, *COMMAND, *arguments], capture_output=True, text=True, cwd=TOP, timeout=30
    )


def ancestor(*arguments: str, call: str = "sys.exit(p())") -> Said:
    """Run ``poprelayd`` as its installed entry point does."""
    done = subprocess.run(
        [*POPRELAYD[:-1], POPRELAYD[-1] + call, *arguments],
        capture_output=True,
        text=True,
        cwd=TOP,
        timeout=30,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


def cursors(file: Path) -> list[str]:
    """Return the cursors that journalctl itself shows."""
    shown = subprocess.run(
        ["journalctl", "--file", str(file), "-o", "json", "--no-pager", "-q"],
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line)["__CURSOR"] for line in shown.stdout.splitlines()]


# replay


def test_replay_prints_each_login_with_exactly_the_promised_fields(post: Post) -> None:
    lines = [login_line("192.0.2.7"), "auth: nothing of ours", login_line("2001:db8::7")]
    lines += [login_line("127.0.0.1"), login_line("192.0.2.8")]
    post.log(*lines)
    logins = post.logins()
    assert [login["address"] for login in logins] == [
        "192.0.2.7",
        "2001:db8::7",
        "127.0.0.1",
        "192.0.2.8",
    ]
    for login in logins:
        assert login.keys() == FIELDS.keys()
        assert all(isinstance(login[name], kind) for name, kind in FIELDS.items())


def test_replay_prints_what_the_entry_says(post: Post) -> None:
    lines = [login_line("192.0.2.7", "anna"), login_line("192.0.2.8", "bob", "imap", "2.4")]
    times = post.log(*lines)
    assert post.logins() == [
        {
            "cursor": cursor,
            "time": logged_us / S_US,
            "address": address,
            "user": user,
            "service": service,
            "daemon": "dovecot",
            "verdict": "granted",
            "reason": "",
            "expiry": logged_us // S_US + WINDOW_S,
        }
        for cursor, logged_us, address, user, service in zip(
            cursors(post.file),
            times,
            ["192.0.2.7", "192.0.2.8"],
            ["anna", "bob"],
            ["pop3", "imap"],
            strict=True,
        )
    ]


def test_replay_prints_logins_that_no_longer_matter(post: Post) -> None:
    times = post.log(login_line("192.0.2.7"), ago_s=86_400)
    (login,) = post.logins("--all")
    assert (login["verdict"], login["expiry"]) == ("expired", times[0] // S_US + WINDOW_S)
    assert login["reason"]
    assert post.listed() == {}


@pytest.mark.parametrize(
    ("address", "local"), [("127.0.0.1", "192.0.2.1"), ("192.0.2.1", "192.0.2.1")]
)
def test_a_refused_login_has_a_reason_and_no_expiry(post: Post, address: str, local: str) -> None:
    post.log(login_line(address, local=local))
    (login,) = post.logins()
    assert (login["verdict"], login["expiry"]) == ("refused", None)
    assert login["reason"]
    assert post.listed() == {}


def test_a_login_from_the_future_is_refused(post: Post) -> None:
    post.log(login_line("192.0.2.7"), ago_s=-3600)
    (login,) = post.logins("--all")
    assert (login["verdict"], login["expiry"]) == ("refused", None)


def test_addresses_are_written_as_rfc_5952_has_them(post: Post) -> None:
    spelled = ["2001:DB8:0:0:0:0:0:7", "2001:db8:0:1::0:8", "::ffff:192.0.2.9", "::FFFF:C000:20A"]
    post.log(*map(login_line, spelled))
    wanted = ["2001:db8::7", "2001:db8:0:1::8", "192.0.2.9", "192.0.2.10"]
    assert [login["address"] for login in post.logins()] == wanted
    assert set(post.listed()) == set(wanted)


def test_a_64_is_written_with_its_length(post: Post) -> None:
    post.config.write_text("[relay]\nipv6_prefix = 64\n")
    post.log(login_line("2001:db8:1:2:3:4:5:6"))
    assert [login["address"] for login in post.logins()] == ["2001:db8:1:2::/64"]
    assert list(post.listed()) == ["2001:db8:1:2::/64"]
    assert list(post.content()) == [b"ipv6:2001:db8:1:2"]


@pytest.mark.parametrize(
    ("user", "printed"),
    [
        (b"j\xfcrgen", "j\\xfcrgen"),
        ("jürgen".encode(), "jürgen"),
        ("用户".encode(), "用户"),
        (b'x"\\y', 'x"\\y'),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
        (b"", ""),
    ],
)
def test_users_are_text_with_other_bytes_escaped(post: Post, user: bytes, printed: str) -> None:
    line = login_line("192.0.2.7", "USER").encode().replace(b"USER", user)
    post.log(line)
    assert [login["user"] for login in post.logins()] == [printed]


def test_a_printed_cursor_begins_a_replay_with_its_own_entry(post: Post) -> None:
    post.log(*(login_line(f"192.0.2.{n}") for n in range(1, 8)), ago_s=300)
    logins = post.logins("--all")
    for number, login in enumerate(logins):
        assert post.logins("--cursor", login["cursor"]) == logins[number:]


def test_the_cursor_of_any_entry_begins_a_replay(post: Post) -> None:
    """Also of one that is no login, and is not among those that are asked for."""
    post.log(login_line("192.0.2.7"), "auth: x", "auth: y", login_line("192.0.2.8"))
    second = cursors(post.file)[1]
    assert [login["address"] for login in post.logins("--cursor", second)] == ["192.0.2.8"]


def test_the_cursor_of_an_entry_that_is_gone_begins_with_the_next_one(post: Post) -> None:
    times = post.log(*(login_line(f"192.0.2.{n}") for n in (1, 2, 3)))
    gone = cursors(post.file)[1]
    post.file.unlink()
    kept = [entry(login_line("192.0.2.1"), times[0]), entry(login_line("192.0.2.3"), times[2])]
    make_journal(kept, post.file)
    post.put({})
    done = post.replay("--json", "--cursor", gone)
    assert [json.loads(line)["address"] for line in done.stdout.splitlines()] == ["192.0.2.3"]
    assert "gone" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_since_takes_a_value_with_a_leading_minus(post: Post) -> None:
    post.log(login_line("192.0.2.7"), login_line("192.0.2.8"), ago_s=20 * 60, step_s=15 * 60)
    for since in (["--since", "-10min"], ["--since=-10min"], ["--since", "10min ago"]):
        assert [login["address"] for login in post.logins(*since)] == ["192.0.2.8"]
    assert len(post.logins("--since", "-1h")) == 2


def test_since_takes_a_date(post: Post) -> None:
    post.log(login_line("192.0.2.7"), login_line("192.0.2.8"), step_s=30)
    then = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() - 45))
    assert [login["address"] for login in post.logins("--since", then)] == ["192.0.2.8"]


def test_all_begins_with_the_oldest_entry(post: Post) -> None:
    post.log(login_line("192.0.2.7"), ago_s=400 * 86_400)
    post.log(login_line("192.0.2.8"))
    assert [login["address"] for login in post.logins()] == ["192.0.2.8"]
    assert [login["address"] for login in post.logins("--all")] == ["192.0.2.7", "192.0.2.8"]


@pytest.mark.parametrize("pair", [("--all", "--since=-1h"), ("--all", "--cursor=x")])
def test_a_walk_has_one_beginning(post: Post, pair: Sequence[str]) -> None:
    assert post.run("replay", *pair).returncode == 64


def test_replay_without_json_says_what_came_of_it(post: Post) -> None:
    post.log(login_line("192.0.2.7"), login_line("127.0.0.1"))
    done = post.replay()
    assert done.stdout == "2 entries read, 2 logins: 1 granted, 1 refused\n"


def test_replay_twice_equals_once(post: Post) -> None:
    post.log(*(login_line(f"192.0.2.{n}") for n in range(2, 21)))
    first = post.logins("--all")
    content = post.content()
    assert len(content) == 19
    assert post.logins("--all") == first
    assert post.content() == content
    post.replay()
    post.replay()
    assert post.content() == content


def test_replay_goes_on_from_the_saved_place(post: Post) -> None:
    post.log(login_line("192.0.2.7"))
    assert len(post.logins()) == 1
    assert len(post.kept) == 1
    post.log(login_line("192.0.2.8"), ago_s=30)
    assert [login["address"] for login in post.logins()] == ["192.0.2.8"]
    assert post.logins() == []
    assert set(post.listed()) == {"192.0.2.7", "192.0.2.8"}


def test_replay_from_another_start_saves_no_place(post: Post) -> None:
    post.log(login_line("192.0.2.7"))
    post.replay("--all")
    post.replay("--since", "-1h")
    post.replay("--cursor", cursors(post.file)[0])
    assert post.kept == []
    post.replay()
    before = snapshot(post.state)
    post.log(login_line("192.0.2.8"), ago_s=30)
    post.replay("--all")
    assert snapshot(post.state) == before


def test_replay_beside_a_daemon_saves_no_place(post: Post) -> None:
    post.log(login_line("192.0.2.7"))
    with open(f"{post.map}.lock", "wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert len(post.logins()) == 1
        assert post.kept == []
    assert len(post.logins()) == 1
    assert len(post.kept) == 1


@pytest.mark.parametrize("start", [(), ("--all",), ("--since", "-1h"), ("--json",)])
def test_a_dry_run_writes_nothing_at_all(post: Post, start: Sequence[str]) -> None:
    post.log(login_line("192.0.2.7"))
    post.replay()
    post.log(login_line("192.0.2.8"), ago_s=30)
    before = snapshot(post.place)
    done = post.replay("--dry-run", *start)
    assert done.stdout
    assert snapshot(post.place) == before


def test_a_dry_run_needs_no_map(post: Post) -> None:
    post.log(login_line("192.0.2.7"))
    before = snapshot(post.place)
    (login,) = post.logins("--dry-run")
    assert login["verdict"] == "granted"
    assert snapshot(post.place) == before
    post.map = post.place / "gone" / "popip.db"
    assert post.logins("--dry-run") == [login]
    assert snapshot(post.place) == before


def test_a_dry_run_prints_what_the_real_one_does(post: Post) -> None:
    post.log(login_line("192.0.2.7"), login_line("127.0.0.1"), login_line("192.0.2.8"))
    assert post.logins("--dry-run") == post.logins()


def test_replay_reads_a_directory_and_several_files(post: Post) -> None:
    now_us = time.time_ns() // 1000
    directory = post.place / "logs"
    directory.mkdir()
    files = [
        make_journal([entry(login_line(f"192.0.2.{n}"), now_us - n * S_US)], directory / name)
        for n, name in ((1, "system.journal"), (2, "user-1000.journal"))
    ]
    state = ("--state", str(post.state), "--json", "--dry-run")
    by_directory = post.run("replay", "--directory", str(directory), *state)
    by_file = post.run("replay", "--file", *map(str, files), *state)
    for done in (by_directory, by_file):
        found = [json.loads(line)["address"] for line in done.stdout.splitlines()]
        assert found == ["192.0.2.2", "192.0.2.1"]


def test_replay_reads_a_journal_namespace(post: Post) -> None:
    with Journald("mail") as journald, Sender(namespace="mail") as dovecot:
        dovecot.send(login_line("192.0.2.7"))
        journald.sync()
        done = post.run("replay", "--namespace", "mail", "--state", str(post.state), "--json")
    assert [json.loads(line)["address"] for line in done.stdout.splitlines()] == ["192.0.2.7"]
    assert [path.name for path in post.kept] == ["journal-mail.cursor"]


def test_replay_reads_this_machines_journal_by_itself(post: Post, journald: Journald) -> None:
    with Sender() as dovecot:
        dovecot.send(login_line("192.0.2.7"))
        journald.sync()  # before it has gone, or its fields are not known
    done = post.run("replay", "--state", str(post.state), "--json")
    (login,) = map(json.loads, done.stdout.splitlines())
    (shown,) = journald.entries("SYSLOG_IDENTIFIER=dovecot")
    assert login["cursor"] == shown["__CURSOR"]
    assert login["time"] == int(shown["__REALTIME_TIMESTAMP"]) / S_US
    again = post.run("replay", "--state", str(post.state), "--json", "--cursor", login["cursor"])
    assert again.stdout == done.stdout


def test_replay_tells_each_login_once_though_it_is_read_again(place: Path) -> None:
    """While it waits for who reads its lines, entries that were logged between others appear."""
    began_us, journal = time.time_ns() // 1000, place / "journal"
    journal.mkdir()

    def log(name: str, numbers: range) -> None:
        entries = (entry(login_line(support.address(n)), began_us + n) for n in numbers)
        make_journal(entries, place / name).rename(journal / name)

    log("a.journal", range(0, 2000, 2))
    words = ["--map", str(place / "popip.db"), "--state", str(place)]
    command = [*COMMAND, "-c", "/dev/null", "replay", "--json", "--since", "-1h", *words]
    command += ["--directory", str(journal)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=TOP, text=True) as replay:
        assert replay.stdout is not None
        pipe = replay.stdout
        wait_for(lambda: unread(pipe) > PIPE - 2 * 4096, "a pipe that takes no more")
        log("b.journal", range(1, 2000, 2))
        time.sleep(SECOND_LOOK_S)  # then the next one is due
        told = [json.loads(line)["address"] for line in pipe]
    assert replay.returncode == 0
    assert sorted(told) == sorted(support.address(n) for n in range(2000))


def unread(pipe: IO[str]) -> int:
    """Return how much of a pipe was not read yet."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


# list and check


def test_list_prints_address_expiry_and_seconds_left(post: Post) -> None:
    now_s = post.put({b"192.0.2.7": 700, b"192.0.2.8": -1, b"ipv6:2001:db8:0:0:0:0:0:1": 800})
    rows = json.loads(post.run("list", "--json").stdout)
    known = {"address", "expiry", "remaining_s"}
    assert [row.keys() for row in rows] == [known | {"user", "daemon", "since"}] * 2
    assert {row["since"] for row in rows} == {None}  # there is no journal
    assert {row["address"]: row["expiry"] for row in rows} == {
        "192.0.2.7": now_s + 700,
        "2001:db8::1": now_s + 800,
    }
    for row in rows:
        assert all(type(row[name]) is int for name in ("expiry", "remaining_s"))
        assert row["expiry"] - now_s - 30 < row["remaining_s"] <= row["expiry"] - now_s


def test_list_writes_a_64_with_its_length(post: Post) -> None:
    post.put({b"ipv6:2001:db8:1:2": 700})
    assert list(post.listed()) == ["2001:db8:1:2::/64"]


def test_list_prints_an_empty_array_without_a_map(post: Post) -> None:
    done = post.run("list", "--json")
    assert (done.returncode, json.loads(done.stdout), done.stderr) == (0, [], "")
    post.map = post.place / "gone" / "popip.db"
    assert json.loads(post.run("list", "--json").stdout) == []
    assert post.run("list").stdout == ""


def test_list_is_readable_too(post: Post) -> None:
    post.put({b"192.0.2.7": 700, b"192.0.2.8": 70})
    lines = post.run("list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["192.0.2.8", "192.0.2.7"]
    assert re.fullmatch(r"192\.0\.2\.7 +11min [0-9]{1,2}s( +-){3}", lines[1])


def test_list_and_check_need_neither_state_nor_journal_nor_home(post: Post) -> None:
    post.put({b"192.0.2.7": 700})
    before = snapshot(post.place)
    assert not Path("/var/lib/poprelayd").exists()
    bare = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    told = (["list"], "192.0.2.7"), (["list", "--bare"], "192.0.2.7")
    for words, said in (*told, (["check", "192.0.2.7"], "may relay")):
        done = subprocess.run(
            [*NOBODY, *COMMAND, *words, "--map", str(post.map)],
            capture_output=True,
            text=True,
            cwd=TOP,
            env=bare,
        )
        assert done.returncode == 0
        if words == ["list"]:  # it says so when there is a journal that it may not read
            assert all("the group systemd-journal" in line for line in done.stderr.splitlines())
        else:
            assert done.stderr == ""
        assert said in done.stdout
    assert not Path("/var/lib/poprelayd").exists()
    assert snapshot(post.place) == before


@pytest.mark.parametrize(
    "spelled",
    ["2001:db8::c", "2001:DB8::C", "2001:0db8:0:0:0:0:0:000c"],
)
def test_check_takes_any_spelling_of_an_ipv6_address(post: Post, spelled: str) -> None:
    post.put({b"ipv6:2001:db8:0:0:0:0:0:c": 700})
    done = post.run("check", spelled)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("2001:db8::c: may relay for 11min ")


@pytest.mark.parametrize("spelled", ["::ffff:192.0.2.7", "::FFFF:192.0.2.7", "::ffff:c000:207"])
def test_check_sees_the_ipv4_address_in_an_ipv6_one(post: Post, spelled: str) -> None:
    post.put({b"192.0.2.7": 700})
    done = post.run("check", spelled)
    assert done.returncode == 0
    assert done.stdout.startswith("192.0.2.7: may relay ")


def test_check_looks_up_the_64_as_sendmail_does(post: Post) -> None:
    post.put({b"ipv6:2001:db8:1:2": 700})
    done = post.run("check", "2001:db8:1:2:3:4:5:6")
    assert done.returncode == 0
    assert "2001:db8:1:2::/64 is granted" in done.stdout
    assert post.run("check", "2001:db8:1:3::6").returncode == 1


def test_check_says_no_and_why(post: Post) -> None:
    assert "no such map" in saying_no(post.run("check", "192.0.2.7"))
    post.put({b"192.0.2.8": -60})
    assert "not in" in saying_no(post.run("check", "192.0.2.7"))
    assert "ended 1min" in saying_no(post.run("check", "192.0.2.8"))


def saying_no(done: Said) -> str:
    assert (done.returncode, done.stderr) == (1, "")
    answer, *steps = done.stdout.splitlines()
    assert "may not relay" in answer
    assert all(step.startswith("  ") for step in steps)
    return answer


# expire


def test_expire_removes_what_is_over_and_says_how_much(post: Post) -> None:
    now_s = post.put({b"192.0.2.7": 700, b"192.0.2.8": -1, b"192.0.2.9": -5000})
    assert post.run("expire").stdout == "2 expired, removed\n"
    assert post.content() == {b"192.0.2.7": now_s + 700}
    done = post.run("expire")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_dry_expire_writes_nothing_at_all(post: Post) -> None:
    post.put({b"192.0.2.7": 700, b"192.0.2.8": -1})
    before = snapshot(post.place)
    assert post.run("expire", "--dry-run").stdout == "1 expired, would be removed\n"
    assert snapshot(post.place) == before


# grant and revoke


def test_a_grant_is_in_the_journal_and_in_the_map(post: Post, journald: Journald) -> None:
    before_s = int(time.time())
    done = post.run("grant", "192.0.2.7", "2001:DB8::7", "--for", "1h")
    assert (done.returncode, done.stderr) == (0, "")
    listed = post.listed()
    assert set(listed) == {"192.0.2.7", "2001:db8::7"}
    for expiry in listed.values():
        assert before_s + 3600 <= expiry <= time.time() + 3600
    entries = journald.entries(f"MESSAGE_ID={HAND_GRANT.id}")
    assert {one["RELAY_ADDRESS"]: int(one["RELAY_EXPIRY"]) for one in entries} == listed
    assert {(one["RELAY_MAP"], one["_UID"]) for one in entries} == {(str(post.map), "0")}


def test_a_grant_lasts_for_the_window_unless_told(post: Post, journald: Journald) -> None:
    post.config.write_text('[relay]\nwindow = "2h"\n')
    before_s = int(time.time())
    assert post.run("grant", "192.0.2.7").returncode == 0
    assert before_s + 7200 <= post.listed()["192.0.2.7"] <= time.time() + 7200


def test_a_grant_never_shortens_one(post: Post, journald: Journald) -> None:
    post.run("grant", "192.0.2.7", "--for", "2h")
    listed = post.listed()
    assert post.run("grant", "192.0.2.7", "--for", "1min").returncode == 0
    assert post.listed() == listed


def test_a_grant_folds_to_the_64(post: Post, journald: Journald) -> None:
    post.config.write_text("[relay]\nipv6_prefix = 64\n")
    assert post.run("grant", "2001:db8:1:2:3::4", "2001:db8:1:5::/64").returncode == 0
    assert set(post.listed()) == {"2001:db8:1:2::/64", "2001:db8:1:5::/64"}
    assert post.run("revoke", "2001:db8:1:2::9", "2001:db8:1:5::/64").returncode == 0
    assert post.listed() == {}


def test_grants_and_revocations_survive_a_rebuild(post: Post, journald: Journald) -> None:
    post.run("grant", "192.0.2.7", "192.0.2.8", "--for", "2d")
    post.run("revoke", "192.0.2.8")
    listed = post.listed()
    assert set(listed) == {"192.0.2.7"}
    journald.sync()
    post.map.unlink()
    assert post.run("replay", "--state", str(post.state)).returncode == 0
    assert post.listed() == listed


def test_a_revocation_ends_a_login_until_the_next_one(post: Post, journald: Journald) -> None:
    walk = ("replay", "--state", str(post.state), "--json", "--all")
    with Sender() as dovecot:
        dovecot.send(login_line("192.0.2.7"))
        journald.sync()
        assert post.run(*walk).returncode == 0
        assert set(post.listed()) == {"192.0.2.7"}
        assert post.run("revoke", "192.0.2.7").returncode == 0
        assert post.listed() == {}
        journald.sync()
        (login,) = map(json.loads, post.run(*walk).stdout.splitlines())
        assert (login["verdict"], login["reason"]) == ("refused", "revoked")
        assert post.listed() == {}
        dovecot.send(login_line("192.0.2.7"))
        journald.sync()
        verdicts = [json.loads(x)["verdict"] for x in post.run(*walk).stdout.splitlines()]
    assert verdicts == ["refused", "granted"]
    assert set(post.listed()) == {"192.0.2.7"}


def test_revoke_all_empties_the_map_and_is_remembered(post: Post, journald: Journald) -> None:
    post.run("grant", "192.0.2.7", "2001:db8::7")
    done = post.run("revoke", "--all")
    assert (done.returncode, post.content()) == (0, {})
    assert "2 in the map" in done.stdout
    (one,) = journald.entries(f"MESSAGE_ID={HAND_REVOCATION.id}")
    assert (one["RELAY_ADDRESS"], one["RELAY_MAP"]) == ("all", str(post.map))
    post.map.unlink()
    post.run("replay", "--state", str(post.state))
    assert post.content() == {}


def test_what_was_done_by_hand_is_for_its_own_map(post: Post, journald: Journald) -> None:
    post.run("grant", "192.0.2.7")
    journald.sync()
    post.map = post.place / "other.db"
    assert post.run("replay", "--state", str(post.state)).returncode == 0
    assert post.content() == {}


def test_by_hand_in_a_namespace_is_found_there(post: Post) -> None:
    where = ("--namespace", "mail")
    with Journald("mail") as journald:
        assert post.run("grant", "192.0.2.7", *where).returncode == 0
        journald.sync()
        post.map.unlink()
        assert post.run("replay", *where, "--state", str(post.state)).returncode == 0
    assert set(post.listed()) == {"192.0.2.7"}


def test_no_grant_is_longer_than_max_grant(post: Post, journald: Journald) -> None:
    post.config.write_text('[relay]\nmax_grant = "1h"\n')
    post.put({b"192.0.2.8": 70})
    before = snapshot(post.place)
    done = post.run("grant", "192.0.2.7", "--for", "61min")
    assert (done.returncode, done.stdout) == (64, "")
    assert "relay.max_grant" in done.stderr
    assert "1h" in done.stderr
    assert snapshot(post.place) == before
    assert journald.entries(f"MESSAGE_ID={HAND_GRANT.id}") == []
    assert post.run("grant", "192.0.2.7", "--for", "1h").returncode == 0


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "0.0.0.0", "::", "224.0.0.1", "fe80::1", "::ffff:127.0.0.1"]
)
def test_some_addresses_are_never_granted(post: Post, journald: Journald, address: str) -> None:
    refused_by_hand(post, journald, address)


def test_relay_never_is_never_granted(post: Post, journald: Journald) -> None:
    post.config.write_text('[relay]\nnever = ["198.51.100.0/24"]\n')
    assert "198.51.100.0/24" in refused_by_hand(post, journald, "198.51.100.7")


def refused_by_hand(post: Post, journald: Journald, address: str) -> str:
    """Return what is said when granting ``address``, after a good one, changes nothing."""
    post.put({b"192.0.2.8": 70})
    before = snapshot(post.place)
    done = post.run("grant", "192.0.2.9", address)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "not granted" in done.stderr
    assert snapshot(post.place) == before
    assert journald.entries(f"MESSAGE_ID={HAND_GRANT.id}") == []
    return done.stderr


@pytest.mark.parametrize("words", [(), ("192.0.2.7", "--all")])
def test_revoke_wants_addresses_or_all(
    post: Post, journald: Journald, words: Sequence[str]
) -> None:
    post.put({b"192.0.2.7": 70})
    before = snapshot(post.place)
    done = post.run("revoke", *words)
    assert done.returncode == 64
    assert "--all" in done.stderr
    assert snapshot(post.place) == before
    assert journald.entries(f"MESSAGE_ID={HAND_REVOCATION.id}") == []


@pytest.mark.parametrize("words", [("grant", "192.0.2.9"), ("revoke", "192.0.2.7"), ("revoke",)])
def test_only_root_grants_and_revokes(post: Post, journald: Journald, words: Sequence[str]) -> None:
    """Also when the map is the caller's own."""
    post.put({b"192.0.2.7": 700})
    for path in (post.place, post.map):
        os.chown(path, 65534, 65534)
    before = snapshot(post.place)
    all_of_it = ["--all"] if words == ("revoke",) else []
    done = as_nobody(*words, *all_of_it, "--map", str(post.map))
    assert (done.returncode, done.stdout) == (77, "")
    assert "root" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert snapshot(post.place) == before
    assert journald.entries("_UID=65534") == []


def test_a_revocation_without_a_map_is_kept_for_the_next_one(
    post: Post, journald: Journald
) -> None:
    done = post.run("revoke", "192.0.2.7")
    assert done.returncode == 0
    assert len(journald.entries(f"MESSAGE_ID={HAND_REVOCATION.id}")) == 1
    assert not post.map.exists()


def test_a_host_without_a_journal_grants_with_a_warning(post: Post) -> None:
    """The room's journald does not run; without its directory there is no journal."""
    script = 'umount /run; mount -t tmpfs none /run && exec "$@"'
    grant = [*COMMAND, "grant", "192.0.2.7", "--map", str(post.map)]
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *grant],
        capture_output=True,
        text=True,
        cwd=TOP,
    )
    assert done.returncode == 0, done.stderr
    assert "no journal" in done.stderr
    assert set(post.listed()) == {"192.0.2.7"}


# status


def test_status_tells_whether_a_daemon_runs(place: Path) -> None:
    now_us = time.time_ns() // 1000
    file = make_journal([entry(login_line("192.0.2.7"), now_us - S_US)], place / "mail.journal")
    daemon = Poprelayd(place, "--file", str(file))
    none = daemon.run("status", "--json")
    assert (none.returncode, none.stderr) == (1, "")
    facts = json.loads(none.stdout)
    assert (facts["running"], facts["pid"], facts["granted_now"]) == (False, None, 0)
    with daemon:
        up = daemon.run("status", "--json")
        facts = json.loads(up.stdout)
        assert (up.returncode, facts["running"], facts["pid"]) == (0, True, daemon.process.pid)
        assert facts["granted_now"] == 1
        assert "running" in daemon.run("status").stdout
    down = daemon.run("status")
    assert (down.returncode, down.stderr) == (1, "")
    assert "not running" in down.stdout


# the ancestor's options


def test_p_prints_addresses_and_seconds(post: Post) -> None:
    post.put({b"192.0.2.7": 700, b"192.0.2.8": -1})
    done = ancestor("-p", "--map", str(post.map))
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"192\.0\.2\.7 (700|6[0-9]{2})\n", done.stdout)


def test_a_r_and_f_change_the_map(post: Post, journald: Journald) -> None:
    files = ("-c", str(post.config), "--map", str(post.map))
    for address in ("192.0.2.7", "192.0.2.8", "192.0.2.9"):
        assert ancestor("-a", address, *files).returncode == 0
    assert set(post.listed()) == {"192.0.2.7", "192.0.2.8", "192.0.2.9"}
    assert ancestor("-r", "192.0.2.8", *files).returncode == 0
    assert set(post.listed()) == {"192.0.2.7", "192.0.2.9"}
    assert ancestor("-f", *files).returncode == 0
    assert post.content() == {}
    assert len(journald.entries(f"MESSAGE_ID={HAND_GRANT.id}")) == 3
    assert len(journald.entries(f"MESSAGE_ID={HAND_REVOCATION.id}")) == 2


def test_a_and_r_may_be_repeated_and_a_grants_for_the_window(
    post: Post, journald: Journald
) -> None:
    post.config.write_text('[relay]\nwindow = "20min"\n')
    files = ("-c", str(post.config), "--map", str(post.map))
    added = ancestor("-a", "192.0.2.7", "-a", "192.0.2.8", *files)
    assert (added.returncode, added.stderr) == (0, "")
    seconds = {int(row.split(" ")[1]) for row in ancestor("-p", *files).stdout.splitlines()}
    assert max(seconds) <= 1200 and min(seconds) > 1200 - 60
    removed = ancestor("-r", "192.0.2.7", "-r", "192.0.2.99", *files)  # one that is not there
    assert (removed.returncode, removed.stderr) == (0, "")
    assert set(post.listed()) == {"192.0.2.8"}


def test_p_prints_the_soonest_to_end_first(post: Post) -> None:
    post.put({b"192.0.2.7": 700, b"192.0.2.8": 70, b"ipv6:2001:db8:0:0:0:0:0:7": 7000})
    rows = ancestor("-p", "--map", str(post.map)).stdout.splitlines()
    assert [row.split(" ")[0] for row in rows] == ["192.0.2.8", "192.0.2.7", "2001:db8::7"]


def test_p_and_f_without_a_map_are_no_fault(post: Post, journald: Journald) -> None:
    files = ("-c", str(post.config), "--map", str(post.map))
    assert (ancestor("-p", *files).returncode, ancestor("-p", *files).stdout) == (0, "")
    assert ancestor("-f", *files).returncode == 0


@pytest.mark.parametrize("option", ["-a", "-r", "-f"])
def test_who_is_not_root_changes_nothing_by_the_ancestors_options(post: Post, option: str) -> None:
    post.put({b"192.0.2.7": 700})
    address = [] if option == "-f" else ["192.0.2.7"]
    command = [*NOBODY, *POPRELAYD[:-1], f"{POPRELAYD[-1]}sys.exit(p())", option, *address]
    done = subprocess.run(
        [*command, "--map", str(post.map)], capture_output=True, text=True, cwd=TOP
    )
    assert done.returncode == 77
    assert done.stderr.startswith("poprelayd: ")
    assert set(post.listed()) == {"192.0.2.7"}


def test_the_ancestors_options_speak_in_its_name(post: Post) -> None:
    done = ancestor("-a", "nonsense", "--map", str(post.map))
    assert done.returncode == 64
    assert done.stderr.startswith("poprelayd: 'nonsense' is not an address")
    for two in (("-p", "-f"), ("-a", "192.0.2.7", "-r", "192.0.2.8"), ("-d", "-p")):
        assert ancestor(*two, "--map", str(post.map)).returncode == 64


def test_by_itself_and_with_d_it_is_the_daemon(place: Path) -> None:
    now_us = time.time_ns() // 1000
    file = make_journal([entry(login_line("192.0.2.7"), now_us - S_US)], place / "mail.journal")
    for options in ([], ["-d"]):
        files = ["--map", str(place / "popip.db"), "--state", str(place), "--file", str(file)]
        run = subprocess.Popen(
            [*POPRELAYD[:-1], POPRELAYD[-1] + "sys.exit(p())", *options, *files],
            cwd=TOP,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert run.stderr is not None
        try:
            wait_for(lambda: (place / "status.json").exists(), "the daemon's first report")
        finally:
            run.terminate()
            said = run.communicate(timeout=30)[1]
        assert run.returncode == 0, said
        (place / "status.json").unlink()
        listed = json.loads(journalrelay("list", "--json", "--map", files[1]).stdout)
        assert [row["address"] for row in listed] == ["192.0.2.7"]


# help, version, usage


VERBS = ["run", "replay", "expire", "list", "check", "grant", "revoke", "status", "import"]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb: str) -> None:
    done = journalrelay(verb, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"example: journalrelay {verb}" in " ".join(done.stdout.split())


def test_help_and_version_are_not_errors() -> None:
    help_ = journalrelay("--help")
    assert (help_.returncode, help_.stderr) == (0, "")
    assert all(re.search(rf"^ +{verb} ", help_.stdout, re.MULTILINE) for verb in VERBS)
    assert re.fullmatch(r"journalrelay [0-9.]+\n", journalrelay("--version").stdout)
    assert re.fullmatch(r"poprelayd [0-9.]+\n", ancestor("--version").stdout)


def test_every_printed_address_can_be_typed_again(post: Post, journald: Journald) -> None:
    post.put({b"192.0.2.7": 700, b"ipv6:2001:db8:0:0:0:0:0:1": 700})
    for address in post.listed():
        assert str(ipaddress.ip_address(address)) == address
        assert post.run("check", address).returncode == 0
        assert post.run("revoke", address).returncode == 0
    assert post.content() == {}
