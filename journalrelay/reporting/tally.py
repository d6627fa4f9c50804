"""What is counted of a stretch of time, in a room that grows with what is shown of it and not with
the number of logins."""

from collections import Counter
from collections.abc import Mapping

from journalrelay.event import NOWHERE, Login, Lost
from journalrelay.grant import parse_key, spell
from journalrelay.reporting.bounded import Distinct, Spread, Top
from journalrelay.reporting.floods import Floods
from journalrelay.reporting.gaps import UNREAD, UNWRITTEN, Gaps, Speaker
from journalrelay.reporting.span import Span
from journalrelay.rules.policy import Verdict
from journalrelay.telling.message import (
    COUNTED,
    EXPIRED,
    FAULT,
    GRANTED,
    HAND_GRANT,
    HAND_REVOCATION,
    MAP_BACK,
    MAP_LOST,
    READY,
    RELOAD_REFUSED,
    SOURCE_BACK,
    SOURCE_LOST,
    STOPPED,
    Kind,
)

TOLD = (
    *(GRANTED, EXPIRED, COUNTED, HAND_GRANT, HAND_REVOCATION),
    *(READY, STOPPED, SOURCE_LOST, SOURCE_BACK, MAP_LOST, MAP_BACK, FAULT, RELOAD_REFUSED),
)
OPENED, RUN_OUT = "opened by a login", "run out"
BY_HAND, REVOKED = "granted by hand", "revoked by hand"
_WORDS = {GRANTED: OPENED, EXPIRED: RUN_OUT, HAND_GRANT: BY_HAND, HAND_REVOCATION: REVOKED}
_COUNTED = {GRANTED.word: OPENED, EXPIRED.word: RUN_OUT}
_TROUBLES = {SOURCE_LOST: UNREAD, MAP_LOST: UNWRITTEN}
_OVER = {SOURCE_BACK: UNREAD, MAP_BACK: UNWRITTEN}
_FAULTS = 20  # the last ones are shown
_NAMES = 24  # series of one kind that are told apart
_OTHER = "other"


class Series:
    """Counts by name and bin."""

    def __init__(self, bins: int) -> None:
        self._bins = bins
        self.counts: dict[str, list[int]] = {}

    def add(self, name: str, number: int, count: int = 1) -> None:
        """Count in a bin."""
        counts = self.counts.get(name)
        if counts is None:
            if len(self.counts) >= _NAMES:
                name = _OTHER
            counts = self.counts.setdefault(name, [0] * self._bins)
        counts[number] += count

    def total(self, name: str | None = None) -> int:
        """Return the sum of one name, or of all."""
        names = self.counts if name is None else [name]
        return sum(sum(self.counts.get(one, ())) for one in names)

    def sorted(self) -> dict[str, list[int]]:
        """Return the counts, the most frequent name first."""
        return dict(sorted(self.counts.items(), key=lambda pair: -sum(pair[1])))


class Tally:
    """Counts logins, lines of strangers and what the daemon told, of ``span``."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self.outcomes, self.servers, self.reasons, self.map, self.forged = (
            Series(span.bins) for _ in range(5)
        )
        self.matrix: Counter[tuple[str, str]] = Counter()
        self.users: Distinct[bytes] = Distinct()
        self.addresses: Distinct[bytes] = Distinct()
        self.spread: Spread[bytes] = Spread()
        self.refused: Top[str] = Top()
        self.strangers: Top[str] = Top()
        self.floods, self.gaps = Floods(), Gaps()
        self.faults: list[tuple[int, str]] = []
        self.fault_count = 0

    def login(self, login: Login, verdict: Verdict) -> None:
        """Count a login. One whose window is over was granted in its time."""
        if not self.span.holds(login.logged_at_us):
            return
        number = self.span.bin(login.logged_at_us)
        self.servers.add(f"{login.daemon}, {login.service}", number)
        self.addresses.see(verdict.key if login.address != NOWHERE else login.host.encode())
        if login.user:
            self.users.see(login.user, verdict.key)
            self.spread.see(login.user, verdict.key)
        if verdict.word == "refused":
            self._refuse(login, verdict, number)
        else:
            self.outcomes.add("granted", number)

    def _refuse(self, login: Login, verdict: Verdict, number: int) -> None:
        reason = verdict.reason.partition(":")[0]  # behind it is what differs from case to case
        address = login.host if login.address == NOWHERE else spell(parse_key(verdict.key))
        self.outcomes.add("refused", number)
        self.reasons.add(reason, number)
        self.matrix[login.daemon, reason] += 1
        self.refused.note(address, login.logged_at_us, reason)
        self.floods.note(login.logged_at_us, address, reason)

    def lost(self, lost: Lost) -> None:
        """Take notice of what journald has swallowed."""
        if self.span.holds(lost.logged_at_us):
            self.gaps.lost(lost)

    def stranger(self, daemon: str, who: str, time_us: int) -> None:
        """Count a line that reads as a login at ``daemon`` and was logged by somebody else."""
        if self.span.holds(time_us):
            self.forged.add(daemon, self.span.bin(time_us))
            self.strangers.note(who, time_us, daemon)

    def told(self, kind: Kind, time_us: int, speaker: Speaker, said: Mapping[str, str]) -> None:
        """Take notice of an entry of ours, in the order of their times; ``said`` are its fields."""
        self.gaps.heard(speaker, time_us)
        if kind == READY:
            self.gaps.ready(speaker, time_us)
        elif kind == STOPPED:
            self.gaps.stopped(time_us)
        elif kind in _OVER:
            self.gaps.over(_OVER[kind], time_us)
        elif kind in _TROUBLES:
            self.gaps.trouble(_TROUBLES[kind], time_us, said["MESSAGE"])
        if kind in (FAULT, RELOAD_REFUSED, *_TROUBLES):
            self.fault_count += 1
            self.faults = [*self.faults[1 - _FAULTS :], (time_us, said["MESSAGE"])]
        if kind in _WORDS:
            self.map.add(_WORDS[kind], self.span.bin(time_us))
        elif kind == COUNTED and said.get("RELAY_EVENT") in _COUNTED:
            count = said.get("RELAY_COUNT", "")
            if count.isdigit() and len(count) < 10:
                self.map.add(_COUNTED[said["RELAY_EVENT"]], self.span.bin(time_us), int(count))

    @property
    def logins(self) -> int:
        """How many logins there were."""
        return self.outcomes.total()
