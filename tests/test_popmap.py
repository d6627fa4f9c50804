"""The map's contract: changed in place, seen at once, whole at any instant."""

import fcntl
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from journalrelay.errors import DataError, NoInputError, TryAgainError
from journalrelay.grant import map_key, parse_key
from journalrelay.map.changes import Changes
from journalrelay.map.locks import take_daemon_lock
from journalrelay.map.mapfile import MapReplacedError
from journalrelay.map.popmap import PopMap
from lab import room
from lab.poprelayd import TOP
from lab.sendmail import Sendmail
from lab.wait import wait_for
from tests.support import db

NOW_S = 1_795_400_000
KINDS = ["hash", "btree"]


@pytest.fixture(params=KINDS)
def popmap(place: Path, request: pytest.FixtureRequest) -> PopMap:
    made = PopMap(place / "popip.db", request.param)
    made.replace({})
    return made


def granting(*pairs: tuple[bytes, int]) -> Changes:
    changes = Changes()
    for key, expiry in pairs:
        changes.grant(key, expiry)
    return changes


def removing(*keys: bytes) -> Changes:
    changes = Changes()
    changes.remove(keys)
    return changes


def key(number: int) -> bytes:
    return b"10.%d.%d.%d" % (number >> 16, number >> 8 & 255, number & 255)


def test_expiries_only_grow(popmap: PopMap) -> None:
    first = popmap.commit(granting((b"192.0.2.7", NOW_S + 900)), NOW_S)
    again = popmap.commit(granting((b"192.0.2.7", NOW_S + 800)), NOW_S)
    assert (first.opened, again.opened) == ([b"192.0.2.7"], [])
    assert popmap.read() == {b"192.0.2.7": NOW_S + 900}


def test_a_grant_after_its_end_is_a_new_one(popmap: PopMap) -> None:
    popmap.commit(granting((b"192.0.2.7", NOW_S)), NOW_S - 900)
    assert popmap.commit(granting((b"192.0.2.7", NOW_S + 9)), NOW_S).opened == [b"192.0.2.7"]


def test_removal_comes_before_what_is_granted_anew(popmap: PopMap) -> None:
    popmap.commit(granting((b"192.0.2.7", NOW_S + 900), (b"192.0.2.8", NOW_S + 900)), NOW_S)
    changes = removing(b"192.0.2.7", b"192.0.2.8", b"192.0.2.9")
    changes.grant(b"192.0.2.7", NOW_S + 5)
    closed = popmap.commit(changes, NOW_S).closed
    assert set(closed) >= {b"192.0.2.8"}
    assert popmap.read() == {b"192.0.2.7": NOW_S + 5}


def test_everything_can_be_removed(popmap: PopMap) -> None:
    popmap.commit(granting((b"192.0.2.7", NOW_S + 900)), NOW_S)
    changes = Changes()
    changes.remove_all()
    changes.grant(b"192.0.2.8", NOW_S + 9)
    assert popmap.commit(changes, NOW_S).closed == [b"192.0.2.7"]
    assert popmap.read() == {b"192.0.2.8": NOW_S + 9}


def test_expire_removes_what_is_over_and_nothing_else(popmap: PopMap) -> None:
    popmap.commit(granting(*((key(n), NOW_S - 500 + n) for n in range(1200))), NOW_S - 900)
    assert len(popmap.expire(NOW_S)) == 501
    assert set(popmap.read()) == {key(n) for n in range(501, 1200)}
    assert popmap.expire(NOW_S) == {}


def test_those_are_counted_who_may_relay(popmap: PopMap) -> None:
    popmap.commit(granting(*((key(n), NOW_S - 500 + n) for n in range(1200))), NOW_S - 900)
    popmap.commit(removing(*(key(n) for n in range(1000, 1100))), NOW_S)
    popmap.commit(granting((b"ipv6:2001:db8:0:0:0:0:0:1", NOW_S + 9)), NOW_S)
    live = sum(expiry > NOW_S for expiry in popmap.read().values())
    assert popmap.count(NOW_S) == live == 600


