"""A private, real Postfix on a high port, from Debian's package unpacked: the package itself would
take sendmail's place.

    with Postfix(room.scratch("postfix-"), popip=popmap.path) as mta:
        mta.rcpt("192.0.2.7", "bob@mail.example.test", "ann@elsewhere.example")

`tools/setup --dev` unpacks it into .postfix. It needs its own users, which it finds in the room's
/etc, and names from /etc/hosts alone.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from lab import room
from lab.client import from_address
from lab.sendmail import ADDRESSES, Reply, Session
from lab.wait import wait_for

ROOT = Path(__file__).resolve().parent.parent / ".postfix" / "root"
PORT = 2526
PATIENCE_S = 15.0
LIBRARIES = ROOT / "usr/lib/postfix"
PROGRAMS = LIBRARIES / "sbin"
COMMANDS = ROOT / "usr/sbin"
OWNED = "active bounce corrupt defer deferred flush hold incoming private saved trace"
# What docs/postfix.md tells an operator, with this test's map in it.
RESTRICTIONS = (
    "permit_mynetworks, permit_sasl_authenticated, permit_auth_destination, "
    "check_client_access {popip}, reject_unauth_destination"
)

MAIN = """\
compatibility_level = 3.6
queue_directory = {base}/queue
data_directory = {base}/data
daemon_directory = {programs}
command_directory = {commands}
mail_owner = postfix
setgid_group = postdrop
maillog_file = {base}/log
maillog_file_prefixes = {base}
import_environment = MAIL_CONFIG MAIL_LOGTAG LANG=C LD_LIBRARY_PATH
myhostname = mail.example.test
mydestination = mail.example.test
mynetworks = 127.0.0.0/8
local_recipient_maps =
inet_interfaces = all
inet_protocols = all
smtp_dns_support_level = disabled
smtpd_peername_lookup = yes
smtputf8_enable = no
default_transport = hold
in_flow_delay = 0
smtpd_client_connection_count_limit = 0
smtpd_relay_restrictions = {restrictions}
"""
MASTER = """\
cleanup   unix  n  -  n  -  0  cleanup
rewrite   unix  -  -  n  -  -  trivial-rewrite
qmgr      unix  n  -  n  -  1  qmgr
bounce    unix  -  -  n  -  0  bounce
defer     unix  -  -  n  -  0  bounce
trace     unix  -  -  n  -  0  bounce
retry     unix  -  -  n  -  -  error
error     unix  -  -  n  -  -  error
hold      unix  -  -  n  -  -  error
postlog   unix-dgram n - n - 1 postlogd
"""


class PostfixError(Exception):
    """The private Postfix is not there, or does not start; the message says why."""


class Postfix:
    """A private Postfix below BASE; entering the context starts it. POPIP is the map's file, or a
    whole table such as ``hash:/path``."""

    def __init__(self, base: Path, popip: Path | str, port: int = PORT) -> None:
        self.base, self.port = base, port
        self.config = base / "config"
        self.log = base / "log"
        self._master: subprocess.Popen[bytes] | None = None
        self.table = popip if isinstance(popip, str) else f"hash:{popip.with_suffix('')}"

    def __enter__(self) -> Self:
        if not PROGRAMS.is_dir():
            raise PostfixError(f"{ROOT} is missing: run tools/setup --dev first")
        self._furnish()
        with (self.base / "master.out").open("wb") as out:
            self._master = subprocess.Popen(
                [PROGRAMS / "master", "-c", self.config, "-d"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self.environment(),
                start_new_session=True,
            )
        try:
            wait_for(self._greets, "Postfix to greet", PATIENCE_S)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End it and its processes; return when the master is gone."""
        if self._master is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._master.pid, signal.SIGKILL)
        self._master.wait(PATIENCE_S)
        self._master = None

    def rcpt(self, client: str, sender: str, recipient: str) -> Reply:
        """Return the reply to RCPT from a new connection, or the earlier reply that refused."""
        with self.session(client) as session:
            return session.rcpt(sender, recipient)

    @contextlib.contextmanager
    def session(self, client: str) -> Iterator[Session]:
        """Hold an SMTP connection that comes from the address CLIENT."""
        server = next(address for address in ADDRESSES if (":" in address) == (":" in client))
        session = Session(from_address(server, self.port, client))
        try:
            yield session
        finally:
            session.close()

    def look_up(self, key: str) -> str | None:
        """Return what `postmap -q` finds under KEY; None when nothing."""
        done = self.postmap("-q", key, self.table)
        return done.stdout.removesuffix("\n") if done.returncode == 0 else None

    def postmap(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run `postmap`."""
        return self.command("postmap", *words)

    def command(self, name: str, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a command of Postfix's on this instance."""
        return subprocess.run(
            self.words(name, *words),
            capture_output=True,
            text=True,
            env=self.environment(),
            timeout=PATIENCE_S,
        )

    def words(self, name: str, *words: str) -> list[str]:
        """Return the words that run a command of Postfix's on this instance."""
        return [str(COMMANDS / name), "-c", str(self.config), *words]

    def environment(self) -> dict[str, str]:
        """Return the environment in which its commands find their libraries."""
        return {**os.environ, "LD_LIBRARY_PATH": str(LIBRARIES), "MAIL_CONFIG": str(self.config)}

    def _greets(self) -> bool:
        assert self._master is not None
        if self._master.poll() is not None:
            said = (self.base / "master.out").read_text("utf-8", "replace")
            raise PostfixError(f"Postfix has ended: {said or self.log.read_text()}")
        for address in ADDRESSES:
            try:
                Session(from_address(address, self.port, address)).close()
            except OSError:
                return False
        return True

    def _furnish(self) -> None:
        _make_users()
        queue = self.base / "queue"
        for place in (self.config, queue, queue / "pid"):
            place.mkdir(parents=True, exist_ok=True)
        for name in OWNED.split():
            (queue / name).mkdir(mode=0o700)
            shutil.chown(queue / name, "postfix")
        for name, mode in (("maildrop", 0o730), ("public", 0o710)):
            (queue / name).mkdir()
            shutil.chown(queue / name, "postfix", "postdrop")
            (queue / name).chmod(mode)
        (self.base / "data").mkdir(mode=0o700)
        shutil.chown(self.base / "data", "postfix")
        values = {"base": self.base, "programs": PROGRAMS, "commands": COMMANDS}
        restrictions = RESTRICTIONS.format(popip=self.table)
        (self.config / "main.cf").write_text(MAIN.format(**values, restrictions=restrictions))
        inets = [f"[{address}]:{self.port} inet n - n - - smtpd\n" for address in ADDRESSES]
        (self.config / "master.cf").write_text("".join(inets) + MASTER)


def _make_users() -> None:
    """Make Postfix's users, in the room's own /etc."""
    room.slice_name()  # raises outside of a room
    try:
        pwd.getpwnam("postfix")
    except KeyError:
        add = "useradd --system --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin"
        subprocess.run(["groupadd", "--system", "postdrop"], check=True)
        subprocess.run([*add.split(), "postfix"], check=True)
