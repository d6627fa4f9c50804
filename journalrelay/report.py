"""The daemon's report on itself, for ``journalrelay status``; never believed over the map."""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from journalrelay.errors import DataError, translate
from journalrelay.event import Login, Lost
from journalrelay.owner import as_owner, open_plain, read_plain
from journalrelay.policy import Verdict
from journalrelay.timespan import format_time

_LARGEST = (1 << 63) - 1


class Report:
    """Counts since the start, and where reading stands. Times are µs since the epoch.

    ``daemons`` are those of the daemons read that this host has; ``suppressed`` is how many lines
    of a unit journald did not take, and between the ends of the gap lines were lost before this
    start.
    """

    def __init__(
        self, since_us: int, map_path: str, source: str, why: str, daemons: list[str]
    ) -> None:
        self.since_us = since_us
        self.map_path = map_path
        self.source = source
        self.why = why
        self.daemons = daemons
        self.pid = os.getpid()
        self.records = 0
        self.logins: dict[str, int] = {}
        self.verdicts: dict[str, int] = {}
        self.refused: dict[str, int] = {}
        self.granted_now = 0
        self.cursor: str | None = None
        self.read_to_us: int | None = None
        self.lag_s = 0.0
        self.suppressed: dict[str, int] = {}
        self.gap_from_us: int | None = None
        self.gap_to_us: int | None = None
        self.last_fault: str | None = None
        self.last_fault_us: int | None = None

    def witness(self, login: Login, verdict: Verdict) -> None:
        """Count a login."""
        _count(self.logins, login.daemon)
        _count(self.verdicts, verdict.word)
        if verdict.word == "refused":
            _count(self.refused, verdict.reason.partition(":")[0])

    def suppress(self, lost: Lost) -> None:
        """Count what journald did not take."""
        self.suppressed[lost.unit] = self.suppressed.get(lost.unit, 0) + lost.records

    def line(self) -> str:
        """Return the report in one line, for ``systemctl status``."""
        place = "nothing yet"
        if self.read_to_us is not None:
            place = format_time(self.read_to_us)
        came = ", ".join(f"{count} {word}" for word, count in sorted(self.verdicts.items()))
        came = came and f" ({came})"
        return (
            f"{self.granted_now} addresses may relay; read to {place}, lag {self.lag_s:.1f} s; "
            f"{sum(self.logins.values())} logins{came}"
        )

    def text(self) -> str:
        """Return the report as it is written."""
        return json.dumps(vars(self)) + "\n"

    def write(self, path: Path) -> None:
        """Replace the report at ``path``; without a place to write it there is none."""
        beside = path.with_suffix(".json.new")
        with as_owner(path.parent), suppress(OSError):
            path.parent.mkdir(exist_ok=True)
            fd = open_plain(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            with open(fd, "w", encoding="ascii") as file:
                file.write(self.text())
            beside.replace(path)


def named(daemons: Sequence[str]) -> str:
    """Return the daemons that were found, for people."""
    return ", ".join(map(str, daemons)) or "none found"


def _count(counts: dict[str, int], what: str) -> None:
    counts[what] = counts.get(what, 0) + 1


def read(path: Path) -> dict[str, Any] | None:
    """Return the report at ``path``, None when there is none."""
    try:
        content = json.loads(read_plain(path))
        _check(content)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise translate(error, f"{path}", "it is the daemon's report") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a report ({error}; the daemon writes it anew)") from error
    return dict(content)


def _check(content: object) -> None:
    """Raise ValueError unless all is of the type that a daemon writes."""
    usual = vars(Report(0, "", "", "", []))
    if not isinstance(content, dict) or set(content) != set(usual):
        raise ValueError("other fields")
    for name, value in usual.items():
        kinds = (str, int) if value is None else (int, float) if name == "lag_s" else (type(value),)
        found = content[name]
        if not (isinstance(found, kinds) or (value is None and found is None)) or (
            isinstance(found, dict) and not all(isinstance(count, int) for count in found.values())
        ):
            raise ValueError(f"{name} is of another type")
        for number in found.values() if isinstance(found, dict) else (found,):
            if isinstance(number, int) and abs(number) > _LARGEST:
                raise ValueError(f"{name} is no number of a daemon's")
