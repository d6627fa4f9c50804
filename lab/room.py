"""A room of its own for a command: what starts inside dies with it, and the host does not change.

    python3 -m lab.room -- COMMAND…

The command runs as root in fresh mount, network, UTS, IPC and PID namespaces:

- host name mail.example.test, the documentation networks local on lo, names for them in /etc/hosts;
- /etc is a copy, /dev is rebuilt with /dev/log leading to the room's own journald, and /run,
  /var/log and /srv are empty, root-owned and 0755 (sendmail refuses maps below a world-writable
  directory);
- the checkout is at /srv/checkout, for any user to read, and the command runs there.

Nothing starts by itself: `lab.journald.Journald` is the room's journald.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from lab import cgroup, namespace

HOSTNAME = "mail.example.test"
SERVER = "192.0.2.1"
SERVER6 = "2001:db8::1"
NETWORKS = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
SCRATCH = Path("/srv")
CHECKOUT = SCRATCH / "checkout"
NAMED = {
    "192.0.2.{}": "client-{}.example.net",
    "198.51.100.{}": "client-{}.example.org",
    "203.0.113.{}": "client-{}.example.com",
    "2001:db8::{:x}": "client6-{}.example.net",
    "2001:db8:1:2::{:x}": "client6-{}.example.org",
}
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "console")
MARK = "JOURNALRELAY_ROOM"
TOP = Path(__file__).resolve().parent.parent
START = "import sys; sys.path.insert(0, {!r}); from lab import room; sys.exit(room.live())"
UNSHARE = (
    "setpriv --pdeathsig KILL "  # who kills this process kills the room
    "unshare --mount --uts --ipc --pid --fork --kill-child --mount-proc"
)


class RoomError(Exception):
    """The room cannot be built, or something that needs it is used outside of it."""


def enter(command: Sequence[str]) -> int:
    """Run COMMAND in a room; return its exit status (128 + signal when one killed it)."""
    if os.geteuid() != 0:
        raise RoomError("the room needs root: namespaces, mounts and cgroups are made in it")
    cgroup.sweep()
    slice_ = cgroup.slice_name(os.getpid())
    start = [*UNSHARE.split(), "--", sys.executable, "-c", START.format(str(TOP)), *command]
    room = subprocess.Popen(start, env=_environment(slice_))
    signal.signal(signal.SIGTERM, lambda *_: _terminate(room.pid))
    try:
        return _wait(room)
    finally:
        cgroup.remove(slice_)


def inside() -> bool:
    """Tell whether this process is in a room."""
    return MARK in os.environ and socket.gethostname() == HOSTNAME


def slice_name() -> str:
    """Return the room's cgroup slice; raise RoomError outside of one."""
    if not inside():
        raise RoomError("only inside a room: python3 -m lab.room -- COMMAND")
    return os.environ[MARK]


def scratch(prefix: str = "lab-") -> Path:
    """Return a fresh directory, 0755 like everything above it, that ends with the room."""
    slice_name()
    place = Path(tempfile.mkdtemp(prefix=prefix, dir=SCRATCH))
    place.chmod(0o755)
    return place


def live() -> int:
    """Be the room's first process: furnish it, run what the arguments say, end everything.

    Return the command's exit status, or a shell's 127 when there is no such command.
    """
    try:
        namespace.leave_chroot()
        _furnish()
        cgroup.join(os.environ[MARK], "init.scope")()
        child = subprocess.Popen(sys.argv[1:])
    except RoomError as error:
        print(f"lab.room: {error}", file=sys.stderr)
        return os.EX_UNAVAILABLE
    except OSError as error:
        print(f"lab.room: {error}", file=sys.stderr)
        return 127
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    signal.signal(signal.SIGINT, lambda *_: None)
    status = _reap(child.pid)
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    _reap(None)
    cgroup.leave()
    cgroup.remove(os.environ[MARK])
    return status


def _environment(slice_: str) -> dict[str, str]:
    """Return this process's environment less what ties it to the host's systemd."""
    drop = ("NOTIFY_SOCKET", "JOURNAL_STREAM", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC")
    kept = {name: value for name, value in os.environ.items() if name not in drop}
    path = kept.get("PATH", os.defpath)
    return kept | {
        MARK: slice_,
        "PATH": f"{path}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin",
        "TMPDIR": str(SCRATCH / "tmp"),
    }


def _terminate(unshare: int) -> None:
    """Have the room's command end: unshare(1) ignores SIGTERM while it waits for its child."""
    children = Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split()
    for pid in children or [str(unshare)]:
        os.kill(int(pid), signal.SIGTERM)


def _wait(process: "subprocess.Popen[bytes]") -> int:
    while True:
        try:
            status = process.wait()
        except KeyboardInterrupt:
            continue  # the room has had it too, and ends
        return status if status >= 0 else 128 - status


def _reap(pid: int | None) -> int:
    """Collect ended processes until PID, or all when None, has ended; return its exit status."""
    while True:
        try:
            ended, status = os.wait()
        except ChildProcessError:
            return 0
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _furnish() -> None:
    with _public_checkout():
        _tmpfs(SCRATCH)
        _private_etc()
        _private_dev()
        _tmpfs(Path("/run"))
        _tmpfs(Path("/var/log"))
    _make_directories()
    _mount_cgroups()
    socket.sethostname(HOSTNAME)
    _network()


@contextlib.contextmanager
def _public_checkout() -> Iterator[None]:
    """Show the checkout at CHECKOUT, and move there when the working directory is inside it.

    There anybody can read it, wherever it lies: below /root, or where the room covers it.
    """
    handle, here = os.open(TOP, os.O_PATH), Path.cwd()
    yield
    CHECKOUT.mkdir()
    _run("mount", "-c", "--bind", f"/proc/self/fd/{handle}", str(CHECKOUT), pass_fds=(handle,))
    os.close(handle)
    if here.is_relative_to(TOP):
        os.chdir(CHECKOUT / here.relative_to(TOP))
        os.environ["PWD"] = os.getcwd()


def _run(*command: str, pass_fds: Sequence[int] = ()) -> None:
    """Run a command of the set-up; raise RoomError with what it said when it fails."""
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, pass_fds=pass_fds)
    except FileNotFoundError as error:
        raise RoomError(f"{command[0]} is not installed: run tools/setup first") from error
    except subprocess.CalledProcessError as error:
        raise RoomError(f"{' '.join(command)}: {error.stderr.strip()}") from error


