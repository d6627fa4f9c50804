"""The daemon's report on itself, for ``journalrelay status``; never believed over the map."""

import json
import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from journalrelay.errors import DataError, translate
from journalrelay.event import Login
from journalrelay.owner import as_owner
from journalrelay.policy import Verdict


@dataclass
class Report:
    """Counts since the start, and where reading stands. Times are µs since the epoch."""

    since_us: int
    map_path: str
    source: str
    daemons: list[str]
    pid: int = field(default_factory=os.getpid)
    records: int = 0
    logins: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    granted_now: int = 0
    cursor: str | None = None
    read_to_us: int | None = None
    lag_s: float = 0.0
    last_fault: str | None = None

    def witness(self, login: Login, verdict: Verdict) -> None:
        """Count a login."""
        self.logins[login.daemon] += 1
        self.verdicts[verdict.word] += 1
        if verdict.word == "refused":
            self.refused[verdict.reason.partition(":")[0]] += 1

    def line(self) -> str:
        """Return the report in one line, for ``systemctl status``."""
        place = "nothing yet"
        if self.read_to_us is not None:
            place = f"{datetime.fromtimestamp(self.read_to_us / 1e6):%Y-%m-%d %H:%M:%S}"
        return (
            f"{self.granted_now} addresses may relay; read to {place}, lag {self.lag_s:.1f} s; "
            f"{sum(self.logins.values())} logins"
        )

    def write(self, path: Path) -> None:
        """Replace the report at ``path``; without a place to write it there is none."""
        beside = path.with_suffix(".json.new")
        with as_owner(path.parent), suppress(OSError):
            path.parent.mkdir(exist_ok=True)
            beside.write_text(json.dumps(vars(self)) + "\n", "ascii")
            beside.replace(path)


def read(path: Path) -> dict[str, Any] | None:
    """Return the report at ``path``, None when there is none."""
    try:
        content = json.loads(path.read_text("ascii"))
        if not isinstance(content, dict):
            raise ValueError("not an object")
        return content
    except FileNotFoundError:
        return None
    except OSError as error:
        raise translate(error, f"{path}", "it is the daemon's report") from error
    except ValueError as error:
        raise DataError(f"{path}: not a report ({error}); the daemon writes it anew") from error
