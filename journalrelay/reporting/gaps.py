"""When something was missing: lines that were lost, times in which nothing was read or written,
times without a daemon."""

from dataclasses import dataclass
from typing import NamedTuple

from journalrelay.event import Lost
from journalrelay.reporting.span import MINUTE_US

_MOST = 200  # gaps that are listed
_ONE = 5 * MINUTE_US  # losses of a unit that are nearer to each other are one

LOST, STOPPED, UNREAD, UNWRITTEN = (
    "lines suppressed",
    "daemon not running",
    "journal not readable",
    "map not writable",
)
KINDS = (LOST, STOPPED, UNREAD, UNWRITTEN)


@dataclass
class Gap:
    """What was missing, from when to when (µs since the epoch), and what is known of it; ``lines``
    are those that were lost, and ``about`` the unit whose they were."""

    kind: str
    from_us: int
    until_us: int
    what: str = ""
    lines: int = 0
    about: str = ""


class Speaker(NamedTuple):
    """The process of a daemon that told something of itself."""

    boot: str
    pid: str


class Gaps:
    """Collects gaps; what is told of the daemon must come in the order of its times."""

    def __init__(self) -> None:
        self.unlisted = 0
        self._gaps: list[Gap] = []
        self._last_lost: dict[str, Gap] = {}
        self._troubles: dict[str, Gap] = {}
        self._speaker: Speaker | None = None
        self._word_us = 0
        self._ended_us: int | None = None

    def lost(self, lost: Lost) -> None:
        """Note that journald has swallowed lines of a server."""
        last = self._last_lost.get(lost.unit)
        if last and abs(lost.logged_at_us - last.until_us) <= _ONE:
            last.until_us = max(last.until_us, lost.logged_at_us)
            last.lines += lost.records
            return
        at_us = lost.logged_at_us
        gap = Gap(LOST, at_us, at_us, lines=lost.records, about=lost.unit)
        self._last_lost[lost.unit] = gap
        self._add(gap)

    def ready(self, speaker: Speaker, time_us: int) -> None:
        """Note that a daemon is ready: it has been started, or reloaded."""
        before, self._speaker = self._speaker, speaker
        if self._ended_us is not None:
            self._add(Gap(STOPPED, self._ended_us, time_us, "its logins were read afterwards"))
        elif before and before != speaker:
            self._end_troubles(time_us)
            self._add(Gap(STOPPED, self._word_us, time_us, "at most: it ended without a word"))
        self._ended_us, self._word_us = None, time_us

    def heard(self, speaker: Speaker, time_us: int) -> None:
        """Note a sign of life of whoever it is of."""
        if speaker == self._speaker:
            self._word_us = time_us

    def stopped(self, time_us: int) -> None:
        """Note that the daemon has ended."""
        if self._ended_us is None:
            self._ended_us = time_us
            self._end_troubles(time_us)

    def trouble(self, kind: str, time_us: int, what: str) -> None:
        """Note that from now on something cannot be done."""
        self._troubles.setdefault(kind, Gap(kind, time_us, time_us, what))

    def over(self, kind: str, time_us: int) -> None:
        """Note that it can be done again."""
        gap = self._troubles.pop(kind, None)
        if gap:
            gap.until_us = time_us
            self._add(gap)

    def all(self, until_us: int) -> list[Gap]:
        """Return the gaps by their beginning; what has not ended by ``until_us`` goes on."""
        open_gaps = [Gap(**{**vars(g), "until_us": until_us}) for g in self._troubles.values()]
        if self._ended_us is not None:
            open_gaps.append(Gap(STOPPED, self._ended_us, until_us, "it was not started again"))
        return sorted([*self._gaps, *open_gaps], key=lambda gap: gap.from_us)

    def _end_troubles(self, time_us: int) -> None:
        for kind in list(self._troubles):
            self.over(kind, time_us)

    def _add(self, gap: Gap) -> None:
        if len(self._gaps) < _MOST:
            self._gaps.append(gap)
        else:
            self.unlisted += 1
