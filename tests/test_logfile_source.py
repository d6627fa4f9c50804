"""Log files through every kind of rotation: no line is lost, and none read twice."""

import gzip
import lzma
import os
import select
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from journalrelay.errors import NoInputError, PermissionRelayError
from journalrelay.sources import logfile, stream, succession, watch
from journalrelay.sources.logfile import Logfiles, LogfileSource
from journalrelay.sources.logline import LONGEST_LINE
from journalrelay.sources.openlog import BLOCK
from lab import mailfile
from lab.journald import login_line
from lab.wait import wait_for
from tests.support import now_us

BASE_US = 1_795_400_000_000_000
SECOND = 1_000_000
GAP = "nothing but a line of another program, as there are many in a mail log"


class Mail:
    """A mail log, its writer, and what has been read of it."""

    def __init__(self, place: Path) -> None:
        self.path = place / "mail.log"
        self.written = 0
        self.seen: list[int] = []
        self._file = self._made()
        self.source = self.opened()
        self.source.seek_time(0)

    def _made(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)

    def opened(self, *patterns: str) -> LogfileSource:
        return LogfileSource(Logfiles(patterns or (str(self.path),), (mailfile.HOST,)), ["dovecot"])

    def log(self, count: int = 1) -> None:
        """Write numbered logins, each behind a line of somebody else."""
        for _ in range(count):
            os.write(self._file, mailfile.line(GAP, BASE_US, identifier="sm-mta", pid=1))
            os.write(self._file, self.line(self.written))
            self.written += 1

    def line(self, number: int) -> bytes:
        return mailfile.line(login_line(f"192.0.2.{number}"), BASE_US + number * SECOND)

    def raw(self, content: bytes) -> None:
        os.write(self._file, content)

    def reopen(self) -> None:
        """Do what syslogd does on SIGHUP."""
        os.close(self._file)
        self._file = self._made()

    def renamed(self, number: int) -> Path:
        return self.path.with_name(f"mail.log.{number}")

    def rename(self) -> None:
        """Rename as logrotate and newsyslog do: the oldest first."""
        for number in range(50, 0, -1):
            for suffix in ("", ".gz", ".xz", ".zst"):
                name = Path(f"{self.renamed(number)}{suffix}")
                if name.exists():
                    name.rename(f"{self.renamed(number + 1)}{suffix}")
        self.path.rename(self.renamed(1))

    def rotate(self) -> None:
        self.rename()
        self.reopen()

    def copytruncate(self) -> None:
        for number in range(90, 0, -1):
            if self.renamed(number).exists():
                self.renamed(number).rename(self.renamed(number + 1))
        shutil.copyfile(self.path, self.renamed(1))
        os.truncate(self.path, 0)

    def read(self) -> None:
        self.source.refresh()
        self.take()

    def take(self) -> None:
        for record in self.source.read(1000):
            self.seen.append(int(record.message.split(b"rip=192.0.2.")[1].split(b",")[0]))

    def restart(self, disturb: Callable[[], None] = lambda: None) -> None:
        """Be killed, and go on from the kept place after what happened meanwhile."""
        place = self.source.place()
        self.source.close()
        disturb()
        self.source = self.opened()
        assert place and self.source.seek_cursor(place[0], inclusive=False)

    def check(self) -> None:
        """See that all was read, once, in the order in which it was written."""
        self.read()
        assert self.seen == list(range(self.written))


@pytest.fixture
def mail(place: Path) -> Iterator[Mail]:
    made = Mail(place)
    yield made
    made.source.close()
    os.close(made._file)


def test_rename_and_create(mail: Mail) -> None:
    for _ in range(5):
        mail.log(3)
        mail.rotate()
        mail.log(2)
        mail.check()


def test_several_rotations_between_two_looks(mail: Mail) -> None:
    mail.log(2)
    mail.check()
    for _ in range(3):
        mail.log()
        mail.rotate()
    mail.log()
    mail.check()


def test_several_rotations_while_nobody_read(mail: Mail) -> None:
    mail.log(2)
    mail.check()

    def meanwhile() -> None:
        for _ in range(4):
            mail.log()
            mail.rotate()
        mail.log()

    mail.restart(meanwhile)
    mail.check()


@pytest.mark.parametrize("number", [0, 1])
def test_a_writer_that_keeps_the_renamed_file(mail: Mail, number: int) -> None:
    mail.log(2)
    mail.rename()
    mail.log()
    mail.check()
    late = os.dup(mail._file)
    mail.reopen()
    mail.log()
    mail.read()
    os.write(late, mail.line(mail.written))
    mail.written += 1
    mail.read()
    if number:
        mail.restart(lambda: (os.write(late, mail.line(mail.written)), None)[1])
        mail.written += 1
    mail.log()
    mail.read()
    os.close(late)
    assert sorted(mail.seen) == list(range(mail.written))


