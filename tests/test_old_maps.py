"""Maps that an older daemon left: files of Berkeley DB 1.85 to 5.3, and what programs print."""

import os
import random
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from journalrelay.config import load
from journalrelay.migration import oldmap
from journalrelay.rules.policy import Rules
from lab.oldmaps import aged, many
from lab.sendmail import makemap
from tests.support import db

CORPUS = Path(__file__).parent / "oldmaps"
FILES = sorted(CORPUS.glob("*.db"))
LEFT = {key: value for n, (key, value) in enumerate(many(600).items()) if n % 3}
NOW_S = 1_795_399_000
WINDOW_S = 900


def content_of(path: Path) -> dict[bytes, bytes]:
    old = oldmap.read(path.read_bytes(), 0)
    assert old is not None
    return old.pairs


def name_of(path: Path) -> str:
    old = oldmap.read(path.read_bytes(), 0)
    assert old is not None
    return old.name


def made(
    path: Path, pairs: dict[bytes, bytes], kind: str = "hash", page: int = 1024, order: int = 1234
) -> Path:
    """Let libdb 5.3 write a file; some of it is taken out again."""
    handle = db.DB()
    handle.set_pagesize(page)
    handle.set_lorder(order)
    handle.open(str(path), None, {"hash": db.DB_HASH, "btree": db.DB_BTREE}[kind], db.DB_CREATE)
    for key, value in pairs.items():
        handle.put(key, value)
    for n, key in enumerate(many(60)):
        handle.put(b"gone" + key, b"1")
        if n % 2:
            handle.delete(b"gone" + key)
    for key in many(60):
        if handle.has_key(b"gone" + key):
            handle.delete(b"gone" + key)
    handle.close()
    return path


def rules(text: str = "", place: Path | None = None) -> Rules:
    if place is None:
        return load(Path("/dev/null")).rules
    (place / "rules.conf").write_text(f"[relay]\n{text}")
    return load(place / "rules.conf").rules


# Berkeley DB


def test_there_are_files_of_1_85() -> None:
    assert len(FILES) == 4


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_that_berkeley_db_1_85_wrote_is_read(path: Path) -> None:
    """Deleted keys do not come back, though their pages keep them."""
    assert content_of(path) == LEFT
    assert name_of(path) == f"Berkeley DB 1.85 {path.stem.split('-')[1]}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_its_own_dump_program_printed_is_read(path: Path) -> None:
    assert content_of(path.with_suffix(".dump")) == LEFT


def test_pages_that_were_given_up_still_hold_deleted_keys() -> None:
    """Or else the test of deleted keys could not fail."""
    whole = (CORPUS / "db185-hash-little.db").read_bytes()
    gone = many(600).keys() - LEFT.keys()
    assert any(key + many(600)[key] in whole or many(600)[key] + key in whole for key in gone)


@pytest.mark.parametrize("order", [1234, 4321])
@pytest.mark.parametrize("page", [512, 4096, 65536])
@pytest.mark.parametrize("kind", ["hash", "btree"])
@pytest.mark.parametrize("count", [0, 1, 3000])
def test_a_file_of_berkeley_db_5_is_read(
    tmp_path: Path, kind: str, page: int, order: int, count: int
) -> None:
    path = made(tmp_path / "popip.db", many(count), kind, page, order)
    assert content_of(path) == many(count)
    assert name_of(path).endswith(f"to 5.3 {kind}")


@pytest.mark.parametrize("count", [1, 400, 3000])
@pytest.mark.parametrize(
    ("kind", "version", "release"),
    [
        ("hash", 5, "2"),
        ("hash", 7, "3.1 to 3.3"),
        ("hash", 8, "4.0 to 4.5"),
        ("btree", 6, "2"),
        ("btree", 8, "3.1 to 3.3"),
    ],
)
def test_a_file_of_berkeley_db_2_to_4_is_read_as_its_own_upgrade_reads_it(
    tmp_path: Path, kind: str, version: int, release: str, count: int
) -> None:
    """The file is one of 5.3 taken back; that libdb's own upgrade takes it for one of that age,
    and finds the same in it, is what vouches for it."""
    path = tmp_path / "popip.db"
    path.write_bytes(aged(made(tmp_path / "new.db", many(count), kind).read_bytes(), version))
    assert name_of(path) == f"Berkeley DB {release} {kind}"
    ours = content_of(path)
    subprocess.run(["db5.3_upgrade", str(path)], check=True)
    assert struct.unpack_from("=I", path.read_bytes(), 16)[0] in (8, 9)
    dump = tmp_path / "dump"
    subprocess.run(["db5.3_dump", "-f", str(dump), str(path)], check=True)
    assert ours == content_of(dump) == many(count)


