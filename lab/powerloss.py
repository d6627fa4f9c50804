"""The power fails at any moment of a daemon's life: what may be on the disk then, and what a start
makes of it.

    python3 -m lab.room -- python3 -m lab.powerloss [SAMPLES [SEED]]

A daemon's start, its commits and kept places, an expire and a stop are recorded by strace(1). The
record is cut off at each of its calls, and played back as a disk may have it: of what was written
to a file since it was synced last, any subset of the 512-byte sectors; of the directory's changes
since it was synced, any first part. Each of these disks is given to the code of a start, in
another boot. Prints how many there were, how many of them hold a grant that nobody ever had, though
the map is whole to look at, and how many were not what the journal says after the start.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from journalrelay import clock
from journalrelay.errors import RelayError
from lab import room, story
from lab.memory import MemoryJournal
from lab.story import Home
from lab.truth import difference, truth

SECTOR = 512
CALLS = "openat,lseek,pwrite64,write,fdatasync,fsync,rename,link,unlink"
MARK = "chapter "
_CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)\) += (\d+)")
_FD = re.compile(r'^\d+<([^>]*)>(?:, "((?:\\x[0-9a-f]{2})*)"(?:\.\.\.)?, (\d+)(?:, (\d+))?)?')
_SEEK = re.compile(r"^\d+<([^>]*)>, (\d+), SEEK_SET")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
Sectors = dict[int, bytes]


@dataclass
class File:
    """What is safely in a file, and what was written to it since."""

    synced: Sectors = field(default_factory=dict)
    written: list[tuple[int, bytes]] = field(default_factory=list)
    size: int = 0

    def write(self, at: int, content: bytes) -> None:
        """Write, in the sectors that a disk knows."""
        now = dict(self.synced)
        now.update(self.written)
        self.size = max(self.size, at + len(content))
        for number in range(at // SECTOR, (at + len(content) - 1) // SECTOR + 1):
            start = number * SECTOR
            sector = bytearray(now.get(number, b"").ljust(SECTOR, b"\0"))
            first, last = max(at, start), min(at + len(content), start + SECTOR)
            sector[first - start : last - start] = content[first - at : last - at]
            self.written.append((number, bytes(sector)))

    def sync(self) -> None:
        """Be sure of all that was written."""
        self.synced.update(self.written)
        self.written.clear()

    def put(self, path: Path, which: Sequence[bool], cut: bool) -> None:
        """Write what is on the disk when only those sectors came there; ``cut`` short of what
        was not synced if the size did not come there either."""
        chosen = [pair for pair, there in zip(self.written, which, strict=True) if there]
        sectors = {**self.synced, **dict(chosen)}
        size = self.size
        if cut and self.written:
            size = min(size, (max(sectors, default=-1) + 1) * SECTOR)
        with open(path, "wb") as file:
            for number, sector in sectors.items():
                file.seek(number * SECTOR)
                file.write(sector)
            file.truncate(size)
        path.chmod(0o644)


class Outcome(NamedTuple):
    """A file, and which of its sectors came to the disk."""

    name: str
    file: File
    came: list[bool]


@dataclass
class Disk:
    """A directory, its files, and how its names came to be since it was synced last."""

    place: str
    names: dict[str, File] = field(default_factory=dict)
    history: list[dict[str, File]] = field(default_factory=lambda: [{}])
    at: dict[str, int] = field(default_factory=dict)
    chapter: int = 0

    def play(self, call: str, words: str) -> bool:
        """Do one recorded call; tell whether it changed what may be on the disk."""
        fd = _FD.match(words)
        if call in ("pwrite64", "write") and fd and fd[2] is not None:
            at = self.at.get(fd[1], 0) if fd[4] is None else int(fd[4])
            return self._write(fd[1], _bytes(fd[2]), at)
        if call == "lseek" and (seek := _SEEK.match(words)):
            self.at[seek[1]] = int(seek[2])
        if call in ("fdatasync", "fsync") and fd:
            return self._sync(fd[1])
        paths = [os.fsdecode(_bytes(found[1])) for found in _STRING.finditer(words)]
        ours = [Path(path).name for path in paths if os.path.dirname(path) == self.place]
        if call == "openat" and ours:
            self.at[f"{self.place}/{ours[0]}"] = 0
        if call == "openat" and ours and "O_CREAT" in words:
            if ours[0] not in self.names or "O_TRUNC" in words:
                self.names = {**self.names, ours[0]: File()}
                return self._named()
        elif call in ("rename", "link") and len(ours) == 2:
            self.names = {**self.names, ours[1]: self.names[ours[0]]}
            if call == "rename":
                self.names = {n: f for n, f in self.names.items() if n != ours[0]}
            return self._named()
        elif call == "unlink" and ours:
            self.names = {n: f for n, f in self.names.items() if n != ours[0]}
            return self._named()
        return False

    def _write(self, path: str, content: bytes, at: int) -> bool:
        directory, _, name = path.rpartition("/")
        if content.startswith(MARK.encode()):
            self.chapter = int(content.removeprefix(MARK.encode()))
        elif directory == self.place and name in self.names:
            self.at[path] = at + len(content)
            self.names[name].write(at, content)
            return True
        return False

    def _sync(self, path: str) -> bool:
        if path == self.place:
            self.history = [self.names]
        elif os.path.dirname(path) == self.place and Path(path).name in self.names:
            self.names[Path(path).name].sync()
        return True

    def _named(self) -> bool:
        self.history.append(self.names)
        return True

    def outcomes(self, chance: random.Random, samples: int) -> Iterator[list[Outcome]]:
        """Yield what may be there: with the extremes, some at random."""
        for number in range(samples):
            names = chance.choice(self.history)
            share = (0.0, 1.0, chance.random())[min(number, 2)]
            yield [
                Outcome(name, file, [chance.random() < share for _ in file.written])
                for name, file in names.items()
            ]


@dataclass
class Came:
    """What came of all the disks."""

    calls: int = 0
    disks: int = 0
    believable: int = 0
    wrong_before: int = 0
    wrong: int = 0
    crashed: int = 0
    slowest_s: float = 0.0

    def __str__(self) -> str:
        return (
            f"cut off at {self.calls} calls, {self.disks} disks: {self.believable} maps whole to "
            f"look at, {self.wrong_before} of them with a grant nobody ever had; after a start "
            f"{self.wrong} not as the journal says, {self.crashed} starts crashed; the slowest "
            f"took {self.slowest_s:.2f} s"
        )


def live(home: Home, at_us: int) -> None:
    """Be the daemon that is recorded."""
    journal = MemoryJournal()
    relay = home.relay(journal)
    for number, chapter in enumerate(story.chapters(home, at_us)):
        os.write(1, f"{MARK}{number + 1}".encode())
        journal.log(*chapter)
        if number == 0:
            relay.start(at_us)
        story.drain(relay, at_us)
        if number == 2:
            home.popmap().expire(at_us // story.SECOND_US - 200)


def record(home: Home, at_us: int) -> list[tuple[str, str]]:
    """Return the calls of a daemon's life, as strace writes them."""
    trace = home.place.parent / f"{home.place.name}.trace"
    me = [sys.executable, "-m", "lab.powerloss", "live", str(home.place), home.kind, str(at_us)]
    traced = ["strace", "-f", "-y", "-xx", "-s", "70000", "-e", f"trace={CALLS}", "-o", str(trace)]
    subprocess.run([*traced, *me], check=True, cwd=room.CHECKOUT, stdout=subprocess.DEVNULL)
    found = (_CALL.match(line) for line in trace.read_text().splitlines())
    calls = [(each[1], _plain(each[2])) for each in found if each]
    trace.unlink()
    return calls


