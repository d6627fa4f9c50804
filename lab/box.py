"""A booted Debian: systemd as process 1 in a container with a network of its own.

    with Box(debian.server(13)) as box:
        box.run("systemctl is-system-running")

systemd-nspawn boots it from a cgroup of this process's making, on machines with and without
systemd. Inside, the documentation networks are local on lo, so that one machine has many clients.
"""

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from lab import cgroup, debian, namespace
from lab.client import Connect
from lab.wait import wait_for

NETWORKS = ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
BOOT_S = 90.0
DOWN_S = 30.0
COMMAND_S = 300.0
REBOOTED = 133  # systemd-nspawn(1), --keep-unit
NSPAWN = (
    "setpriv --pdeathsig KILL "  # who kills this process kills the box
    "systemd-nspawn --quiet --register=no --keep-unit --boot --private-network --console=pipe "
    "--kill-signal=SIGRTMIN+4 --resolv-conf=off"
)

NETWORK_UNIT = """\
[Unit]
DefaultDependencies=no
After=systemd-sysctl.service

[Service]
Type=oneshot
ExecStart=ip link set lo up
ExecStart=sysctl -qw net.ipv6.ip_nonlocal_bind=1"""


class BoxError(Exception):
    """The box does not boot, or a command in it failed; the message says what was seen."""


class Box:
    """A container of the recipe's root, booted while the context is held; its changes are lost."""

    def __init__(self, recipe: debian.Recipe, name: str = "") -> None:
        self.recipe = recipe
        self.name = f"{cgroup.PREFIX}{name or f'debian{recipe.release}'}-{os.getpid()}"
        self._held = ExitStack()
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0
        self.root = Path()

    def __enter__(self) -> Self:
        with ExitStack() as held:
            self.root = held.enter_context(debian.lent(self.recipe))
            self._furnish_network()
            held.callback(cgroup.remove, f"{self.name}.slice")
            held.callback(self._end)
            self._boot()
            self._held = held.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._held.close()

    def run(self, command: str, *, user: str = "root", check: bool = True) -> str:
        """Run a shell command inside; return what it printed on standard output.

        Raise BoxError with all it said when it fails and CHECK is set.
        """
        done = self.attempt(command, user=user)
        if check and done.returncode:
            raise BoxError(f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout.strip()

    def attempt(self, command: str, *, user: str = "root") -> "subprocess.CompletedProcess[str]":
        """Run a shell command inside, as USER; return how it ended."""
        become = [] if user == "root" else ["runuser", "-u", user, "--"]
        return subprocess.run(
            [*self._enter(), *become, "bash", "-c", command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_S,
        )

    @property
    def leader(self) -> int:
        """The box's process 1, by this machine's number: whose namespaces are the box's."""
        return self._leader

    def path(self, inside: str) -> Path:
        """Return where a file of the box lies on this machine."""
        return self.root / inside.lstrip("/")

    def from_address(self, host: str, port: int, source: str) -> Connect:
        """Return a function that connects to HOST in the box's network, from SOURCE there."""

        def connect() -> socket.socket:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            made = self._in_its_network(lambda: socket.socket(family, socket.SOCK_STREAM))
            try:
                made.settimeout(COMMAND_S)
                made.bind((source, 0))
                made.connect((host, port))
            except OSError:
                made.close()
                raise
            return made

        return connect

    def reboot(self) -> None:
        """Let it shut down in order and boot again."""
        assert self._nspawn is not None
        self.attempt("systemctl reboot")
        status = self._nspawn.wait(BOOT_S)
        if status != REBOOTED:
            raise BoxError(f"{self.name}: no reboot: exit {status}: {self._console()}")
        self._boot()

    def _furnish_network(self) -> None:
        """Have the networks there before any service is started, after each boot."""
        unit = self.path("/etc/systemd/system/lab-network.service")
        routes = [f"ExecStart=ip route replace local {network} dev lo" for network in NETWORKS]
        unit.write_text("\n".join([NETWORK_UNIT, *routes]) + "\n")
        wants = unit.with_name("sysinit.target.wants")
        wants.mkdir(exist_ok=True)
        (wants / unit.name).symlink_to(f"../{unit.name}")

    def _enter(self) -> list[str]:
        clean = "env -i HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive"
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return ["nsenter", "-t", str(self._leader), "-a", *clean.split(), path]

    def _in_its_network(self, make: Callable[[], socket.socket]) -> socket.socket:
        """Return what MAKE makes in the box's network: a socket stays where it was made."""
        made: list[socket.socket] = []

        def visit() -> None:  # in a thread, since the namespace is a thread's own
            namespace.join(f"/proc/{self._leader}/ns/net", namespace.CLONE_NEWNET)
            made.append(make())

        thread = threading.Thread(target=visit)
        thread.start()
        thread.join()
        if not made:
            raise BoxError(f"{self.name}: its network cannot be entered")
        return made[0]

    def _boot(self) -> None:
        """Return when all units are up; BoxError names those that failed."""
        with (self.root.parent / "console").open("wb") as console:
            self._nspawn = subprocess.Popen(
                [*NSPAWN.split(), "--machine", self.name, "--directory", str(self.root)],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                preexec_fn=cgroup.join(f"{self.name}.slice", "init.scope"),
            )
        self._leader = wait_for(self._find_leader, "process 1 of the box", BOOT_S, 0.05)
        state = wait_for(self._state, "the box to boot", BOOT_S, 0.05)
        if state != "running":
            failed = self.run("systemctl --failed --plain --no-legend")
            raise BoxError(f"{self.name}: {state}: {failed}")

    def _find_leader(self) -> int | None:
        """Return the process that is process 1 inside; None while it is not there yet."""
        assert self._nspawn is not None
        if self._nspawn.poll() is not None:
            raise BoxError(f"{self.name}: systemd-nspawn has ended: {self._console()}")
        for child in _descendants(self._nspawn.pid):
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{child}/status").read_text()
                numbers = status.partition("\nNSpid:")[2].partition("\n")[0].split()
                if numbers[-1:] == ["1"] and len(numbers) > 1:
                    return child
        return None

    def _state(self) -> str | None:
        done = self.attempt("systemctl is-system-running")
        word = done.stdout.strip()
        return word if word in ("running", "degraded", "maintenance") else None

    def _console(self) -> str:
        return (self.root.parent / "console").read_text(errors="replace")[-2000:]

    def _end(self) -> None:
        """Power off; kill what does not go."""
        assert self._nspawn is not None
        if self._nspawn.poll() is None and self._leader:
            self.attempt("systemctl poweroff")
        try:
            self._nspawn.wait(DOWN_S)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()  # and with it all that is inside
            self._nspawn.wait()


def _descendants(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield int(child)
            yield from _descendants(int(child))
