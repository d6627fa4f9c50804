"""Hours of mixed load with faults at random: no difference, and nothing grows.

    python3 -m lab.room -- python3 -m lab.soak [MINUTES [SEED]]

Two daemons follow one journald, on disks of their own: one is killed as well, the other lives
through all else, and is looked at for what grows. Logins, grants and revocations by hand, expire
as its timer runs it; then, one at a time: a stopped process, a kept lock, a full and a read-only
disk, a map removed, replaced by makemap or damaged, a journald that is rotated, vacuumed, stopped,
killed. After each, and between them, both maps must come to be what the journal says. Prints
figures as it goes on, and a sum; the exit status is 1 if anything was lost, wrong or growing.
"""

import fcntl
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from journalrelay.errors import RelayError
from lab import disk, room
from lab.journald import Journald, Sender, login_line
from lab.poprelayd import NotReady, Poprelayd
from lab.truth import difference, entries, truth

WINDOW_S = 60
CONFIG = f'[relay]\nwindow = "{WINDOW_S}s"\n'
_PATIENCE_S = 60.0
_CLIENTS = 3000
_NO_COMPLAINT = re.compile(r"granted |revoked |refused |keeping |stopped")


@dataclass
class Sum:
    """What came of it."""

    logins: int = 0
    compared: int = 0
    lost: int = 0
    wrong: int = 0
    kills: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0


@dataclass(frozen=True)
class Size:
    """What must not grow: anonymous memory and map on disk in KiB, descriptors; and how many
    lines there are in the log that tell of no grant."""

    memory: int
    descriptors: int
    map: int
    log_lines: int

    def __str__(self) -> str:
        return (
            f"{self.memory} KiB, {self.descriptors} descriptors, map {self.map} KiB, "
            f"{self.log_lines} complaints"
        )


class Load(threading.Thread):
    """Logs in at random, in bursts, until it is told to pause."""

    def __init__(self, seed: int) -> None:
        super().__init__(daemon=True)
        self._chance = random.Random(seed)
        self._go, self._idle = threading.Event(), threading.Event()
        self.sent = 0
        self.rate = 100.0

    def run(self) -> None:
        with Sender() as sender:
            while True:
                if not self._go.is_set():
                    self._idle.set()
                    self._go.wait()
                    self._idle.clear()
                count = self._chance.choice((1, 1, 1, 5, 50))
                sender.send_many(self._line() for _ in range(count))
                self.sent += count
                time.sleep(count / self.rate)

    def _line(self) -> str:
        number = int(_CLIENTS * self._chance.random() ** 2)
        if self._chance.random() < 0.2:
            return f"pop3-login: Aborted login (auth failed): user=<x>, rip=203.0.113.9, n={number}"
        return login_line(f"198.51.{number >> 8}.{number & 255}", user=f"u{number}")

    def pause(self) -> None:
        """Log nothing more; what was sent is in journald's socket when this returns."""
        self._go.clear()
        while not self._idle.wait(1):
            if not self.is_alive():
                raise room.RoomError("nothing is logged any more: the load has ended")

    def resume(self) -> None:
        """Go on."""
        self._go.set()