def fail(home: Home, samples: int, seed: int, every: int = 1) -> Came:
    """Record a daemon's life, and let the power fail at each of its calls, or ``every`` few."""
    at_us = story.now_us()
    calls = record(home, at_us)
    came, chance, changes = Came(), random.Random(seed), 0
    disk = Disk(str(home.place))
    told = story.chapters(home, at_us)
    for call, words in calls:
        changes += (changed := disk.play(call, words))
        if not changed or changes % every:
            continue
        came.calls += 1
        journal, ever = MemoryJournal(), dict[bytes, int]()
        for chapter in told[: disk.chapter]:
            journal.log(*chapter)
            for key, expiry in truth(story.rows(journal), story.WINDOW_S, home.map).items():
                ever[key] = max(expiry, ever.get(key, 0))
        for outcome in disk.outcomes(chance, samples):
            for left in home.place.iterdir():
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            for name, file, which in outcome:
                file.put(home.place / name, which, chance.random() < 0.5)
            _judge(home, journal, ever, at_us, came)
    return came


def _judge(
    home: Home, journal: MemoryJournal, ever: Mapping[bytes, int], at_us: int, came: Came
) -> None:
    """Look at one disk, start on it, and look again; each in a child that may die of it. ``ever``
    is what was granted at some time."""
    came.disks += 1
    now_s = at_us // story.SECOND_US
    wanted = truth(story.rows(journal), story.WINDOW_S, home.map)

    def before() -> int:
        try:
            if home.popmap().fault(now_s + 8 * 86_400):
                return 0
            return 2 if difference(home.popmap().read(), ever, now_s)[1] else 1
        except RelayError:
            return 0

    def start() -> int:
        with mock.patch.object(clock, "boot_id", lambda: "another"):
            relay = home.relay(journal)
            relay._popmap.sweep()
            relay.start(at_us)
            story.drain(relay, at_us)
        return int(any(difference(home.popmap().read(), wanted, now_s)))

    seen = in_child(before)
    came.believable += seen in (1, 2)
    came.wrong_before += seen == 2
    began = time.monotonic()
    ended = in_child(start)
    came.slowest_s = max(came.slowest_s, time.monotonic() - began)
    came.wrong += ended == 1
    came.crashed += ended not in (0, 1)


def in_child(act: Callable[[], int]) -> int:
    """Return what ``act`` returns in a process of its own; -1 when that died or hung."""
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        code = 70
        try:
            code = act()
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
        os._exit(code)
    status = os.waitpid(child, 0)[1]
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _plain(words: str) -> str:
    """Return a call's words with the paths of its descriptors as text."""
    return re.sub(
        r"(?<=\d)<((?:\\x[0-9a-f]{2})*)>", lambda m: f"<{os.fsdecode(_bytes(m[1]))}>", words
    )


def main(arguments: Sequence[str]) -> int:
    """Let the power fail; return 1 if a start did not help."""
    if arguments[:1] == ["live"]:
        live(Home(Path(arguments[1]), arguments[2]), int(arguments[3]))
        return 0
    samples = int(arguments[0]) if arguments else 20
    seed = int(arguments[1]) if len(arguments) > 1 else random.randrange(1 << 30)
    bad = 0
    for kind in ("hash", "btree"):
        came = fail(Home(room.scratch("power-"), kind), samples, seed)
        print(f"{kind}: {came} (seed {seed})", flush=True)
        bad += came.wrong + came.crashed
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
