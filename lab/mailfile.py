"""Lines as syslogd writes them to a mail log: what was logged, by whom and when is the caller's."""

from datetime import UTC, datetime

HOST = "mail"


def line(
    message: str,
    at_us: int,
    *,
    identifier: str = "dovecot",
    pid: int | None = None,
    host: str = HOST,
) -> bytes:
    """Return one line as rsyslog 8.2302 and later writes it, by default Dovecot's.

    `2026-11-22T21:21:57.900252+00:00 mail dovecot: MESSAGE`
    """
    at = datetime.fromtimestamp(at_us // 1_000_000, UTC).replace(microsecond=at_us % 1_000_000)
    tag = identifier if pid is None else f"{identifier}[{pid}]"
    stamp = at.isoformat(timespec="microseconds")
    return f"{stamp} {host} {tag}: {message}\n".encode("utf-8", "surrogateescape")


def old_line(
    message: str, at_us: int, *, identifier: str = "dovecot", host: str = HOST, pid: int = 0
) -> bytes:
    """Return the same as RFC 3164 has it, in local time: `Nov 22 21:21:57 mail dovecot: …`."""
    at = datetime.fromtimestamp(at_us // 1_000_000)
    tag = f"{identifier}[{pid}]" if pid else identifier
    return f"{at:%b} {at.day:2d} {at:%H:%M:%S} {host} {tag}: {message}\n".encode()
