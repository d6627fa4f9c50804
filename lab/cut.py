"""Every system call of a commit is its last, or fails, each in turn.

    python3 -m lab.room -- python3 -m lab.cut

strace(1) kills the process as it enters its first, second, third … call, and then lets each fail
with EIO, ENOSPC, EMFILE and ENOMEM: the daemon's commit and keeping of its place, a rebuild, an
expire, a grant and a revocation as their commands do them. A reader in a process of its own, with
sendmail's locking and Berkeley DB's own lookup, asks all the while for addresses that are always
granted and for some that never are. After each, the map must hold nothing but what was true before
or after; what was cut short must show; and after a start it is what the journal says.
"""

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from journalrelay.errors import RelayError
from journalrelay.map.changes import Changes
from journalrelay.map.libdb import db
from journalrelay.rules.policy import withdraw
from lab import room, story
from lab.memory import MemoryJournal
from lab.powerloss import in_child
from lab.story import Home
from lab.truth import difference, truth

ERRORS = ("EIO", "ENOSPC", "EMFILE", "ENOMEM")
# close, munmap and their like do not fail that way; what Python itself cannot do without is left
FAILING = (
    *("openat", "read", "pread64", "pwrite64", "write", "lseek", "fsync", "fdatasync", "flock"),
    *("fcntl", "newfstatat", "utimensat", "rename", "link", "unlink", "chmod", "mmap"),
)
_CALL = re.compile(r"\d+ +(\w+)\(")
ALWAYS, NEVER = range(900, 930), range(1000, 1010)


@dataclass
class Came:
    """What came of an act cut short at each of its calls."""

    act: str
    how: str
    cuts: int = 0
    partly: int = 0
    unseen: int = 0
    wrong: int = 0
    bad_after: int = 0
    looked_up: int = 0
    misread: int = 0

    def __str__(self) -> str:
        return (
            f"{self.act:10} {self.how:8} {self.cuts} cuts, {self.partly} left a part of it "
            f"({self.unseen} unseen), {self.wrong} a wrong grant; {self.bad_after} not as the "
            f"journal says after a start; {self.looked_up} lookups meanwhile, {self.misread} wrong"
        )

    @property
    def bad(self) -> int:
        """How much was amiss."""
        return self.unseen + self.wrong + self.bad_after + self.misread


class Reader:
    """A process that asks the map as sendmail does, all the time."""

    def __init__(self, home: Home) -> None:
        self._told, told = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os._exit(self._ask(home, told))
        os.close(told)

    def end(self) -> tuple[int, int]:
        """Return how often it asked, and how many answers were wrong; a crash is one, too."""
        os.kill(self._pid, signal.SIGTERM)
        status = os.waitpid(self._pid, 0)[1]
        with open(self._told, encoding="ascii") as told:
            numbers = told.read().split()
        if not os.WIFEXITED(status) or len(numbers) != 2:
            return 0, 1
        return int(numbers[0]), int(numbers[1])

    def _ask(self, home: Home, told: int) -> int:
        going, kind = [True], db.DB_HASH if home.kind == "hash" else db.DB_BTREE
        signal.signal(signal.SIGTERM, lambda *_: going.clear())
        asked = wrong = 0
        while going:
            fd = os.open(home.map, os.O_RDONLY)
            try:
                fcntl.flock(fd, fcntl.LOCK_SH)
                handle = db.DB()
                handle.open(f"/proc/self/fd/{fd}", None, kind, db.DB_RDONLY)
                for number in (*ALWAYS, *NEVER):
                    found = handle.get(story.client(number).encode())
                    asked += 1
                    wrong += (found is None) == (number in ALWAYS)
                handle.close()
            except db.DBError:
                wrong += 1
            finally:
                os.close(fd)
            time.sleep(0.0005)  # all of the processor is for those who are cut short
        os.write(told, b"%d %d" % (asked, wrong))
        return 0


