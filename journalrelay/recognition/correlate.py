"""Logins told in two lines of one process: the connection it serves, then who came by it.

What is missing grants nothing: a login whose connect line was not seen, was logged too long ago,
or has been used. Popa3d, solid-pop3d and what tcpd starts log like this.
"""

from journalrelay.event import Process
from journalrelay.patterns import Told

# An unauthenticated connection is dropped after ten minutes at most by any server (RFC 1939, 3),
# and ten thousand of them at once are more than a host serves by a process each.
LONGEST_US = 10 * 60 * 1_000_000
MOST = 10_000


class Connections:
    """The connect lines that no login has used yet."""

    def __init__(self) -> None:
        self._open: dict[Process, tuple[Told, int]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def note(self, process: Process, told: Told, at_us: int) -> None:
        """Remember a connect line in place of an earlier one of the same process: a number that
        is given out again is another client's. When there are too many the oldest one goes."""
        self._open.pop(process, None)
        self._open[process] = told, at_us
        if len(self._open) > MOST:
            del self._open[next(iter(self._open))]

    def take(self, process: Process, at_us: int) -> Told | None:
        """Return the connect line of a login that was logged at ``at_us``, only once."""
        told, since_us = self._open.pop(process, (None, 0))
        return told if abs(at_us - since_us) <= LONGEST_US else None

    def forget(self, unit: bytes | None) -> None:
        """Forget the connections of a unit, of all when None: entries of it were lost, among
        them perhaps the connect line of another client with the same process number."""
        for process in [process for process in self._open if unit in (None, process.unit)]:
            del self._open[process]