@pytest.mark.parametrize("what", ["db185-hash-big", "db185-btree-little", "hash", "btree"])
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, what: str) -> None:
    """Nothing but ValueError, and never more than the file holds."""
    if what in ("hash", "btree"):
        whole = made(tmp_path / "popip.db", many(400), what, page=512).read_bytes()
    else:
        whole = (CORPUS / f"{what}.db").read_bytes()
    chance, refused = random.Random(what), 0
    for _ in range(1500):
        damaged = bytearray(whole)
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(whole) if chance.random() < 0.5 else 600)
            damaged[at] = chance.randrange(256)
        if chance.random() < 0.2:
            del damaged[chance.randrange(len(damaged)) :]
        try:
            old = oldmap.read(bytes(damaged), 0)
        except ValueError:
            refused += 1
        else:
            assert old is None or len(old.pairs) <= 600
    assert refused > 100


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_cut_short_is_refused(path: Path) -> None:
    whole = path.read_bytes()
    for size in (100, 512, len(whole) // 2, len(whole) - 600):
        with pytest.raises(ValueError, match=r"cut short|should hold|damaged"):
            oldmap.read(whole[:size], 0)


def test_items_that_share_their_bytes_do_not_unfold(tmp_path: Path) -> None:
    whole = bytearray(made(tmp_path / "popip.db", many(1), "btree", page=65536).read_bytes())
    (root,) = struct.unpack_from("<I", whole, 88)
    start = root * 65536
    whole[start + 60_000 : start + 60_003] = struct.pack("<HB", 5_000, 1)
    struct.pack_into("<H", whole, start + 20, 10_000)
    struct.pack_into("<10000H", whole, start + 26, *[60_000] * 10_000)
    with pytest.raises(ValueError, match="share their bytes"):
        oldmap.read(bytes(whole), 0)


def test_an_item_that_a_killed_process_had_marked_as_deleted_is_none(tmp_path: Path) -> None:
    """libdb marks an item of a btree while a cursor stands on it, and takes it out later."""
    whole = bytearray(made(tmp_path / "popip.db", many(3), "btree").read_bytes())
    key, value = next(iter(many(3).items()))
    at = whole.index(struct.pack("<HB", len(value), 1) + value)
    whole[at + 2] |= 0x80
    old = oldmap.read(bytes(whole), 0)
    assert old is not None
    assert old.pairs.keys() == many(3).keys() - {key}


def test_a_file_with_checksums_is_refused(tmp_path: Path) -> None:
    handle = db.DB()
    handle.set_flags(db.DB_CHKSUM)
    handle.open(str(tmp_path / "popip.db"), None, db.DB_HASH, db.DB_CREATE)
    handle.put(b"192.0.2.7", b"1")
    handle.close()
    with pytest.raises(ValueError, match="checksums"):
        oldmap.read((tmp_path / "popip.db").read_bytes(), 0)


# text


def by_makemap(tmp_path: Path) -> str:
    makemap(tmp_path / "map", {key.decode(): value.decode() for key, value in LEFT.items()})
    return printed("makemap", "-u", "hash", str(tmp_path / "map"))


def by_dump(*options: str) -> Callable[[Path], str]:
    return lambda place: printed("db5.3_dump", *options, str(made(place / "map.db", LEFT)))


def printed(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("dumped", [by_makemap, by_dump(), by_dump("-p")], ids=["makemap", "", "p"])
def test_what_other_programs_print_is_read(tmp_path: Path, dumped: Callable[[Path], str]) -> None:
    (tmp_path / "dump").write_text(dumped(tmp_path))
    assert content_of(tmp_path / "dump") == LEFT


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("VERSION=3\nformat=print\nHEADER=END\n 192.0.2.7\n 1\n", "DATA=END"),
        ("VERSION=3\nformat=print\nHEADER=END\n 192.0.2.7\nDATA=END\n", "no value"),
        ("VERSION=3\nformat=bytevalue\nHEADER=END\n xyz\n 31\nDATA=END\n", "line 4: ' xyz'"),
        ("192.0.2.7 1\nnonsense 2\n", "line 2: 'nonsense 2'"),
    ],
)
def test_a_damaged_dump_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        oldmap.read(text.encode(), 0)


@pytest.mark.parametrize("text", ["", "$pat = 1;\n", "#!/usr/bin/perl\n", "hello\n", "\0\0\0\0"])
def test_what_is_no_map_is_said_to_be_none(text: str) -> None:
    assert oldmap.read(text.encode(), 0) is None


# what is taken over


