"""Numbers: repeated and interleaved runs, medians, ratios within one run, instruction counts."""

import json
import re
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent


class BenchError(Exception):
    """Something cannot be measured; the message says what is missing."""


@dataclass(frozen=True)
class Figures:
    """What came of the same thing done several times."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The value in the middle."""
        return statistics.median(self.values)

    def quantile(self, part: float) -> float:
        """Return the value below which ``part`` of them lie."""
        return sorted(self.values)[min(len(self.values) - 1, int(part * len(self.values)))]

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the greatest value."""
        return min(self.values), max(self.values)

    def over(self, other: "Figures") -> "Figures":
        """Return the ratios of what was measured side by side."""
        pairs = zip(self.values, other.values, strict=True)
        return Figures(tuple(ours / theirs for ours, theirs in pairs))


def interleaved(repeats: int, **runs: Callable[[], float]) -> dict[str, Figures]:
    """Do each of ``runs`` in turn, ``repeats`` times; what else the machine does meets them all."""
    values: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, act in runs.items():
            values[name].append(act())
    return {name: Figures(tuple(got)) for name, got in values.items()}


def output(command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """Run a command and return what it printed; BenchError when it fails."""
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=TOP, env=environment, check=False
    )
    if done.returncode:
        raise BenchError(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def told(command: Sequence[str], environment: Mapping[str, str] | None = None) -> dict[str, float]:
    """Run one of the bench's own programs; return what its last line tells."""
    answer: dict[str, float] = json.loads(output(command, environment).splitlines()[-1])
    return answer


def instructions(command: Sequence[str]) -> int:
    """Return how many instructions a command takes, libraries included (callgrind)."""
    callgrind = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *command]
    done = subprocess.run(callgrind, capture_output=True, text=True, cwd=TOP, check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        raise BenchError(f"{' '.join(callgrind)}: {done.stderr.strip()}")
    return int(found[1])


def instructions_each(command: Callable[[int], Sequence[str]], few: int, many: int) -> float:
    """Return the instructions that one more entry takes: what is needed to start cancels out."""
    return (instructions(command(many)) - instructions(command(few))) / (many - few)
