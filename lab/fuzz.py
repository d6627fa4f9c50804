"""A long run of hostile clients against every pattern; CI has a short one, tests/test_hostile.py.

    python3 -m lab.fuzz --lines 10000000
    python3 -m lab.fuzz --lines 1000000 --guided CORPUS

The first makes clients at random (lab/hostile.py), some with forged trusted fields. The second is
guided by coverage: it lets atheris (from PyPI, in any environment; nothing else needs it) choose
the names, or the whole line, keeps in the directory CORPUS what leads further, and stops at the
first fault. Both print what they have seen: lines, lines a second, those that were taken for a
login or connect line, and the wrong ones, of which there must be none.
"""

import argparse
import importlib
import os
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from journalrelay.patterns import REGISTRY, Daemon
from lab.hostile import Crowd, Ear, Heard
from lab.voices import VOICES, Client

_SAID_EVERY = 1_000_000
_FORGED = 16  # one client in so many has his lines sent by others as well


class Fault(AssertionError):
    """A line was read wrongly."""


class Tally:
    """What has been seen so far."""

    def __init__(self) -> None:
        self.lines: Counter[str] = Counter()
        self.taken: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._began = time.monotonic()
        self._next = _SAID_EVERY

    def count(self, daemon: str, heard: Heard, about: object) -> None:
        """Count a line."""
        self.lines[daemon] += 1
        self.taken[daemon] += heard.taken
        if heard.wrong:
            self.wrong.append(f"{daemon}: {heard.wrong}: {about!r}")

    def tell(self) -> None:
        """Print a line of figures, each million lines."""
        if (total := self.lines.total()) >= self._next:
            self._next += _SAID_EVERY
            print(f"{total:,} lines, {total / self._elapsed_s():,.0f}/s", file=sys.stderr)

    def report(self) -> int:
        """Print all figures; return the exit status."""
        for name in sorted(self.lines):
            print(f"{name:18}{self.lines[name]:>12,} lines {self.taken[name]:>12,} taken")
        total = self.lines.total()
        print(
            f"{'all':18}{total:>12,} lines {self.taken.total():>12,} taken "
            f"{total / self._elapsed_s():,.0f} lines/s wrong={len(self.wrong)}"
        )
        print("".join(f"{fault}\n" for fault in self.wrong[:20]), end="")
        return 1 if self.wrong else 0

    def _elapsed_s(self) -> float:
        return time.monotonic() - self._began


def at_random(lines: int, seed: int) -> int:
    """Have every daemon speak of clients made at random until there were ``lines``."""
    random, tally = Random(seed), Tally()
    company = [(daemon.name, Crowd(daemon), Ear(daemon)) for daemon in REGISTRY]
    while tally.lines.total() < lines:
        for name, crowd, ear in company:
            who = crowd.client(random)
            others = random.randrange(_FORGED) == 0
            for said in VOICES[name](who):
                tally.count(name, ear.hear(said, who), (said, who))
                if others:
                    tally.count(name, Heard(False, ear.fooled(said.line, random)), said)
        tally.tell()
    return tally.report()


class Guided:
    """What atheris calls with bytes of its choice."""

    def __init__(self, atheris: Any, tally: Tally) -> None:
        self._provider = atheris.FuzzedDataProvider
        self._tally = tally
        self._company: list[tuple[Daemon, Ear]] = [(daemon, Ear(daemon)) for daemon in REGISTRY]

    def __call__(self, data: bytes) -> None:
        """Let one daemon speak of the client that the bytes make, or say them as they are."""
        chosen = self._provider(data)
        daemon, ear = self._company[chosen.ConsumeIntInRange(0, len(self._company) - 1)]
        if chosen.ConsumeBool():
            line = chosen.ConsumeBytes(500)
            self._count(daemon.name, ear.overhear(line), line)
            return
        address = b"192.0.2.%d" % chosen.ConsumeIntInRange(2, 254)
        host = bytes(
            byte if chr(byte).isalnum() and byte < 128 else 46 for byte in chosen.ConsumeBytes(80)
        )
        who = Client(address, chosen.ConsumeBytes(400), host or b"x")
        for said in VOICES[daemon.name](who):
            self._count(daemon.name, ear.hear(said, who), (said, who))

    def _count(self, name: str, heard: Heard, about: object) -> None:
        self._tally.count(name, heard, about)
        self._tally.tell()
        if heard.wrong:
            raise Fault(f"{name}: {heard.wrong}: {about!r}")


def seeds(directory: Path) -> None:
    """Write the daemons' own lines where atheris begins: as lines, and as names."""
    directory.mkdir(parents=True, exist_ok=True)
    for number, daemon in enumerate(REGISTRY):
        lines = [*daemon.traps, *(x for pattern in daemon.patterns for x in pattern.samples)]
        for index, line in enumerate(lines):
            # FuzzedDataProvider takes numbers from the end, bytes from the beginning
            (directory / f"{daemon.name}-{index}").write_bytes(line.encode() + bytes([1, number]))


def guided(lines: int, directory: Path) -> int:
    """Let atheris choose until there were ``lines``, or the first fault."""
    atheris: Any = importlib.import_module("atheris")
    atheris.enabled_hooks.add("RegEx")
    atheris.instrument_all()
    seeds(directory)
    tally = Tally()
    target = Guided(atheris, tally)

    def until_enough(data: bytes) -> None:
        if tally.lines.total() >= lines:
            status = tally.report()
            sys.stdout.flush()
            os._exit(status)  # libFuzzer takes an exit for a crash
        target(data)

    atheris.Setup(
        [sys.argv[0], "-max_len=1024", "-print_final_stats=0", str(directory)], until_enough
    )
    atheris.Fuzz()
    return tally.report()


def main() -> int:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(prog="lab.fuzz", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--lines", type=int, default=10_000_000, help="how many to look at")
    parser.add_argument("--seed", type=int, default=1, help="of the random clients")
    parser.add_argument("--guided", type=Path, metavar="CORPUS", help="by atheris, kept there")
    chosen = parser.parse_args()
    if chosen.guided:
        return guided(chosen.lines, chosen.guided)
    return at_random(chosen.lines, chosen.seed)


if __name__ == "__main__":
    sys.exit(main())
