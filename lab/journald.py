"""A real journald for the room, and senders whose lines it records with the identity they claim."""

import contextlib
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from lab import cgroup, room
from lab.sender import BECOME

JOURNALD = "/lib/systemd/systemd-journald"
PYTHON = os.path.realpath("/usr/bin/python3")
SENDER = str(Path(__file__).with_name("sender.py"))
SO_TIMESTAMP, SO_RCVBUFFORCE, SO_PASSSEC = 29, 33, 34  # Linux's numbers, not in Python's socket
# systemd's hand-over of sockets: they are descriptors 3, 4, 5, and $$ stays over the exec
HAND_OVER = 'exec 3<&"$1" 4<&"$2" 5<&"$3"; shift 3; LISTEN_PID=$$ exec "$@"'
SETTINGS = {
    "Storage": "persistent",
    "RateLimitIntervalSec": "0",
    "RateLimitBurst": "0",
    "ReadKMsg": "no",
    "Audit": "no",
    "ForwardToSyslog": "no",
    "ForwardToKMsg": "no",
    "ForwardToConsole": "no",
    "ForwardToWall": "no",
    "SystemMaxUse": "2G",
    "SystemKeepFree": "1M",
    "MaxRetentionSec": "1year",  # with it a namespace's journald does not leave when idle
}


