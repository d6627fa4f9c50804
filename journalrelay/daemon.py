"""The daemon: signals, readiness, watchdog, reload, and the loop that keeps the road going.

A source may notice late, or not at all, that there are new records (sources/journal.py, watch.py).
So the loop waits on its descriptor for some milliseconds at most, and then looks for itself. In a
lull it looks less often: what it then costs is a quarter, and the first login after it waits for
150 milliseconds at most, less than it takes a client to read its mail and to begin to send.
"""

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from journalrelay import clock
from journalrelay.errors import RelayError, TryAgainError
from journalrelay.map.locks import daemon_pid, take_daemon_lock
from journalrelay.map.mapfile import plainly
from journalrelay.notify import Notifier
from journalrelay.owner import as_owner
from journalrelay.relay import Relay
from journalrelay.site import Site
from journalrelay.sources.source import Source
from journalrelay.telling.report import Report
from journalrelay.telling.teller import Teller

if TYPE_CHECKING:
    from journalrelay.remote.hosts import Hosts

_SECOND_S, _MINUTE_S = 1.0, 60.0
_MORE_TO_START_S = 60
_LULL_S, _LULL_TURN_MS = 60.0, 150
_CROWD, _CROWD_TURN_MS = 8, 40  # where so many records come in a turn, those after them wait
_AGAIN_S = 30.0  # how often what is at rest is looked at again
_FIND_S = 10.0  # how often servers are looked for
_RETRY_S, _RETRY_AT_MOST_S = 0.1, 5.0
_ENDING = {signal.SIGTERM, signal.SIGINT}


