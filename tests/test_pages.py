"""A damaged file is recognised before libdb, which would crash on it, sees it."""

import os
import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from journalrelay.map import pages
from journalrelay.map.popmap import PopMap
from tests.support import db

KINDS = {"hash": db.DB_HASH, "btree": db.DB_BTREE}


def keys(count: int) -> list[bytes]:
    return [b"10.%d.%d.%d" % (n >> 16, n >> 8 & 255, n & 255) for n in range(count)]


def make(path: Path, kind: str, count: int, room: bool) -> bytes:
    """Write a map with libdb's own growth, or with room for its content; return its bytes."""
    handle = db.DB()
    handle.set_pagesize(4096)
    if room and kind == "hash":
        handle.set_h_ffactor(60)
        handle.set_h_nelem(64 * 60)
    handle.open(str(path), None, KINDS[kind], db.DB_CREATE, 0o644)
    for key in keys(count):
        handle.put(key, b"1795999999")
    handle.sync()
    handle.close()
    return path.read_bytes()


def fault(path: Path, asked: list[bytes] | None = None) -> str | None:
    fd = os.open(path, os.O_RDONLY)
    try:
        return pages.fault(fd, asked)
    finally:
        os.close(fd)


@pytest.mark.parametrize("room", [False, True])
@pytest.mark.parametrize("count", [0, 1, 10, 1_000, 30_000])
@pytest.mark.parametrize("kind", KINDS)
def test_what_libdb_wrote_is_whole(place: Path, kind: str, count: int, room: bool) -> None:
    make(place / "m.db", kind, count, room)
    assert fault(place / "m.db") is None


@pytest.mark.parametrize("kind", KINDS)
def test_what_remains_after_deletions_is_whole(place: Path, kind: str) -> None:
    make(place / "m.db", kind, 5_000, False)
    handle = db.DB()
    handle.open(str(place / "m.db"), None, KINDS[kind], 0)
    for key in keys(5_000)[::2] + keys(4_000)[1::2]:
        handle.delete(key)
    handle.sync()
    handle.close()
    assert fault(place / "m.db") is None


def harm(whole: bytes, rng: random.Random) -> bytes:
    """Return the file with some of its bytes, mostly of page headers, changed or cut off."""
    harmed = bytearray(whole)
    how = rng.randrange(4)
    if how == 0:
        return bytes(harmed[: rng.randrange(len(harmed))])
    if how == 1:
        page = rng.randrange(len(harmed) // 4096) * 4096
        harmed[page : page + 4096] = rng.randbytes(4096)
    for _ in range(20 if how == 2 else 4):
        page = rng.choice([0, rng.randrange(len(harmed) // 4096) * 4096])
        harmed[page + rng.randrange(4096 if how == 2 else 250)] = rng.randrange(256)
    return bytes(harmed)


def use(path: Path, kind: str) -> None:
    """Do to the map what its users do, in a child that may die of it."""
    popmap = PopMap(path, kind, careful=False)
    popmap.read()
    handle = db.DB()
    handle.open(str(path), None, KINDS[kind], 0)
    for key in keys(1_000):
        handle.get(key)
    if kind == "hash":
        for key in keys(4_000):
            handle.put(key, b"1795999999")
    handle.sync()
    handle.close(db.DB_NOSYNC)


def survives(used: Callable[[], None]) -> bool:
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        try:
            used()
        except BaseException:  # an error is an answer; a signal is none
            os._exit(1)
        os._exit(0)
    return not os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("room", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_no_file_that_passes_can_crash_libdb(place: Path, kind: str, room: bool) -> None:
    path = place / "m.db"
    whole = make(path, kind, 1_000, room)
    refused = 0
    for seed in range(400):
        path.write_bytes(harm(whole, random.Random(seed)))
        if fault(path):
            refused += 1
        else:
            assert survives(lambda: use(path, kind)), f"seed {seed}"
    assert refused > 200


def use_some(path: Path, asked: list[bytes]) -> None:
    """Look at, change and remove some keys, in a child that may die of it."""
    handle = db.DB()
    handle.open(str(path), None, db.DB_HASH, 0)
    for key in asked:
        handle.get(key)
    for key in asked:
        handle.put(key, b"1795999999")
    for key in asked[::2]:
        handle.delete(key)
    handle.sync()
    handle.close(db.DB_NOSYNC)


@pytest.mark.parametrize("room", [False, True])
def test_no_file_that_passes_for_some_keys_can_crash_libdb_there(place: Path, room: bool) -> None:
    path = place / "m.db"
    whole = make(path, "hash", 1_000, room)
    passed = 0
    for seed in range(800):
        chance = random.Random(seed)
        path.write_bytes(harm(whole, chance))
        asked = chance.sample(keys(1_000), 5)
        if fault(path, asked) is None:
            passed += fault(path) is not None  # damaged elsewhere
            assert survives(lambda: use_some(path, asked)), f"seed {seed}"  # noqa: B023
    assert passed > 30


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 4096, b"\0" * 12288])
def test_what_is_no_map_is_refused(place: Path, content: bytes) -> None:
    (place / "m.db").write_bytes(content)
    assert fault(place / "m.db")


def test_a_small_file_cannot_unfold_to_a_large_one(place: Path) -> None:
    """Entries of a btree page say where their items are: many could name the same bytes."""
    whole = bytearray(make(place / "m.db", "btree", 10, False))
    entries = 4096 + 26  # of page 1, the root and the only leaf; its items are alike in length
    assert fault(place / "m.db") is None
    for number in range(20):
        whole[entries + 2 * number : entries + 2 * number + 2] = whole[entries + 38 : entries + 40]
    whole[4096 + 22 : 4096 + 24] = whole[entries + 38 : entries + 40]  # where items begin
    value = whole[entries + 38] | whole[entries + 39] << 8
    room = 4096 - value - 3
    whole[4096 + value : 4096 + value + 2] = room.to_bytes(2, "little")  # up to the page's end
    (place / "m.db").write_bytes(whole)
    assert fault(place / "m.db") == "page 1 has items that share their bytes"


@pytest.mark.parametrize("count", [1_000, 30_000])
@pytest.mark.parametrize("room", [False, True])
def test_the_page_of_a_key_is_known(place: Path, count: int, room: bool) -> None:
    """Of most keys the first page of their bucket; some are on those behind it."""
    content = make(place / "m.db", "hash", count, room)
    with (place / "m.db").open("rb") as file:
        find = pages.finder(file.fileno())
    assert find
    at = {key: find(key) * 4096 for key in keys(count)}
    there = sum(key in content[start : start + 4096] for key, start in at.items())
    assert there > count * 0.4


@pytest.mark.parametrize("kind", ["btree", "garbage"])
def test_of_no_hash_no_page_is_known(place: Path, kind: str) -> None:
    if kind == "btree":
        make(place / "m.db", kind, 10, False)
    else:
        (place / "m.db").write_bytes(b"garbage" * 1000)
    with (place / "m.db").open("rb") as file:
        assert pages.finder(file.fileno()) is None