class Journald:
    """The room's journald, or that of a journal namespace. It begins with an empty journal.

    As on a booted host the sockets are not journald's own but held open in front of it (by systemd
    there, by this object here): what is logged while it is stopped or killed waits in them.
    SETTINGS are journald.conf's, e.g. `Storage="volatile"`, `RateLimitBurst="100"`.
    """

    def __init__(self, namespace: str = "", **settings: str) -> None:
        room.slice_name()
        self.namespace = namespace
        suffix = f".{namespace}" if namespace else ""
        self._unit = f"systemd-journald{suffix.replace('.', '@')}.service"
        self.run = Path(f"/run/systemd/journal{suffix}")
        self._machine_id = Path("/etc/machine-id").read_text().strip()
        self._settings = SETTINGS | settings
        self.environment: dict[str, str] = {}  # added to journald's own at its next start
        self._process: subprocess.Popen[bytes] | None = None
        self._sockets: list[socket.socket] = []
        self._notify: socket.socket | None = None

    def __enter__(self) -> "Journald":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._close_sockets()

    @property
    def directory(self) -> Path:
        """The directory that holds this journald's files: journalctl's --directory."""
        top = "/run/log/journal" if self._settings["Storage"] == "volatile" else "/var/log/journal"
        suffix = f".{self.namespace}" if self.namespace else ""
        return Path(top, self._machine_id + suffix)

    @property
    def pid(self) -> int:
        """The running journald's process id."""
        if self._process is None:
            raise room.RoomError("journald is not running")
        return self._process.pid

    def start(self) -> None:
        """Start journald and wait until it says READY=1."""
        if self._process is not None:
            raise room.RoomError("journald is running already")
        if not self._sockets:
            self._begin()
        if self._settings["Storage"] == "persistent":
            (self.run / "flushed").touch()  # else it waits in /run for systemd-journal-flush
        self._process = self._spawn()
        self._wait_ready()

    def stop(self) -> None:
        """Stop journald in order; what it has read is on disk then."""
        self._end(terminate=True)

    def kill(self) -> None:
        """Kill journald as -9 does; its open file stays as it was left."""
        self._end(terminate=False)

    def restart(self) -> None:
        """Stop and start again; nothing that is logged meanwhile is lost."""
        self.stop()
        self.start()

    def rotate(self) -> None:
        """Rotate the files, and wait until the active one is new."""
        self._journalctl("--rotate")

    def flush(self) -> None:
        """Have what is in memory moved to the disk, as systemd-journal-flush does."""
        self._journalctl("--flush")

    def sync(self) -> None:
        """Have everything that was sent before this call recorded and written."""
        self._journalctl("--sync")

    def vacuum(self, *limits: str) -> None:
        """Delete archived files down to limits such as `--vacuum-files=1`; rotate() first."""
        self._journalctl(*(limits or ("--vacuum-files=1",)))

    def read(self, *arguments: str) -> str:
        """Return what `journalctl ARGUMENTS` prints about this journal."""
        self.sync()
        return self._journalctl("--quiet", "--no-pager", *arguments)

    def entries(self, *matches: str) -> list[dict[str, Any]]:
        """Return the entries that MATCHES such as `_TRANSPORT=syslog` select, oldest first.

        Values are journalctl's: text, a list of byte values when they are not, a list of these.
        """
        lines = self.read("-o", "json", "--all", *matches).splitlines()
        return [json.loads(line) for line in lines]

    def _spawn(self) -> "subprocess.Popen[bytes]":
        arguments = [self.namespace] if self.namespace else []
        # copies with high numbers: 3, 4 and 5 may be in use between here and the exec
        copies = [fcntl.fcntl(held, fcntl.F_DUPFD_CLOEXEC, 64) for held in self._sockets]
        numbers = [str(copy) for copy in copies]
        try:
            with (self.run / "journald.log").open("ab") as log:
                return subprocess.Popen(
                    ["bash", "-c", HAND_OVER, "bash", *numbers, JOURNALD, *arguments],
                    env=self._environment(),
                    stdout=log,
                    stderr=log,
                    pass_fds=copies,
                    preexec_fn=cgroup.join(room.slice_name(), f"system.slice/{self._unit}"),
                )
        finally:
            for copy in copies:
                os.close(copy)

    def _journalctl(self, *arguments: str) -> str:
        chosen = [f"--namespace={self.namespace}"] if self.namespace else []
        done = subprocess.run(
            ["journalctl", *chosen, *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise room.RoomError(f"journalctl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def _write_settings(self) -> None:
        name = f"journald@{self.namespace}.conf.d" if self.namespace else "journald.conf.d"
        directory = Path("/etc/systemd", name)
        directory.mkdir(parents=True, exist_ok=True)
        lines = [f"{key}={value}\n" for key, value in self._settings.items()]
        (directory / "zz-lab.conf").write_text("[Journal]\n" + "".join(lines))

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "LISTEN_FDS": str(len(self._sockets)),
            "NOTIFY_SOCKET": str(self.run / "lab-notify"),
            "SYSTEMD_LOG_TARGET": "console",
            **self.environment,
        }

    def _begin(self) -> None:
        """Prepare a journal that is empty, whatever an earlier one in this room has left."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self._write_settings()
        self.run.mkdir(parents=True, exist_ok=True)
        kinds = {
            "dev-log": socket.SOCK_DGRAM,
            "socket": socket.SOCK_DGRAM,
            "stdout": socket.SOCK_STREAM,
        }
        self._sockets = [_listen(self.run / name, kind) for name, kind in kinds.items()]
        self._notify = _listen(self.run / "lab-notify", socket.SOCK_DGRAM)

    def _close_sockets(self) -> None:
        for held in (*self._sockets, self._notify):
            if held is not None:
                name = held.getsockname()
                held.close()
                Path(name).unlink(missing_ok=True)
        self._sockets, self._notify = [], None

    def _wait_ready(self) -> None:
        assert self._notify is not None and self._process is not None
        self._notify.settimeout(10)
        try:
            while b"READY=1" not in self._notify.recv(4096):
                pass
        except TimeoutError as error:
            text = (self.run / "journald.log").read_text()
            raise room.RoomError(f"journald does not become ready: {text}") from error

    def _end(self, *, terminate: bool) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.terminate() if terminate else process.kill()
            process.wait(30)


def _listen(path: Path, kind: socket.SocketKind) -> socket.socket:
    """Open a socket as systemd-journald*.socket does: credentials with what waits in it too."""
    path.unlink(missing_ok=True)
    held = socket.socket(socket.AF_UNIX, kind)
    held.bind(str(path))
    path.chmod(0o666)
    with contextlib.suppress(PermissionError):  # some containers lack CAP_NET_ADMIN
        held.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    if kind is socket.SOCK_STREAM:
        held.listen(64)
    else:
        for option in (socket.SO_PASSCRED, SO_PASSSEC, SO_TIMESTAMP):
            held.setsockopt(socket.SOL_SOCKET, option, 1)
    return held


# bind mounts of its own, so that /proc/PID/exe reads as the daemon's binary; $1 what, $2 where
MASK = 'mount --bind "$1" "$2" && shift && exec "$@"'
# the same where no such file exists: over an overlay of the nearest directory that does
MASK_NEW = """
layer=$(mktemp -d) && mount -t tmpfs layer "$layer" && mkdir "$layer/up" "$layer/work" &&
chmod 755 "$layer" "$layer/up" &&
mount -t overlay -o "lowerdir=$3,upperdir=$layer/up,workdir=$layer/work" overlay "$3" &&
mkdir -p "$(dirname "$2")" && : >"$2" && mount --bind "$1" "$2" &&
exe=$2 && shift 3 && exec "$exe" "$@"
"""


def masked(exe: str, arguments: Sequence[str]) -> list[str]:
    """Return the command that runs Python with ARGUMENTS so that its program reads as EXE."""
    private = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]
    if Path(exe).exists():
        return [*private, MASK, "sh", PYTHON, exe, *arguments]
    nearest = next(above for above in Path(exe).parents if above.exists())
    return [*private, MASK_NEW, "sh", PYTHON, exe, str(nearest), *arguments]


class Sender:
    """A process that logs as a mail daemon does: by default as Dovecot's own log process.

    Every trusted field is real: the cgroup gives `_SYSTEMD_UNIT`, a private bind mount of the
    binary gives `_EXE`, and UID is the process's. `transport` is "syslog" (/dev/log) or "journal"
    (the native socket). Each deviation can be asked for, to see that it is not trusted.
    """

    def __init__(
        self,
        *,
        unit: str = "dovecot.service",
        uid: int = 0,
        exe: str = "/usr/lib/dovecot/log",
        identifier: str = "dovecot",
        transport: str = "syslog",
        facility: int = 2,
        namespace: str = "",
    ) -> None:
        if transport not in ("syslog", "journal"):
            raise ValueError(f"transport: {transport!r} is neither 'syslog' nor 'journal'")
        self.unit, self.uid, self.exe = unit, uid, exe
        self.identifier, self.transport, self.facility = identifier, transport, facility
        self.namespace = namespace
        self._process = self._spawn()
        self._wait_done()

    def __enter__(self) -> "Sender":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The sending process's id: `_PID` of its entries."""
        return self._process.pid

    def send(self, message: str | bytes) -> None:
        """Log one message; it is in journald's socket when this returns."""
        self.send_many([message])

    def send_many(self, messages: Iterable[str | bytes]) -> None:
        """Log messages in order, as fast as journald takes them."""
        datagrams = [self._datagram(_bytes(message)) for message in messages]
        self._put(datagrams)

    def send_raw(self, datagram: bytes) -> None:
        """Log what the process has put into the socket, header and padding included."""
        self._put([datagram])

    def send_fields(self, fields: Iterable[tuple[str, str | bytes]]) -> None:
        """Log one entry by the native protocol, fields as given: also twice the same one."""
        if self.transport != "journal":
            raise ValueError("fields can be sent with transport='journal' only")
        self._put([b"".join(_native(name, _bytes(value)) for name, value in fields)])

    def become(self, uid: int) -> None:
        """Give up root for UID, as a server does for the account that has logged in."""
        assert self._process.stdin is not None
        self.uid = uid
        self._process.stdin.write(struct.pack("!II", BECOME, uid))
        self._process.stdin.flush()
        self._wait_done()

    def close(self) -> None:
        """End the process and leave its cgroup."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def _spawn(self) -> "subprocess.Popen[bytes]":
        run = Path("/run/systemd/journal" + (f".{self.namespace}" if self.namespace else ""))
        target = run / ("dev-log" if self.transport == "syslog" else "socket")
        arguments = ["-IS", SENDER, str(target), str(self.uid)]
        return subprocess.Popen(
            masked(self.exe, arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "PYTHONHOME": "/usr"},
            preexec_fn=cgroup.join(room.slice_name(), f"system.slice/{self.unit}"),
        )

    def _datagram(self, message: bytes) -> bytes:
        if self.transport == "journal":
            fields = {"MESSAGE": message, "SYSLOG_IDENTIFIER": self.identifier.encode()}
            fields |= {"SYSLOG_FACILITY": b"%d" % self.facility, "PRIORITY": b"6"}
            return b"".join(_native(name, value) for name, value in fields.items())
        head = f"<{self.facility * 8 + 6}>Jan  1 00:00:00 {self.identifier}: "
        return head.encode() + message

    def _put(self, datagrams: Sequence[bytes]) -> None:
        assert self._process.stdin is not None
        frames = [struct.pack("!I", len(datagram)) + datagram for datagram in datagrams]
        self._process.stdin.write(struct.pack("!I", len(frames)) + b"".join(frames))
        self._process.stdin.flush()
        self._wait_done()

    def _wait_done(self) -> None:
        assert self._process.stdout is not None
        if self._process.stdout.read(1) != b".":
            raise room.RoomError(f"the sender of {self.unit} has ended: {self._process.wait()}")


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def _native(name: str, value: bytes) -> bytes:
    """Encode a field of journald's native protocol in its binary-safe form."""
    return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"


def login_line(
    address: str,
    user: str = "",
    service: str = "pop3",
    version: str = "2.3",
    *,
    tls: bool = False,
    local: str = room.SERVER,
    session: str = "lab0000000000000",
) -> str:
    """Return the line by which Dovecot VERSION tells of a login (facts: Dovecot 2.3, 2.4).

    `pop3-login: Login: user=<anna>, method=PLAIN, rip=192.0.2.7, lip=192.0.2.1, mpid=42,
    session=<S>`; from 2.4 on it says `Logged in:`. Without a USER each address has its own.
    """
    user = user or f"u-{address}"
    word = "Login" if version.startswith("2.3") else "Logged in"
    secure = ", TLS" if tls else ""
    return (
        f"{service}-login: {word}: user=<{user}>, method=PLAIN, rip={address}, lip={local}, "
        f"mpid=4242{secure}, session=<{session}>"
    )


def logout_line(session: str = "lab0000000000000", user: str = "anna", pid: int = 4242) -> str:
    """Return the line by which Dovecot 2.3 and 2.4 tell that an IMAP session has ended."""
    counts = "in=26 out=782 deleted=0 expunged=0 trashed=0 hdr_count=0 hdr_bytes=0"
    return f"imap({user})<{pid}><{session}>: Disconnected: Logged out {counts}"
