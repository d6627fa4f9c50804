"""GNU Mailutils pop3d, behind tcpd.

Source: pop3d/user.c and pop3d/pop3d.c of Mailutils 1.0 to 3.19, lines recorded from 3.19 under
inetd and tcpd. The login has no address: it is that of the connect line of the same process. As a
server of its own (``pop3d --daemon``) versions from 3.0 on log no connect line, and cannot be
read; older ones do. The user's name is the account's.
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

_USER = rb"(?P<user>[^\x00-\x20'`\x7f]{1,255})"
_LOGIN = rb"POP3 login: user `" + _USER + rb"', source [A-Za-z0-9._-]{1,32}"
_OLD = (
    rb"User [`']" + _USER + rb"' logged in with mailbox [`'][^\x00-\x20'`\x7f]{1,255}'"
    rb"(?: \([0-9]{1,9} (?:msgs|messages?)\))?"
)
_OWN_CONNECT = rb"[Cc]onnect from (?P<address>[0-9.]{7,15})"

MAILUTILS = Daemon(
    name="mailutils",
    identity={
        "_SYSTEMD_UNIT": ("inetd.service", "xinetd.service"),
        "_EXE": ("/usr/sbin/pop3d", "/usr/sbin/tcpd"),
        "_UID": ("0",),
        "_TRANSPORT": ("syslog",),
        "SYSLOG_IDENTIFIER": ("pop3d", "gnu-pop3d"),
    },
    patterns=(
        Pattern(CONNECT, samples=CONNECTS, tells="connect"),
        Pattern(CONNECT_BY_NAME, samples=CONNECTS_BY_NAME, tells="connect"),
        Pattern(_OWN_CONNECT, samples={"Connect from 192.0.2.7": "192.0.2.7"}, tells="connect"),
        Pattern(_LOGIN, samples={"POP3 login: user `alice', source system": ""}, service="pop3"),
        Pattern(
            _OLD,
            # 1.0 to 2.2, pop3d/user.c
            samples={"User 'bob' logged in with mailbox '/var/mail/bob' (3 msgs)": ""},
            service="pop3",
            identity={"_UID": LOGIN_UID},
        ),
    ),
    programs=("/usr/sbin/pop3d",),
    traps=(
        *NO_CONNECTS,
        "user `bob' nonexistent",
        "user `POP3 login: user `bob', source system' nonexistent",
        "user `bob': authentication failed",
        "login failed: POP3 login: user `bob', source system",
        "APOP failed for `bob'",
        "possible probe of account `bob'",
        "user `alice' logged in with mailbox `/var/mail/alice' (0 messages)",
        "user `bob' tried to log in within the minimum allowed delay",
        "session ended for user: POP3 login: user `bob', source system",
        "Denying connection from 203.0.113.66",
    ),
)