def _tmpfs(place: Path) -> None:
    _run("mount", "-t", "tmpfs", "-o", "mode=0755", "room", str(place))


def _private_etc() -> None:
    new = SCRATCH / ".etc"
    new.mkdir()
    _tmpfs(new)
    _run("cp", "-a", "/etc/.", str(new))
    for name, text in _etc_files().items():
        (new / name).unlink(missing_ok=True)
        (new / name).write_text(text)
    _run("mount", "--move", str(new), "/etc")
    new.rmdir()


def _etc_files() -> dict[str, str]:
    """Return the files of /etc that a room has of its own."""
    return {
        "hostname": f"{HOSTNAME}\n",
        "mailname": f"{HOSTNAME}\n",
        "hosts": hosts(),
        "machine-id": f"{uuid.uuid4().hex}\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files\n",
        "resolv.conf": "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
    }


def hosts() -> str:
    """Return /etc/hosts with the names of the server and of every client."""
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    lines += [f"{address} {HOSTNAME} mail" for address in (SERVER, SERVER6)]
    for address, name in NAMED.items():
        first = 2 if address.format(1) in (SERVER, SERVER6) else 1
        lines += [f"{address.format(n)} {name.format(n)}" for n in range(first, 255)]
    return "\n".join(lines) + "\n"


def _private_dev() -> None:
    new = SCRATCH / ".dev"
    new.mkdir()
    _tmpfs(new)
    for name in DEVICES:
        if Path("/dev", name).exists():
            (new / name).touch()
            _run("mount", "--bind", f"/dev/{name}", str(new / name))
    for name in ("pts", "shm"):
        (new / name).mkdir()
    if Path("/dev/pts").is_dir():
        _run("mount", "--bind", "/dev/pts", str(new / "pts"))
    _run("mount", "-t", "tmpfs", "-o", "mode=1777", "room", str(new / "shm"))
    links = {"log": "/run/systemd/journal/dev-log", "fd": "/proc/self/fd", "ptmx": "pts/ptmx"}
    links |= {name: f"/proc/self/fd/{n}" for n, name in enumerate(("stdin", "stdout", "stderr"))}
    for name, target in links.items():
        (new / name).symlink_to(target)
    _run("mount", "--move", str(new), "/dev")
    new.rmdir()


def _make_directories() -> None:
    modes = {"/run/lock": 0o1777, "/srv/tmp": 0o1777, "/run/dovecot": 0o755, "/run/log": 0o755}
    modes |= {"/run/systemd/journal": 0o755, "/var/log/journal": 0o755}
    for place, mode in modes.items():
        Path(place).mkdir(parents=True, exist_ok=True)
        Path(place).chmod(mode)
    with contextlib.suppress(LookupError):
        shutil.chown("/var/log/journal", group="systemd-journal")
        Path("/var/log/journal").chmod(0o2755)


def _mount_cgroups() -> None:
    """Mount what a bare chroot lacks: sysfs and a cgroup hierarchy."""
    if not Path("/sys/fs").exists():
        _run("mount", "-t", "sysfs", "sysfs", "/sys")
    if not cgroup.hierarchies():
        _run("mount", "-t", "cgroup2", "cgroup2", str(cgroup.ROOT))


def _network() -> None:
    namespace.new_network()
    for key in ("all/disable_ipv6", "default/disable_ipv6", "lo/disable_ipv6"):
        _sysctl(f"ipv6/conf/{key}", "0")
    _sysctl("ipv6/ip_nonlocal_bind", "1")  # a local route alone does not let IPv6 clients bind
    _sysctl("unix/max_dgram_qlen", "512")  # what systemd sets at boot
    _run("ip", "link", "set", "lo", "up")
    for network in NETWORKS:
        _run("ip", "-6" if ":" in network else "-4", "route", "add", "local", network, "dev", "lo")


def _sysctl(key: str, value: str) -> None:
    Path("/proc/sys/net", key).write_text(value)


def main(arguments: Sequence[str]) -> int:
    """Run `python3 -m lab.room -- COMMAND…`."""
    command = list(arguments)
    if command[:1] == ["--"]:
        del command[0]
    if not command:
        print("usage: python3 -m lab.room -- COMMAND…", file=sys.stderr)
        return os.EX_USAGE
    try:
        return enter(command)
    except RoomError as error:
        print(f"lab.room: {error}", file=sys.stderr)
        return os.EX_UNAVAILABLE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
