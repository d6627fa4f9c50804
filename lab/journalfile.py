"""Journal files made from text: what was logged, by whom and when is the caller's to choose."""

import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

JOURNAL_REMOTE = "/lib/systemd/systemd-journal-remote"
BOOT_ID = "b0071d00000000000000000000000001"
MACHINE_ID = "3ac4135e000000000000000000000001"
EPOCH_US = 1_500_000_000_000_000  # subtracted from the time of day for a monotonic clock

Field = tuple[str, str | bytes]


def make_journal(entries: str | bytes | Iterable[bytes], path: Path) -> Path:
    """Write the journal file PATH from export text or from entries; return PATH.

    An existing file is continued. PATH must end in `.journal`.
    """
    if isinstance(entries, str):
        entries = entries.encode()
    text = entries if isinstance(entries, bytes) else b"".join(entries)
    done = subprocess.run(
        [JOURNAL_REMOTE, "-o", str(path), "-"], input=text, capture_output=True, check=False
    )
    if done.returncode:
        raise ValueError(f"{path}: systemd-journal-remote: {done.stderr.decode().strip()}")
    return path


def entry(
    message: str | bytes | None,
    realtime_us: int,
    *,
    unit: str | None = "dovecot.service",
    uid: int | None = 0,
    exe: str | None = "/usr/lib/dovecot/log",
    transport: str | None = "syslog",
    identifier: str | None = "dovecot",
    pid: int = 4242,
    boot_id: str = BOOT_ID,
    machine_id: str | None = None,
    hostname: str = "mail",
    extra: Sequence[Field] = (),
) -> bytes:
    """Return one entry in export format, by default as Dovecot's log process leaves it.

    REALTIME_US is the entry's time, µs since the epoch. None leaves a field out; EXTRA adds fields,
    also several of one name. MACHINE_ID defaults to this machine's, so that the file is local.
    """
    fields: list[Field] = [
        ("__REALTIME_TIMESTAMP", str(realtime_us)),
        ("__MONOTONIC_TIMESTAMP", str(max(1, realtime_us - EPOCH_US))),
        ("_BOOT_ID", boot_id),
        ("_MACHINE_ID", machine_id or _this_machine()),
        ("_HOSTNAME", hostname),
        ("_PID", str(pid)),
        ("PRIORITY", "6"),
        ("SYSLOG_FACILITY", "2"),
    ]
    chosen = {
        "_TRANSPORT": transport,
        "_SYSTEMD_UNIT": unit,
        "_UID": None if uid is None else str(uid),
        "_EXE": exe,
        "SYSLOG_IDENTIFIER": identifier,
        "MESSAGE": message,
    }
    fields += [(name, value) for name, value in chosen.items() if value is not None]
    return export([*fields, *extra])


def export(fields: Iterable[Field]) -> bytes:
    """Encode fields as one entry of the journal export format; any bytes are safe in a value."""
    return b"".join(_field(name, value) for name, value in fields) + b"\n"


def parse_export(text: bytes) -> Iterator[list[tuple[str, bytes]]]:
    """Yield each entry of the journal export format as its fields, in their order."""
    fields: list[tuple[str, bytes]] = []
    at = 0
    while at < len(text):
        end = text.index(b"\n", at)
        name, equals, value = text[at:end].partition(b"=")
        at = end + 1
        if not name:
            yield fields
            fields = []
            continue
        if not equals:
            size = int.from_bytes(text[at : at + 8], "little")
            value = text[at + 8 : at + 8 + size]
            at += 8 + size + 1
        fields.append((name.decode(), value))
    if fields:
        yield fields


def _field(name: str, value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    if all(32 <= byte < 127 for byte in data):  # _BOOT_ID and what begins with __ must be text
        return name.encode() + b"=" + data + b"\n"
    return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"


def _this_machine() -> str:
    try:
        return Path("/etc/machine-id").read_text().strip() or MACHINE_ID
    except FileNotFoundError:
        return MACHINE_ID
