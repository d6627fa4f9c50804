"""From records to logins and logouts, with what must be remembered between lines of a process.

It is in memory only: whoever reads from some place on first shows the records before it, back to
``look_back_us``, and lets go what they grant.
"""

from collections.abc import Iterable

from journalrelay.event import (
    NOWHERE,
    Login,
    Logout,
    Lost,
    Process,
    Record,
    claimed_process_of,
    process_of,
)
from journalrelay.patterns import Daemon, Dispatch, Told, identity
from journalrelay.patterns.identity import Like, Values, listed
from journalrelay.recognition import correlate
from journalrelay.recognition.correlate import Connections
from journalrelay.recognition.forgery import Predecessors
from journalrelay.rules.repeats import Repeats

# systemd's SD_MESSAGE_JOURNAL_DROPPED: journald's rate limit has swallowed entries of a unit. It
# says so right before the next entry of that unit.
_LOST_ID = "a596d6fe7bfa4994828e72309e95d61e"
_LOST = b"Suppressed "
LOST_MATCHES = [f"MESSAGE_ID={_LOST_ID}".encode(), b"_TRANSPORT=driver"]


class Logins:
    """Recognise the logins at ``daemons``, in records that are ``vouched`` for or not; with
    ``by_name`` also those without an address, with ``sessions`` also how long IMAP sessions
    last."""

    def __init__(
        self,
        daemons: Iterable[Daemon],
        *,
        vouched: bool = True,
        by_name: bool = False,
        sessions: bool = False,
    ) -> None:
        self._process_of = process_of if vouched else claimed_process_of
        self._dispatch = Dispatch(daemons := tuple(daemons), by_name=by_name, logouts=sessions)
        self._ending = _ending(daemons) if sessions else {}
        self._watched = _units(daemon for daemon in daemons if daemon.forgeable)
        self._units = _all_units(daemons)
        self._each_matters = sessions or bool(self._watched)
        self.look_back_us = correlate.LONGEST_US if remembers(daemons) else 0
        self.forget()

    def repeats(self, stretch_us: int) -> Repeats | None:
        """Return what finds the logins that need not be read again; None where each matters."""
        if self._each_matters:
            return None
        dispatch = self._dispatch
        return Repeats(dispatch.gist, lambda record: dispatch.read(record) is not None, stretch_us)

    def forget(self) -> None:
        """Remember nothing."""
        self._connections = Connections()
        self._predecessors = Predecessors()

    def read(self, record: Record) -> Login | Logout | Lost | None:
        """Return the login that the record proves, the logout, or what was lost; remember what
        it tells.

        A logout is believed of whom a login is not: to end a session too soon does little harm.
        """
        told = self._dispatch.read(record)
        doubt = self._doubt(record, told) if self._watched else ""
        if told is None:
            return self._lose(record) if record.message.startswith(_LOST) else None
        if told.tells == "connect":
            self._connect(record, told, doubt)
            return None
        if told.tells == "logout":
            session = self._session(told)
            boot = record.field("_BOOT_ID") or b""
            return Logout(told.daemon.name, session, record.logged_at_us(), boot)
        if told.address is None and not told.host:
            told = self._completed(record, told)
        login = _login(record, told, doubt) if told else None
        if login and told and self._ending:
            boot = record.field("_BOOT_ID") or b""
            return login._replace(session=self._session(told), boot=boot)
        return login

    def _session(self, told: Told) -> bytes:
        """Return what tells an IMAP session from the others of its daemon, empty where no line
        would tell its end."""
        named = self._ending.get(told.daemon.name)
        if named is None or not told.session or told.service != "imap":
            return b""
        return b"%s %s" % (str(told.address).encode() if named else b"", told.session)

    def _doubt(self, record: Record, told: Told | None) -> str:
        """Return why a record of a daemon that can be made to lie is not to be believed."""
        if record.field("_SYSTEMD_UNIT") not in self._watched:
            return ""
        process = self._process_of(record)
        if process is None:
            return "its process is not known" if told and told.daemon.forgeable else ""
        first = told is not None and told.tells == "connect"
        doubt = self._predecessors.see(process, record, first=first)
        return doubt if told and told.daemon.forgeable else ""

    def _connect(self, record: Record, told: Told, doubt: str) -> None:
        process = self._process_of(record)
        if process and not doubt:
            self._connections.note(_speaker(process, record), told, record.logged_at_us())

    def _completed(self, record: Record, told: Told) -> Told | None:
        """Return a login with the address, or name, that its process's connect line has told."""
        process = self._process_of(record)
        if process is None:
            return None
        by = self._connections.take(_speaker(process, record), record.logged_at_us())
        if by is None:
            return None
        return told._replace(address=by.address, host=by.host, server=told.server or by.server)

    def _lose(self, record: Record) -> Lost | None:
        """Take notice of what journald says it has swallowed; return what that was if it may
        have been a login."""
        if (
            record.field("MESSAGE_ID") != _LOST_ID.encode()
            or record.field("_TRANSPORT") != b"driver"
        ):
            return None
        unit = record.field("OBJECT_SYSTEMD_UNIT")
        self._connections.forget(unit)
        self._predecessors.forget(unit, record.logged_at_us())
        if unit is None or not any(_is_one_of(unit, units) for units in self._units):
            return None
        count = record.field("N_DROPPED") or b""
        return Lost(
            unit.decode("ascii", "backslashreplace"),
            int(count[:9]) if count.isdigit() else 1,
            record.logged_at_us(),
        )