def test_to_count_again_does_not_read_all(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    popmap, other = (PopMap(place / "popip.db", "hash") for _ in range(2))
    popmap.replace({key(n): NOW_S + n % 7 * 100 for n in range(500)})
    assert popmap.count(NOW_S) == sum(end_s > NOW_S for end_s in other.read().values())
    monkeypatch.setattr(popmap, "_count_all", lambda _now_s: pytest.fail("all is read"))
    random_ = random.Random(1)
    for now_s in range(NOW_S, NOW_S + 1000, 50):
        some = [key(random_.randrange(1000)) for _ in range(100)]
        other.commit(granting(*((one, now_s + random_.randrange(300)) for one in some)), now_s)
        other.commit(removing(*some[:20]), now_s)
        if now_s % 200 == 0:
            other.expire(now_s)
        assert popmap.count(now_s) == sum(end_s > now_s for end_s in other.read().values())


def test_another_file_is_counted_anew(place: Path) -> None:
    popmap, other = (PopMap(place / "popip.db", "hash") for _ in range(2))
    popmap.replace({key(n): NOW_S + 900 for n in range(500)})
    assert popmap.count(NOW_S) == 500
    other.replace({key(n): NOW_S + 900 for n in range(200_000)})  # of another size
    assert popmap.count(NOW_S) == 200_000


def test_a_value_that_is_no_expiry_counts_as_over(place: Path) -> None:
    popmap = PopMap(place / "popip.db", "hash")
    popmap.replace({})
    write(popmap.path, b"192.0.2.7", b"0123")
    assert popmap.read() == {b"192.0.2.7": 0}
    assert popmap.expire(NOW_S) == {b"192.0.2.7": 0}


def write(path: Path, key_: bytes, value: bytes) -> None:
    handle = db.DB()
    handle.open(str(path), None, db.DB_HASH, 0)
    handle.put(key_, value)
    handle.sync()
    handle.close()


def mtime_s(path: Path) -> int:
    return int(os.stat(path).st_mtime)


def test_every_commit_moves_mtime_by_a_whole_second(popmap: PopMap) -> None:
    before = mtime_s(popmap.path)
    for number in range(20):
        popmap.commit(granting((key(number), NOW_S)), NOW_S - 900)
        assert mtime_s(popmap.path) > before
        before = mtime_s(popmap.path)


def test_mtime_goes_on_from_its_mark_when_a_kill_set_it_back(place: Path) -> None:
    popmap = PopMap(place / "popip.db", "hash")
    popmap.replace({})
    held = take_daemon_lock(popmap.path)
    assert held is not None
    for number in range(200):
        popmap.commit(granting((key(number), NOW_S)), NOW_S - 900)
    seen = mtime_s(popmap.path)
    os.utime(popmap.path)  # what a write leaves when its stamp does not follow
    os.close(held)
    PopMap(place / "popip.db", "hash").touch()
    assert mtime_s(popmap.path) > seen


def test_the_file_is_0644_whatever_the_umask(place: Path) -> None:
    old = os.umask(0o077)
    try:
        PopMap(place / "popip.db", "hash").replace({})
    finally:
        os.umask(old)
    assert (place / "popip.db").stat().st_mode & 0o777 == 0o644


def test_a_commit_waits_for_the_lock_only_so_long(place: Path) -> None:
    popmap = PopMap(place / "popip.db", "hash", wait_s=0.05)
    popmap.replace({})
    with open(popmap.path, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_SH)
        with pytest.raises(TryAgainError, match="locked by another process"):
            popmap.commit(granting((b"192.0.2.7", NOW_S)), NOW_S)
    popmap.commit(granting((b"192.0.2.7", NOW_S)), NOW_S)


def test_a_writer_that_waited_writes_to_the_file_that_is_at_the_path_then(place: Path) -> None:
    popmap = PopMap(place / "popip.db", "hash")
    popmap.replace({})
    with open(popmap.path, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiter = threading.Thread(
            target=popmap.commit, args=(granting((b"192.0.2.7", NOW_S)), NOW_S)
        )
        waiter.start()
        wait_for(lambda: opens(popmap.path) > 1, "the waiter's open")
        other = PopMap(place / "other.db", "hash")
        other.replace({})
        os.rename(other.path, popmap.path)
    waiter.join()
    assert popmap.read() == {b"192.0.2.7": NOW_S}


def opens(path: Path) -> int:
    """Return how often this process has the file open."""
    links = (os.path.join("/proc/self/fd", fd) for fd in os.listdir("/proc/self/fd"))
    return sum(os.path.realpath(link) == str(path) for link in links)


def test_a_symbolic_link_is_not_followed(place: Path) -> None:
    PopMap(place / "real.db", "hash").replace({})
    (place / "popip.db").symlink_to("real.db")
    with pytest.raises(DataError, match="no regular file"):
        PopMap(place / "popip.db", "hash").commit(granting((b"192.0.2.7", NOW_S)), NOW_S)
    assert PopMap(place / "real.db", "hash").read() == {}


def test_a_missing_map_and_a_missing_directory_are_told_apart(place: Path) -> None:
    with pytest.raises(NoInputError, match="no such map"):
        PopMap(place / "popip.db", "hash").read()
    with pytest.raises(NoInputError, match="no such directory"):
        PopMap(place / "gone" / "popip.db", "hash").replace({})


def test_a_damaged_map_is_an_error_not_a_crash(popmap: PopMap) -> None:
    popmap.path.write_bytes(popmap.path.read_bytes()[:5000])
    for use in (popmap.read, lambda: popmap.expire(NOW_S), lambda: popmap.look_up((b"x",))):
        with pytest.raises(DataError, match="journalrelay replay"):
            use()
    assert popmap.fault(NOW_S)


@pytest.mark.parametrize(
    ("key_", "value"),
    [
        (b"192.0.2.7", b"x"),
        (b"192.0.2.7", b"0795400000"),
        (b"IPv6:2001:DB8:0:0:0:0:0:1", b"1795400000"),
        (b"anything", b"1795400000"),
        (b"192.0.2.7\0", b"1795400000"),
        (b"192.0.2.7", b"1795500001"),
    ],
)
def test_a_map_with_what_we_never_write_is_not_believed(
    place: Path, key_: bytes, value: bytes
) -> None:
    popmap = PopMap(place / "popip.db", "hash")
    popmap.replace({})
    assert popmap.fault(NOW_S + 100_000) is None
    write(popmap.path, key_, value)
    assert popmap.fault(NOW_S + 100_000)


def test_a_map_of_the_other_type_is_not_believed(place: Path) -> None:
    PopMap(place / "popip.db", "hash").replace({})
    fault = PopMap(place / "popip.db", "btree").fault(NOW_S)
    assert fault == "it is a hash file where a btree is wanted"


def test_growth_never_splits_a_bucket_in_place(place: Path) -> None:
    popmap = PopMap(place / "popip.db", "hash", careful=False)
    popmap.replace({})
    total, batch = 120_000, 5_000
    before = popmap.identity()
    for start in range(0, total, batch):
        popmap.commit(granting(*((key(n), NOW_S) for n in range(start, start + batch))), 0)
        assert buckets(popmap.path) & (buckets(popmap.path) - 1) == 0
    assert popmap.identity() != before
    assert len(popmap.read()) == total


def test_growth_makes_room_at_once_for_all_that_comes(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    popmap = PopMap(place / "popip.db", "hash", careful=False)
    popmap.replace({})
    renamed: list[Path] = []

    def rename(old: Path, new: Path, really: Callable[[Path, Path], None] = os.rename) -> None:
        really(old, new)
        renamed.append(new)

    monkeypatch.setattr(os, "rename", rename)
    popmap.commit(granting(*((key(n), NOW_S) for n in range(180_000))), 0)
    assert renamed.count(popmap.path) == 1
    assert len(popmap.read()) == 180_000


def buckets(path: Path) -> int:
    handle = db.DB()
    handle.open(str(path), None, db.DB_HASH, db.DB_RDONLY)
    found: int = handle.stat(db.DB_FAST_STAT)["buckets"]
    handle.close()
    return found


def test_a_map_without_room_is_given_some(place: Path) -> None:
    path = place / "popip.db"
    subprocess.run(["makemap", "hash", str(path.with_suffix(""))], input=b"", check=True)
    popmap = PopMap(path, "hash")
    popmap.commit(granting((b"192.0.2.7", NOW_S)), NOW_S)
    assert buckets(path) >= 4096
    assert popmap.read() == {b"192.0.2.7": NOW_S}


WRITER = """
import sys, time
from pathlib import Path
from journalrelay.map.changes import Changes
from journalrelay.map.mapfile import MapReplacedError
from journalrelay.map.popmap import PopMap
popmap = PopMap(Path(sys.argv[1]), sys.argv[2], careful=False)
number = 0
paced = sys.argv[2] == "btree"  # a rename at every moment would let nobody open the map
while not paced or sys.stdin.readline():
    changes = Changes()
    for _ in range(50):
        number += 1
        changes.grant(b"10.0.%d.%d" % (number >> 8 & 255, number & 255), int(time.time()) + 900)
    popmap.commit(changes, int(time.time()))
    print(number, flush=True)
"""


def dumped(popmap: PopMap, *no_answer: int) -> dict[bytes, bytes]:
    """Return the map as makemap -u prints it, empty when it ends with a code of ``no_answer``."""
    name = str(popmap.path.with_suffix(""))
    said = subprocess.run(["makemap", "-u", popmap.kind, name], capture_output=True)
    assert said.returncode in (0, *no_answer), said.stderr
    return dict(line.split(b"\t") for line in said.stdout.splitlines())


@pytest.mark.parametrize("kind", KINDS)
def test_no_reader_ever_gets_a_wrong_answer_from_a_hot_map(place: Path, kind: str) -> None:
    """makemap -u dumps the map through sendmail's own library while it is written at full speed."""
    popmap = PopMap(place / "popip.db", kind)
    popmap.replace({})
    expiry = int(time.time()) + 9000
    fixed = {b"192.0.2.%d" % n: expiry for n in range(250)}
    popmap.commit(granting(*fixed.items()), NOW_S)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(popmap.path), kind],
        cwd=TOP,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    assert writer.stdin is not None and writer.stdout is not None
    try:
        writer.stdin.write(b"\n")
        writer.stdout.readline()
        for _ in range(60):
            assert writer.poll() is None
            if kind == "btree":
                writer.stdin.write(b"\n")
                dump = dumped(popmap, os.EX_CANTCREAT)  # renamed at the moment of its opening
                assert not dump or {k: int(dump[k]) for k in fixed} == fixed
                writer.stdout.readline()
            dump = dumped(popmap)
            assert {k: int(dump[k]) for k in fixed} == fixed
            assert popmap.look_up((b"192.0.2.7",)) == {b"192.0.2.7": expiry}
    finally:
        writer.kill()
        writer.wait()
        writer.stdin.close()
        writer.stdout.close()


def test_a_kill_during_a_commit_leaves_a_map_that_can_be_believed(place: Path) -> None:
    popmap = PopMap(place / "popip.db", "hash")
    popmap.replace({})
    fixed = {b"192.0.2.%d" % n: NOW_S + 9000 for n in range(250)}
    popmap.commit(granting(*fixed.items()), NOW_S)
    rng = random.Random(1)
    for _ in range(40):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(popmap.path), "hash"],
            cwd=TOP,
            stdout=subprocess.PIPE,
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        signal.sigtimedwait([], rng.random() / 50)  # a moment that nothing determines
        writer.kill()
        writer.wait()
        done = [int(line) for line in writer.stdout.read().splitlines()]
        writer.stdout.close()
        assert popmap.fault(int(time.time()) + 10_000) is None
        content = popmap.read()
        assert {k: content[k] for k in fixed} == fixed
        assert all(key(n) in content for n in range(1, max(done, default=0) + 1))
    popmap.expire(int(time.time()) + 10_000)  # whatever was in the index when it was killed
    assert popmap.read() == {}


def test_keys_are_spelled_so_that_they_read_back(popmap: PopMap) -> None:
    popmap.commit(granting((b"ipv6:2001:db8:1:2", NOW_S)), NOW_S - 1)
    assert [map_key(parse_key(k)) for k in popmap.read()] == [b"ipv6:2001:db8:1:2"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_commit_is_seen_at_once_by_a_sendmail_that_runs_on(place: Path, kind: str) -> None:
    popmap = PopMap(place / "popip.db", kind)
    popmap.replace({})
    specification = f"{kind} {place}/popip"
    with Sendmail(room.scratch("sendmail-"), popip=specification).rule_test() as sendmail:
        for number in range(40):  # many in one second, where sendmail would not look again
            name = f"192.0.2.{number}"
            assert sendmail.lookup("popip", name) is None
            popmap.commit(granting((name.encode(), NOW_S + number)), NOW_S - 900)
            assert sendmail.lookup("popip", name) == str(NOW_S + number)
        popmap.replace({b"198.51.100.7": NOW_S})
        assert sendmail.lookup("popip", "198.51.100.7") == str(NOW_S)
        assert sendmail.lookup("popip", "192.0.2.1") is None


def test_a_sendmail_that_runs_on_never_misses_beside_a_hot_writer(place: Path) -> None:
    popmap = PopMap(place / "popip.db", "hash")
    popmap.replace({})
    fixed = {b"192.0.2.%d" % n: NOW_S + 9000 for n in range(250)}
    popmap.commit(granting(*fixed.items()), NOW_S)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(popmap.path), "hash"], cwd=TOP, stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    try:
        writer.stdout.readline()
        with Sendmail(room.scratch("sendmail-"), popip=place / "popip").rule_test() as sendmail:
            for number in range(2000):
                found = sendmail.lookup("popip", f"192.0.2.{number % 250}")
                assert found == str(NOW_S + 9000), number
                assert sendmail.lookup("popip", f"203.0.113.{number % 250}") is None
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()


def test_a_commit_to_a_map_that_was_replaced_fails(place: Path) -> None:
    popmap = PopMap(place / "popip.db", "hash")
    popmap.replace({})
    popmap.adopt()
    popmap.commit(granting((b"192.0.2.7", NOW_S)), NOW_S)
    other = PopMap(place / "other.db", "hash")
    other.replace({})
    os.rename(other.path, popmap.path)
    assert popmap.is_foreign()
    with pytest.raises(MapReplacedError):
        popmap.commit(granting((b"192.0.2.8", NOW_S)), NOW_S)


def test_a_map_that_our_own_commands_wrote_anew_is_no_strangers(place: Path) -> None:
    popmap = PopMap(place / "popip.db", "btree")
    popmap.replace({b"192.0.2.7": NOW_S, b"192.0.2.8": NOW_S + 9})
    held = take_daemon_lock(popmap.path)
    assert held is not None
    popmap.adopt()
    popmap.vouch()
    assert len(PopMap(place / "popip.db", "btree").expire(NOW_S)) == 1
    popmap.commit(granting((b"192.0.2.9", NOW_S + 9)), NOW_S)
    assert not popmap.is_foreign()
    assert set(popmap.read()) == {b"192.0.2.8", b"192.0.2.9"}
    os.close(held)


@pytest.mark.parametrize("kind", KINDS)
def test_what_our_own_commands_make_of_a_strangers_map_is_a_strangers(
    place: Path, kind: str
) -> None:
    held = take_daemon_lock(place / "popip.db")
    assert held is not None
    popmap = PopMap(place / "popip.db", kind)
    popmap.replace({})
    popmap.adopt()
    lie = subprocess.Popen(["makemap", kind, place / "popip"], stdin=subprocess.PIPE)
    lie.communicate(b"203.0.113.66\t%d\n" % (NOW_S + 900))
    PopMap(place / "popip.db", kind).commit(granting((b"192.0.2.7", NOW_S + 900)), NOW_S)
    assert len(popmap.read()) == 2  # it had no room, or was a btree: written anew
    assert popmap.is_foreign()
    os.close(held)


def test_what_a_killed_rebuild_left_does_not_stop_the_next_one(place: Path) -> None:
    popmap = PopMap(place / "popip.db", "hash")
    for name in (f".popip.db.new-{os.getpid()}", f"__db..popip.db.new-{os.getpid()}"):
        (place / name).write_bytes(b"left")
    popmap.replace({b"192.0.2.7": NOW_S})
    assert popmap.read() == {b"192.0.2.7": NOW_S}
    (place / "__db..popip.db.new-1").write_bytes(b"left")
    popmap.sweep()
    assert {file.name for file in place.iterdir()} == {"popip.db", "popip.db.due"}


def test_the_lock_of_the_daemon_is_nobody_elses_to_hold(place: Path) -> None:
    held = take_daemon_lock(place / "popip.db")
    assert held is not None
    assert os.fstat(held).st_mode & 0o777 == 0o600
    os.utime(held, (NOW_S + 500, NOW_S + 500))
    os.close(held)
    again = take_daemon_lock(place / "popip.db")
    assert again is not None
    assert os.fstat(again).st_mtime == NOW_S + 500  # the map's mark
    os.close(again)


def test_a_new_map_in_an_inode_used_again_is_another_one(place: Path) -> None:
    popmap = PopMap(place / "popip.db", "hash")
    popmap.replace({})
    popmap.adopt()
    known = popmap.known()
    for _ in range(5):  # most file systems give the same number again at once
        popmap.path.unlink()
        PopMap(place / "popip.db", "hash").create()
        assert PopMap(place / "popip.db", "hash").identity() != known
        assert popmap.is_foreign()


def test_a_file_with_something_behind_its_last_page_is_not_believed(popmap: PopMap) -> None:
    with popmap.path.open("ab") as file:
        file.write(b"x")
    assert popmap.fault(NOW_S) == "it does not end with a page"


def test_all_that_begins_alike_can_be_removed(popmap: PopMap) -> None:
    inside, outside = b"ipv6:2001:db8:1:2:0:0:0:9", b"ipv6:2001:db8:1:22:0:0:0:9"
    popmap.commit(granting((inside, NOW_S), (outside, NOW_S)), NOW_S - 900)
    changes = granting((b"ipv6:2001:db8:1:2:0:0:0:8", NOW_S))
    changes.remove_within(b"ipv6:2001:db8:1:2:")
    assert popmap.commit(changes, NOW_S - 900).closed == [inside]
    assert set(popmap.read()) == {outside}


class Watched(PopMap):
    """A map that calls ``beside`` while it is written anew."""

    def __init__(self, path: Path, kind: str, beside: Callable[[], None]) -> None:
        super().__init__(path, kind)
        self._beside = beside

    def _write_beside(self, content: Mapping[bytes, int], room: int = 0) -> Path:
        self._beside()
        return super()._write_beside(content, room)


def await_free(path: Path) -> None:
    """Fail unless the map can be locked for writing now."""
    with open(path, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def crowded(place: Path) -> Path:
    """Return a map that makemap made, which has no room."""
    path = place / "popip.db"
    lines = b"".join(b"%b\t%d\n" % (key(n), NOW_S + 9) for n in range(3000))
    command = ["makemap", "hash", str(path.with_suffix(""))]
    subprocess.run(command, input=lines, check=True)
    return path


def test_nobody_waits_while_a_map_is_written_anew(place: Path) -> None:
    path = crowded(place)
    seen = []

    def look() -> None:
        await_free(path)
        seen.append(path)

    popmap = Watched(path, "hash", look)
    popmap.commit(granting((b"192.0.2.7", NOW_S)), 0)
    popmap.replace(popmap.read())
    changes = Changes()
    changes.remove_all()
    popmap.commit(changes, 0)
    assert len(seen) == 3


def test_what_others_change_while_a_map_is_written_anew_is_not_lost(place: Path) -> None:
    path = crowded(place)
    other = PopMap(path, "hash")
    more = [b"198.51.100.7"]

    def change() -> None:
        if more:
            other.commit(granting((more.pop(), NOW_S)), 0)

    popmap = Watched(path, "hash", change)
    popmap.commit(granting((b"192.0.2.7", NOW_S)), 0)
    assert other.read().keys() == {key(n) for n in range(3000)} | {b"192.0.2.7", b"198.51.100.7"}
    assert len(other.expire(NOW_S)) == 2


def test_who_is_always_outrun_lets_others_wait_in_the_end(place: Path) -> None:
    popmap = PopMap(place / "popip.db", "btree")
    popmap.replace({})
    other = PopMap(place / "popip.db", "btree", wait_s=0.05)
    outrun: list[bool] = []

    def change() -> None:
        try:
            other.commit(granting((b"198.51.100.%d" % len(outrun), NOW_S)), 0)
            outrun.append(True)
        except TryAgainError:
            outrun.append(False)

    Watched(popmap.path, "btree", change).commit(granting((b"192.0.2.7", NOW_S)), 0)
    assert outrun[-1] is False and all(outrun[:-1])
    assert len(popmap.read()) == len(outrun)


def test_a_large_commit_lets_others_in_between_and_syncs_once_without_the_lock(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    popmap = PopMap(place / "popip.db", "hash")
    popmap.replace({})
    synced: list[int] = []

    def sync(fd: int, really: Callable[[int], None] = os.fdatasync) -> None:
        await_free(popmap.path)
        really(fd)
        synced.append(fd)

    monkeypatch.setattr(os, "fdatasync", sync)
    monkeypatch.setattr("journalrelay.map.popmap._LARGEST_SLICE", 200)
    before_s = mtime_s(popmap.path)
    popmap.commit(granting(*((key(n), NOW_S) for n in range(2000))), 0)
    assert mtime_s(popmap.path) >= before_s + 10  # as often as the lock was taken
    assert len(synced) == 1
    assert len(popmap.read()) == 2000


def test_what_others_change_between_two_locks_of_a_commit_stays(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    popmap, other = (PopMap(place / "popip.db", "hash") for _ in range(2))
    popmap.replace({})
    theirs = iter([key(n) for n in range(90_000, 94_000)])
    between: list[set[bytes]] = []

    def pause(*arguments: object) -> None:
        if len(between) < 20:  # other.commit() pauses here too
            some = {next(theirs) for _ in range(200)}
            between.append(some)
            other.commit(granting(*((k, NOW_S) for k in some)), 0)

    monkeypatch.setattr("select.select", pause)
    ours = {key(n) for n in range(4000)}
    popmap.commit(granting(*((k, NOW_S) for k in ours)), 0)
    assert popmap.read().keys() == ours.union(*between)