class Cutter:
    """One act after another on the same map, each cut short at another call."""

    def __init__(self, act: str, how: str, kind: str = "hash") -> None:
        self.home = Home(room.scratch("cut-"), kind)
        self.came = Came(act, how)
        self.at_us = story.now_us()
        self.journal = MemoryJournal()
        self._number = 0
        self._log(*(story.login(number, self.at_us) for number in ALWAYS))
        self._start()

    def run(self, every: int = 1) -> Came:
        """Cut the act short at each of its calls, or ``every`` few, as a first run of it shows."""
        reader = Reader(self.home)
        calls = self._calls()
        for index in range(0, len(calls), every):
            act = self._prepare()
            nth = calls[: index + 1].count(calls[index])  # each call is counted by itself
            self.came.cuts += not self._cut(act, calls[index], nth)
            self._judge(self._before)
        self.came.looked_up, self.came.misread = reader.end()
        return self.came

    def _calls(self) -> list[str]:
        """Return the names of the calls that can be cut short, in their order."""
        said = self._traced(self._prepare(), "-e", "trace=all")[1]
        names = [found[1] for line in said.splitlines() if (found := _CALL.match(line))]
        if self.came.act == "expire":  # which reads each of some thousand pages first
            names = [name for name in names if name != "pread64"]
        if self.came.how == "kill":
            return names
        return [name for name in names if name in FAILING]

    # What is done

    def _prepare(self) -> Callable[[], object]:
        """Log what the next act is about, and return it; what was before is noted."""
        self._before = self._truth()
        at_s = self.at_us // story.SECOND_US
        numbers = range(self._number % 800, self._number % 800 + 5)
        self._number += 5
        self.at_us += story.SECOND_US
        popmap, map_path = self.home.popmap(), self.home.map
        changes = Changes()
        if self.came.act in ("commit", "rebuild"):
            relay = self.home.relay(self.journal)
            relay.start(self.at_us)
            story.drain(relay, self.at_us)
            self._log(*(story.login(number, self.at_us) for number in numbers))
            if self.came.act == "rebuild":
                return lambda: relay.rebuild(self.at_us)
            return lambda: story.drain(relay, self.at_us)
        if self.came.act == "expire":
            for number in numbers:
                changes.grant(story.client(number).encode(), at_s - 5)
            popmap.commit(changes, 0)
            return lambda: popmap.expire(at_s)
        if self.came.act == "grant":
            for number in numbers:
                changes.grant(story.client(number).encode(), at_s + 600)
                self._log(story.by_hand(map_path, self.at_us, story.client(number), at_s + 600))
            return lambda: popmap.commit(changes, at_s)
        self._log(*(story.login(number, self.at_us - story.SECOND_US // 2) for number in numbers))
        self._start()
        self._before = self._truth()
        for number in numbers:
            self._log(story.by_hand(map_path, self.at_us, story.client(number)))
            withdraw(story.network(number), changes)
        return lambda: popmap.commit(changes, at_s)

    def _log(self, *entries: bytes) -> None:
        self.journal.log(*entries)

    def _cut(self, act: Callable[[], object], call: str, nth: int) -> bool:
        """Have a call of the act be its last, or fail; tell whether it came to its end."""
        what = "signal=SIGKILL" if self.came.how == "kill" else f"error={self.came.how}"
        options = ("-e", f"trace={call}", "-e", f"inject={call}:{what}:when={nth}")
        ended, said = self._traced(act, *options)
        return ended == 0 and "INJECTED" not in said

    def _traced(self, act: Callable[[], object], *options: str) -> tuple[int, str]:
        """Have a child do it under strace; return how that ended, and what strace wrote."""
        ready, go = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            with suppress(RelayError, OSError, MemoryError):
                os.write(ready[1], b".")
                os.read(go[0], 1)
                act()
                os._exit(0)
            os._exit(1)
        os.read(ready[0], 1)
        said = self.home.place / "strace"
        strace = subprocess.Popen(
            ["strace", "-f", *options, "-o", str(said), "-p", str(child)], stderr=subprocess.PIPE
        )
        assert strace.stderr is not None
        strace.stderr.readline()  # it is attached
        os.write(go[1], b".")
        for end in (*ready, *go):
            os.close(end)
        status = os.waitpid(child, 0)[1]
        strace.wait()
        strace.stderr.close()
        return status, said.read_text()

    # Judgement

    def _truth(self) -> dict[bytes, int]:
        return truth(story.rows(self.journal), story.WINDOW_S, self.home.map)

    def _judge(self, before: dict[bytes, int]) -> None:
        """Look at what is left, start, and look again, in children that may die of it."""
        came, now_s, after = self.came, self.at_us // story.SECOND_US, self._truth()

        def left() -> int:
            found = self.home.popmap().read()
            allowed = {key: max(before.get(key, 0), after.get(key, 0)) for key in before | after}
            lost, wrong = difference(found, allowed, now_s)
            needed = {key: min(before[key], after[key]) for key in before.keys() & after.keys()}
            missing, _ = difference(found, needed, now_s)
            partly = any(difference(found, before, now_s)) and any(difference(found, after, now_s))
            unseen = partly and not self.home.popmap().cut_short()
            return bool(wrong or missing) | partly << 1 | unseen << 2

        def start() -> int:
            self._start()
            return int(any(difference(self.home.popmap().read(), after, now_s)))

        seen = in_child(left)
        came.wrong += seen < 0 or seen & 1
        came.partly += seen > 0 and seen >> 1 & 1
        came.unseen += seen > 0 and seen >> 2 & 1
        came.bad_after += in_child(start) != 0

    def _start(self) -> None:
        relay = self.home.relay(self.journal)
        relay._popmap.sweep()
        relay.start(self.at_us)
        story.drain(relay, self.at_us)


def main(_arguments: Sequence[str]) -> int:
    """Cut short everything everywhere; return 1 if something was amiss."""
    bad = 0
    for act in ("commit", "rebuild", "expire", "grant", "revoke"):
        for how in ("kill", *ERRORS):
            came = Cutter(act, how).run()
            print(came, flush=True)
            bad += came.bad
    for how in ("kill", *ERRORS):
        came = Cutter("commit", how, "btree").run()
        print("btree", came, flush=True)
        bad += came.bad
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
