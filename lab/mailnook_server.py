"""Mailnook, a small POP3 server that nobody knows: the stranger's daemon of docs/add-a-daemon.md.

    mailnook_server.py ADDRESS PORT UID USER:PASSWORD…

It gives up root for UID once it listens, and prints a dot. It serves each client in a thread and
tells of it through syslog(3), in words of its own. It stands alone, for it runs under the name of
another program.
"""

import os
import socketserver
import sys
import syslog
from contextlib import suppress
from itertools import count

NUMBERS = count(1)


class Session(socketserver.StreamRequestHandler):
    """One client's session."""

    passwords: dict[str, str] = {}

    def handle(self) -> None:
        """Answer commands until the client quits or goes away."""
        self.number = next(NUMBERS)
        address, port = self.client_address[:2]
        self.client = f"{address} port {port}"
        self.tell(f"{self.client} connected")
        self.user, self.open, commands = "", False, 0
        self.answer("+OK mailnook 0.9 ready")
        with suppress(ConnectionError):
            for line in self.rfile:
                commands += 1
                word, _, rest = line.decode("latin-1").rstrip("\r\n").partition(" ")
                self.answer(self.obey(word.upper(), rest))
                if word.upper() == "QUIT":
                    break
        self.tell(f"closed after {commands} commands")

    def obey(self, word: str, rest: str) -> str:
        """Return the answer to one command."""
        if word == "USER":
            self.user = rest
            return "+OK and the password?"
        if word == "PASS":
            self.open = self.passwords.get(self.user) == rest
            if not self.open:
                self.tell(f"refused to {self.user}, client {self.client}: wrong password")
                return "-ERR wrong password"
            self.tell(f"opened for {self.user}, client {self.client}, pop3 with 0 messages")
            return "+OK 0 messages"
        if word == "STAT" and self.open:
            return "+OK 0 0"
        return "+OK bye" if word == "QUIT" else "-ERR what?"

    def answer(self, text: str) -> None:
        """Send a line to the client."""
        self.wfile.write(text.encode() + b"\r\n")

    def tell(self, text: str) -> None:
        """Log a line of this session."""
        syslog.syslog(syslog.LOG_INFO, f"mailbox session {self.number} {text}")


class Server(socketserver.ThreadingTCPServer):
    """The listening server."""

    allow_reuse_address = True
    daemon_threads = True


def main(address: str, port: str, uid: str, *users: str) -> None:
    """Serve until killed."""
    Session.passwords = dict(user.rsplit(":", 1) for user in users)
    syslog.openlog("mailnook", syslog.LOG_PID, syslog.LOG_MAIL)
    with Server((address, int(port)), Session) as server:
        os.setgroups([])
        os.setgid(int(uid))
        os.setuid(int(uid))
        syslog.syslog(syslog.LOG_INFO, f"mailnook 0.9 listens on {address} port {port}")
        print(".", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
