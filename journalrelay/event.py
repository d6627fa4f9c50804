"""What flows through the house: records from a source, and the events that they prove."""

from dataclasses import dataclass
from typing import Protocol

from journalrelay.grant import Address, Network


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


@dataclass(frozen=True, slots=True)
class Process:
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


@dataclass(frozen=True, slots=True)
class Login:
    """A client proved to a POP or IMAP daemon who it is; ``doubt`` says why it may not have."""

    address: Address
    user: bytes
    service: str
    daemon: str
    logged_at_us: int
    server: Address | None = None
    clock_ahead_us: int = 0
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class HandGrant:
    """The operator granted ``network`` until ``expiry_s`` (``journalrelay grant``)."""

    network: Network
    expiry_s: int
    logged_at_us: int
    clock_ahead_us: int = 0


@dataclass(frozen=True, slots=True)
class Revocation:
    """The operator withdrew ``network``, or all there is when None (``journalrelay revoke``)."""

    network: Network | None
    logged_at_us: int
    clock_ahead_us: int = 0


Event = Login | HandGrant | Revocation
