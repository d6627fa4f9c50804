"""Faults put into the road, one at a time: do the stories of tests/test_stories.py find them?

    python3 -m lab.room -- .venv/bin/python -m lab.mutants [SEED [WORD]]

Each mutant is a copy of the checkout with one text replaced by another, as mutants.toml says; WORD
chooses those whose name has it. Prints for each which fixed story finds it, or if none does, after
how many stories at random it was found, and the last of what was done in that one. The exit status
is 1 if any was not found, in as many stories as ``make test`` tells.
"""

import random
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lab import room

_TABLE = Path(__file__).with_name("mutants.toml")
_FIXED = re.compile(r"^FAILED \S+?::(.+?)(?: - .*)?$", re.M)
_TOLD = re.compile(r"(\d+) stories")
_DONE = re.compile(r"^\s*\|?\s*state\.((?!nothing_wrong|teardown)\w+\(.*\))", re.M)
_LAST = 8


class Mutant(NamedTuple):
    """A fault: in a file of journalrelay/, one text in place of another."""

    name: str
    file: str
    old: str
    new: str

    def put_into(self, text: str) -> str:
        """Return the file's text with the fault in it."""
        if text.count(self.old) != 1:
            raise room.RoomError(f"{self.name}: {self.file} has not once {self.old!r}")
        return text.replace(self.old, self.new)


def mutants() -> list[Mutant]:
    """Return all of them."""
    return [Mutant(**row) for row in tomllib.loads(_TABLE.read_text())["mutant"]]


def examine(mutant: Mutant, seed: int) -> tuple[bool, str]:
    """Tell whether the stories find a mutant, and in words how."""
    place = room.scratch("mutant-")
    for name in ("journalrelay", "lab", "tests"):
        shutil.copytree(room.CHECKOUT / name, place / name)
    file = place / "journalrelay" / mutant.file
    file.write_text(mutant.put_into(file.read_text()))
    how = _fixed(place) or _at_random(place, seed, mutant.name)
    shutil.rmtree(place)
    return bool(how), how or "NOT FOUND"


def _fixed(place: Path) -> str:
    """Return the fixed story that finds a fault, the first one; empty if none does."""
    command = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "tests/test_stories.py"]
    command += ["--deselect", "tests/test_stories.py::TestStories", "-k", "not every_mutant"]
    done = subprocess.run([sys.executable, *command], cwd=place, capture_output=True, text=True)
    found = _FIXED.search(done.stdout)
    return found[1] if found else ""


def _at_random(place: Path, seed: int, name: str) -> str:
    """Return what was done in the story, of those at random, that finds a fault; empty if none
    does."""
    command = [sys.executable, "-m", "lab.mutants", "tell", str(seed)]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    told = _TOLD.search(done.stdout)
    if not told:
        raise room.RoomError(f"{name}: no story was told: {done.stderr}")
    steps = _DONE.findall(done.stderr)
    return f"story {told[1]}: … {', '.join(steps[-_LAST:])}" if done.returncode else ""


def tell(seed: int) -> None:
    """Tell the stories of the checkout in the working directory; raise what they find."""
    from hypothesis import Phase, settings
    from hypothesis import seed as seeded
    from hypothesis.stateful import run_state_machine_as_test

    from tests.stories import Stories
    from tests.test_stories import TestStories

    told = [0]

    class Counted(Stories):
        def teardown(self) -> None:
            told[0] += 1
            super().teardown()

    try:
        run_state_machine_as_test(
            seeded(seed)(Counted),
            settings=settings(TestStories.settings, phases=[Phase.generate], database=None),
        )
    finally:
        print(f"{told[0]} stories")


def main(arguments: Sequence[str]) -> int:
    """Examine the mutants; return 1 if one was not found."""
    if arguments[:1] == ["tell"]:
        tell(int(arguments[1]))
        return 0
    seed = int(arguments[0]) if arguments else random.randrange(1 << 30)
    word = arguments[1] if len(arguments) > 1 else ""
    print(f"seed {seed}", flush=True)
    missed = 0
    for mutant in mutants():
        if word in mutant.name:
            found, said = examine(mutant, seed)
            print(f"{mutant.name}: {said}", flush=True)
            missed += not found
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