class Soak:
    """The two daemons, the load, and what is done to them."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.sum = Sum()
        self.sizes: list[Size] = []
        self.until = self.next_look = 0.0
        self.stack = ExitStack()
        self.journald = self.stack.enter_context(Journald(SystemMaxUse="96M"))
        self.killed, self.kept = (self._daemon(name) for name in ("killed", "kept"))
        self.load = Load(seed)
        self.load.start()
        self.faults: tuple[Callable[[Poprelayd], None], ...] = (
            self.stop,
            self.keep_lock,
            self.fill,
            self.remount,
            self.remove,
            self.makemap,
            self.damage,
            self.rotate,
            self.vacuum,
            self.stop_journald,
            self.kill_journald,
            self.by_hand,
            self.by_hand,
            self.reload,
        )

    def _daemon(self, name: str) -> Poprelayd:
        home = room.scratch(f"soak-{name}-")
        self.stack.enter_context(disk.small(home, "48M"))
        daemon = Poprelayd(home, config=CONFIG)
        daemon.log = room.scratch("soak-log-") / f"{name}.log"  # on a disk with room
        return self.stack.enter_context(daemon)

    def run(self, seconds: float) -> int:
        """Soak, and return 1 if something was amiss; the sum is printed however it ends."""
        self.until = time.monotonic() + seconds
        try:
            with self.stack:
                while time.monotonic() < self.until:
                    self.turn()
                self.look()
                ended = [daemon.stop() for daemon in (self.killed, self.kept)]
        finally:
            early, late = self.sizes[len(self.sizes) // 3 :][:1], self.sizes[-1:]
            print(self.line(), dict(self.sum.faults), *early, *late, sep="\n", flush=True)
        print(f"exit statuses {ended}", flush=True)
        return int(bool(self.sum.lost or self.sum.wrong or self.growing() or any(ended)))

    def turn(self) -> None:
        """Log for a moment, do something, compare; once a minute look at the sizes."""
        self.load.rate = self.chance.choice((20, 100, 400))
        self.load.resume()
        time.sleep(self.chance.uniform(0.5, 4))  # random moments are what this is about
        self.disturb()
        self.compare()
        if time.monotonic() > self.next_look:
            self.look()

    def look(self) -> None:
        """Note the sizes, and say how far it is."""
        now = time.monotonic()
        self.next_look = now + 60
        self.sizes.append(self.size())
        print(f"{self.until - now:6.0f} s left: {self.line()}; {self.sizes[-1]}", flush=True)

    def growing(self) -> bool:
        """Tell whether anything is larger at the end than it was after the first third."""
        early, late = self.sizes[len(self.sizes) // 3], self.sizes[-1]
        return (
            late.memory > early.memory + 4096
            or late.descriptors > early.descriptors + 4
            or late.map > 2 * early.map + 1024
        )

    def line(self) -> str:
        """Return the sum in a line."""
        done = self.sum
        return (
            f"{self.load.sent} lines, {sum(done.faults.values())} faults, {done.kills} kills, "
            f"{done.compared} comparisons: {done.lost} lost, {done.wrong} wrong, slowest to be "
            f"right {done.slowest_s:.1f} s"
        )

    def size(self) -> Size:
        """Return the sizes of the daemon that is not killed."""
        proc = Path(f"/proc/{self.kept.process.pid}")
        rollup = (proc / "smaps_rollup").read_text()
        anonymous = next(line for line in rollup.splitlines() if line.startswith("Anonymous"))
        return Size(
            int(anonymous.split()[1]),
            len(list((proc / "fd").iterdir())),
            self.kept.map.stat().st_blocks // 2,
            sum(not _NO_COMPLAINT.match(line) for line in self.kept.log.open()),
        )

    # Faults

    def disturb(self) -> None:
        """Do something to both of them; kill one of them, or an expire, as well."""
        fault = self.chance.choice(self.faults)
        self.sum.faults[fault.__name__] += 1
        for daemon in (self.killed, self.kept):
            expire = subprocess.Popen(
                [sys.executable, "-m", "journalrelay", "expire", "--map", str(daemon.map)],
                cwd=room.CHECKOUT,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            fault(daemon)
            if self.chance.random() < 0.5:
                expire.kill()
                self.sum.kills += 1
            expire.wait()
        if self.chance.random() < 0.6:
            self.killed.kill()
            self.sum.kills += 1
            self.start(self.killed)

    def start(self, daemon: Poprelayd) -> None:
        """Start a daemon as systemd does, again and again."""
        for _ in range(20):
            try:
                daemon.start()
                return
            except NotReady:
                time.sleep(1)  # RestartSec=
        raise NotReady("it does not start")

    def stop(self, daemon: Poprelayd) -> None:
        """Stop the process for a while."""
        daemon.process.send_signal(signal.SIGSTOP)
        time.sleep(self.chance.uniform(0, 3))
        daemon.process.send_signal(signal.SIGCONT)

    def keep_lock(self, daemon: Poprelayd) -> None:
        """Keep the map locked."""
        with daemon.map.open("rb") as held:
            kind = self.chance.choice((fcntl.LOCK_EX, fcntl.LOCK_SH))
            try:
                fcntl.flock(held, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            time.sleep(self.chance.uniform(0, 9))

    def fill(self, daemon: Poprelayd) -> None:
        """Let the disk be full."""
        with disk.full(daemon.place):
            time.sleep(self.chance.uniform(0, 4))

    def remount(self, daemon: Poprelayd) -> None:
        """Let the disk be read-only."""
        with disk.read_only(daemon.place):
            time.sleep(self.chance.uniform(0, 4))

    def remove(self, daemon: Poprelayd) -> None:
        """Remove the map."""
        daemon.map.unlink(missing_ok=True)

    def makemap(self, daemon: Poprelayd) -> None:
        """Write the map anew with makemap, and a lie in it."""
        name = str(daemon.map.with_suffix(""))
        lie = b"203.0.113.66\t%d\n" % (time.time() + 3000)
        subprocess.run(["makemap", "hash", name], input=lie, stderr=subprocess.DEVNULL)

    def damage(self, daemon: Poprelayd) -> None:
        """Put something behind the map's end, or in its first page."""
        with daemon.map.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if self.chance.random() < 0.5:
                file.seek(0, os.SEEK_END)
            file.write(os.urandom(100))
        self.load_a_little()

    def load_a_little(self) -> None:
        """Log something, since damage is met at the next change."""
        time.sleep(0.5)

    def rotate(self, _daemon: Poprelayd) -> None:
        """Rotate the journal."""
        self.journald.rotate()

    def vacuum(self, _daemon: Poprelayd) -> None:
        """Take away what is older than any login that matters."""
        self.journald.rotate()
        self.journald.vacuum("--vacuum-time=300s")

    def stop_journald(self, _daemon: Poprelayd) -> None:
        """Stop journald for a while; its sockets stay, and who logs waits."""
        self.load.rate = 20
        self.journald.stop()
        time.sleep(self.chance.uniform(0, 3))
        self.journald.start()

    def kill_journald(self, _daemon: Poprelayd) -> None:
        """Kill journald; what is in its socket it reads when it is back."""
        self.load.rate = 20
        self.journald.kill()
        self.journald.start()

    def by_hand(self, daemon: Poprelayd) -> None:
        """Grant and revoke, some of it cut short."""
        number = self.chance.randrange(_CLIENTS)
        address = f"198.51.{number >> 8}.{number & 255}"
        verb = self.chance.choice((("grant", "--for", "20s"), ("revoke",)))
        command = [sys.executable, "-m", "journalrelay", verb[0], address, *verb[1:]]
        process = subprocess.Popen(
            [*command, "--map", str(daemon.map)], cwd=room.CHECKOUT, stdout=subprocess.DEVNULL
        )
        if self.chance.random() < 0.5:
            time.sleep(self.chance.uniform(0.1, 0.4))
            process.kill()
            self.sum.kills += 1
        process.wait()

    def reload(self, daemon: Poprelayd) -> None:
        """Have the configuration read again."""
        daemon.process.send_signal(signal.SIGHUP)

    # Judgement

    def compare(self) -> None:
        """Wait until both maps are what the journal says, and count what is not."""
        self.load.pause()
        self.journald.sync()
        rows = entries(WINDOW_S + 240)
        for daemon in (self.killed, self.kept):
            wanted = truth(rows, WINDOW_S, daemon.map)
            began, lost, wrong = time.monotonic(), {b"": 0}, dict[bytes, int]()
            while (lost or wrong) and time.monotonic() - began < _PATIENCE_S:
                with suppress(RelayError):
                    lost, wrong = difference(daemon.popmap().read(), wanted, time.time() + 1)
                if lost or wrong:
                    time.sleep(0.02)
            self.sum.compared += 1
            self.sum.slowest_s = max(self.sum.slowest_s, time.monotonic() - began)
            self.sum.lost += len(lost)
            self.sum.wrong += len(wrong)
            if lost or wrong:
                fault = self.sum.faults
                print(f"{daemon.place}: lost {lost}, wrong {wrong}, after {fault}", flush=True)
                print(*daemon.log.read_text().splitlines()[-20:], sep="\n", flush=True)


def main(arguments: Sequence[str]) -> int:
    """Soak for some minutes."""
    minutes = float(arguments[0]) if arguments else 60.0
    seed = int(arguments[1]) if len(arguments) > 1 else random.randrange(1 << 30)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the sum is printed
    print(f"seed {seed}", flush=True)
    return Soak(seed).run(60 * minutes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