def grants(
    pairs: dict[bytes, bytes], given: Rules | None = None, changed_s: int = NOW_S
) -> oldmap.Granted:
    return oldmap.granted(oldmap.OldMap("text", pairs, changed_s), given or rules(), NOW_S)


def ends(pairs: dict[bytes, bytes], given: Rules | None = None) -> dict[str, int]:
    return {str(network): end_s - NOW_S for network, end_s in grants(pairs, given).expiries.items()}


def test_the_ancestors_value_is_the_end_of_the_grant() -> None:
    assert ends({b"192.0.2.7": b"%d" % (NOW_S + 70)}) == {"192.0.2.7/32": 70}
    over = grants({b"192.0.2.7": b"%d" % NOW_S, b"192.0.2.8": b"1600000000"})
    assert (over.expiries, over.over) == ({}, 2)


def test_what_p_prints_are_the_seconds_left_when_it_was_printed() -> None:
    printed = grants({b"192.0.2.7": b"70", b"192.0.2.8": b"20"}, changed_s=NOW_S - 30)
    assert {str(n): e - NOW_S for n, e in printed.expiries.items()} == {"192.0.2.7/32": 40}


@pytest.mark.parametrize("value", [b"ok", b"", b"RELAY", b"allow,RELAYCLIENT"])
def test_without_a_time_it_is_a_window_from_the_files_last_change(value: bytes) -> None:
    pairs = {b"192.0.2.7": value}
    fresh = grants(pairs, changed_s=NOW_S - 100)
    assert list(fresh.expiries.values()) == [NOW_S - 100 + WINDOW_S]
    assert fresh.undated == 1
    assert grants(pairs, changed_s=NOW_S - WINDOW_S).over == 1


def test_no_grant_is_longer_than_one_by_hand_may_be(tmp_path: Path) -> None:
    pairs = {b"192.0.2.7": b"4102444800", b"192.0.2.8": b"99999999"}
    assert set(ends(pairs, rules('max_grant = "2h"', tmp_path)).values()) == {7200}
    assert grants(pairs).bounded == 2


def test_only_what_policy_grants_is_taken_over(tmp_path: Path) -> None:
    end = b"%d" % (NOW_S + 60)
    keys = (b"127.0.0.1", b"192.0.2.7", b"198.51.100.7", b"192.0.2", b"x@example.org", b"1.2.3.256")
    given = grants(dict.fromkeys(keys, end), rules('never = ["198.51.100.0/24"]', tmp_path))
    assert [str(network) for network in given.expiries] == ["192.0.2.7/32"]
    assert len(given.refused) == 5
    many_ = {key: b"%d" % (NOW_S + 10 + n) for n, key in enumerate(many(9))}
    few = grants(many_, rules("max_addresses = 3", tmp_path))
    assert sorted(few.expiries.values()) == [NOW_S + 16, NOW_S + 17, NOW_S + 18]
    assert len(few.refused) == 6


def test_what_would_let_neighbours_in_at_postfix_is_not_taken_over(tmp_path: Path) -> None:
    pairs = dict.fromkeys((b"2001:db8::7", b"2001:db8::1:2:3:4"), b"%d" % (NOW_S + 60))
    given = grants(pairs, rules('[map]\nspelling = "postfix"', tmp_path))
    assert [str(network) for network in given.expiries] == ["2001:db8::1:2:3:4/128"]
    assert "neighbours" in given.refused[0]


@pytest.mark.parametrize(
    ("key", "network"),
    [
        (b"POP:192.0.2.7", "192.0.2.7/32"),
        (b"::ffff:192.0.2.7", "192.0.2.7/32"),
        (b"192.0.2.7\0", "192.0.2.7/32"),
        (b"2001:db8::7", "2001:db8::7/128"),
        (b"IPv6:2001:db8:0:0:0:0:0:7", "2001:db8::7/128"),
    ],
)
def test_keys_of_other_spellings_are_addresses(key: bytes, network: str, tmp_path: Path) -> None:
    path = made(tmp_path / "popip.db", {key: b"%d\0" % (NOW_S + 60)})
    old = oldmap.read(path.read_bytes(), NOW_S)
    assert old is not None
    assert [str(n) for n in oldmap.granted(old, rules(), NOW_S).expiries] == [network]


def test_an_old_file_is_never_written(tmp_path: Path) -> None:
    for path in FILES:
        copy = tmp_path / path.name
        copy.write_bytes(path.read_bytes())
        copy.chmod(0o444)
        os.utime(copy, (NOW_S, NOW_S))
        content_of(copy)
        assert copy.read_bytes() == path.read_bytes()
        assert copy.stat().st_mtime == NOW_S < time.time()
