"""GNU Mailutils imap4d, behind tcpd.

Source: imap4d/imap4d.c of Mailutils 1.0 to 3.19, lines recorded from 3.19 under inetd and tcpd. The
login has no address: it is that of the connect line of the same process. imap4d cuts what it logs
at 8,187 bytes and logs the rest as another line, whose text is the client's: such a line is still
root's, while a login is logged by its user, so that none was seen to pass; it stays among those
that are read by name only, since a mailbox of a virtual user is root's too.
"""

from journalrelay.patterns.identity import LOGIN_UID
from journalrelay.patterns.pattern import Daemon, Pattern
from journalrelay.patterns.tcpd import (
    CONNECT,
    CONNECT_BY_NAME,
    CONNECTS,
    CONNECTS_BY_NAME,
    NO_CONNECTS,
)

_LOGIN = (
    rb"[Uu]ser `(?P<user>[^\x00-\x20'`\x7f]{1,255})' logged in "
    rb"\(source: [A-Za-z0-9._-]{1,32}\)"
)

MAILUTILS_IMAP4D = Daemon(
    name="mailutils-imap4d",
    identity={
        "_SYSTEMD_UNIT": ("inetd.service", "xinetd.service"),
        "_EXE": ("/usr/sbin/imap4d", "/usr/sbin/tcpd"),
        "_UID": ("0",),
        "_TRANSPORT": ("syslog",),
        "SYSLOG_IDENTIFIER": ("imap4d", "gnu-imap4d"),
    },
    patterns=(
        Pattern(CONNECT, samples=CONNECTS, tells="connect"),
        Pattern(CONNECT_BY_NAME, samples=CONNECTS_BY_NAME, tells="connect"),
        Pattern(
            _LOGIN,
            samples={"user `alice' logged in (source: system)": ""},
            service="imap",
            identity={"_UID": LOGIN_UID},
        ),
    ),
    programs=("/usr/sbin/imap4d",),
    traps=(
        *NO_CONNECTS,
        "user `bob' nonexistent",
        "user `user `bob' logged in (source: system)' nonexistent",
        "anonymous user bob logged in",
        "login failed: user `bob' logged in (source: system)",
        "session terminating for user: alice",
    ),
    forgeable="a client that has not logged in can have imap4d cut a long line, and log what "
    "follows the cut as a line of its own",
)
