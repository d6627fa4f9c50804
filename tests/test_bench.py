"""The comparison is fair: the bench's C programs do the same work as we do, to the same end."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import document, journals, limit, lookups, maps, plot, table
from bench.measures import TOP, BenchError, Figures, told
from bench.ours import WINDOW_S
from bench.reading import command
from journalrelay.map.popmap import PopMap
from journalrelay.patterns.dovecot import DOVECOT
from lab.journald import login_line
from lab.journalfile import entry, make_journal
from tests.support import db

ENTRIES, ADDRESSES = 3_000, 700
NOW_US = 1_790_000_000_000_000


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep journals and programs in a directory of the test's own."""
    monkeypatch.setattr(journals, "KEPT", tmp_path)
    monkeypatch.setattr(limit, "KEPT", tmp_path)
    limit.program.cache_clear()
    limit.matches.cache_clear()
    yield
    limit.program.cache_clear()
    limit.matches.cache_clear()


def maps_of(directory: Path, place: Path) -> tuple[dict[bytes, int], dict[bytes, int]]:
    """Return what we and the C program make of a journal."""
    found = []
    for name in ("ours", "theirs"):
        here = place / name
        here.mkdir()
        if name == "ours":
            told([sys.executable, "-m", "bench.ours", "relay", str(directory), str(here)])
        else:
            limit.relay(directory, here, 1000, 1000, WINDOW_S)
        found.append(PopMap(here / "popip.db", "hash").read())
    return found[0], found[1]


@pytest.mark.parametrize("kind", ["mixed", "logins"])
def test_the_c_program_makes_the_same_map(kind: str, tmp_path: Path) -> None:
    directory = journals.journal(kind, ENTRIES, ADDRESSES)
    ours, theirs = maps_of(directory, tmp_path)
    assert ours == theirs
    assert len(ours) == min(ADDRESSES, ENTRIES // (20 if kind == "mixed" else 1))


@pytest.mark.parametrize("kind", ["mixed", "logins"])
def test_the_floor_sees_the_same_logins(kind: str, tmp_path: Path) -> None:
    directory = journals.journal(kind, ENTRIES, ADDRESSES)
    ours = told(command(directory, tmp_path, ENTRIES))
    reading = told([sys.executable, "-m", "bench.floor", "read", str(directory), str(ENTRIES)])
    relaying = told([sys.executable, "-m", "bench.floor", "relay", str(directory), str(tmp_path)])
    for floor in (reading, relaying):
        assert [floor[what] for what in ("entries", "logins")] == [ours["entries"], ours["logins"]]
    handle = db.DB()
    handle.open(str(tmp_path / "floor.db"), None, db.DB_HASH, db.DB_RDONLY)
    keys = handle.stat(0)["nkeys"]
    handle.close()
    assert keys == min(ADDRESSES, ENTRIES // (20 if kind == "mixed" else 1))


def test_the_c_program_reads_dovecots_lines_as_we_do(tmp_path: Path) -> None:
    lines = [line for line in DOVECOT.traps if "\n" not in line]
    lines += [line for line in DOVECOT.patterns[0].samples if "cipher" not in line]
    lines += [login_line("192.0.2.77", "x>, method=PLAIN, rip=203.0.113.66, lip=1.1.1.1")]
    directory = tmp_path / "journal"
    directory.mkdir()
    text = b"".join(entry(line, NOW_US + n * 1_000_000) for n, line in enumerate(lines))
    make_journal(text, directory / "a.journal")
    ours, theirs = maps_of(directory, tmp_path)
    assert ours == theirs
    assert b"192.0.2.77" in ours


@pytest.mark.parametrize("kind", ["mixed", "logins"])
def test_both_read_the_same_entries(kind: str, tmp_path: Path) -> None:
    directory = journals.journal(kind, ENTRIES, ADDRESSES)
    ours = told(command(directory, tmp_path, ENTRIES))
    theirs = told(limit.read_command(directory, tmp_path, ENTRIES))
    assert (ours["entries"], ours["logins"]) == (theirs["entries"], theirs["logins"])
    assert ours["logins"] == ENTRIES // (20 if kind == "mixed" else 1)


def test_a_lookup_process_sees_what_is_in_the_map(tmp_path: Path) -> None:
    path = tmp_path / "popip.db"
    popmap = maps.live(path, 1000)
    with lookups.lookups(path) as process:
        maps.add_expired(popmap, 1000, 1000)
    assert process.seen["lookups"] > 0
    assert process.seen["missed"] == 0


def test_a_program_that_does_not_compile_is_said(tmp_path: Path) -> None:
    broken = tmp_path / "broken.c"
    broken.write_text("int main(void) { return nothing; }\n")
    with pytest.raises(BenchError, match=r"broken\.c.*\n*.*nothing"):
        limit.program(broken)


def test_the_table_says_what_is_met() -> None:
    ratio = Figures((2.0, 1.0, 3.0))
    row = table.ratio_row("a ratio", "1 s", ratio, most=1.8)
    assert row.cells() == ("a ratio", "1 s", "2", "1 to 3", "no")
    assert table.ratio_row("a ratio", "1 s", ratio, least=2).met is True
    assert "| a ratio | 1 s | 2 | 1 to 3 | no |" in table.markdown([row])


def test_the_page_keeps_what_was_written_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document, "PAGE", tmp_path / "page.md")
    document.PAGE.write_text("before\nafter\n")
    with pytest.raises(BenchError, match="no place for the table"):
        document.write([], full=False)
    kept = (
        "before\n<!-- written by make bench -->\n{}<!-- end of what make bench writes -->\nafter\n"
    )
    document.PAGE.write_text(kept.format("old\n"))
    document.write([table.Row("a goal", "1 s", met=True)], full=False)
    text = document.PAGE.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "| a goal | 1 s |  |  | yes |" in text


def test_the_picture_has_every_point() -> None:
    series = (plot.Series("a < b", ((10, 0.5), (1000, 70.0))), plot.Series("c", ((10, 3.0),)))
    picture = ElementTree.fromstring(plot.svg([plot.Panel("title", "across", "ms", series)]))
    circles = list(picture.iter("{http://www.w3.org/2000/svg}circle"))
    assert len(circles) == 3
    assert all(50 < float(circle.attrib["cx"]) < 430 for circle in circles)
    assert len({circle.attrib["cy"] for circle in circles}) == 3


def test_another_reader_finds_the_same_logins() -> None:
    directory = journals.journal("mixed", ENTRIES, ADDRESSES)
    peer = [sys.executable, str(TOP / "bench/peer.py"), "python-systemd", str(directory)]
    done = subprocess.run(
        [*peer, str(ENTRIES), "_SYSTEMD_UNIT=dovecot.service"], capture_output=True, check=True
    )
    assert json.loads(done.stdout)["found"] == ENTRIES // 10