class Daemon:
    """One map's daemon. ``load`` reads the configuration, again at every reload."""

    def __init__(self, load: Callable[[], Site]) -> None:
        self._load = load
        self._notifier = Notifier()
        self._asked: set[int] = set()
        self._ready = False
        self._lock: int | None = None
        self._site: Site
        self._source: Source
        self._hosts: Hosts | None = None
        self._due_s = self._count_due_s = self._recount_s = 0.0
        self._again_s = self._find_due_s = 0.0
        self._read_s = time.monotonic()
        self._crowd = self._hindered = False
        self._retry_s = self._retry_at_s = 0.0
        self._counted: int | None = None
        self._reported = ""
        self._poll = select.poll()
        self._polled: list[int | None] = []

    def run(self) -> None:
        """Do the road's work until SIGTERM or SIGINT; every login logged by then is in the map."""
        with _signals(self._asked) as woken:
            self._take(self._load())
            self._catch_up()
            self._ready = self._teller.speaking = True
            self._notifier.ready()
            while not self._asked & _ENDING:
                if signal.SIGHUP in self._asked:
                    self._reload()
                if not self._turn():
                    self._wait(woken)
            self._notifier.stopping()
            self._retry_at_s = 0.0
            self._finish()
            self._relay.save()
            self._teller.stopped()

    def _finish(self) -> None:
        """Read until nothing is left after a commit, for a second at most: what comes later waits
        for the next start."""
        until_s = time.monotonic() + _SECOND_S
        before = -1
        while self._teller.report.records != before and time.monotonic() < until_s:
            before = self._teller.report.records
            self._turn(patient=False)

    def _take(self, site: Site) -> None:
        """Become the daemon of ``site``; when that fails, what was before stays."""
        same = self._lock is not None and site.map_path == self._site.map_path
        teller = Teller(site.log(), _report(site), site.config.shown, speaking=self._ready)
        with ExitStack() as undo:
            lock = self._lock if same else _take_lock(site)
            if lock is not None and not same:
                undo.callback(os.close, lock)
            parts = site.parts()
            undo.callback(parts.source.close)
            if parts.hosts:
                undo.callback(parts.hosts.close)
            parts.popmap.sweep()
            relay = Relay(parts, teller.witness, self._progress, teller.lost)
            teller.report.source, teller.report.why = parts.source.name, parts.why
            notes = relay.start(clock.now_us())
            teller.report.gap_from_us, teller.report.gap_to_us = relay.gap or (None, None)
            undo.pop_all()
        if self._lock is not None:
            self._source.close()
            if self._hosts:
                self._hosts.close()
            if not same:
                os.close(self._lock)
        self._site, self._lock, self._teller, self._relay = site, lock, teller, relay
        self._source, self._popmap, self._names = parts.source, parts.popmap, parts.names
        self._hosts = parts.hosts
        self._names.probe(clock.monotonic_us())
        self._counted, self._count_due_s, self._find_due_s = None, 0.0, 0.0
        for note in notes:
            teller.fault(note)
        for server in site.config.daemons:
            if server.forgeable:
                teller.forgeable(server.name, server.forgeable)

    def _catch_up(self) -> None:
        """Read to the end of what there is, and say in one line what came of it."""
        while self._turn() and not self._asked & _ENDING:
            pass
        self._relay.save()
        self._look_after(behind=False)
        self._teller.ready()

    def _reload(self) -> None:
        """Read the configuration again; a wrong one changes nothing and is said."""
        self._asked.discard(signal.SIGHUP)
        self._notifier.reloading()
        try:
            self._relay.save()
            self._teller.flush()
            self._take(self._load())
            self._catch_up()
        except RelayError as error:
            self._teller.reload_refused(str(error))
        self._notifier.ready()

    def _turn(self, *, patient: bool = True) -> bool:
        """Do one batch and what is due; tell whether the source holds more already.

        Once it is ready, what cannot be written does not end the daemon: to be started again
        would not help, and say the same each time. It reads on, and tries again.
        """
        self._source.refresh()
        hold = time.monotonic() < self._retry_at_s
        try:
            step = self._relay.step(clock.now_us(), hold=hold, patient=patient)
            self._teller.report.records += step.records
            self._crowd = step.records >= _CROWD
            now_s = time.monotonic()
            if step.records:
                self._read_s = now_s
            if hold or step.held:
                return step.more
            self._teller.committed(step.committed)
            if now_s >= self._due_s:
                self._due_s = now_s + _SECOND_S
                self._look_after(step.more)
                self._go_on()
            return step.more
        except RelayError as error:
            if not self._ready:
                raise
            self._hold(error)
            return False

    def _hold(self, error: RelayError) -> None:
        """Note what is in the way, and when to try again: after 0.1 s, doubling up to 5 s."""
        self._retry_s = min(_RETRY_AT_MOST_S, 2 * self._retry_s or _RETRY_S)
        self._retry_at_s = time.monotonic() + self._retry_s
        self._hindered = True
        self._teller.hindered(str(error))
        with suppress(RelayError):  # this may be what cannot be written
            self._teller.report.write(self._site.status_file)

    def _go_on(self) -> None:
        """Note that all could be written."""
        if self._hindered:
            self._hindered, self._retry_s = False, 0.0
            self._teller.unhindered()

    def _wait(self, woken: socket.socket) -> None:
        """Wait until the source or a signal has something, but look again before long."""
        sources = [self._source.fileno(), self._hosts.fileno() if self._hosts else None]
        if self._polled != sources:  # a reader was opened anew
            self._polled = sources
            self._poll = select.poll()
            for fd in (woken.fileno(), *sources):
                if fd is not None:
                    self._poll.register(fd, select.POLLIN)
        slow_ms = _LULL_TURN_MS if self._in_lull() else _CROWD_TURN_MS if self._crowd else 0
        turn_ms = max(self._source.turn_ms, slow_ms)
        while not (ready := self._poll.poll(turn_ms)):
            if time.monotonic() >= self._due_s or self._hindered or not self._relay.still():
                return
        if any(fd == woken.fileno() for fd, _ in ready):
            woken.recv(64)

    def _in_lull(self) -> bool:
        """Tell whether nothing was read for a minute."""
        return time.monotonic() - self._read_s > _LULL_S

    def _progress(self) -> None:
        """Tell systemd that the loop goes on, and while starting that it needs more time."""
        self._notifier.alive(starting_s=0 if self._ready else _MORE_TO_START_S)

    def _look_after(self, behind: bool) -> None:
        """Once a second: mend the map if need be, keep the place, report."""
        why = self._relay.mend(clock.now_us())
        if why:
            self._teller.fault(why)
        again = time.monotonic() >= self._again_s
        if again:
            self._again_s = time.monotonic() + _AGAIN_S
        self._relay.save(now=False, again=again)
        if self._site.config.rules.spelling == "postfix":  # which does not look at the time
            self._teller.expired(self._popmap.expire(clock.now_us() // 1_000_000))
        self._teller.trouble(self._source.trouble())
        unasked = self._names.fault()
        if unasked:
            self._teller.fault(unasked)
        for remark in self._source.remarks():
            self._teller.fault(remark)
        if self._hosts:
            self._look_after_hosts(self._hosts)
        self._count()
        place, report = self._source.place(), self._teller.report
        if place:
            report.cursor, report.read_to_us = place
            report.lag_s = (clock.now_us() - place[1]) / 1e6 if behind else 0.0
        if time.monotonic() >= self._find_due_s:
            report.daemons = self._site.found()
            self._find_due_s = time.monotonic() + _FIND_S
        self._tell()

    def _look_after_hosts(self, hosts: "Hosts") -> None:
        for remark in hosts.remarks():
            self._teller.remark(remark.text, over=remark.over)
        self._teller.report.hosts_are(hosts.facts(), hosts.unknown)

    def _tell(self) -> None:
        """Report when there is something else to say than before: the disk may sleep."""
        report, path = self._teller.report, self._site.status_file
        text = report.text()
        if text != self._reported:
            self._notifier.status(report.line())
        if text != self._reported or not os.path.exists(path):
            report.write(path)
            self._reported = text

    def _count(self) -> None:
        """Count what is granted when the map has changed, and once a minute since grants end;
        not sooner than after a hundred times what counting takes."""
        began_s, stamp = time.monotonic(), self._popmap.stamp()
        due_s = self._count_due_s if stamp != self._counted else self._recount_s
        if began_s < due_s:
            return
        with suppress(RelayError):  # a map that is being replaced; the next look mends it
            self._teller.report.granted_now = self._popmap.count(clock.now_us() // 1_000_000)
        self._counted, self._recount_s = stamp, began_s + _MINUTE_S
        self._count_due_s = began_s + 100 * (time.monotonic() - began_s)


def _report(site: Site) -> Report:
    return Report(
        since_us=clock.now_us(),
        map_path=str(site.map_path),
        source="",
        why="",
        daemons=site.found(),
    )


def _take_lock(site: Site) -> int:
    """Return the lock of the map's one daemon; TryAgainError when another one runs."""
    path = site.map_path
    with as_owner(path.parent), plainly(path):
        lock = take_daemon_lock(path)
    if lock is None:
        raise TryAgainError(
            f"{path}: another daemon keeps this map (process {daemon_pid(path)}; stop it, or "
            "name another map with --map)"
        )
    return lock


@contextmanager
def _signals(asked: set[int]) -> Iterator[socket.socket]:
    """Collect SIGTERM, SIGINT and SIGHUP in ``asked``; the socket wakes a poll for them."""
    woken, wake = socket.socketpair()
    woken.setblocking(False)
    wake.setblocking(False)
    former = {
        number: signal.signal(number, lambda number, _frame: asked.add(number))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    }
    earlier = signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    try:
        yield woken
    finally:
        signal.set_wakeup_fd(earlier)
        for number, handler in former.items():
            signal.signal(number, handler)
        woken.close()
        wake.close()
