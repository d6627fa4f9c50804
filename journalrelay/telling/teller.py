"""What is told people of the work: a grant, a refusal, an expiry, a fault, each once.

How much that is has bounds: a renewal is no event, a refusal is told once for each address and
reason, and of each kind a second has so many lines and one with the number of the rest.
"""

from collections import Counter
from collections.abc import Mapping

from journalrelay import clock
from journalrelay.errors import printable
from journalrelay.event import NOWHERE, Login, Lost, Record
from journalrelay.grant import parse_key, spell
from journalrelay.map.changes import Committed
from journalrelay.rules.policy import Verdict
from journalrelay.telling.log import Log
from journalrelay.telling.message import (
    COUNTED,
    EXPIRED,
    FAULT,
    FORGEABLE,
    GRANTED,
    MAP_BACK,
    MAP_LOST,
    READY,
    REFUSED,
    RELOAD_REFUSED,
    REVOKED,
    SOURCE_BACK,
    SOURCE_LOST,
    STOPPED,
    Kind,
    Shown,
)
from journalrelay.telling.report import Report, named

LISTED_AT_MOST = 20
_REMEMBERED_AT_MOST = 1000
_SECOND_US, _HOUR_US = 1_000_000, 3_600_000_000


class Teller:
    """Keeps the report, and speaks of single logins once ``speaking``: a catch-up is one line."""

    def __init__(self, log: Log, report: Report, shown: Shown, speaking: bool) -> None:
        self.report = report
        self.speaking = speaking
        self._log = log
        self._shown = shown
        self._granted: dict[bytes, tuple[Login, int]] = {}
        self._told: set[tuple[bytes, str]] = set()
        self._trouble: str | None = None
        self._hindrances: set[str] = set()
        self._suppressed_us: dict[str, int] = {}
        self._second_us = 0
        self._listed: Counter[Kind] = Counter()
        self._unlisted: Counter[Kind] = Counter()

    def witness(self, _record: Record, login: Login, verdict: Verdict) -> None:
        """Count a login; tell of its refusal, once for each address and reason."""
        self.report.witness(login, verdict)
        if not self.speaking:
            return
        if verdict.expiry_s is None:
            self._refuse(login, verdict)
        elif verdict.word == "granted":
            known = self._granted.get(verdict.key)
            if known is None or known[1] < verdict.expiry_s:
                self._granted[verdict.key] = login, verdict.expiry_s

    def committed(self, committed: Committed) -> None:
        """Tell what a batch changed, now that it is in the map; a renewal is no event."""
        for key in committed.opened:
            if key in self._granted and self._has_room(GRANTED):
                login, expiry_s = self._granted[key]
                told = self._fields(login, RELAY_EXPIRY=str(expiry_s))
                self._tell(GRANTED, _name(key), f": {self._who(login)}", **told)
        self._granted.clear()
        for key in committed.closed if self.speaking else ():
            if self._has_room(REVOKED):
                self._tell(REVOKED, _name(key))
        if clock.monotonic_us() >= self._second_us:
            self.flush()

    def expired(self, expired: Mapping[bytes, int]) -> None:
        """Tell what the daemon itself took out because its time was over."""
        if expired:
            tell_expired(self._log, expired, self._shown)

    def trouble(self, trouble: str | None) -> None:
        """Tell that the source cannot be read, and once that it can be again."""
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if trouble:
            self._fault(SOURCE_LOST, trouble, trouble)
        else:
            self._log(SOURCE_BACK, "what could not be read is read again")

    def hindered(self, why: str) -> None:
        """Tell, once, what keeps logins from coming into the map, or their place from being
        kept."""
        if why not in self._hindrances:
            self._hindrances.add(why)
            self._fault(MAP_LOST, f"{why}; it is tried again, and no login is lost", why)

    def unhindered(self) -> None:
        """Tell that all of it is in the map."""
        if self._hindrances:
            self._hindrances.clear()
            self._log(MAP_BACK, "what could not be written is written")

    def lost(self, lost: Lost) -> None:
        """Count what journald did not take of a server's lines, and tell of it once an hour."""
        self.report.suppress(lost)
        now_us = clock.monotonic_us()
        if now_us < self._suppressed_us.get(lost.unit, now_us):
            return
        self._suppressed_us[lost.unit] = now_us + _HOUR_US
        self.fault(
            f"journald suppressed {lost.records} lines of {printable(lost.unit)}, logins among "
            "them perhaps (raise RateLimitBurst=, journald.conf(5), or the unit's own "
            "LogRateLimitBurst=)"
        )

    def ready(self) -> None:
        """Tell that all there was is read, and what came of it."""
        report = self.report
        self._log(
            READY,
            f"keeping {report.map_path} by logins in {report.why}; POP and IMAP servers here: "
            f"{named(report.daemons)}; {report.line()}",
        )

    def stopped(self) -> None:
        """Tell that the work has ended."""
        self.flush()
        self._log(STOPPED, f"stopped; {self.report.line()}")

    def reload_refused(self, reason: str) -> None:
        """Tell that a reload changed nothing, and why."""
        text = f"reload: {reason}; the earlier configuration stays"
        self._fault(RELOAD_REFUSED, text, reason)

    def forgeable(self, daemon: str, reason: str) -> None:
        """Tell that a daemon is read, by the operator's choice, which can be made to lie."""
        text = f"{daemon} is read, and can be forged: {reason}"
        self._log(FORGEABLE, text, RELAY_DAEMON=daemon, RELAY_REASON=reason)

    def fault(self, text: str) -> None:
        """Tell what an operator should look at; ``status`` shows the last one."""
        self._fault(FAULT, text, text)

    def remark(self, text: str, *, over: bool) -> None:
        """Tell what an operator should look at, or that it is over."""
        if over:
            self._log(SOURCE_BACK, text)
        else:
            self.fault(text)

    def flush(self) -> None:
        """Tell how many there were of what was not listed."""
        for kind, count in self._unlisted.items():
            _count(self._log, kind, count, "more ")
        self._listed.clear()
        self._unlisted.clear()

    def _fault(self, kind: Kind, text: str, reason: str) -> None:
        self.report.last_fault, self.report.last_fault_us = text, clock.now_us()
        self._log(kind, text, RELAY_REASON=reason)

    def _refuse(self, login: Login, verdict: Verdict) -> None:
        if (verdict.key, verdict.reason) in self._told:
            return
        if len(self._told) >= _REMEMBERED_AT_MOST:
            self._told.clear()
        self._told.add((verdict.key, verdict.reason))
        if not self._has_room(REFUSED):
            return
        reason = verdict.reason
        if not self._shown.addresses:  # behind the colon is the network, perhaps of one address
            reason = reason.partition(":")[0]
        told = self._fields(login, RELAY_REASON=reason)
        self._tell(REFUSED, _whence(login), f": {reason} ({self._who(login)})", **told)

    def _who(self, login: Login) -> str:
        """Return whose login it was; the user's name is the client's text, and so quoted."""
        of = f" of {_user(login)!r}" if self._shown.users else ""
        named = login.host and login.address != NOWHERE and self._shown.addresses
        by = f" by the name {login.host}" if named else ""
        on = f" on {login.remote}" if login.remote else ""
        return f"{login.service} login{of} at {login.daemon}{on}{by}"

    def _fields(self, login: Login, **others: str) -> dict[str, str | None]:
        user = printable(_user(login)) if self._shown.users else None
        of = {"RELAY_USER": user, "RELAY_DAEMON": login.daemon}
        return of | ({"RELAY_REMOTE": login.remote} if login.remote else {}) | others

    def _has_room(self, kind: Kind) -> bool:
        """Tell whether an address is to be told of; count it when its kind has had its lines of
        this second. Asked before the line is put together, as most of a flood's never are."""
        now_us = clock.monotonic_us()
        if now_us >= self._second_us:
            self.flush()
            self._second_us = now_us + _SECOND_US
        listed = self._listed[kind] < LISTED_AT_MOST
        (self._listed if listed else self._unlisted)[kind] += 1
        return listed

    def _tell(self, kind: Kind, name: str, rest: str = "", **fields: str | None) -> None:
        _tell(self._log, kind, name, self._shown, rest, **fields)


