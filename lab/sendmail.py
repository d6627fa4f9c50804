"""A private, real sendmail on a high port: its own configuration, queue and tables.

    with Sendmail(room.scratch("sendmail-")) as mta:
        mta.rcpt("192.0.2.7", "bob@mail.example.test", "ann@elsewhere.example")

It is configured through m4 with the project's own feature directory laid over the installed one,
so nothing has to be installed. It needs a host name with a dot, names from /etc/hosts alone and a
base directory with no world-writable one above it: inside `lab.room` all three hold.
"""

import contextlib
import os
import pwd
import select
import shutil
import signal
import smtplib
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from lab.client import Connect, Smtp, from_address

PROGRAM = "/usr/sbin/sendmail"
CF = Path("/usr/share/sendmail/cf")
FEATURES = Path(__file__).resolve().parent.parent / "sendmail" / "feature"
ADDRESSES = ("192.0.2.1", "2001:db8::1")
PORT = 2525
PATIENCE_S = 10.0
PROMPT = b"> "

HEAD = """\
divert(-1)
define(`_NO_MAKEINFO_')
define(`MAIL_SETTINGS_DIR', `{base}/mail/')
define(`_CF_DIR_', `{base}/cf/')
include(`{base}/cf/m4/cf.m4')
VERSIONID(`journalrelay lab')
OSTYPE(`debian')
define(`QUEUE_DIR', `{base}/queue')
define(`ALIAS_FILE', `{base}/mail/aliases')
define(`STATUS_FILE', `{base}/statistics')
define(`HELP_FILE', `{base}/mail/helpfile')
define(`confPID_FILE', `{base}/sendmail.pid')
define(`confCONTROL_SOCKET_NAME', `{base}/control')
define(`confHOST_STATUS_DIRECTORY', `{base}/hoststat')
define(`confDEAD_LETTER_DROP', `{base}/dead.letter')
define(`confSERVICE_SWITCH_FILE', `{base}/mail/service.switch')
define(`confTRUSTED_USER', `{user}')
define(`confFORWARD_PATH', `')
define(`confALIAS_WAIT', `0')
define(`confTO_IDENT', `0s')
define(`confDELIVERY_MODE', `queueonly')
define(`confQUEUE_LA', `1000')
define(`confREFUSE_LA', `1000')
define(`confDELAY_LA', `1000')
FEATURE(`no_default_msa')
"""
TAIL = """\
MAILER(`local')
MAILER(`smtp')
"""


class SendmailError(Exception):
    """The private sendmail cannot be configured or does not start; the message says why."""


class Reply(NamedTuple):
    """What the server answered: the code, and the text without it (lines joined by newlines)."""

    code: int
    text: str


class Session:
    """One SMTP connection from one client address; `greeting` is the server's first reply."""

    def __init__(self, connect: Connect) -> None:
        self.smtp = Smtp(connect)
        self.greeting = _reply(self.smtp.connect())

    def rcpt(self, sender: str, recipient: str) -> Reply:
        """Return the reply to RCPT in a new transaction, or the earlier one that refused."""
        self.smtp.ehlo_or_helo_if_needed()
        _reply(self.smtp.rset())
        mail = _reply(self.smtp.mail(sender))
        return mail if mail.code >= 400 else self.another(recipient)

    def another(self, recipient: str) -> Reply:
        """Return the reply to RCPT in the transaction that is open."""
        return _reply(self.smtp.docmd(f"RCPT TO:<{recipient}>"))

    def close(self) -> None:
        """Say QUIT; a connection that is already gone is closed."""
        with contextlib.suppress(smtplib.SMTPException, OSError):
            self.smtp.quit()
        self.smtp.close()


