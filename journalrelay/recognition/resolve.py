"""Host names confirmed by the host's own resolver, in threads that nobody waits for.

The line's name came from the client's reverse zone, whose owner writes what he likes. What can be
had back from it is an address that the name's own zone gives, and whose reverse zone gives the
name: both owners agree. There must be only one, or it would not be known which one logged in.
"""

import os
import socket
import threading
from collections import deque

from journalrelay import clock
from journalrelay.grant import Address, parse_address
from journalrelay.recognition.names import MOST, Answer

# A lookup that nobody waits for any more still holds its thread until libc gives up: soon, but
# after a lost packet (resolv.conf(5)). Eight of them ask for 100 names a second and more.
_OPTIONS = "timeout:1 attempts:2"
THREADS = 8

_NO_SUCH_NAME = {socket.EAI_NONAME, socket.EAI_NODATA}
_NO_SUCH_ADDRESS = {1, 4}  # netdb.h: HOST_NOT_FOUND, NO_DATA


class Resolver:
    """Asks for names in threads of its own, which end when there is nothing left to ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked: deque[tuple[str, int]] = deque()
        self._answered: deque[tuple[str, Answer]] = deque()
        self._came = threading.Event()
        self._running = 0

    def ask(self, name: str, until_us: int) -> None:
        """Begin to confirm a name; there is no answer when too many others are asked for."""
        with self._lock:
            if len(self._asked) >= MOST:
                return
            self._asked.append((name, until_us))
            if self._running >= THREADS:
                return
            self._running += 1
        os.environ.setdefault("RES_OPTIONS", _OPTIONS)
        try:
            threading.Thread(target=self._work, daemon=True).start()
        except RuntimeError:  # the process may have no more: those that run go on, or time does
            with self._lock:
                self._running -= 1

    def answers(self) -> list[tuple[str, Answer]]:
        """Return what has been found out since the last call."""
        self._came.clear()
        found = []
        while self._answered:
            found.append(self._answered.popleft())
        return found

    def wait(self, span_s: float) -> None:
        """Wait for an answer, so long at most."""
        self._came.wait(span_s)

    def _work(self) -> None:
        while (name := self._next()) is not None:
            self._answered.append((name, confirm(name)))
            self._came.set()

    def _next(self) -> str | None:
        """Return the next name that somebody waits for; None ends the thread."""
        with self._lock:
            while self._asked:
                name, until_us = self._asked.popleft()
                if until_us > clock.monotonic_us():
                    return name
            self._running -= 1
            return None


def confirm(name: str) -> Answer:
    """Return the one address that ``name`` has and that has this name, or why there is none."""
    try:
        addresses = _addresses(name)
        if not addresses:
            return Answer(None, "its host name has no address")
        if len(addresses) > 1:
            return Answer(None, "its host name has several addresses")
        (address,) = addresses
        if name not in _names(address):
            return Answer(None, "its host name's address has another name")
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        return Answer(None, "its host name could not be looked up", why)
    return Answer(address)


def _addresses(name: str) -> set[Address]:
    """Return the addresses of a name, IPv4 and IPv6; OSError when nobody knows."""
    try:
        found = socket.getaddrinfo(name.encode("ascii"), None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in _NO_SUCH_NAME:
            return set()
        raise
    return {address for *_, to in found if (address := parse_address(str(to[0]).encode()))}


def _names(address: Address) -> set[str]:
    """Return the names of an address, in lower case; OSError when nobody knows."""
    try:
        name, others, _ = socket.gethostbyaddr(str(address))
    except socket.herror as error:
        if error.errno in _NO_SUCH_ADDRESS:
            return set()
        raise
    return {found.lower().removesuffix(".") for found in (name, *others)}
