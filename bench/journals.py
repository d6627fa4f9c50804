"""Journal files of many entries, made once and kept.

On a *mixed* host 5 lines of 100 are logins at Dovecot, 5 are other lines of Dovecot's, and 90 are
of other units. Of the kind *logins* every line is one. Every tenth login comes by IPv6. Each entry
has the fields that journald gives it; systemd-journal-remote begins a new file where journald
would.
"""

import itertools
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench.measures import BenchError
from lab.journald import login_line, logout_line
from lab.journalfile import JOURNAL_REMOTE, export

KEPT = Path(os.environ.get("BENCH_DIR") or "/var/cache/journalrelay-bench")
STEP_US = 900  # from entry to entry: a million in 15 minutes
_FORMAT = 1  # of what is made here; what another one has made is made anew
_CHUNK = 2000  # entries at a time
_FIRST = 198 << 24 | 18 << 16  # 198.18.0.0


def address(number: int) -> str:
    """Return the ``number``-th client's address."""
    if number % 10 == 9:
        return f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::7"
    plain = _FIRST + number
    return f"{plain >> 24}.{plain >> 16 & 255}.{plain >> 8 & 255}.{plain & 255}"


def journal(kind: str, entries: int, addresses: int) -> Path:
    """Return a directory with a journal of so many entries, logged in the minutes before it was
    made; of ``addresses`` clients each comes in turn."""
    place = KEPT / f"{kind}-{entries}-{addresses}-{_FORMAT}"
    if not place.exists():
        beside = place.with_name(f".{place.name}.new")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        _write(beside / "bench.journal", _exported(kind, entries, addresses))
        beside.rename(place)
    return place


def _write(path: Path, text: Iterator[bytes]) -> None:
    command = [JOURNAL_REMOTE, "-o", str(path), "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as remote:
        assert remote.stdin and remote.stderr
        for piece in text:
            remote.stdin.write(piece)
        remote.stdin.close()
        said = remote.stderr.read().decode()
    if remote.returncode:
        raise BenchError(f"{path}: systemd-journal-remote: {said.strip()}")


def _exported(kind: str, entries: int, addresses: int) -> Iterator[bytes]:
    voices = _MIXED if kind == "mixed" else (_login,)
    began_us = time.time_ns() // 1000 - entries * STEP_US
    numbers = itertools.count()  # of logins
    for start in range(0, entries, _CHUNK):
        yield b"".join(
            _entry(began_us + n * STEP_US, *voices[n % len(voices)](n, numbers, addresses))
            for n in range(start, min(start + _CHUNK, entries))
        )


def _entry(time_us: int, sender: bytes, message: str) -> bytes:
    return b"__REALTIME_TIMESTAMP=%d\n__MONOTONIC_TIMESTAMP=%d\n%b%b\nMESSAGE=%b\n\n" % (
        time_us,
        time_us - 1_500_000_000_000_000,
        sender,
        b"_SOURCE_REALTIME_TIMESTAMP=%d\nSYSLOG_TIMESTAMP=Nov 25 %d "
        % (time_us - 40, time_us // 1_000_000),
        message.encode(),
    )


def _sender(unit: str, exe: str, identifier: str, pid: int, transport: str = "syslog") -> bytes:
    """Return the fields that all lines of one process have."""
    fields = {
        "_BOOT_ID": "b0071d00000000000000000000000002",
        "_MACHINE_ID": "3ac4135e000000000000000000000002",
        "_HOSTNAME": "mail",
        "PRIORITY": "6",
        "SYSLOG_FACILITY": "2",
        "SYSLOG_IDENTIFIER": identifier,
        "_TRANSPORT": transport,
        "_PID": str(pid),
        "_UID": "0",
        "_GID": "0",
        "_COMM": exe.rsplit("/", 1)[1],
        "_EXE": exe,
        "_CMDLINE": f"{exe} -F",
        "_CAP_EFFECTIVE": "1ffffffffff",
        "_SELINUX_CONTEXT": "unconfined\n",
        "_SYSTEMD_CGROUP": f"/system.slice/{unit}",
        "_SYSTEMD_UNIT": unit,
        "_SYSTEMD_SLICE": "system.slice",
        "_SYSTEMD_INVOCATION_ID": f"{pid:032x}",
    }
    return export(fields.items())[:-1]


_DOVECOT = _sender("dovecot.service", "/usr/lib/dovecot/log", "dovecot", 4242)
_OTHERS = (
    (
        _sender("sendmail.service", "/usr/sbin/sendmail", "sm-mta", 811),
        "{n:06d}: from=<a@example.org>, size=15, class=0, nrcpts=1, proto=ESMTP, "
        "relay=client.example.org [192.0.2.10]",
    ),
    (
        _sender("ssh.service", "/usr/sbin/sshd", "sshd", 812),
        "Connection closed by authenticating user root 192.0.2.66 port {n} [preauth]",
    ),
    (
        _sender("cron.service", "/usr/sbin/cron", "CRON", 813),
        "(root) CMD (run-parts /etc/cron.hourly # {n})",
    ),
    (
        _sender("apache2.service", "/usr/sbin/apache2", "apache2", 814, "stdout"),
        '192.0.2.99 - - "GET /mail/?{n} HTTP/1.1" 200 5123',
    ),
)
Said = tuple[bytes, str]


def _login(n: int, numbers: "itertools.count[int]", addresses: int) -> Said:
    number = next(numbers)
    client = address(number % addresses)
    service = "imap" if number % 3 else "pop3"
    session = f"bench{n:011d}"
    return _DOVECOT, login_line(client, f"user{number % addresses}", service, session=session)


def _logout(n: int, _numbers: "itertools.count[int]", _addresses: int) -> Said:
    return _DOVECOT, logout_line(f"bench{n:011d}", f"user{n}")


def _other(n: int, _numbers: "itertools.count[int]", _addresses: int) -> Said:
    sender, text = _OTHERS[n % len(_OTHERS)]
    return sender, text.format(n=n)


_MIXED = (_login, *(_other,) * 9, _logout, *(_other,) * 9)
