"""A daemon that the project does not know, in its unit: what a stranger has on his host."""

import os
import poplib
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from lab import cgroup, room
from lab.journald import masked

UNIT, EXE, UID = "mailnook.service", "/usr/sbin/mailnook", 412
PORT = 11110
PASSWORD = "lab"
TIMEOUT_S = 20.0
SERVER = str(Path(__file__).with_name("mailnook_server.py"))


class _Pop3(poplib.POP3):
    """POP3 from a chosen source address."""

    def __init__(self, source: str) -> None:
        self._source = source
        super().__init__(room.SERVER, PORT, timeout=TIMEOUT_S)

    def _create_socket(self, timeout: float) -> socket.socket:
        return socket.create_connection((self.host, self.port), TIMEOUT_S, (self._source, 0))


class Mailnook:
    """Mailnook on 192.0.2.1, as user 412 in mailnook.service, with the mailboxes ``users``."""

    def __init__(self, *users: str) -> None:
        self._users = users or ("anna",)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        passwords = [f"{user}:{PASSWORD}" for user in self._users]
        arguments = ["-IS", SERVER, room.SERVER, str(PORT), str(UID), *passwords]
        self._process = subprocess.Popen(
            masked(EXE, arguments),
            stdout=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "PYTHONHOME": "/usr"},
            preexec_fn=cgroup.join(room.slice_name(), f"system.slice/{UNIT}"),
        )
        assert self._process.stdout is not None
        if self._process.stdout.read(1) != b".":
            raise room.RoomError(f"mailnook has ended: {self._process.wait()}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None and self._process.stdout is not None
        self._process.terminate()
        self._process.wait(TIMEOUT_S)
        self._process.stdout.close()

    def log_in(self, client: str, user: str = "anna", password: str = PASSWORD) -> float | None:
        """Log in from CLIENT and quit; return when +OK came (monotonic, s), None if it did not."""
        connection = _Pop3(client)
        try:
            connection.user(user)
            connection.pass_(password)
            return time.monotonic()
        except poplib.error_proto:
            return None
        finally:
            with suppress(poplib.error_proto, OSError):
                connection.quit()
