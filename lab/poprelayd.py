"""The daemon and its command line, run from this checkout on files of their own."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from journalrelay.map.popmap import PopMap

TOP = Path(__file__).resolve().parent.parent
COMMAND = (sys.executable, "-m", "journalrelay")
# A wrapper: standard output and error are the journal's stream and said to be, as under systemd
IN_JOURNAL = (
    *("systemd-cat", "--identifier=poprelayd", "bash", "-c"),
    *('JOURNAL_STREAM=$(stat -Lc %d:%i /proc/self/fd/2) exec "$@"', "bash"),
)
_WITH_STATE = ("run", "replay", "status")


class NotReady(Exception):
    """The daemon ended, or did not say READY=1 in time."""


class Poprelayd:
    """A daemon with map, state, configuration and notification socket in the directory ``place``.

    ``options`` go to ``run`` and ``replay``, such as ``--directory``. ``wrapper`` is a command
    that runs it, such as strace. With None as ``config`` it reads the usual files, drop-ins too.
    """

    def __init__(
        self,
        place: Path,
        *options: str,
        config: str | None = "",
        environment: Mapping[str, str] | None = None,
        wrapper: Sequence[str] = (),
    ) -> None:
        self.place = place
        self.map = place / "popip.db"
        self.kind = "hash"  # as whoever configures another says
        self.config = place / "poprelay.conf"
        self._chosen = [] if config is None else ["-c", str(self.config)]
        if config is not None:
            self.config.write_text(config)
        self._options = options
        self._environment = dict(environment or {})
        self._wrapper = wrapper
        self._process: subprocess.Popen[bytes] | None = None
        self.log = place / "poprelayd.log"
        self._notify_path = place / "notify"
        self._notify: socket.socket | None = None
        self.notified: list[str] = []

    def __enter__(self) -> Self:
        try:
            self.start()
        except NotReady:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop it if it runs, and let go of its socket."""
        if self._process is not None and self._process.poll() is None:
            self.stop()
        if self._notify is not None:
            self._notify.close()
            self._notify = None

    def start(self) -> None:
        """Start it and wait for READY=1."""
        self.launch()
        self.await_ready()

    def launch(self) -> None:
        """Start it."""
        if self._notify is None:
            self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._notify.bind(str(self._notify_path))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._wrapper, *COMMAND, *self._chosen, "run", *self._files("run")],
                env={**os.environ, "NOTIFY_SOCKET": str(self._notify_path), **self._environment},
                stderr=log,
                stdout=log,
                cwd=TOP,
            )

    def await_ready(self, timeout_s: float = 30) -> None:
        """Wait for the next READY=1."""
        self.await_notified("READY=1", timeout_s)

    def await_notified(self, word: str, timeout_s: float = 30) -> None:
        """Wait until a notification begins with ``word`` that had not been taken before."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if any(line.startswith(word) for line in self.take_notified(wait_s=0.1)):
                return
            if self.process.poll() is not None:
                break
        raise NotReady(f"no {word}; exit status {self.process.poll()}: {self.log.read_text()}")

    def take_notified(self, wait_s: float = 0) -> list[str]:
        """Return the lines of the notification next in the queue, waiting for one if need be."""
        assert self._notify is not None
        self._notify.settimeout(wait_s or 0.001)
        try:
            lines = self._notify.recv(65536).decode().splitlines()
        except TimeoutError:
            return []
        self.notified += lines
        return lines

    def take_all_notified(self) -> list[str]:
        """Return the lines of all notifications in the queue."""
        lines: list[str] = []
        while taken := self.take_notified():
            lines += taken
        return lines

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        """The running process."""
        assert self._process is not None, "not started"
        return self._process

    def reload(self) -> None:
        """Send SIGHUP and wait until it is ready again."""
        self.process.send_signal(signal.SIGHUP)
        self.await_ready()

    def stop(self) -> int:
        """Send SIGTERM; return the exit status."""
        self.process.terminate()
        return self.process.wait(30)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.process.kill()
        self.process.wait(30)

    def run(self, verb: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run another verb on the same files, by the same clock; it must not end in a traceback."""
        words = (*self._chosen, verb, *arguments, *self._files(verb))
        return journalrelay(*words, environment=self._environment)

    def popmap(self) -> PopMap:
        """Return the map, to look at beside the daemon."""
        return PopMap(self.map, self.kind, careful=False)

    def granted(self) -> dict[str, int]:
        """Return what ``list --json`` prints: address and expiry."""
        rows = json.loads(self.run("list", "--json").stdout)
        return {row["address"]: row["expiry"] for row in rows}

    def _files(self, verb: str) -> list[str]:
        files = ["--map", str(self.map)]
        if verb in _WITH_STATE:
            files += ["--state", str(self.place)]
        if verb in ("run", "replay"):
            files += self._options
        return files


def journalrelay(
    *arguments: str, input_: str | None = None, environment: Mapping[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run ``journalrelay`` and return what it said; a traceback is a failure of its own."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        input=input_,
        env={**os.environ, **(environment or {})},
        cwd=TOP,
        timeout=120,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done
