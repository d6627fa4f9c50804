"""What code that runs as poprelayd, in the sandbox of its unit, can do: it tries, and prints it.

It is run on a booted Debian by :mod:`lab.day`, in a copy of the unit with another ExecStart=, and
needs nothing but Python.
"""

import json
import mmap
import os
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

MAY = {"read the journal", "write the map", "read /etc/mail", "log an entry", "use a unix socket"}

BY_NOBODY = {"set the clock", "make a device"}  # not even by root of a container


def _open(path: str, mode: str) -> None:
    with open(path, mode):
        pass


def _make(path: str) -> None:
    _open(path, "wb")
    os.unlink(path)


def _make_device() -> None:
    os.mknod("/var/lib/poprelayd/probe", 0o20600, os.makedev(1, 3))
    os.unlink("/var/lib/poprelayd/probe")


def _read_the_journal() -> None:
    for file in [*Path("/var/log/journal").rglob("system.journal")] or [Path("/none")]:
        _open(str(file), "rb")


def _connect(family: socket.AddressFamily, to: object) -> None:
    with socket.socket(family) as made:
        made.connect(to)  # type: ignore[arg-type]


def _log() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.sendto(b"MESSAGE=probed\n", "/run/systemd/journal/socket")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _writable_code() -> None:
    flags = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    mmap.mmap(-1, 4096, prot=flags).close()


def _make_set_uid() -> None:
    file = Path("/var/lib/poprelayd/probe")
    file.touch()
    try:
        file.chmod(0o4755)
    finally:
        file.unlink()


TRIES: dict[str, Callable[[], object]] = {
    "read the journal": _read_the_journal,
    "write the map": lambda: _open("/var/lib/poprelayd/popip.db", "r+b"),
    "read /etc/mail": lambda: _open("/etc/mail/sendmail.cf", "rb"),
    "log an entry": _log,
    "use a unix socket": lambda: _connect(socket.AF_UNIX, "/run/systemd/journal/stdout"),
    "write /etc/mail": lambda: _make("/etc/mail/probe"),
    "write /usr": lambda: _make("/usr/local/probe"),
    "write /var": lambda: _make("/var/log/probe"),
    "write the system's /run": lambda: _make("/run/probe"),
    "read mail": lambda: os.listdir("/var/mail"),
    "read the queue": lambda: os.listdir("/var/spool/mqueue"),
    "read homes": lambda: os.listdir("/home"),
    "read root's home": lambda: os.listdir("/root"),
    "reach a server of this host": lambda: _connect(socket.AF_INET, ("127.0.0.1", 25)),
    "reach the network": lambda: _connect(socket.AF_INET6, ("2001:db8::1", 25)),
    "see other processes": lambda: os.stat("/proc/1"),
    "signal other processes": lambda: os.kill(1, 0),
    "become root": lambda: os.setuid(0),
    "run as root what is set-uid": lambda: _run("su", "-c", "true"),
    "make a namespace": lambda: _run("unshare", "--user", "true"),
    "make a device": _make_device,
    "make code at run time": _writable_code,
    "make a set-uid file": _make_set_uid,
    "set the clock": lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()),
}


def tried(act: Callable[[], object]) -> bool:
    """Tell whether it could be done."""
    try:
        act()
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


if __name__ == "__main__":
    print(json.dumps([name for name, act in TRIES.items() if tried(act)]))