class RuleTest:
    """A long-lived `sendmail -bt`: one process that keeps its maps open between questions."""

    def __init__(self, command: Sequence[str]) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, bufsize=0
        )
        self._read()

    def ask(self, line: str) -> list[str]:
        """Send LINE (`/map popip KEY`, `RULESET INPUT`, `.D{name}value`); return what it prints."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        return self._read()

    def lookup(self, name: str, key: str) -> str | None:
        """Return what the map NAME says of KEY, as a rule would see it; None when nothing."""
        answer = " ".join(self.ask(f"/map {name} {key}"))
        if ") returns " not in answer:
            return None
        return answer.rsplit(") returns ", 1)[1].rsplit(" (", 1)[0]

    def allows(self, client: str, recipient: str, resolve: str = "OK") -> bool:
        """Tell whether Rcpt_ok answers RELAY for CLIENT, an address as sendmail spells it."""
        self.ask(f".D{{client_addr}}{client}")
        self.ask(f".D{{client_resolve}}{resolve}")
        answers = [line for line in self.ask(f"Rcpt_ok {recipient}") if line.startswith("Rcpt_ok ")]
        return answers[-1].split("returns:")[-1].strip() == "RELAY"

    def close(self) -> None:
        """End the process by the end of its input."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(PATIENCE_S)

    def _read(self) -> list[str]:
        """Return the lines printed up to the next prompt."""
        assert self._process.stdout is not None
        handle, text = self._process.stdout.fileno(), b""
        while not (text == PROMPT or text.endswith(b"\n" + PROMPT)):
            if not select.select([handle], [], [], PATIENCE_S)[0]:
                raise SendmailError(f"sendmail -bt fell silent after {text!r}")
            piece = os.read(handle, 65536)
            if not piece:
                raise SendmailError(f"sendmail -bt ended after {text!r}")
            text += piece
        return text.removesuffix(PROMPT).decode("utf-8", "backslashreplace").splitlines()


class Sendmail:
    """A private sendmail below BASE (made if missing); entering the context starts the daemon.

    BEFORE and AFTER are .mc lines around FEATURE(`poprelay'). POPIP is the path of the map, as
    sendmail writes it (without .db), or a whole map specification. LOCALIP and RELAY are tables,
    built with makemap; ACCESS is the text of an access table and switches access_db on.
    """

    def __init__(
        self,
        base: Path,
        *,
        before: str = "",
        after: str = "",
        popip: Path | str | None = None,
        localip: Mapping[str, str] | None = None,
        relay: Mapping[str, str] | None = None,
        access: str | None = None,
        delay_checks: bool = False,
        feature: bool = True,
        addresses: Sequence[str] = ADDRESSES,
        port: int = PORT,
    ) -> None:
        self.base, self.addresses, self.port = base, tuple(addresses), port
        self.mail = base / "mail"
        self.popip = popip if isinstance(popip, Path) else self.mail / "popip"
        self.cf = base / "sendmail.cf"
        self._daemon: subprocess.Popen[bytes] | None = None
        self._furnish(localip or {}, relay or {}, access)
        lines = ["FEATURE(`access_db')"] if access is not None else []
        lines += ["FEATURE(`delay_checks')"] if delay_checks else []
        lines += [before]
        lines += [self._feature(popip)] if feature else []
        self._configure("\n".join([*lines, after]))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the daemon; return when it greets on every address."""
        with (self.base / "daemon.out").open("wb") as out:
            self._daemon = subprocess.Popen(
                [PROGRAM, "-C", str(self.cf), "-bD"],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        try:
            for address in self.addresses:
                self._await(address)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the daemon and its sessions; return when it is gone."""
        if self._daemon is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._daemon.pid, signal.SIGKILL)
        self._daemon.wait(PATIENCE_S)
        self._daemon = None

    def rcpt(self, client: str, sender: str, recipient: str) -> Reply:
        """Return the reply to RCPT from a new connection, or the earlier reply that refused."""
        with self.session(client) as session:
            if session.greeting.code >= 400:
                return session.greeting
            return session.rcpt(sender, recipient)

    @contextlib.contextmanager
    def session(self, client: str) -> Iterator[Session]:
        """Hold an SMTP connection that comes from the address CLIENT."""
        same = [address for address in self.addresses if (":" in address) == (":" in client)]
        session = Session(from_address(same[0], self.port, client))
        try:
            yield session
        finally:
            session.close()

    def bt(self, lines: Sequence[str], *options: str) -> list[str]:
        """Return what a fresh `sendmail -bt` prints for LINES; OPTIONS like `-d60.5` come first."""
        done = subprocess.run(
            [PROGRAM, *options, "-C", str(self.cf), "-bt"],
            input="\n".join(lines) + "\n",
            capture_output=True,
            text=True,
            errors="backslashreplace",
            timeout=PATIENCE_S,
        )
        return (done.stdout + done.stderr).splitlines()

    @contextlib.contextmanager
    def rule_test(self) -> Iterator[RuleTest]:
        """Hold a `sendmail -bt` that lives on between questions."""
        test = RuleTest([PROGRAM, "-C", str(self.cf), "-bt"])
        try:
            yield test
        finally:
            test.close()

    def _await(self, address: str) -> None:
        """Return when the daemon greets on ADDRESS; raise when it ended or takes too long."""
        limit = time.monotonic() + PATIENCE_S
        while True:
            try:
                Session(from_address(address, self.port, address)).close()
                return
            except OSError as error:
                assert self._daemon is not None
                if self._daemon.poll() is not None or time.monotonic() > limit:
                    said = (self.base / "daemon.out").read_text(errors="replace")
                    raise SendmailError(f"no greeting on {address}: {error}; {said}") from error
                time.sleep(0.01)

    def _furnish(
        self, localip: Mapping[str, str], relay: Mapping[str, str], access: str | None
    ) -> None:
        """Lay out the directories, the cf tree with our feature in it, and the tables."""
        for place in (self.base, self.mail, self.base / "hoststat"):
            place.mkdir(parents=True, exist_ok=True)
        (self.base / "queue").mkdir(mode=0o700, exist_ok=True)
        overlay(self.base / "cf")
        (self.mail / "service.switch").write_text("hosts files\naliases files\npasswd files\n")
        (self.mail / "aliases").write_text("postmaster: root\nMAILER-DAEMON: postmaster\n")
        makemap(self.mail / "localip", localip)
        makemap(self.mail / "relay", relay)
        if access is not None:
            makemap(self.mail / "access", access)

    def _feature(self, popip: Path | str | None) -> str:
        specification = popip if isinstance(popip, str) else f"hash {self.popip}"
        return f"FEATURE(`poprelay', `{specification}')"

    def _configure(self, lines: str) -> None:
        """Write the .mc, build the cf from it and the alias database."""
        head = HEAD.format(base=self.base, user=pwd.getpwuid(os.geteuid()).pw_name)
        daemons = [
            f"DAEMON_OPTIONS(`Family={'inet6' if ':' in address else 'inet'}, "
            f"Name=MTA{number}, Port={self.port}, Addr={address}')"
            for number, address in enumerate(self.addresses)
        ]
        mc = self.base / "sendmail.mc"
        mc.write_text("\n".join([head, *daemons, "divert(0)dnl", lines, TAIL]))
        done = _run(["m4", str(mc)])
        if done.stderr:
            raise SendmailError(f"m4 {mc}: {done.stderr.strip()}")
        self.cf.write_text(done.stdout)
        _run([PROGRAM, "-C", str(self.cf), "-bi"])


