"""A mail log written at full speed, rotated and its reader killed at random moments.

    python3 -m lab.room -- python3 -m lab.torture [SECONDS [SEED]]

Every login in it must be granted exactly as if nothing had happened. Rotations are logrotate's own
(create, copytruncate, both with and without compress) and newsyslog's order of operations: rename,
create, signal, compress. Prints what came of each kind. Where copytruncate is used, lines that are
in no file at the end were written between its copying and its truncation: they can be lost, and are
counted apart.
"""

import gzip
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab import room
from lab.logwriter import address
from lab.poprelayd import Poprelayd
from lab.wait import wait_for

WINDOW_S = 86_400
KINDS = (
    "create",
    "create compress",
    "create compress delaycompress",
    "copytruncate",
    "copytruncate compress",
    "newsyslog",
)
_ARCHIVED = 150  # names of this number and above are put aside, so that no line is deleted
_MOST_STARTING = 50
_FEWEST = 3  # rotations
_NUMBER = re.compile(rb"session=<([0-9]{16})>")
_RULE = "{log} {{\nrotate 170\nmissingok\n{kind}\n{signal}}}\n"
_SIGNAL = "sharedscripts\npostrotate\nkill -HUP {pid}\nendscript\n"


@dataclass
class Came:
    """What came of a run. ``window`` are lines that copytruncate has left in no file."""

    kind: str
    seconds: float = 0.0
    lines: int = 0
    logins: int = 0
    rotations: int = 0
    kills: int = 0
    lost: int = 0
    wrong: int = 0
    doubled: int = 0
    window: int = 0
    window_granted: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        text = (
            f"{self.kind:29} {self.seconds:5.0f} s, {self.lines} lines, {self.logins} logins, "
            f"{self.rotations} rotations, {self.kills} kills: {self.lost} lost, "
            f"{self.wrong} granted otherwise, {self.doubled} doubled"
        )
        if "copytruncate" in self.kind:
            text += (
                f"; {self.window} were written between copying and truncation, of which "
                f"{self.window_granted} were granted all the same"
            )
        return text


