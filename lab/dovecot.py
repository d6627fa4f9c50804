"""A real Dovecot of the room's own, POP3 and IMAP, that logs with its true identity."""

import imaplib
import poplib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType

from lab import cgroup, room
from lab.client import TIMEOUT_S, Connect, Imap, Pop3, from_address, over_tls
from lab.wait import wait_for

DOVECOT = "/usr/sbin/dovecot"
UNIT = "system.slice/dovecot.service"
PORTS = {"pop3": 10110, "pop3s": 10995, "imap": 10143, "imaps": 10993}
USERS = ("anna@example.org", "bert@example.org")
PASSWORD = "lab"

COMMON = """
base_dir = {top}/run
state_dir = {top}/state
log_path = syslog
protocols = pop3 imap
listen = {server}, {server6}
ssl = yes
first_valid_uid = 1
auth_username_chars =
auth_failure_delay = 0
mail_max_userip_connections = 1000
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = {pop3s}
    ssl = yes
  }}
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
    ssl = yes
  }}
}}
"""
V23 = """
disable_plaintext_auth = no
auth_username_format = %u
mail_location = maildir:{top}/mail
ssl_cert = <{top}/cert.pem
ssl_key = <{top}/key.pem
passdb {{
  driver = passwd-file
  args = scheme=plain {top}/users
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={top}/mail
}}
"""
V24_HEAD = """dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
"""
V24 = """
auth_allow_cleartext = yes
auth_username_format = %{{user}}
mail_driver = maildir
mail_path = {top}/mail
ssl_server_cert_file = {top}/cert.pem
ssl_server_key_file = {top}/key.pem
passdb passwd-file {{
  passwd_file_path = {top}/users
  default_password_scheme = plain
}}
userdb static {{
  fields {{
    uid = nobody
    gid = nogroup
    home = {top}/mail
  }}
}}
"""


class Dovecot:
    """Dovecot on high ports of 192.0.2.1 and 2001:db8::1, with USERS whose password is PASSWORD.

    Its processes live in the cgroup dovecot.service, so that the lines of its own log process carry
    the identity of an installed one.
    """

    def __init__(self, users: Sequence[str] = USERS) -> None:
        self.users = tuple(users)
        self.version = dovecot_version()
        self._top = room.scratch("dovecot-")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Dovecot":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Write the configuration, start Dovecot and wait until its ports answer."""
        self._write_files()
        with (self._top / "output").open("wb") as output:
            self._process = subprocess.Popen(
                [DOVECOT, "-F", "-c", str(self._top / "dovecot.conf")],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=cgroup.join(room.slice_name(), UNIT),
            )
        wait_for(self._answers, "Dovecot's ports to answer")

    def stop(self) -> None:
        """End Dovecot and its processes."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            process.wait(TIMEOUT_S)

    def pop3_login(self, client: str, user: str = USERS[0], *, tls: bool = False) -> float:
        """Log in by POP3 from CLIENT and quit; return when +OK came (monotonic, s)."""
        with self.pop3_session(client, user, tls=tls):
            return time.monotonic()

    def imap_login(self, client: str, user: str = USERS[0], *, tls: bool = False) -> float:
        """Log in by IMAP from CLIENT and log out; return when OK came (monotonic, s)."""
        with self.imap_session(client, user, tls=tls):
            return time.monotonic()

    @contextmanager
    def imap_session(
        self, client: str, user: str = USERS[0], *, tls: bool = False
    ) -> Iterator[imaplib.IMAP4]:
        """Hold an IMAP session open, and log out."""
        connection = Imap(_connect("imap", client, tls))
        try:
            connection.login(f'"{user}"', PASSWORD)
            yield connection
        finally:
            connection.logout()

    @contextmanager
    def pop3_session(
        self, client: str, user: str = USERS[0], *, password: str = PASSWORD, tls: bool = False
    ) -> Iterator[poplib.POP3]:
        """Hold a POP3 session open; raise poplib.error_proto when the login is refused."""
        connection = Pop3(_connect("pop3", client, tls))
        try:
            connection.user(user)
            connection.pass_(password)
            yield connection
        finally:
            with suppress(poplib.error_proto, OSError):
                connection.quit()
            connection.close()

    def _write_files(self) -> None:
        for name in ("run", "state", "mail"):
            (self._top / name).mkdir(exist_ok=True)
        shutil.chown(self._top / "mail", "nobody", "nogroup")
        (self._top / "users").write_text("".join(f"{user}:{PASSWORD}\n" for user in self.users))
        if not (self._top / "cert.pem").exists():
            _make_certificate(self._top)
        old = self.version.startswith("2.3")
        text = COMMON + V23 if old else V24_HEAD + COMMON + V24
        values = PORTS | {"top": self._top, "server": room.SERVER, "server6": room.SERVER6}
        (self._top / "dovecot.conf").write_text(text.format_map(values))

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise room.RoomError(f"Dovecot has ended: {(self._top / 'output').read_text()}")
        return all(_accepts(host, PORTS["pop3"]) for host in (room.SERVER, room.SERVER6))


def dovecot_version() -> str:
    """Return the installed Dovecot's version, e.g. `2.3.19.1`."""
    done = subprocess.run([DOVECOT, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.split()[0]


def _make_certificate(top: Path) -> None:
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={room.HOSTNAME}"
    files = ["-keyout", str(top / "key.pem"), "-out", str(top / "cert.pem")]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)


def _connect(protocol: str, client: str, tls: bool) -> Connect:
    """Return a function that connects from CLIENT to the port of PROTOCOL, with or without TLS."""
    host = room.SERVER6 if ":" in client else room.SERVER
    plain = from_address(host, PORTS[f"{protocol}s" if tls else protocol], client)
    return over_tls(plain) if tls else plain


def _accepts(host: str, port: int) -> bool:
    try:
        with closing(socket.create_connection((host, port), TIMEOUT_S)) as connection:
            return connection.recv(1) == b"+"
    except OSError:
        return False
