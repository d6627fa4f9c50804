"""What goes wrong while the daemon runs: it goes on, says so once, and loses nothing.

Each fault is a real one. docs/reliability.md has the list, with the tests elsewhere.
"""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from journalrelay.errors import RelayError
from lab import disk, room
from lab.cut import Cutter
from lab.journald import Journald, Sender, login_line
from lab.journalfile import make_journal
from lab.poprelayd import Poprelayd
from lab.powerloss import fail
from lab.story import Home, login
from lab.wait import share_of_processor, wait_for
from tests.support import address, db
from tests.test_clock import HOUR_S, Clock

FIRST, MEANWHILE, LATER = "192.0.2.7", "192.0.2.8", "192.0.2.9"
MOST_OF_A_PROCESSOR = 0.6  # who spins takes all of it


@pytest.fixture
def sender(journald: Journald) -> Iterator[Sender]:
    with Sender() as running:
        yield running


@pytest.fixture
def daemon(journald: Journald, place: Path) -> Iterator[Poprelayd]:
    """A daemon whose map and state are on a disk of their own, and its log on another."""
    home = place / "home"
    home.mkdir()
    with disk.small(home, "1M"):
        running = Poprelayd(home)
        running.log = place / "log"
        with running:
            yield running


def granted(daemon: Poprelayd) -> set[str]:
    with suppress(RelayError):  # removed, damaged or not to be read just now
        return {key.decode() for key in daemon.popmap().read()}
    return set()


def await_exactly(daemon: Poprelayd, *addresses: str) -> None:
    wait_for(lambda: granted(daemon) == set(addresses), f"{addresses} in the map, and no others")


def await_said(daemon: Poprelayd, text: str) -> None:
    wait_for(lambda: text in daemon.log.read_text(), f"{text!r} in the log")


@contextmanager
def few_descriptors(daemon: Poprelayd) -> Iterator[None]:
    pid = daemon.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@contextmanager
def failing(daemon: Poprelayd, call: str, error: str) -> Iterator[None]:
    """Have a system call of the daemon fail every time."""
    inject = f"inject={call}:error={error}"
    options = ["-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", inject]
    command = ["strace", *options, "-p", str(daemon.process.pid)]
    strace = subprocess.Popen(command, stderr=subprocess.PIPE)
    assert strace.stderr is not None
    strace.stderr.readline()  # it is attached
    try:
        yield
    finally:
        strace.terminate()
        strace.wait()
        strace.stderr.close()


@contextmanager
def not_permitted(daemon: Poprelayd) -> Iterator[None]:
    """Have the map's owner, whom the daemon becomes, not be allowed to open it."""
    for path in (daemon.place, daemon.map, Path(f"{daemon.map}.lock")):
        os.chown(path, 65534, 65534)
    daemon.map.chmod(0)
    try:
        yield
    finally:
        daemon.map.chmod(0o644)