class Torture:
    """One run: a writer, a daemon that follows, and what is done to them."""

    def __init__(self, place: Path, kind: str, seed: int, *, kills: bool) -> None:
        self.place, self.kind, self.kills = place, kind, kills
        self.log = place / "mail.log"
        self.archive = place / "archive"
        self.archive.mkdir()
        self.chance = random.Random(seed)
        self.came = Came(kind)
        self._number = 0

    def run(self, seconds: float, every: int = 100) -> Came:
        """Torture for a while, and return what came of it."""
        began = time.monotonic()
        config = f'[relay]\nwindow = "{WINDOW_S}s"\nmax_addresses = 0\n'
        config += '[source]\nhosts = ["mail"]\n'
        self.log.touch(mode=0o640)
        with Poprelayd(self.place, "--logfile", str(self.log), config=config) as daemon:
            writer = self._writer(every)
            try:
                self._disturb(daemon, writer.pid, began + seconds)
                writer.terminate()
                writer.wait(60)
            finally:
                writer.kill()
                writer.wait()
            self.came.seconds = time.monotonic() - began
            self._judge(daemon)
        return self.came

    def _writer(self, every: int) -> "subprocess.Popen[bytes]":
        split = "0" if "copytruncate" in self.kind else "1"
        program = [sys.executable, "-m", "lab.logwriter", str(self.log)]
        writer = subprocess.Popen(
            [*program, str(self.place / "truth"), str(every), split], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        writer.stdout.readline()
        writer.stdout.close()
        return writer

    def _disturb(self, daemon: Poprelayd, writer: int, until: float) -> None:
        starting = 0  # rotations since it was started; in the end it must find what is left
        while time.monotonic() < until or not self._is_enough():
            if starting and "READY=1" in daemon.take_all_notified():
                starting = 0
            if starting > _MOST_STARTING:
                daemon.await_ready(300)
                starting = 0
            wait = self.chance.choice((0.0, 0.01, 0.05, 0.2))
            time.sleep(self.chance.uniform(0, wait))  # random moments are what this is about
            if self.kills and self.chance.random() < 0.05:
                daemon.kill()
                self.came.kills += 1
                daemon.take_all_notified()
                for _ in range(self.chance.randrange(4)):  # fewer than _ARCHIVED
                    self._rotate(writer)
                daemon.launch()
                starting = max(1, starting)
                continue
            self._rotate(writer)
            starting += starting > 0

    def _is_enough(self) -> bool:
        """Tell whether there is something to judge: a short run on a busy machine may be too
        short for it."""
        return self.came.rotations >= _FEWEST and bool(self._on_disk())

    # Rotation

    def _rotate(self, writer: int) -> None:
        self._put_aside()
        if self.kind == "newsyslog":
            self._newsyslog(writer)
        else:
            self._logrotate(writer)
        self.came.rotations += 1

    def _logrotate(self, writer: int) -> None:
        rule = self.place / "logrotate.conf"
        told = "" if "copytruncate" in self.kind else _SIGNAL.format(pid=writer)
        how = self.kind.replace(" ", "\n").replace("create", "create 0640")
        rule.write_text(_RULE.format(log=self.log, kind=how, signal=told))
        rule.chmod(0o644)
        command = ["logrotate", "-f", "-s", str(self.place / "logrotate.state"), str(rule)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise room.RoomError(f"logrotate: {done.stderr}")

    def _newsyslog(self, writer: int) -> None:
        """Do what newsyslog(8) does, in its order."""
        for number in range(_ARCHIVED + 1, -1, -1):
            for suffix in ("", ".gz"):
                old = Path(f"{self.log}.{number}{suffix}")
                if old.exists():
                    old.rename(f"{self.log}.{number + 1}{suffix}")
        first = Path(f"{self.log}.0")
        self.log.rename(first)
        self.log.touch(mode=0o640)
        os.kill(writer, signal.SIGHUP)
        if self.chance.random() < 0.5:
            time.sleep(0.02)  # newsyslog gives syslogd a moment, ten seconds there
            subprocess.run(["gzip", "-f", str(first)], check=True, stderr=subprocess.DEVNULL)

    def _put_aside(self) -> None:
        """Move the oldest away, out of the reader's sight, as rotation deletes them in the end."""
        for file in self.place.glob("mail.log.*"):
            if int(file.name.split(".")[2]) >= _ARCHIVED:
                self._number += 1
                shutil.move(file, self.archive / f"{self._number}-{file.name}")

    # Judgement

    def _judge(self, daemon: Poprelayd) -> None:
        """Compare the map with what was written."""
        rows = [row.split() for row in (self.place / "truth").read_text().splitlines()]
        wanted = {
            address(int(number)).encode(): (int(at_us) + WINDOW_S * 1_000_000) // 1_000_000
            for number, at_us, _ in rows
        }
        on_disk = {address(number).encode() for number in self._on_disk()}
        self.came.logins, self.came.lines = len(wanted), int(rows[-1][2])

        def granted() -> dict[bytes, int]:
            return dict(daemon.popmap().read())

        try:
            wait_for(lambda: on_disk <= granted().keys(), "the last login", 30, 0.2)
        except TimeoutError:
            self.came.faults.append(f"not granted: {sorted(on_disk - granted().keys())[:5]}")
        daemon.stop()
        found = granted()
        self.came.lost = len(on_disk - found.keys())
        self.came.wrong = sum(wanted.get(key) != expiry for key, expiry in found.items())
        window = wanted.keys() - on_disk
        self.came.window = len(window)
        self.came.window_granted = len(window & found.keys())
        if not self.kills:
            told = daemon.log.read_text().splitlines()[-1]
            self.came.doubled = int(told.split("; ")[-1].split()[0]) - len(found)

    def _on_disk(self) -> set[int]:
        """Return the numbers of the logins that are whole in some file, old or new."""
        files = [*self.place.glob("mail.log*"), *self.archive.iterdir()]
        found: set[int] = set()
        for file in files:
            content = file.read_bytes()
            content = gzip.decompress(content) if file.suffix == ".gz" else content
            found.update(int(number) for number in _NUMBER.findall(content))
        return found


def main(arguments: Sequence[str]) -> int:
    """Run each kind, with and without kills; return 1 if a login was lost or granted otherwise."""
    seconds = float(arguments[0]) if arguments else 60.0
    seed = int(arguments[1]) if len(arguments) > 1 else random.randrange(1 << 30)
    bad = 0
    for kind in KINDS:
        for kills in (True, False):
            place = room.scratch("torture-")
            torture = Torture(place, kind, seed, kills=kills)
            came = torture.run(seconds)
            print(came, *came.faults, f"(seed {seed})", sep="\n  " if came.faults else " ")
            bad += came.lost + came.wrong + came.doubled
            if not came.lost:
                shutil.rmtree(place)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
