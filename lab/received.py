"""A directory of journals received from other hosts, written by systemd-journal-remote itself.

What it does behind TLS with ``--split-mode=host`` it does here from a pipe: it writes, rotates and
puts aside ``remote-NAME.journal``.
"""

import subprocess
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from lab.journalfile import JOURNAL_REMOTE, entry, make_journal


def login(user: str, address: str, at_us: int, **others: str) -> bytes:
    """Return a Dovecot login as its host's journal has it; other fields as in `entry`."""
    message = (
        f"pop3-login: Login: user=<{user}>, method=PLAIN, rip={address}, lip=192.0.2.1, "
        f"mpid=77, session=<s{at_us}>"
    )
    return entry(message, at_us, **{"hostname": "pop", **others})  # type: ignore[arg-type]


def receive(directory: Path, host: str, *entries: bytes) -> Path:
    """Have what a host sent be received, all of it; return its file."""
    directory.mkdir(exist_ok=True)
    return make_journal(entries, directory / f"remote-{host}.journal")


class Receiver:
    """systemd-journal-remote for one host that stays connected, while it is entered."""

    def __init__(self, directory: Path, host: str) -> None:
        directory.mkdir(exist_ok=True)
        self.file = directory / f"remote-{host}.journal"

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [JOURNAL_REMOTE, "-o", str(self.file), "-"],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # how much it has written
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.stdin and not self.process.stdin.closed:
            self.process.stdin.close()
        self.process.wait(30)

    def send(self, entries: Iterable[bytes]) -> None:
        """Send entries; they are in the file soon."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"".join(entries))
        self.process.stdin.flush()
