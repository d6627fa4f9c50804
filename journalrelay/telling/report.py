"""The daemon's report on itself, for ``journalrelay status``; never believed over the map."""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from journalrelay.errors import DataError, translate
from journalrelay.event import Login, Lost
from journalrelay.owner import as_owner, open_plain, read_plain
from journalrelay.rules.policy import Verdict
from journalrelay.timespan import format_time

_LARGEST = (1 << 63) - 1


class Report:
    """Counts since the start, and where reading stands. Times are µs since the epoch.

    ``daemons`` are those of the daemons read that this host has; ``suppressed`` is how many lines
    of a unit journald did not take, and between the ends of the gap lines were lost before this
    start. ``hosts`` are those of ``[remote.NAME]``, ``unknown_hosts`` others that send.
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
        self.hosts: dict[str, dict[str, Any]] = {}
        self.unknown_hosts: list[str] = []

    def witness(self, login: Login, verdict: Verdict) -> None:
        """Count a login."""
        _count(self.logins, login.daemon)
        _count(self.verdicts, verdict.word)
        if verdict.word == "refused":
            _count(self.refused, verdict.reason.partition(":")[0])
        if login.remote:
            self._witness_at(self._host(login.remote), login, verdict)

    def hosts_are(self, facts: Mapping[str, Mapping[str, Any]], unknown: list[str]) -> None:
        """Note how the other hosts are."""
        self.unknown_hosts = list(unknown)
        for name, told in facts.items():
            self._host(name).update(told)

    def _host(self, name: str) -> dict[str, Any]:
        return self.hosts.setdefault(name, _new_host())

    def _witness_at(self, host: dict[str, Any], login: Login, verdict: Verdict) -> None:
        host["logins"] += 1
        if verdict.word == "refused":
            _count(host["refused"], verdict.reason.partition(":")[0])
        else:
            host["last_login_us"] = max(host["last_login_us"] or 0, login.logged_at_us)

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


def _new_host() -> dict[str, Any]:
    """Return what is told of one of the other hosts; ``lag_s`` is how late its last entry came."""
    return {
        "cursor": None,
        "read_to_us": None,
        "lag_s": 0.0,
        "clock": "right",
        "trouble": None,
        "logins": 0,
        "last_login_us": None,
        "refused": {},
    }


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
    for host in _checked(content, vars(Report(0, "", "", "", [])))["hosts"].values():
        _checked(host, _new_host())


def _checked(content: object, usual: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(content, dict) or set(content) != set(usual):
        raise ValueError("other fields")
    for name, value in usual.items():
        found: Any = content[name]
        kinds = (str, int) if value is None else (int, float) if name == "lag_s" else (type(value),)
        if not isinstance(found, kinds) and not (value is None and found is None):
            raise ValueError(f"{name} is of another type")
        counts = list(found.values()) if isinstance(found, dict) and name != "hosts" else []
        if not all(isinstance(count, int) for count in counts):
            raise ValueError(f"{name} is of another type")
        for number in [*counts, found]:
            if isinstance(number, int) and abs(number) > _LARGEST:
                raise ValueError(f"{name} is no number of a daemon's")
    return content