def tell_expired(log: Log, expired: Mapping[bytes, int], shown: Shown) -> None:
    """Tell what was taken out of the map because its time was over: each address, or how many
    there were when these are too many to list or addresses are not shown."""
    if len(expired) > LISTED_AT_MOST or not shown.addresses:
        _count(log, EXPIRED, len(expired))
        return
    for key, expiry_s in expired.items():
        _tell(log, EXPIRED, _name(key), shown, RELAY_EXPIRY=str(expiry_s))


def _tell(
    log: Log, kind: Kind, name: str, shown: Shown, rest: str = "", **fields: str | None
) -> None:
    if shown.addresses:
        log(kind, f"{kind.word} {name}{rest}", RELAY_ADDRESS=name, **fields)
    else:
        log(kind, f"{kind.word} an address{rest}", **fields)


def _count(log: Log, kind: Kind, count: int, more: str = "") -> None:
    text = f"{kind.word} {count} {more}address{'' if count == 1 else 'es'}"
    log(COUNTED, text, RELAY_EVENT=kind.word, RELAY_COUNT=str(count))


def _whence(login: Login) -> str:
    """Return the client's address, its name while that is all there is."""
    return login.host if login.address == NOWHERE and login.host else str(login.address)


def _user(login: Login) -> str:
    return login.user.decode("utf-8", "backslashreplace")


def _name(key: bytes) -> str:
    """Return a key of the map as people read it; there may be others than ours."""
    try:
        return spell(parse_key(key))
    except ValueError:
        return printable(repr(key))