def remembers(daemons: Iterable[Daemon]) -> bool:
    """Tell whether a line of one of the daemons means something only after others."""
    return any(
        daemon.forgeable or any(pattern.tells == "connect" for pattern in daemon.patterns)
        for daemon in daemons
    )


def _ending(daemons: Iterable[Daemon]) -> dict[str, bool]:
    """Return the daemons that log the end of a session, each with whether that line names the
    client's address."""
    return {
        daemon.name: "address" in pattern.regex.groupindex
        for daemon in daemons
        for pattern in daemon.patterns
        if pattern.tells == "logout"
    }


def _all_units(daemons: Iterable[Daemon]) -> frozenset[Values]:
    return frozenset(
        daemon.identity_of(pattern).get("_SYSTEMD_UNIT", ())
        for daemon in daemons
        for pattern in daemon.patterns
    )


def _is_one_of(unit: bytes, units: Values) -> bool:
    if isinstance(units, Like):
        return bool(units.regex.fullmatch(unit))
    return unit.decode("ascii", "replace") in units


def _units(daemons: Iterable[Daemon]) -> frozenset[bytes]:
    return frozenset(
        unit.encode()
        for daemon in daemons
        for pattern in daemon.patterns
        for unit in listed(daemon.identity_of(pattern), "_SYSTEMD_UNIT")
    )


def _speaker(process: Process, record: Record) -> Process:
    """Return the process under the name by which it logs: of the daemons that inetd starts, a
    connect line is for the one that it names."""
    return process._replace(identifier=record.field("SYSLOG_IDENTIFIER") or b"")


def _login(record: Record, told: Told, doubt: str) -> Login | None:
    if told.address is None and not told.host:
        return None
    return Login(
        told.address or NOWHERE,
        told.user,
        told.service,
        told.daemon.name,
        record.logged_at_us(),
        told.server,
        record.clock_ahead_us(),
        doubt,
        told.host,
    )


def matches(daemons: Iterable[Daemon]) -> list[list[bytes]]:
    """Return what the journal's index is asked for: what may be a line of one of the
    daemons, and what was lost of them."""
    groups = identity.matches(
        daemon.identity_of(pattern) for daemon in daemons for pattern in daemon.patterns
    )
    return [*groups, LOST_MATCHES]
