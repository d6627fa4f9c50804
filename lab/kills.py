"""kill -9 at random moments, thousands of times: daemon, expire, grant and revoke.

    python3 -m lab.room -- python3 -m lab.kills [KILLS [SEED]]

Logins go on all the while, journald is rotated now and then. The commands are the real ones,
forked from a process that has Python and the program in memory already. Every 25 kills a daemon is
left in peace until the map is what the journal says. Prints what came of it so far each time; the
exit status is 1 if anything was lost or wrong.
"""

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from journalrelay import cli
from journalrelay.errors import RelayError
from journalrelay.map.popmap import PopMap
from lab import room
from lab.journald import Journald
from lab.soak import CONFIG, WINDOW_S, Load
from lab.truth import difference, entries, truth

_IN_PEACE = 25
_PATIENCE_S = 60.0


class Kills:
    """A map, its daemon, and who is killed."""

    def __init__(self, seed: int, journald: Journald) -> None:
        self.place = room.scratch("kills-")
        self.map = self.place / "popip.db"
        self.config = self.place / "poprelay.conf"
        self.config.write_text(CONFIG)
        self.chance = random.Random(seed)
        self.journald = journald
        self.load = Load(seed)
        self.load.start()
        self.kills: Counter[str] = Counter()
        self.compared = self.lost = self.wrong = 0
        self.slowest_s = 0.0

    def run(self, kills: int) -> bool:
        """Kill so many; tell whether nothing came of it."""
        while self.kills.total() < kills:
            self.load.resume()
            daemon = self._fork("run", "--state", str(self.place))
            until = self._moment()
            while time.monotonic() < until:
                self._command()
            self._kill("daemon", daemon)
            if self.chance.random() < 0.05:
                self.journald.rotate()
            if self.kills.total() // _IN_PEACE >= self.compared:
                self._compare()
                print(self, flush=True)
        return not (self.lost or self.wrong)

    def __str__(self) -> str:
        return (
            f"{self.kills.total()} kills {dict(self.kills)}, {self.load.sent} lines, "
            f"{self.compared} comparisons: {self.lost} lost, {self.wrong} wrong, slowest to be "
            f"right {self.slowest_s:.1f} s"
        )

    def _moment(self) -> float:
        return time.monotonic() + self.chance.choice((0.02, 0.1, 0.3)) * self.chance.random() * 2

    def _command(self) -> None:
        number = self.chance.randrange(3000)
        address = f"198.51.{number >> 8}.{number & 255}"
        words = self.chance.choice((("expire",), ("grant", address), ("revoke", address)))
        child = self._fork(*words)
        time.sleep(0.05 * self.chance.random())  # random moments are what this is about
        self._kill(words[0], child)

    def _fork(self, verb: str, *words: str) -> int:
        child = os.fork()
        if child:
            return child
        code = 70
        try:
            os.dup2(os.open(self.place / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
            os.dup2(2, 1)
            code = cli.main(["-c", str(self.config), verb, *words, "--map", str(self.map)])
        finally:
            os._exit(code)

    def _kill(self, what: str, child: int) -> None:
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            self.kills[what] += 1
        elif what == "daemon":
            raise room.RoomError(f"a daemon ended by itself: {self._log()}")

    def _compare(self) -> None:
        """Start a daemon and wait until the map is right; count what is not."""
        self.load.pause()
        self.journald.sync()
        rows = entries(WINDOW_S + 1200)
        wanted = truth(rows, WINDOW_S, self.map)
        daemon = self._fork("run", "--state", str(self.place))
        began, lost, wrong = time.monotonic(), {b"": 0}, dict[bytes, int]()
        while (lost or wrong) and time.monotonic() - began < _PATIENCE_S:
            with suppress(RelayError):
                lost, wrong = difference(self._read(), wanted, time.time() + 1)
            time.sleep(0.01)
        self.compared += 1
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        self.lost += len(lost)
        self.wrong += len(wrong)
        if lost or wrong:
            print(f"lost {lost}, wrong {wrong}: {self._log()}", flush=True)
        self._kill("daemon", daemon)

    def _read(self) -> dict[bytes, int]:
        return PopMap(self.map, "hash").read()

    def _log(self) -> str:
        return "\n".join(Path(self.place, "log").read_text().splitlines()[-20:])


def main(arguments: Sequence[str]) -> int:
    """Kill, and say what came of it."""
    kills = int(arguments[0]) if arguments else 3000
    seed = int(arguments[1]) if len(arguments) > 1 else random.randrange(1 << 30)
    with Journald() as journald:
        killing = Kills(seed, journald)
        well = killing.run(kills)
        print(killing, f"(seed {seed})", flush=True)
    return int(not well)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
