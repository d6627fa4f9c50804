"""The index beside the map: what expires is found without reading all, and never by it alone."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from journalrelay.errors import DataError
from journalrelay.map.changes import Changes
from journalrelay.map.due import Due, due_at
from journalrelay.map.popmap import PopMap

NOW_S = 1_795_400_000
KINDS = ["hash", "btree"]
OVER, LIVE = b"192.0.2.7", b"198.51.100.7"


@pytest.fixture(params=KINDS)
def popmap(place: Path, request: pytest.FixtureRequest) -> PopMap:
    made = PopMap(place / "popip.db", request.param)
    made.replace({LIVE: NOW_S + 900})
    grant(made, OVER, NOW_S)
    return made


def grant(popmap: PopMap, key: bytes, expiry_s: int) -> None:
    changes = Changes()
    changes.grant(key, expiry_s)
    popmap.commit(changes, NOW_S - 900)


def test_a_key_is_due_no_later_than_it_expires_and_not_long_before() -> None:
    for ahead_s in (0, 1, 59, 900, 3600, 86_400, 3_000_000_000):
        for expiry_s in range(NOW_S + ahead_s, NOW_S + ahead_s + 200, 7):
            early_s = expiry_s - due_at(expiry_s, NOW_S)
            assert 0 <= early_s < max(16, ahead_s / 16)


def test_there_are_few_times_whatever_the_length_of_grants() -> None:
    ends_s = range(NOW_S, NOW_S + 30 * 365 * 86_400, 600)
    assert len({due_at(expiry_s, NOW_S) for expiry_s in ends_s}) < 2000


def test_only_what_may_be_over_is_looked_at(place: Path) -> None:
    popmap = PopMap(place / "popip.db", "hash")
    popmap.replace({LIVE: NOW_S + 900, OVER: NOW_S})
    harm_pages_without(popmap.path, OVER)
    assert popmap.look_up((OVER,)) == {OVER: NOW_S}
    assert popmap.expire(NOW_S) == {OVER: NOW_S}
    for use in (popmap.read, lambda: popmap.look_up((LIVE,))):
        with pytest.raises(DataError):
            use()


def harm_pages_without(path: Path, key: bytes) -> None:
    """Damage the head of each page but the first and that of ``key``, as no writer would see."""
    stamp_s = int(path.stat().st_mtime)
    content = bytearray(path.read_bytes())
    for start in range(4096, len(content), 4096):
        page = content[start : start + 4096]
        if any(page) and key not in page:
            content[start + 20] ^= 0xFF
    path.write_bytes(content)
    os.utime(path, (stamp_s, stamp_s))


def lost(due: Due) -> None:
    shutil.rmtree(due.place)


def of_another_boot(due: Due) -> None:
    file = due.place / "of"
    identity, _, mark = file.read_text().split(" ")
    file.write_text(f"{identity} {'0' * 32} {mark}")
    drop_keys(due)


def of_another_map(due: Due) -> None:
    (due.place / "of").write_text("1:2:3 " + (due.place / "of").read_text().split(" ", 1)[1])
    drop_keys(due)


def not_filled_to_the_end(due: Due) -> None:
    due.begin()


def drop_keys(due: Due) -> None:
    for at_s in due.times(NOW_S + 10_000):
        (due.place / str(at_s)).unlink()


@pytest.mark.parametrize("spoil", [lost, of_another_boot, of_another_map, not_filled_to_the_end])
def test_an_index_that_is_not_whole_is_made_anew(
    popmap: PopMap, spoil: Callable[[Due], None]
) -> None:
    spoil(popmap.due)
    assert popmap.expire(NOW_S) == {OVER: NOW_S}
    assert popmap.expire(NOW_S + 900) == {LIVE: NOW_S + 900}


def test_what_a_stranger_wrote_is_found_too(popmap: PopMap) -> None:
    other = PopMap(popmap.path.with_name("other.db"), popmap.kind)
    other.replace({b"203.0.113.7": NOW_S - 1})
    os.utime(other.path)
    os.rename(other.path, popmap.path)
    assert popmap.expire(NOW_S) == {b"203.0.113.7": NOW_S - 1}


def test_what_was_renewed_is_kept_and_found_when_it_ends(popmap: PopMap) -> None:
    grant(popmap, OVER, NOW_S + 500)
    assert popmap.expire(NOW_S) == {}
    assert popmap.expire(NOW_S + 499) == {}
    assert popmap.expire(NOW_S + 500) == {OVER: NOW_S + 500}


def test_a_grant_that_ends_sooner_than_the_one_revoked_is_found(popmap: PopMap) -> None:
    grant(popmap, OVER, NOW_S + 86_400)
    changes = Changes()
    changes.remove((OVER,))
    changes.grant(OVER, NOW_S + 60)
    popmap.commit(changes, NOW_S)
    assert popmap.expire(NOW_S + 60) == {OVER: NOW_S + 60}


def test_a_far_end_is_found_though_it_is_filed_roughly(popmap: PopMap) -> None:
    for days in range(1, 8):
        grant(popmap, b"203.0.113.%d" % days, NOW_S + days * 86_400 + days)
    popmap.expire(NOW_S + 900)
    for days in range(1, 8):
        at_s = NOW_S + days * 86_400 + days
        assert popmap.expire(at_s - 1) == {}
        assert popmap.expire(at_s) == {b"203.0.113.%d" % days: at_s}
    assert popmap.due.times(NOW_S + 10**9) == []


def test_an_index_that_cannot_be_written_keeps_nothing_from_the_map(popmap: PopMap) -> None:
    lost(popmap.due)
    popmap.due.place.write_bytes(b"a file where the directory should be")
    grant(popmap, b"203.0.113.7", NOW_S - 1)
    assert popmap.read().keys() == {LIVE, OVER, b"203.0.113.7"}
    assert popmap.expire(NOW_S).keys() == {OVER, b"203.0.113.7"}
    assert popmap.read().keys() == {LIVE}
