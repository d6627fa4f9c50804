"""The files of other hosts: rotated, put aside, damaged, unwatched; what a silent host costs."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from journalrelay.sources import watch
from journalrelay.sources.received import Received, host_of
from lab import disk
from lab.received import Receiver, login, receive
from lab.wait import wait_for
from tests.support import address, now_us
from tests.test_hosts import SECOND, Relayed

SEQNUM = "@5a3f000000000000000000000000000f-0000000000000001-0005f00000000000"


@pytest.fixture
def relayed(tmp_path: Path) -> Relayed:
    return Relayed(tmp_path)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Relayed]:
    """A relay whose remote directory is on a disk where journals are rotated soon."""
    made = Relayed(tmp_path)
    with disk.small(made.remote, "48m"):
        yield made
        made.hosts.close()


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("remote-pop1.example.journal", "pop1.example"),
        (f"remote-pop1.example{SEQNUM}.journal", "pop1.example"),
        ("remote-pop1.example@0005f00000000000-5a3f000000000000.journal~", "pop1.example"),
        ("remote-pop1.example@x.journal", "pop1.example@x"),
        (f"remote-pop1.example{SEQNUM}x.journal", f"pop1.example{SEQNUM}x"),
        ("remote-pop1.example.journal~", None),
        ("remote.journal", None),
        ("remote-.journal", None),
        ("system.journal", None),
    ],
)
def test_the_name_of_a_file_tells_its_host(name: str, host: str | None) -> None:
    assert host_of(name) == host


def test_rotation_loses_nothing(small: Relayed) -> None:
    small.start()
    at, sent = now_us() - 60 * SECOND, 0
    with Receiver(small.remote, "pop2.example") as pop2:
        while len(os.listdir(small.remote)) < 4:
            numbers = range(sent, sent := sent + 200)
            pop2.send(login(f"anna{n}", address(n), at + n) for n in numbers)
            wait_for(lambda: len(small.granted()) == sent, f"{sent} logins")
    assert any("@" in name for name in os.listdir(small.remote))
    small.relay.save()
    small.verdicts.clear()
    small.start()
    assert len(small.granted()) == sent
    assert small.verdicts == []  # each was read once, up to the kept place
    small.site.map_path.unlink()
    small.start()
    assert len(small.granted()) == sent


def test_a_file_that_was_put_aside_is_read(relayed: Relayed) -> None:
    """A receiver that is killed leaves its file open, and the next one begins another."""
    relayed.start()
    at = now_us()
    with Receiver(relayed.remote, "pop2.example") as pop2:
        pop2.send([login("anna", "198.51.100.1", at)])
        wait_for(lambda: "198.51.100.1" in relayed.granted(), "the first")
        pop2.process.kill()
    file = receive(relayed.remote, "pop2.example", login("anna", "198.51.100.2", at + 1))
    assert [name for name in os.listdir(file.parent) if name.endswith("~")]
    wait_for(lambda: "198.51.100.2" in relayed.granted(), "the second")
    relayed.site.map_path.unlink()
    relayed.start()
    assert relayed.granted() == {"198.51.100.1", "198.51.100.2"}


def test_a_damaged_file_keeps_back_no_other(relayed: Relayed) -> None:
    bad = relayed.remote / f"remote-pop2.example{SEQNUM}.journal"
    bad.write_bytes(b"LPKSHHRH" + bytes(100))
    receive(relayed.remote, "pop2.example", login("anna", "198.51.100.1", now_us()))
    relayed.start()
    assert relayed.granted() == {"198.51.100.1"}
    receive(relayed.remote, "pop2.example", login("anna", "198.51.100.2", now_us()))
    wait_for(lambda: "198.51.100.2" in relayed.granted(), "the next login")
    assert wait_for(lambda: relayed.granted() and relayed.said(), "the complaint") == [
        f"pop2.example: {bad}: no readable journal file (try: journalctl --verify --file); it is "
        "tried again"
    ]
    bad.unlink()
    wait_for(
        lambda: relayed.granted() and relayed.said() == ["pop2.example: it is read again"], "peace"
    )


def test_a_directory_that_comes_later_is_seen(relayed: Relayed) -> None:
    relayed.remote.rmdir()
    relayed.start()
    relayed.granted()
    wait_for(lambda: relayed.granted() or relayed.said(), "the complaint")
    receive(relayed.remote, "pop2.example", login("anna", "198.51.100.1", now_us()))
    wait_for(lambda: relayed.granted() == {"198.51.100.1"}, "the login")
    relayed.remote.rename(relayed.place / "former")
    receive(relayed.remote, "pop2.example", login("anna", "198.51.100.2", now_us()))
    wait_for(lambda: "198.51.100.2" in relayed.granted(), "the login in the new directory")


def test_without_inotify_all_is_read_too(relayed: Relayed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "library", lambda: None)
    relayed.start()
    assert relayed.hosts.fileno() is None
    with Receiver(relayed.remote, "pop2.example") as pop2:
        for number in range(3):
            pop2.send([login("anna", address(number), now_us())])
            wait_for(lambda: address(number) in relayed.granted(), "the login")  # noqa: B023


def test_more_happens_than_inotify_can_note(relayed: Relayed) -> None:
    receive(relayed.remote, "pop2.example", login("anna", "198.51.100.1", now_us()))
    received = Received(relayed.remote)
    assert received.look() == {"pop2.example"}
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for number in range(limit // 2 + 1):
        (relayed.remote / f"x{number % 7}").touch()
        (relayed.remote / f"x{number % 7}").unlink()
    receive(relayed.remote, "pop1.example", login("anna", "198.51.100.1", now_us()))
    assert "pop1.example" in received.look()
    received.close()


def open_journals(relayed: Relayed) -> list[str]:
    """Return which files of the remote directory this process has open."""
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    targets = [os.readlink(link) for link in links if os.path.lexists(link)]
    return sorted(Path(name).name for name in targets if name.startswith(f"{relayed.remote}/"))


def test_a_host_that_is_silent_costs_no_descriptor(
    relayed: Relayed, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = receive(relayed.remote, "pop1.example", login("anna", "198.51.100.1", now_us()))
    os.utime(old, (0, 0))  # nothing was received for longer than a login matters
    receive(relayed.remote, "pop2.example", login("bert", "198.51.100.2", now_us()))
    relayed.start()
    relayed.granted()
    assert open_journals(relayed) == ["remote-pop2.example.journal"]
    monkeypatch.setattr("journalrelay.remote.host._SILENT_S", 0.0)
    wait_for(lambda: relayed.granted() and open_journals(relayed) == [], "the files to be closed")
    receive(relayed.remote, "pop2.example", login("bert", "198.51.100.3", now_us()))
    wait_for(lambda: "198.51.100.3" in relayed.granted(), "who speaks again")
    assert relayed.said() == []
    receive(relayed.remote, "pop1.example", login("anna", "198.51.100.4", now_us()))
    wait_for(lambda: "198.51.100.4" in relayed.granted(), "who speaks again after long")
