"""The other hosts whose journals are received here, all together; each is a road of its own.

What others send than those of ``[remote.NAME]`` is refused. What is done by hand is no matter of
theirs: it is read in this machine's own journal alone.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from journalrelay import clock
from journalrelay.cursor import CursorFile, Place
from journalrelay.errors import printable
from journalrelay.event import Login
from journalrelay.remote.host import Host, Remark, Told, Ways
from journalrelay.rules.trust import Trust
from journalrelay.sources.received import Received

_NAMED_AT_MOST = 20


class Hosts:
    """All hosts of ``[remote.NAME]``, and what others have sent: that is refused."""

    def __init__(
        self, received: Received, trusts: Sequence[Trust], state: Path, ways: Ways
    ) -> None:
        self._received = received
        self._hosts = {
            trust.name: Host(trust, CursorFile(state, f"remote-{trust.name}"), ways, received)
            for trust in trusts
        }
        self._lively: dict[str, Host] = {}  # what they have written is not read, or looked at again
        self._open: dict[str, Host] = {}
        self._map = ""
        self._rest_s = 0.0
        self._remarks: list[Remark] = []
        self._trouble: str | None = None
        self.heartbeat: Callable[[], None] = lambda: None
        self.unknown: list[str] = []

    def kept_place(self) -> Place | None:
        """Return of the kept places the one that says most of the map and the clock."""
        kept = [place for host in self._hosts.values() if (place := host.kept_place())]
        return max(
            kept, key=lambda place: (place.boot == clock.boot_id(), place.clock_us), default=None
        )

    def begin(self, time_us: int) -> None:
        """Read all of them from a time on."""
        for host in self._hosts.values():
            host.begin(time_us)
        self._open.clear()
        self._wake()

    def go_behind_kept(self, since_us: int, map_: str) -> None:
        """Go behind each one's kept place; see :class:`Host`."""
        for host in self._hosts.values():
            host.go_behind_kept(since_us, map_)
        self._open.clear()
        self._wake()

    def seek_cursor(self, cursor: str) -> bool:
        """Read all from a cursor's entry on, which is one host's; False when it is nobody's."""
        self._look()
        found = [host.seek_cursor(cursor) for host in self._hosts.values()]
        self._lively = dict(self._hosts)
        return any(found)

    def _wake(self) -> None:
        self._look()
        self._lively = {name: host for name, host in self._hosts.items() if host.has_news()}

    def refresh(self) -> None:
        """Take notice of which hosts have written, of new ones, and of who is silent."""
        self._look()
        for name, host in self._lively.items():
            self.heartbeat()
            host.refresh()
            self._open[name] = host
        now_s = time.monotonic()
        if now_s >= self._rest_s:
            self._rest_s = now_s + 1.0
            self._let_rest(now_s)
            self._tell_trouble()

    def _look(self) -> None:
        for name in self._received.look():
            host = self._hosts.get(name)
            if host:
                host.stir()
                self._lively[name] = host
            elif name not in self.unknown:
                self._refuse(name)

    def _let_rest(self, now_s: float) -> None:
        for name in [n for n, host in self._open.items() if host.is_silent(now_s)]:
            if name not in self._lively:
                self._open.pop(name).rest()

    def _refuse(self, name: str) -> None:
        if len(self.unknown) >= _NAMED_AT_MOST:
            return
        self.unknown.append(name)
        self._remarks.append(
            Remark(
                f"{self._received.directory}: {printable(name)} is no host of [remote]: what it "
                "sends is not read (state what it may speak for, or take back its certificate)"
            )
        )

    def _tell_trouble(self) -> None:
        trouble = self._received.trouble
        if trouble != self._trouble:
            self._trouble = trouble
            text = (
                f"{trouble} (systemd-journal-remote makes it)"
                if trouble
                else "remote hosts are read again"
            )
            self._remarks.append(Remark(text, over=trouble is None))

    def read(self, limit: int) -> Iterator[Told]:
        """Yield the next entries, at most ``limit``, each with what it proves of a login; who had
        much is last the next time."""
        left = limit
        for name, host in list(self._lively.items()):
            count = 0
            for told in host.read(left):
                count += 1
                yield told
            left -= count
            if not count and host.at_rest:
                del self._lively[name]
            if left <= 0:
                self._lively[name] = self._lively.pop(name)
                return

    def earlier(self, span_us: int) -> Iterator[Login]:
        """Yield the logins before what is read next, as far back as ``span_us``."""
        self.refresh()
        for host in self._lively.values():
            self.heartbeat()
            yield from host.earlier(span_us)

    def save(self, boot: str, clock_us: int, map_: str, *, now: bool) -> None:
        """Keep the place of each that the map has reached: ``now``, or now and then."""
        anew = map_ != self._map
        self._map = map_
        for host in (self._hosts if anew else self._open).values():
            host.save(boot, clock_us, map_, now=now or anew)

    def remarks(self) -> list[Remark]:
        """Return what an operator should know, each thing once."""
        told, self._remarks = self._remarks, []
        for host in self._hosts.values():
            if host.remarks:
                told += host.remarks
                host.remarks = []
        return told

    def fileno(self) -> int | None:
        """Return a descriptor for poll(2) that becomes readable when a host has written."""
        return self._received.fileno()

    def place(self, name: str) -> tuple[str, int] | None:
        """Return the place of one, up to which nothing was missed."""
        return self._hosts[name].place()

    def facts(self) -> dict[str, dict[str, Any]]:
        """Return of each host its place, how late its last entry came, and what is amiss."""
        facts = {}
        for name, host in self._hosts.items():
            cursor, read_to_us = host.place() or (None, None)
            facts[name] = {
                "cursor": cursor,
                "read_to_us": read_to_us,
                "lag_s": host.lag_s,
                "clock": host.clock.word,
                "trouble": host.trouble,
            }
        return facts

    def close(self) -> None:
        """Let go of all files."""
        for host in self._open.values():
            host.rest()
        self._received.close()
