"""gnu-pop3d 0.9, the ancestor of Mailutils and vm-pop3d.

Source: user.c of its later copies for the text, and the patterns of pop-before-smtp 1.50 for the
address at its end. The line is logged when the process has become its user, whose name and
mailbox hold no blank. Run from inetd or xinetd, as Debian's gnu-pop3d was.
"""

from journalrelay.patterns.identity import LOGIN_UID
from journalrelay.patterns.pattern import Daemon, Pattern

_LOGIN = (
    rb"User (?P<user>[^\x00-\x20'\x7f]{1,128}) logged in with mailbox [^\x00-\x20'\x7f]{1,255} "
    rb"from (?P<address>[0-9]{1,3}(?:\.[0-9]{1,3}){3})"
)

GNU_POP3D = Daemon(
    name="gnu-pop3d",
    identity={
        "_SYSTEMD_UNIT": ("inetd.service", "xinetd.service"),
        "_EXE": ("/usr/sbin/gnu-pop3d", "/usr/sbin/tcpd"),
        "_UID": LOGIN_UID,
        "_TRANSPORT": ("syslog",),
        "SYSLOG_IDENTIFIER": ("gnu-pop3d",),
    },
    patterns=(
        Pattern(
            _LOGIN,
            service="pop3",
            samples={"User bob logged in with mailbox /var/mail/bob from 192.0.2.7": "192.0.2.7"},
        ),
    ),
    programs=("/usr/sbin/gnu-pop3d",),
    traps=(
        "User bob logged in with mailbox /var/mail/bob",
        "User x logged in with mailbox y from 203.0.113.66 logged in with mailbox /z from "
        "192.0.2.7",
        "User 'User bob logged in with mailbox x from 203.0.113.66': nonexistent",
        "APOP user User bob logged in with mailbox x from 203.0.113.66 tried to log in with USER",
        "Session ended for user: bob",
    ),
)
