"""What flows through the house: records from a source, and the events that they prove."""

import ipaddress
from typing import NamedTuple, Protocol

from journalrelay.grant import Address, Network

# The address of a login while its host name alone is known. It is never granted.
NOWHERE = ipaddress.IPv4Address("0.0.0.0")


class Record(Protocol):
    """One journal entry or log line, seen while its source stands on it.

    Only ``message`` is read eagerly; a record that matches nothing costs nothing more.
    """

    @property
    def message(self) -> bytes:
        """The whole MESSAGE, empty when there is none."""

    def field(self, name: str) -> bytes | None:
        """Return a journal field's bytes; None when it is missing, and so not to be trusted."""

    def logged_at_us(self) -> int:
        """Return ``__REALTIME_TIMESTAMP``: when journald received it, µs since the epoch."""

    def clock_ahead_us(self) -> int:
        """Return how far the clock that stamped the record ran ahead of today's, in µs.

        Known only within one boot, by comparing the monotonic clock; 0 when it is not known.
        """

    def cursor(self) -> str:
        """Return the record's place, from which the source can be read again."""


class Passed:
    """What is still asked of a record when its source has gone on."""

    def __init__(self, record: Record) -> None:
        self.message = record.message
        self._logged_at_us = record.logged_at_us()
        self._clock_ahead_us = record.clock_ahead_us()
        try:
            self._cursor = record.cursor()
        except OSError:  # its file goes away just now
            self._cursor = ""

    def field(self, _name: str) -> bytes | None:
        """Return None: nobody's word is trusted any more."""
        return None

    def logged_at_us(self) -> int:
        """Return when it was logged."""
        return self._logged_at_us

    def clock_ahead_us(self) -> int:
        """Return how far the clock that stamped it ran ahead."""
        return self._clock_ahead_us

    def cursor(self) -> str:
        """Return its place."""
        return self._cursor


class Process(NamedTuple):
    """Who logged a record; ``identifier`` is the name that it gave itself, where that matters."""

    boot: bytes
    unit: bytes
    pid: bytes
    identifier: bytes = b""


def process_of(record: Record) -> Process | None:
    """Return the process that logged a record, None when journald did not know it."""
    boot, unit = record.field("_BOOT_ID"), record.field("_SYSTEMD_UNIT")
    pid = record.field("_PID")
    return Process(boot, unit, pid) if boot and unit and pid else None


def claimed_process_of(record: Record) -> Process | None:
    """Return the process that a line of a log file claims to be of, by host and identifier; None
    when it names none."""
    host, pid = record.field("HOSTNAME") or b"", record.field("SYSLOG_PID")
    identifier = record.field("SYSLOG_IDENTIFIER")
    return Process(host, identifier, pid) if identifier and pid else None


class Login(NamedTuple):
    """A client proved to a POP or IMAP daemon who it is; ``doubt`` says why it may not have.

    ``host`` is the client's name where the line has no address; NOWHERE is its address until the
    name is confirmed.
    ``session`` tells its session from every other one of the daemon in its ``boot``; empty where
    no line would tell that it has ended. ``remote`` is the host whose journal tells it, empty for
    this machine's.
    """

    address: Address
    user: bytes
    service: str
    daemon: str
    logged_at_us: int
    server: Address | None = None
    clock_ahead_us: int = 0
    doubt: str = ""
    host: str = ""
    session: bytes = b""
    boot: bytes = b""
    remote: str = ""


class Logout(NamedTuple):
    """A session at a daemon has ended; ``session`` is the login's."""

    daemon: str
    session: bytes
    logged_at_us: int
    boot: bytes = b""


class Lost(NamedTuple):
    """Records of ``unit`` that were logged and are nowhere to be read."""

    unit: str
    records: int
    logged_at_us: int


class HandGrant(NamedTuple):
    """The operator granted ``network`` until ``expiry_s`` (``journalrelay grant``)."""

    network: Network
    expiry_s: int
    logged_at_us: int
    clock_ahead_us: int = 0


class Revocation(NamedTuple):
    """The operator withdrew ``network``, or all there is when None (``journalrelay revoke``)."""

    network: Network | None
    logged_at_us: int
    clock_ahead_us: int = 0


Event = Login | Logout | Lost | HandGrant | Revocation
