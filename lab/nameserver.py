"""A name server for tests, on the room's 127.0.0.1: it answers, lies, or keeps silent, as told.

    with Nameserver() as names, by_name_server():
        names.host("client.example.org", "192.0.2.7")

UDP alone (RFC 1035). What is not in its zones does not exist.
"""

import ipaddress
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

ADDRESS = ("127.0.0.1", 53)
A, CNAME, PTR, AAAA = 1, 5, 12, 28
_TTL_S = 60
_NO_FAULT, _SERVER_FAILURE, _NO_SUCH_NAME = 0, 2, 3
_ANSWER, _IN = 0x8580, 1
_NSSWITCH = Path("/etc/nsswitch.conf")

Question = tuple[str, int]


class Nameserver:
    """A server with zones that a test writes. ``asked`` are the names that it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._records: dict[Question, list[bytes]] = {}
        self._failing: set[str] = set()
        self._lock = threading.Lock()
        self._silent: set[str] = set()
        self._held: list[tuple[bytes, tuple[str, int]]] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._socket.bind(ADDRESS)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.sendto(b"", ADDRESS)
        self._thread.join()
        self._socket.close()

    def host(self, name: str, *addresses: str) -> None:
        """Let a name have addresses, and each of these that name."""
        for address in addresses:
            self.forward(name, address)
            self.reverse(address, name)

    def forward(self, name: str, *addresses: str) -> None:
        """Let a name have addresses, and say nothing of theirs."""
        for address in map(ipaddress.ip_address, addresses):
            self._add(name, A if address.version == 4 else AAAA, address.packed)

    def reverse(self, address: str, *names: str) -> None:
        """Let an address have names."""
        for name in names:
            self._add(pointer(address), PTR, _wire(name))

    def alias(self, name: str, other: str) -> None:
        """Let a name stand for another."""
        self._add(name, CNAME, _wire(other))

    def fail(self, name: str) -> None:
        """Answer for a name that the server itself fails."""
        self._failing.add(name.lower())

    def hold(self, name: str) -> None:
        """Leave questions for a name without an answer until :meth:`release`."""
        with self._lock:
            self._silent.add(name.lower())

    def release(self) -> None:
        """Answer what was asked meanwhile, and hold nothing any more."""
        with self._lock:
            self._silent.clear()
            held, self._held = self._held, []
        for query, client in held:
            self._socket.sendto(self._answer(query), client)

    def was_asked(self, name: str) -> bool:
        """Tell whether a name was asked for."""
        return name.lower() in self.asked

    def _add(self, name: str, kind: int, data: bytes) -> None:
        self._records.setdefault((name.lower(), kind), []).append(data)

    def _serve(self) -> None:
        """Answer until an empty datagram comes."""
        while True:
            query, client = self._socket.recvfrom(512)
            if not query:
                return
            name, _ = _question(query)
            self.asked.append(name)
            with self._lock:
                if name in self._silent:
                    self._held.append((query, client))
                    continue
            self._socket.sendto(self._answer(query), client)

    def _answer(self, query: bytes) -> bytes:
        name, kind = _question(query)
        found: list[tuple[str, int, bytes]] = []
        for data in self._records.get((name, CNAME), []):
            found.append((name, CNAME, data))
            name = _text(data, 0)
        found += [(name, kind, data) for data in self._records.get((name, kind), [])]
        known = any((name, other) in self._records for other in (A, AAAA, PTR))
        fault = _NO_FAULT if known else _NO_SUCH_NAME
        if name in self._failing:
            fault = _SERVER_FAILURE
        header = query[:2] + struct.pack("!5H", _ANSWER | fault, 1, len(found), 0, 0)
        question = query[12 : query.index(b"\0", 12) + 5]
        answers = [
            _wire(owner) + struct.pack("!HHIH", of, _IN, _TTL_S, len(data)) + data
            for owner, of, data in found
        ]
        return header + question + b"".join(answers)


def pointer(address: str) -> str:
    """Return the name by which the reverse zone knows an address."""
    return ipaddress.ip_address(address).reverse_pointer


@contextmanager
def by_name_server() -> Iterator[None]:
    """Have the room ask a name server for hosts, and not /etc/hosts."""
    usual = _NSSWITCH.read_text()
    _NSSWITCH.write_text(usual.replace("hosts: files", "hosts: dns"))
    try:
        yield
    finally:
        _NSSWITCH.write_text(usual)


def _question(query: bytes) -> Question:
    end = query.index(b"\0", 12) + 1
    return _text(query, 12), int.from_bytes(query[end : end + 2], "big")


def _wire(name: str) -> bytes:
    parts = [part.encode() for part in name.split(".")]
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def _text(message: bytes, at: int) -> str:
    parts = []
    while length := message[at]:
        parts.append(message[at + 1 : at + 1 + length].decode("ascii", "replace"))
        at += 1 + length
    return ".".join(parts).lower()
