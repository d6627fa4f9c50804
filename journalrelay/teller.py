"""What the daemon tells people of its work: a grant, a refusal, a fault, each once."""

from journalrelay.changes import Committed
from journalrelay.errors import printable
from journalrelay.event import Login, Record
from journalrelay.grant import parse_key, spell
from journalrelay.ledger import GRANTED_ID, REVOKED_ID
from journalrelay.log import INFO, NOTICE, WARNING, Log
from journalrelay.policy import Verdict
from journalrelay.report import Report

_TOLD_AT_MOST = 1000
_LISTED_AT_MOST = 20


class Teller:
    """Keeps the report, and speaks of single logins once ``speaking``: a catch-up is one line."""

    def __init__(self, log: Log, report: Report, speaking: bool) -> None:
        self.report = report
        self.speaking = speaking
        self._log = log
        self._granted: dict[bytes, Login] = {}
        self._told: set[tuple[bytes, str]] = set()
        self._trouble: str | None = None

    def witness(self, _record: Record, login: Login, verdict: Verdict) -> None:
        """Count a login; tell of its refusal, once for each address and reason."""
        self.report.witness(login, verdict)
        if not self.speaking:
            return
        if verdict.word == "granted":
            self._granted[verdict.key] = login
        elif verdict.word == "refused" and (verdict.key, verdict.reason) not in self._told:
            if len(self._told) >= _TOLD_AT_MOST:
                self._told.clear()
            self._told.add((verdict.key, verdict.reason))
            self.say(f"refused {login.address}: {verdict.reason} ({_who(login)})")

    def committed(self, committed: Committed) -> None:
        """Tell what a batch changed, now that it is in the map; a renewal is no event."""
        for key in committed.opened:
            login = self._granted.get(key)
            if login:
                self._log(
                    INFO,
                    f"granted {_name(key)}: {_who(login)}",
                    MESSAGE_ID=GRANTED_ID,
                    RELAY_ADDRESS=_name(key),
                    RELAY_USER=_user(login),
                    RELAY_DAEMON=login.daemon,
                )
        self._granted.clear()
        if not self.speaking or not committed.closed:
            return
        if len(committed.closed) > _LISTED_AT_MOST:
            self.say(f"revoked {len(committed.closed)} grants")
            return
        for key in committed.closed:
            name = _name(key)
            self._log(INFO, f"revoked {name}", MESSAGE_ID=REVOKED_ID, RELAY_ADDRESS=name)

    def trouble(self, trouble: str | None) -> None:
        """Tell that the source cannot be read, and once that it can be again."""
        if trouble == self._trouble:
            return
        self._trouble = trouble
        if trouble:
            self.fault(trouble)
        else:
            self.say("what could not be read is read again")

    def say(self, text: str) -> None:
        """Tell what an operator may want to know."""
        self._log(NOTICE, text)

    def warn(self, text: str) -> None:
        """Tell what an operator has chosen and should know."""
        self._log(WARNING, text)

    def fault(self, text: str) -> None:
        """Tell what an operator should look at; ``status`` shows the last one."""
        self.report.last_fault = text
        self._log(WARNING, text)


def _who(login: Login) -> str:
    return f"{login.service} login of {_user(login)} at {login.daemon}"


def _user(login: Login) -> str:
    """Return the user's name, which is the client's text, so that it can do no harm."""
    return repr(login.user.decode("utf-8", "backslashreplace"))


def _name(key: bytes) -> str:
    """Return a key of the map as people read it; there may be others than ours."""
    try:
        return spell(parse_key(key))
    except ValueError:
        return printable(repr(key))