@pytest.mark.parametrize("suffix", ["", "gz"])
def test_a_file_seen_empty_is_filled_and_rotated_between_two_looks(mail: Mail, suffix: str) -> None:
    """Its successor is read after it: whoever is killed in between goes on behind the right one."""
    mail.log(2)
    mail.check()
    mail.rotate()
    mail.check()
    mail.source.refresh()
    mail.log(2)
    mail.rotate()
    if suffix:
        compress(mail.renamed(1), suffix)
    mail.log(2)
    mail.take()
    assert mail.seen == list(range(len(mail.seen)))
    mail.restart()
    mail.check()


def test_the_new_file_is_long_in_coming(mail: Mail) -> None:
    mail.log()
    mail.rename()
    mail.check()
    mail.log()
    mail.check()
    assert mail.source.trouble() is None
    mail.restart()
    mail.check()
    mail.log()
    mail.reopen()
    mail.log()
    mail.check()


def test_a_file_missing_for_long_is_trouble(mail: Mail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_MISSING_S", 0.0)
    mail.log()
    mail.read()
    mail.path.unlink()
    mail.source.refresh()
    assert wait_for(mail.source.trouble, "the trouble") == (
        f"{mail.path}: it is missing (its writer must make it: is syslogd running?)"
    )
    mail.reopen()
    mail.log()
    mail.check()
    assert mail.source.trouble() is None


def test_copytruncate(mail: Mail) -> None:
    for _ in range(4):
        mail.log(2)
        mail.check()
        mail.copytruncate()
        mail.log()
        mail.check()


def test_copytruncate_of_what_was_not_read_yet(mail: Mail) -> None:
    mail.log(2)
    mail.check()
    for _ in range(3):
        mail.log(3)
        mail.copytruncate()
    mail.log()
    mail.check()


def test_copytruncate_while_nobody_read(mail: Mail) -> None:
    mail.log(2)
    mail.check()

    def meanwhile() -> None:
        for _ in range(3):
            mail.log(2)
            mail.copytruncate()
        mail.log()

    mail.restart(meanwhile)
    mail.check()


def test_a_stop_between_copy_and_truncation(mail: Mail) -> None:
    mail.log(2)
    mail.check()
    mail.log()
    shutil.copyfile(mail.path, mail.renamed(1))
    mail.restart()
    mail.log()  # the copy has it not
    mail.check()
    mail.restart(lambda: os.truncate(mail.path, 0))
    mail.log()
    mail.check()


def test_truncated_and_grown_beyond_the_place(mail: Mail) -> None:
    mail.log(2)
    mail.check()
    mail.copytruncate()
    mail.log(9)
    mail.check()


def test_truncated_without_a_copy_is_told(mail: Mail) -> None:
    mail.log(2)
    mail.check()
    os.truncate(mail.path, 0)
    mail.log(1)
    mail.check()
    (remark,) = mail.source.remarks()
    assert "truncated" in remark and mail.source.remarks() == []


def test_a_writer_that_does_not_append_leaves_nuls(mail: Mail) -> None:
    mail.log(2)
    mail.check()
    size = mail.path.stat().st_size
    mail.copytruncate()
    os.pwrite(os.open(mail.path, os.O_WRONLY), mail.line(2), size)
    mail.written += 1
    mail.check()


def compress(path: Path, suffix: str) -> None:
    """Compress as logrotate does: beside, with the time of the original, which is removed then."""
    packed = Path(f"{path}.{suffix}")
    if suffix == "zst":
        subprocess.run(["zstd", "-q", str(path)], check=True)
    else:
        with (gzip if suffix == "gz" else lzma).open(packed, "wb") as file:
            file.write(path.read_bytes())
    status = path.stat()
    os.utime(packed, ns=(status.st_atime_ns, status.st_mtime_ns))
    path.unlink()


@pytest.mark.parametrize("suffix", ["gz", "xz", "zst"])
def test_the_place_is_in_a_compressed_predecessor(mail: Mail, suffix: str) -> None:
    mail.log(2)
    mail.check()

    def meanwhile() -> None:
        for _ in range(3):
            mail.log(2)
            mail.rotate()
            compress(mail.renamed(1), suffix)
        mail.log()

    mail.restart(meanwhile)
    mail.check()
    mail.restart()
    mail.check()


@pytest.mark.parametrize("suffix", ["gz", "xz", "zst"])
def test_what_is_compressed_while_it_is_read(mail: Mail, suffix: str) -> None:
    for _ in range(3):
        mail.log(2)
        mail.check()
        mail.log()
        mail.rotate()
        compress(mail.renamed(1), suffix)
        mail.log()
        mail.check()


def test_a_half_made_compressed_file_beside_its_original(mail: Mail) -> None:
    mail.log(2)
    mail.check()
    mail.log(3)
    mail.rotate()
    whole = gzip.compress(mail.renamed(1).read_bytes())
    Path(f"{mail.renamed(1)}.gz").write_bytes(whole[: len(whole) // 2])
    mail.restart()
    mail.log()
    mail.check()


def test_dates_instead_of_numbers(mail: Mail) -> None:
    mail.log(2)
    mail.check()

    def meanwhile() -> None:
        for day in (20, 21, 22):
            mail.log(2)
            mail.path.rename(f"{mail.path}-202611{day}")
            mail.reopen()
        compress(Path(f"{mail.path}-20261120"), "gz")
        mail.log()

    mail.restart(meanwhile)
    mail.check()


def test_a_symbolic_link_that_is_switched(place: Path) -> None:
    daily = place / "daily"
    daily.mkdir()
    (daily / "mail-20261122").touch()
    (place / "mail.log").symlink_to(daily / "mail-20261122")
    mail = Mail(place)

    def switch(day: int) -> None:
        (place / "new").symlink_to(daily / f"mail-202611{day}")
        (place / "new").replace(mail.path)
        mail.reopen()

    for day in (23, 24):
        mail.log(2)
        mail.check()
        mail.log()
        switch(day)
        mail.log()
        mail.check()

    def meanwhile() -> None:
        for day in (25, 26):
            mail.log()
            switch(day)
        mail.log()

    mail.restart(meanwhile)
    mail.check()


@pytest.mark.parametrize("length", [1, 20])
def test_the_same_inode_number_for_another_file(mail: Mail, length: int) -> None:
    """A file system gives a removed file's number out again: as if written anew in its place."""
    mail.log(9)
    mail.check()
    place = mail.source.place()
    mail.source.close()
    inode = mail.path.stat().st_ino
    mail.path.write_bytes(b"".join(mail.line(100 + number) for number in range(length)))
    assert mail.path.stat().st_ino == inode
    mail.source = mail.opened()
    assert place and not mail.source.seek_cursor(place[0], inclusive=False)
    mail.seen.clear()
    mail.read()
    assert mail.seen == list(range(100, 100 + length))


def test_a_replaced_file_is_told_from_a_truncated_one(mail: Mail) -> None:
    mail.log(3)
    mail.check()
    other = mail.path.with_name("other")
    other.write_bytes(mail.line(3))
    other.replace(mail.path)
    mail.written += 1
    mail.check()
    assert mail.source.remarks() == []


def test_a_half_written_line_waits_for_its_end(mail: Mail) -> None:
    mail.log()
    line = mail.line(1)
    for cut in (1, len(line) // 2, len(line) - 1):
        mail.raw(line[:cut])
        mail.check()
        mail.raw(line[cut:])
        mail.written += 1
        mail.check()
        mail.seen.pop()
        mail.written -= 1
    mail.seen.append(1)
    mail.written += 1
    mail.raw(mail.line(2)[:50])
    mail.check()
    mail.restart()
    mail.raw(mail.line(2)[50:])
    mail.written += 1
    mail.check()


@pytest.mark.parametrize("length", [LONGEST_LINE + 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7, 9 << 20])
def test_a_line_longer_than_any_buffer_is_passed_over(mail: Mail, length: int) -> None:
    mail.log()
    mail.check()
    evil = mail.line(99)[:-1]
    mail.raw(b"x" * length)
    mail.read()
    mail.restart()
    mail.raw(evil + b"x" * BLOCK + evil + b"\n")
    mail.log(2)
    mail.check()


def test_nuls_after_a_crash_are_passed_over(mail: Mail) -> None:
    mail.log()
    mail.raw(mail.line(99)[:40] + b"\0" * 5000)
    mail.log()
    mail.raw(b"\0" * (3 * BLOCK))
    mail.log(2)
    mail.raw(mail.line(99)[:-1] + b"\0")
    mail.log()
    mail.check()


def test_a_line_in_the_midst_of_a_batch_is_the_place(mail: Mail) -> None:
    mail.log(9)
    mail.source.refresh()
    mail.seen += [
        int(r.message.split(b"rip=192.0.2.")[1].split(b",")[0]) for r in mail.source.read(4)
    ]
    assert mail.seen == [0, 1, 2, 3]
    mail.restart(mail.rotate)
    mail.log()
    mail.check()


def test_several_files_and_patterns_each_have_their_place(place: Path) -> None:
    mail, other = Mail(place), Mail(place_of(place, "b"))
    mail.source = other.source = mail.opened(str(mail.path), f"{place}/b/*.log")

    def both() -> set[bytes]:
        mail.source.refresh()
        return {record.message for record in mail.source.read(1000)}

    mail.log(2)
    other.log(3)
    assert len(both()) == 3
    mail.rotate()
    other.log()
    assert len(both()) == 1
    assert both() == set()


@pytest.mark.parametrize("rotation", ["copytruncate", "rotate"])
def test_an_empty_file_that_was_rotated_while_nobody_read(place: Path, rotation: str) -> None:
    """Nothing that it held tells it: but what was written since then does."""
    mail, other = Mail(place), Mail(place_of(place, "b"))
    mail.source = mail.opened(str(mail.path), str(other.path))
    mail.log()
    mail.check()

    def meanwhile() -> None:
        for _ in range(2):
            other.log(2)
            getattr(other, rotation)()
        other.log()

    go_on = restarted(mail, other)
    go_on(meanwhile)
    mail.read()
    assert mail.seen == [0, *range(5)]
    go_on()
    mail.read()
    assert len(mail.seen) == 6


def test_what_was_there_before_an_empty_file_is_not_read_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(succession, "_QUIET_US", 0)
    mail, other = Mail(place), Mail(place_of(place, "b"))
    mail.source = mail.opened(str(mail.path), str(other.path))
    other.log(2)
    mail.read()
    other.rotate()
    compress(other.renamed(1), "gz")
    wait_for(lambda: open_files(mail, 1) == 1, "the old file let go")
    mail.log()
    mail.read()
    assert mail.seen == [0, 1, 0]
    restarted(mail, other)()
    mail.read()
    assert mail.seen == [0, 1, 0]


def restarted(mail: Mail, other: Mail) -> Callable[..., None]:
    """Return what has both logs read by another source, from the kept place on."""

    def go_on(disturb: Callable[[], None] = lambda: None) -> None:
        place = mail.source.place()
        mail.source.close()
        disturb()
        mail.source = mail.opened(str(mail.path), str(other.path))
        assert place and mail.source.seek_cursor(place[0], inclusive=False)

    return go_on


def place_of(place: Path, name: str) -> Path:
    (place / name).mkdir()
    return place / name


def test_a_pattern_finds_new_files_but_no_predecessors(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logfile, "_GLOB_EVERY_S", 0.0)
    mail = Mail(place)
    mail.source = mail.opened(f"{place}/mail*")
    mail.source.seek_time(0)
    mail.log(2)
    mail.rotate()
    mail.log()
    mail.check()
    (place / "mail.err").write_bytes(mail.line(3))
    mail.written += 1
    mail.check()


def test_a_log_of_another_name_is_no_predecessor(mail: Mail) -> None:
    for name in ("mail2.log", "mail.log2", "mail.log.old", "mail.err", "oldmail.log"):
        mail.path.with_name(name).write_bytes(mail.line(99))
    mail.log(2)
    mail.source.seek_time(0)
    mail.check()


def test_what_everybody_can_write_is_not_read(place: Path) -> None:
    path = place / "mail.log"
    path.touch()
    path.chmod(0o666)
    files = Logfiles((str(path),), (mailfile.HOST,))
    with pytest.raises(PermissionRelayError, match=r"everybody can write it \(chmod o-w"):
        LogfileSource(files, ["dovecot"])
    path.chmod(0o640)
    place.chmod(0o777)
    with pytest.raises(PermissionRelayError, match=f"everybody can write {place}, and so lay"):
        LogfileSource(files, ["dovecot"])
    place.chmod(0o1777)
    with pytest.raises(PermissionRelayError, match="and so lay another file there"):
        LogfileSource(files, ["dovecot"])
    place.chmod(0o755)
    LogfileSource(files, ["dovecot"]).close()


def test_a_new_file_that_everybody_can_write_is_not_read(
    mail: Mail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "_RETRY_S", 0.0)
    mail.log()
    mail.rotate()
    mail.path.chmod(0o666)
    mail.log()
    mail.read()
    assert "everybody can write it" in str(mail.source.trouble())
    assert mail.seen in ([], [0])
    mail.path.chmod(0o640)
    mail.source.refresh()
    mail.check()
    assert mail.source.trouble() is None
    mail.path.chmod(0o646)
    mail.log()
    mail.read()
    assert len(mail.seen) == 2 and "everybody can write it" in str(mail.source.trouble())


def test_what_is_no_file_is_said(place: Path) -> None:
    for name in ("none.log", "none*.log"):
        with pytest.raises(NoInputError, match="there is no such log file"):
            LogfileSource(Logfiles((str(place / name),), ()), ["dovecot"])


def test_lines_of_another_host_are_told_once(mail: Mail) -> None:
    mail.raw(mailfile.line(login_line("192.0.2.99"), BASE_US, host="m\x1b[2Jx"))
    mail.log()
    mail.check()
    (remark,) = mail.source.remarks()
    assert remark.startswith("lines of host m\\x1b[2Jx are not read")
    assert mail.source.remarks() == []


def open_files(mail: Mail, which: int = 0) -> int:
    mail.read()
    streams = sorted(mail.source._streams, key=lambda one: len(one.path.parts))
    return len(streams[which].files())


def test_old_files_are_let_go(mail: Mail, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(4):
        mail.log()
        mail.rotate()
        mail.check()
    mail.log()
    mail.check()
    assert len(mail.source._streams[0].files()) == 5
    monkeypatch.setattr(succession, "_QUIET_US", 0)
    wait_for(lambda: open_files(mail) == 2, "two files open")
    mail.renamed(1).unlink()
    wait_for(lambda: open_files(mail) == 1, "one file open")
    mail.log()
    mail.check()


def test_few_files_are_held_open(mail: Mail) -> None:
    for _ in range(40):
        mail.log()
        mail.rotate()
        mail.check()
    assert len(mail.source._streams[0].files()) <= succession._MOST + 1


def test_empty_copies_are_let_go_as_well(mail: Mail) -> None:
    """By what was read last it is told what comes next: it must not be let go before them."""
    for _ in range(3):
        for _ in range(12):
            mail.copytruncate()
            mail.read()
        mail.log()
        mail.check()
    for _ in range(20):
        mail.log()
        mail.copytruncate()
    mail.log()
    mail.check()


def readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 5)[0])


def test_what_is_written_and_rotated_wakes(mail: Mail) -> None:
    fd = mail.source.fileno()
    assert fd is not None
    for act in (mail.log, mail.rotate, mail.log, mail.copytruncate, mail.log):
        act()
        assert readable(fd)
        mail.read()
    mail.check()


def test_without_inotify_it_is_looked_for(mail: Mail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "library", lambda: None)
    mail.source.close()
    mail.source = mail.opened()
    mail.source.seek_time(0)
    assert mail.source.fileno() is None
    mail.log()
    mail.rotate()
    mail.log()
    mail.check()


def test_times_without_a_year_in_a_file_of_two_years(place: Path) -> None:
    """A line of the same day a year ago is no line of today."""
    at = now_us() // SECOND * SECOND
    day = 86_400 * SECOND
    path = place / "mail.log"
    days = [400, 365, 300, 200, 100, 30, 0]
    path.write_bytes(
        b"".join(mailfile.old_line(login_line("192.0.2.1"), at - ago * day) for ago in days)
    )
    source = LogfileSource(Logfiles((str(path),), (mailfile.HOST,)), ["dovecot"])
    source.seek_time(0)
    times = [record.logged_at_us() for record in source.read(99)]
    assert [round((at - time_us) / day) for time_us in times] == days
    source.seek_time(at - 40 * day)
    assert len(list(source.read(99))) == 2


def test_a_time_in_a_long_file_is_found_without_reading_it(place: Path) -> None:
    path = place / "mail.log"
    gap = mailfile.line(GAP, BASE_US, identifier="sm-mta", pid=1) * 2000
    with path.open("wb") as file:
        for number in range(40):
            file.write(mailfile.line(login_line(f"192.0.2.{number}"), BASE_US + number * SECOND))
            file.write(gap.replace(b"02:13:20", b"02:13:%02d" % (20 + number % 40)))
    source = LogfileSource(Logfiles((str(path),), (mailfile.HOST,)), ["dovecot"])
    for first in (0, 1, 20, 39):
        source.seek_time(BASE_US + first * SECOND)
        found = [int(r.message.split(b"rip=192.0.2.")[1].split(b",")[0]) for r in source.read(99)]
        assert found == list(range(first, 40))