FAULTS: dict[str, tuple[Callable[[Poprelayd], AbstractContextManager[None]], str]] = {
    "full disk": (lambda daemon: disk.full(daemon.place), "No space left"),
    "read-only disk": (lambda daemon: disk.read_only(daemon.place), "Read-only file system"),
    "EIO when it is synced": (
        lambda daemon: failing(daemon, "fdatasync", "EIO"),
        "Input/output error",
    ),
    "ENOMEM": (lambda daemon: failing(daemon, "openat", "ENOMEM"), "Cannot allocate memory"),
    "too few descriptors": (few_descriptors, "Too many open files"),
    "no permission": (not_permitted, "Permission denied"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_written_is_said_once_and_written_when_it_can_be(
    daemon: Poprelayd, sender: Sender, fault: str
) -> None:
    bring, text = FAULTS[fault]
    sender.send(login_line(FIRST))
    await_exactly(daemon, FIRST)
    with bring(daemon):
        sender.send(login_line(MEANWHILE))
        await_said(daemon, text)
        assert share_of_processor(daemon.process.pid) < MOST_OF_A_PROCESSOR
        sender.send_many(login_line(address(n)) for n in range(100))
    sender.send(login_line(LATER))
    await_exactly(daemon, FIRST, MEANWHILE, LATER, *(address(n) for n in range(100)))
    await_said(daemon, "what could not be written is written")
    assert daemon.process.poll() is None
    said = [line for line in daemon.log.read_text().splitlines() if "granted" not in line]
    assert sum(text in line for line in said) <= 2, said  # of the map, and of the place
    assert len(said) < 12, said


def overwrite(daemon: Poprelayd) -> None:
    with daemon.map.open("r+b") as file:
        file.write(os.urandom(100))


def truncate(daemon: Poprelayd) -> None:
    os.truncate(daemon.map, 5000)


def makemap(daemon: Poprelayd) -> None:
    lie = f"203.0.113.66\t{time.time() + 3000:.0f}\n"
    name = str(daemon.map.with_suffix(""))
    subprocess.run(["makemap", "hash", name], input=lie, text=True, check=True)


def lie_in_it(daemon: Poprelayd) -> None:
    handle = db.DB()
    handle.open(str(daemon.map), None, db.DB_UNKNOWN, 0)
    handle.put(b"203.0.113.66", b"%d" % (time.time() + 3000))
    handle.sync()
    handle.close()


def stop_and_lie(daemon: Poprelayd, sender: Sender) -> None:
    """Have FIRST granted, and the lie put beside it while nobody looks."""
    sender.send(login_line(FIRST))
    await_exactly(daemon, FIRST)
    daemon.stop()
    lie_in_it(daemon)


def remove(daemon: Poprelayd) -> None:
    daemon.map.unlink()


@pytest.mark.parametrize("harm", [overwrite, truncate, makemap, lie_in_it, remove])
def test_a_map_that_others_change_is_made_anew_though_nobody_logs_in(
    daemon: Poprelayd, sender: Sender, harm: Callable[[Poprelayd], None]
) -> None:
    sender.send(login_line(FIRST))
    await_exactly(daemon, FIRST)
    harm(daemon)
    await_said(daemon, "the map is made anew from the journal")
    await_exactly(daemon, FIRST)
    assert daemon.log.read_text().count("made anew") == 1
    sender.send(login_line(LATER))
    await_exactly(daemon, FIRST, LATER)
    assert daemon.process.poll() is None


def test_what_a_stranger_wrote_is_not_believed_though_somebody_logs_in_at_once(
    daemon: Poprelayd, sender: Sender
) -> None:
    """The daemon's next commit comes before it looks at the map."""
    sender.send(login_line(FIRST))
    await_exactly(daemon, FIRST)
    daemon.process.send_signal(signal.SIGSTOP)
    lie_in_it(daemon)
    sender.send(login_line(LATER))
    daemon.process.send_signal(signal.SIGCONT)
    wait_for(lambda: LATER in granted(daemon), "the login")
    await_exactly(daemon, FIRST, LATER)
    await_said(daemon, "was written to by others, or half")


WHILE_DOWN = {
    "nothing": ([], set()),
    "expire": (["expire"], set()),
    "grant": (["grant", MEANWHILE], {MEANWHILE}),
    "revoke": (["revoke", MEANWHILE], set()),
    "replay": (["replay"], set()),
    "replay from a time": (["replay", "--since", "-1h"], set()),
}


@pytest.mark.parametrize("kind", ["hash", "btree"])
@pytest.mark.parametrize("then", WHILE_DOWN)
def test_what_a_stranger_wrote_into_the_map_of_a_daemon_that_was_down_is_not_believed(
    sender: Sender, place: Path, kind: str, then: str
) -> None:
    """Nor does it come to be believed by what a command of ours does to the map before."""
    words, granted_ = WHILE_DOWN[then]
    with Poprelayd(place, config=f'[map]\ntype = "{kind}"\n') as daemon:
        daemon.kind = kind
        sender.send(login_line(FIRST))
        assert daemon.run("grant", LATER, "--for", "2h").returncode == 0
        await_exactly(daemon, FIRST, LATER)
        daemon.stop()
        lie_in_it(daemon)
        if words:
            assert daemon.run(*words).returncode == 0
        before = daemon.log.read_text()
        daemon.start()
        await_exactly(daemon, FIRST, LATER, *granted_)
        if "replay" not in then:
            assert "made anew" in daemon.log.read_text().removeprefix(before)


def test_a_map_in_doubt_stays_so_until_it_could_be_made_anew(
    daemon: Poprelayd, sender: Sender
) -> None:
    stop_and_lie(daemon, sender)
    with disk.full(daemon.place):
        daemon.launch()
        assert daemon.process.wait(30) == os.EX_TEMPFAIL
    daemon.start()
    await_exactly(daemon, FIRST)


def test_who_writes_into_the_map_just_as_a_commit_does_is_believed(
    daemon: Poprelayd, sender: Sender
) -> None:
    stop_and_lie(daemon, sender)
    os.utime(daemon.map, (now_s := int(time.time()), now_s))
    daemon.start()
    assert granted(daemon) == {FIRST, "203.0.113.66"}


def test_what_only_a_map_in_doubt_had_is_lost_and_said(
    daemon: Poprelayd, sender: Sender, journald: Journald
) -> None:
    sender.send(login_line(FIRST))
    await_exactly(daemon, FIRST)
    daemon.stop()
    journald.rotate()
    journald.vacuum()
    sender.send(login_line(LATER))
    lie_in_it(daemon)
    daemon.start()
    await_exactly(daemon, LATER)
    await_said(daemon, "may be missing")


# The journal


@pytest.mark.parametrize("harm", ["flipped bits", "zeroed tail", "truncated"])
def test_an_archived_journal_that_is_damaged_while_running_stops_nothing(
    daemon: Poprelayd, sender: Sender, journald: Journald, harm: str
) -> None:
    sender.send(login_line(FIRST))
    await_exactly(daemon, FIRST)
    journald.rotate()
    archived = next(journald.directory.glob("system@*.journal"))
    with archived.open("r+b") as file:
        content = bytearray(file.read())
        half = len(content) // 2
        if harm == "flipped bits":
            for at in range(4096, len(content), 97):
                content[at] ^= 0x10
        else:
            content[half:] = bytes(len(content) - half)
        if harm == "truncated":
            file.truncate(half)
        else:
            os.pwrite(file.fileno(), content, 0)
    sender.send_many(login_line(address(n)) for n in range(50))
    sender.send(login_line(LATER))

    def all_in() -> bool:
        if daemon.process.poll() == -signal.SIGBUS:  # libsystemd has mapped what is not there now
            daemon.start()  # as systemd does
        assert daemon.process.poll() is None
        return granted(daemon) == {FIRST, LATER, *(address(n) for n in range(50))}

    wait_for(all_in, "the logins in the new file")
    if harm != "truncated":  # it may have to be started once more
        assert share_of_processor(daemon.process.pid) < MOST_OF_A_PROCESSOR
    assert daemon.log.read_text().count("cannot be read") <= 1


@contextmanager
def alone(**settings: str) -> Iterator[Journald]:
    """Run a journald, with no file of any other before or after."""
    journald = Journald(**settings)
    others = [
        Path(top, journald.directory.name) for top in ("/run/log/journal", "/var/log/journal")
    ]
    for other in others:
        shutil.rmtree(other, ignore_errors=True)
    with journald:
        yield journald
    shutil.rmtree(journald.directory)


def test_a_journal_in_memory_only_is_followed(place: Path) -> None:
    with alone(Storage="volatile") as journald, Sender() as sender, Poprelayd(place) as daemon:
        sender.send(login_line(FIRST))
        await_exactly(daemon, FIRST)
        journald.restart()
        sender.send(login_line(LATER))
        await_exactly(daemon, FIRST, LATER)
        daemon.kill()
        sender.send(login_line(MEANWHILE))
        daemon.start()
        await_exactly(daemon, FIRST, MEANWHILE, LATER)


def test_what_is_logged_while_journald_is_stopped_is_granted_when_it_is_back(
    daemon: Poprelayd, sender: Sender, journald: Journald
) -> None:
    sender.send(login_line(FIRST))
    await_exactly(daemon, FIRST)
    journald.stop()
    sender.send(login_line(LATER))
    assert share_of_processor(daemon.process.pid) < MOST_OF_A_PROCESSOR
    before = daemon.log.read_text()
    journald.start()
    await_exactly(daemon, FIRST, LATER)
    assert "cannot be read" not in daemon.log.read_text().removeprefix(before)


def test_a_machine_that_slept_grants_by_the_clock_it_wakes_to(place: Path) -> None:
    clock = Clock(place)
    journald = Journald()
    journald.environment = clock.environment
    with journald, Sender() as sender, Poprelayd(place, environment=clock.environment) as daemon:
        sender.send(login_line(FIRST))
        await_exactly(daemon, FIRST)
        for sleeping in (daemon.process.pid, journald.pid):
            os.kill(sleeping, signal.SIGSTOP)
        sender.send(login_line(MEANWHILE))  # its time is that at which journald receives it
        clock.step(HOUR_S)
        for sleeping in (journald.pid, daemon.process.pid):
            os.kill(sleeping, signal.SIGCONT)
        sender.send(login_line(LATER))
        await_exactly(daemon, FIRST, MEANWHILE, LATER)
        ends = daemon.popmap().read()
        assert ends[FIRST.encode()] <= time.time() + 900  # over by the clock that it woke to
        assert ends[LATER.encode()] > time.time() + HOUR_S
        assert "clock was set back" not in daemon.log.read_text()


# What is lost is said


def test_what_journald_suppresses_is_said_and_counted(place: Path) -> None:
    settings = {"RateLimitIntervalSec": "1s", "RateLimitBurst": "20"}
    with Journald(**settings) as journald, Sender() as sender, Poprelayd(place) as daemon:
        sender.send_many("auth: failed" for _ in range(500))
        journald.sync()

        def said() -> bool:
            sender.send(login_line(LATER))  # what was suppressed is told when its unit logs again
            return "journald suppressed" in daemon.log.read_text()

        wait_for(said, "the line about it", step_s=0.2)
        (line,) = (x for x in daemon.log.read_text().splitlines() if "suppressed" in x)
        count = int(re.findall(r"suppressed (\d+) lines of dovecot.service", line)[0])
        wait_for(lambda: status(daemon)["suppressed"], "it in the report")
        assert status(daemon)["suppressed"]["dovecot.service"] >= count > 0
        assert f"{count} lines of dovecot.service" in daemon.run("status").stdout


def status(daemon: Poprelayd) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(daemon.run("status", "--json").stdout)
    return told


def test_a_journal_that_begins_behind_the_place_is_said(place: Path) -> None:
    with alone() as journald, Sender() as sender, Poprelayd(place) as daemon:
        sender.send(login_line(FIRST))
        await_exactly(daemon, FIRST)
        daemon.stop()
        place_us = json.loads((daemon.place / "journal.cursor").read_text())["time_us"]
        sender.send(login_line(MEANWHILE))
        journald.sync()
        journald.rotate()
        sender.send(login_line(LATER))
        journald.sync()
        for file in journald.directory.glob("system@*.journal"):
            file.unlink()
        daemon.start()
        assert LATER in granted(daemon)
        assert daemon.log.read_text().count("the journal begins at") == 1
        told = wait_for(lambda: status(daemon).get("gap_to_us") and status(daemon), "the report")
        assert told["gap_from_us"] == place_us < told["gap_to_us"]
        assert "was gone at the start" in daemon.run("status").stdout
        daemon.stop()
        daemon.start()
        assert daemon.log.read_text().count("the journal begins at") == 1


# Commits cut short


@pytest.mark.parametrize(
    ("act", "how", "every"),
    [
        ("commit", "kill", 2),
        ("commit", "EIO", 9),
        ("rebuild", "kill", 13),
        ("expire", "kill", 9),
        ("grant", "kill", 5),
        ("revoke", "kill", 5),
    ],
)
def test_every_call_of_a_commit_may_be_its_last(act: str, how: str, every: int) -> None:
    came = Cutter(act, how).run(every)
    assert came.cuts > 5
    assert came.looked_up > 0
    assert came.bad == 0, came


@pytest.mark.parametrize("verb", ["expire", "check"])
def test_a_commit_that_was_cut_short_is_said_where_there_is_no_journal(
    daemon: Poprelayd, sender: Sender, verb: str
) -> None:
    sender.send(login_line(FIRST))
    await_exactly(daemon, FIRST)
    daemon.kill()
    words = [FIRST] if verb == "check" else []
    assert daemon.run(verb, *words).stderr == ""
    os.utime(daemon.map, ns=(5, time.time_ns() // 1000 * 1000 + 7))  # as a write leaves it
    for _ in range(2):  # nobody but the daemon mends it
        assert "a commit was cut short" in daemon.run(verb, *words).stderr
    daemon.start()
    assert "was written to by others, or half; the map is made anew" in daemon.log.read_text()
    assert daemon.run(verb, *words).stderr == ""
    await_exactly(daemon, FIRST)


@pytest.mark.parametrize(("kind", "every"), [("hash", 24), ("btree", 12)])
def test_power_may_fail_at_any_call(kind: str, every: int) -> None:
    came = fail(Home(room.scratch("power-"), kind), 3, 7, every)
    assert came.disks > 15
    assert came.believable > 0  # else a start had nothing to doubt
    assert (came.wrong, came.crashed) == (0, 0), came


def test_a_long_catch_up_is_not_taken_for_a_stalled_start(place: Path) -> None:
    """Each batch asks systemd for more time, and feeds the watchdog as often as that wants."""
    now_us = time.time_ns() // 1000
    entries = (login(n % 500, now_us - 60_000_000 + n) for n in range(11_000))
    file = make_journal(entries, place / "x.journal")
    with Poprelayd(place, "--file", str(file), environment={"WATCHDOG_USEC": "4"}) as daemon:
        before = daemon.notified[: daemon.notified.index("READY=1")]
        assert before.count("EXTEND_TIMEOUT_USEC=60000000") >= 3
        assert before.count("WATCHDOG=1") >= 3
        assert len(granted(daemon)) == 500