def overlay(place: Path) -> None:
    """Make PLACE a cf directory: links to the installed one, with the project's features added."""
    (place / "feature").mkdir(parents=True, exist_ok=True)
    sources = [path for path in CF.iterdir() if path.name != "feature"]
    for source in sources:
        _link(place / source.name, source)
    for source in [*(CF / "feature").glob("*.m4"), *FEATURES.glob("*.m4")]:
        _link(place / "feature" / source.name, source)


def makemap(path: Path, rows: Mapping[str, str] | str, kind: str = "hash") -> None:
    """Build PATH.db from ROWS, a mapping or the text of a table, with sendmail's own makemap."""
    if not isinstance(rows, str):
        rows = "".join(f"{key}\t{value}\n" for key, value in rows.items())
    _run(["makemap", kind, str(path)], rows)


def _link(place: Path, target: Path) -> None:
    place.unlink(missing_ok=True)
    place.symlink_to(target)


def _run(command: Sequence[str], text: str | None = None) -> "subprocess.CompletedProcess[str]":
    if shutil.which(command[0]) is None:
        raise SendmailError(f"{command[0]} is not installed: run tools/setup first")
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip()
        raise SendmailError(f"{' '.join(command)}: exit {done.returncode}: {said}")
    return done


def _reply(answer: tuple[int, bytes]) -> Reply:
    return Reply(answer[0], answer[1].decode("utf-8", "backslashreplace"))
