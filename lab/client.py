"""Mail clients whose connections come from where the caller says: another address, another network.

Each is given a function that connects, and is the standard library's otherwise.
"""

import imaplib
import poplib
import smtplib
import socket
import ssl
from collections.abc import Callable

TIMEOUT_S = 20.0

Connect = Callable[[], socket.socket]


class Pop3(poplib.POP3):
    """A POP3 client over the connection that CONNECT makes."""

    def __init__(self, connect: Connect) -> None:
        self._dial = connect
        super().__init__("", timeout=TIMEOUT_S)

    def _create_socket(self, timeout: float) -> socket.socket:
        return self._dial()


class Imap(imaplib.IMAP4):
    """An IMAP client over the connection that CONNECT makes."""

    def __init__(self, connect: Connect) -> None:
        self._dial = connect
        super().__init__("", timeout=TIMEOUT_S)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        return self._dial()


class Smtp(smtplib.SMTP):
    """An SMTP client over the connection that CONNECT makes, opened by :meth:`connect`."""

    def __init__(self, connect: Connect) -> None:
        self._dial = connect
        super().__init__(timeout=TIMEOUT_S, local_hostname="client.example.test")

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return self._dial()


def from_address(host: str, port: int, source: str) -> Connect:
    """Return a function that connects from the address SOURCE of this network."""
    return lambda: socket.create_connection((host, port), TIMEOUT_S, (source, 0))


def over_tls(connect: Connect) -> Connect:
    """Return CONNECT with TLS on it; who the server is need not be proved."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return lambda: context.wrap_socket(connect())
