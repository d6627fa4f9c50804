"""Model POP hosts: each logs by a clock of its own, and sends to every relay host over a link that
may be cut or slow, and twice what it is not sure of, as systemd-journal-upload does.

What receives is systemd-journal-remote, one for each host and relay host.
"""

import random
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from lab.received import Receiver, login

HOUR_US = 3_600_000_000
SKEW_US = 60_000_000  # relay.skew
IMPATIENT = 64  # at most so many entries of what was sent come again


@dataclass
class PopHost:
    """A POP host; its clock is ``error_us`` ahead of the true time."""

    name: str
    error_us: int = 0
    logged: list[tuple[int, str]] = field(default_factory=list)  # time by its clock, address
    true_us: list[int] = field(default_factory=list)

    @property
    def counts(self) -> bool:
        """Whether its clock is right enough for its logins to count."""
        return self.error_us <= SKEW_US

    def log(self, address: str, now_us: int) -> None:
        """Log a login."""
        self.logged.append((now_us + self.error_us, address))
        self.true_us.append(now_us)


class Link:
    """From a POP host to a relay host."""

    def __init__(self, host: PopHost, directory: Path, held: ExitStack) -> None:
        self._host, self._directory = host, directory
        self._receiver = Receiver(directory, host.name).__enter__()
        held.callback(self.close)
        self._sent = 0
        self.up = True
        self.delay_us = 0
        self.entries = self.again = 0

    def send(self, now_us: int) -> None:
        """Send what was logged long enough ago, if the link is up."""
        end = self._sent
        due_us = now_us - self.delay_us
        while end < len(self._host.logged) and self._host.true_us[end] <= due_us:
            end += 1
        if not self.up or end == self._sent:
            return
        told = self._host.logged[self._sent : end]
        self._receiver.send(login(f"u-{address}", address, at_us) for at_us, address in told)
        self.entries += len(told)
        self._sent = end

    def close(self) -> None:
        """Have all that was sent be written, and send no more."""
        self._receiver.__exit__(None, None, None)

    def doubt(self, chosen: random.Random) -> None:
        """Begin at an older place, as who did not hear that the other side has it."""
        back = min(self._sent, chosen.randrange(IMPATIENT))
        self._sent -= back
        self.again += back

    def break_off(self) -> None:
        """Kill the receiver, and start another one: the file is put aside."""
        self._receiver.process.kill()
        self.close()
        self._sent = max(0, self._sent - IMPATIENT)  # what it may not have written
        self._receiver = Receiver(self._directory, self._host.name).__enter__()


def truth(hosts: Iterable[PopHost], window_s: int) -> dict[bytes, int]:
    """Return the map that every relay host must hold."""
    content: dict[bytes, int] = {}
    for host in hosts:
        if not host.counts:
            continue
        for at_us, address in host.logged:
            key = address.encode()
            content[key] = max(content.get(key, 0), at_us // 1_000_000 + window_s)
    return content


def now_us() -> int:
    """Return the true time."""
    return time.time_ns() // 1000
