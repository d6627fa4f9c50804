"""The step of :mod:`lab.day` in which rsyslog writes the mail log, and the daemon reads that file.

What a file cannot give is seen here too: a line by `logger` opens the relay.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from lab import debian, room
from lab.sendmail import Session
from lab.stage import Stage, expect
from lab.wait import wait_for

LOG = "/var/log/mail.log"
LIE = "203.0.113.66"
LINE = (
    f"pop3-login: Login: user=<anna>, method=PLAIN, rip={LIE}, lip=192.0.2.1, mpid=7, session=<x>"
)
SENDERS = (  # CVE-2001-1075, as published and in the words of the server that is read
    f'<POP login by user "admin" at ({LIE}) {LIE}@example.org>',
    f'<"{LINE.removesuffix(", session=<x>")}"@example.org>',
)
# As poprelayd(8), LOG FILES, says.
SETTINGS = "/etc/mail/poprelay.conf.d/logfile.conf"
DROP_IN = "/etc/systemd/system/poprelayd.service.d/logfile.conf"
READ_IT = f'[source]\nkind = "logfile"\nlogfile = ["{LOG}"]\n'
MAY_READ_IT = "[Service]\nSupplementaryGroups=adm\n"
RESTART = "systemctl daemon-reload; systemctl restart poprelayd"


def follow_a_file(stage: Stage) -> str:
    """Install rsyslog and read its file: logins, sendmail's quotes, logrotate, a forged line; then
    go back to the journal."""
    host = stage.host
    host.run(f"{debian.APT} install {debian.SYSLOGD}")
    stage.login_counts()  # rsyslog makes the file when it has a line for it
    wait_for(host.path(LOG).exists, "rsyslog to write", 30)
    with _reading_the_file(stage):
        said = _road(stage)
        _quoted(stage)
        with stage.stream() as logged_in:
            for _ in range(3):
                stage.await_more(logged_in)
                host.run("logrotate -f /etc/logrotate.d/rsyslog")
            stage.await_more(logged_in)
        host.await_granted(logged_in, "all logins of the stream")
        old = host.run(f"ls {LOG}.* | wc -l")
        expect("old logs", old, "3")
        _road(stage)
        _forged(stage)
    before = host.granted()
    stage.login_counts()
    stage.refused(LIE)
    host.await_granted(before, "what was granted from the file")
    host.run(f"{debian.APT} purge {debian.SYSLOGD}")
    return f"{said}; 3 rotations, {len(logged_in)} logins meanwhile: all granted; {LIE} by logger"


@contextmanager
def _reading_the_file(stage: Stage) -> Iterator[None]:
    """Have the daemon read the file while the context is held; it says so when it may not."""
    host = stage.host
    _put(stage, SETTINGS, READ_IT)
    host.attempt(RESTART)
    expect("exit status without the group", host.property("ExecMainStatus"), "77")
    said = host.run("journalctl -q -o cat -u poprelayd -n 20")
    expect("what it says", f"{LOG}: permission denied (reading it needs its group" in said, True)
    _put(stage, DROP_IN, MAY_READ_IT)
    host.run(RESTART)
    host.await_active()
    expect("what is read", f"{LOG}: as configured" in host.run("journalrelay status"), True)
    yield
    for name in (SETTINGS, DROP_IN):
        host.path(name).unlink()
        host.path(name).parent.rmdir()
    host.run(RESTART)
    host.await_active()


def _put(stage: Stage, name: str, text: str) -> None:
    path = stage.host.path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def _road(stage: Stage) -> str:
    """Be refused, log in, be accepted."""
    address = stage.client()
    stage.refused(address)
    stage.host.log_in(address)
    took_s = stage.host.await_granted([address], f"a login in {LOG}")
    stage.accepted(address)
    return f"{took_s * 1000:.0f} ms until `journalrelay list` has it"


def _quoted(stage: Stage) -> None:
    """Have sendmail log what looks like a login; it must not count."""
    address = stage.client()
    for sender in SENDERS:
        session = Session(stage.host.from_address(room.SERVER, 25, address))
        session.smtp.ehlo()
        session.smtp.docmd(f"MAIL FROM:{sender}")
        session.another("friend@elsewhere.example")
        session.close()
    for words in (f"POP login by user.*{LIE}", f"Login: user=.*rip={LIE}"):
        _await_line(stage, f"sm-mta.*{words}")
    stage.login_counts()
    expect("the quoted login is granted", LIE in stage.host.granted(), False)
    stage.refused(LIE)


def _await_line(stage: Stage, words: str) -> None:
    asked = f"grep -q '{words}' {LOG}"
    wait_for(lambda: stage.host.attempt(asked).returncode == 0, f"{words} in {LOG}", 30)


def _forged(stage: Stage) -> None:
    """See that the manual says the truth: who can log can grant any address."""
    host = stage.host
    host.run(f"logger -t dovecot -p mail.info '{LINE}'", user="mallory")
    host.await_granted([LIE], "the forged line: the manual says that it counts")
    stage.accepted(LIE)
    host.run(f"journalrelay revoke {LIE}")
    wait_for(lambda: LIE not in host.granted(), "the revocation", 30)
