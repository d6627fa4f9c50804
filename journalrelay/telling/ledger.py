"""Our own entries in the journal: what the operator did by hand, and what the daemon tells.

The journal is the ledger. ``grant`` and ``revoke`` are entries in it, with MESSAGE_IDs of their
own, and are read back wherever logins are. They count only when root of this machine wrote them,
for the map at hand, and not out of the unit of a POP or IMAP server: a server runs as root in part,
and what is broken into there must not speak for the operator.

They are sent by journald's native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL), over its
socket rather than libsystemd's call, which cannot name a namespace and waits when journald does
not read.
"""

import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from journalrelay.errors import UnavailableError
from journalrelay.event import HandGrant, Record, Revocation
from journalrelay.grant import Network, parse_network, spell
from journalrelay.telling.message import HAND_GRANT, HAND_REVOCATION, Kind

_OPENING = b"relay by hand: "
_MACHINE = Path("/etc/machine-id")
_EVERYTHING = "all"
_SEND_WAIT_S = 5.0


def matches(map_path: Path) -> list[bytes]:
    """Return the journal's matches for hand entries of the map at ``map_path``."""
    kinds = [("MESSAGE_ID", kind.id) for kind in (HAND_GRANT, HAND_REVOCATION)]
    fields = [*kinds, *_trusted(map_path).items()]
    return [os.fsencode(f"{name}={value}") for name, value in fields]


def read(
    record: Record, map_path: Path, is_servers: Callable[[Record], bool]
) -> HandGrant | Revocation | None:
    """Return what the operator did by hand, if that is what the record says and he wrote it.
    ``is_servers`` tells what a POP or IMAP server logged, which must not."""
    if not record.message.startswith(_OPENING):
        return None
    for name, value in _trusted(map_path).items():
        if record.field(name) != os.fsencode(value):
            return None
    if is_servers(record):
        return None
    kind = record.field("MESSAGE_ID")
    address = (record.field("RELAY_ADDRESS") or b"").decode("ascii", "replace")
    try:
        if kind == HAND_REVOCATION.id.encode():
            network = None if address == _EVERYTHING else parse_network(address)
            return Revocation(network, record.logged_at_us(), record.clock_ahead_us())
        if kind == HAND_GRANT.id.encode():
            expiry_s = int(record.field("RELAY_EXPIRY") or b"")
            return HandGrant(
                parse_network(address),
                expiry_s,
                record.logged_at_us(),
                record.clock_ahead_us(),
            )
    except ValueError:
        pass
    return None


def _trusted(map_path: Path) -> dict[str, str]:
    return {
        "_UID": "0",
        "_TRANSPORT": "journal",
        "_MACHINE_ID": _machine_id(),
        "RELAY_MAP": str(map_path),
    }


def _machine_id() -> str:
    try:
        return _MACHINE.read_text("ascii").strip()
    except OSError:
        return "unknown"


def log_grant(journal: "Journal", network: Network, expiry_s: int, map_path: Path) -> None:
    """Enter a hand grant in the ledger; UnavailableError when journald does not take it."""
    journal.send_surely(
        HAND_GRANT,
        f"{_OPENING.decode()}{spell(network)} granted until {expiry_s}",
        RELAY_ADDRESS=spell(network),
        RELAY_EXPIRY=str(expiry_s),
        RELAY_MAP=str(map_path),
    )


def log_revocation(journal: "Journal", network: Network | None, map_path: Path) -> None:
    """Enter a revocation, of all grants when ``network`` is None."""
    what = _EVERYTHING if network is None else spell(network)
    journal.send_surely(
        HAND_REVOCATION,
        f"{_OPENING.decode()}{what} revoked",
        RELAY_ADDRESS=what,
        RELAY_MAP=str(map_path),
    )


class Journal:
    """journald's native socket, of this host's journal or of one of its namespaces."""

    def __init__(self, namespace: str | None = None) -> None:
        directory = f"journal.{namespace}" if namespace else "journal"
        self._address = f"/run/systemd/{directory}/socket"

    def exists(self) -> bool:
        """Tell whether there is such a journal on this host, running or not."""
        return os.path.isdir(os.path.dirname(self._address))

    def send(self, kind: Kind, message: str, **fields: str) -> bool:
        """Offer an entry to journald and tell whether there was room for it; never waits. OSError
        when it cannot be reached."""
        try:
            self._send(kind, message, fields, wait_s=0)
        except BlockingIOError:
            return False
        return True

    def send_surely(self, kind: Kind, message: str, **fields: str) -> None:
        """Hand an entry to journald, or raise UnavailableError."""
        try:
            self._send(kind, message, fields, wait_s=_SEND_WAIT_S)
        except OSError as error:
            raise UnavailableError(
                f"{self._address}: {error.strerror or error} (journald must run: the journal is "
                "the ledger; systemctl start systemd-journald)"
            ) from error

    def _send(self, kind: Kind, message: str, fields: Mapping[str, str], wait_s: float) -> None:
        named = {"MESSAGE": message, "MESSAGE_ID": kind.id, "PRIORITY": str(kind.priority)}
        named |= {"SYSLOG_IDENTIFIER": "poprelayd", **fields}
        entry = b"".join(_field(name, value) for name, value in named.items())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(wait_s)
            sender.sendto(entry, self._address)


def _field(name: str, value: str) -> bytes:
    content = os.fsencode(value)
    return b"%s\n%s%s\n" % (name.encode(), len(content).to_bytes(8, "little"), content)
