"""Solid POP3 (solid-pop3d, spop3d), with or without --enable-logextend, also behind tcpd.

Source: src/main.c of 0.15, lines recorded from Debian's 0.15-31 under inetd and tcpd. The tail is
the client's address, or with a name from reverse DNS ``NAME (ADDRESS)``: so a bare
``203.0.113.66`` is an address, and before brackets it is a name. The user's name is cut at 40
characters and is a real account's. Without --enable-logextend the login has no address: it is
that of the connect line, solid's own or tcpd's, of the same process. A login by APOP is logged
when the process has become its user.
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

_USER = rb"(?:mapped )?user (?P<user>[^\x00-\x20\x7f]{1,40}) authenticated"
_ADDRESS = rb"(?P<address>[0-9A-Fa-f:.]{2,45})"
_NAMED = rb" - [A-Za-z0-9._-]{1,256} \(" + _ADDRESS + rb"\)"
_BARE = rb" - " + _ADDRESS
_APOP = rb" through APOP"

SOLID_POP3D = Daemon(
    name="solid-pop3d",
    identity={
        "_SYSTEMD_UNIT": ("inetd.service", "xinetd.service", "solid-pop3d.service"),
        "_EXE": ("/usr/sbin/solid-pop3d", "/usr/sbin/tcpd", "/usr/sbin/spop3d"),
        "_UID": ("0",),
        "_TRANSPORT": ("syslog",),
        "SYSLOG_IDENTIFIER": ("solid-pop3d", "spop3d"),
    },
    patterns=(
        Pattern(
            _USER + _BARE,
            service="pop3",
            samples={
                # 0.15, recorded
                "user alice authenticated - 192.0.2.14": "192.0.2.14",
                "user alice authenticated - 2001:db8::10": "2001:db8::10",
                "mapped user bob authenticated - 192.0.2.7": "192.0.2.7",
            },
        ),
        Pattern(
            _USER + _NAMED,
            service="pop3",
            samples={
                "user alice authenticated - client.example.org (192.0.2.14)": "192.0.2.14",
                "user alice authenticated - 203.0.113.66 (192.0.2.14)": "192.0.2.14",
            },
        ),
        Pattern(
            _USER + _APOP + _BARE,
            service="pop3",
            identity={"_UID": LOGIN_UID},
            samples={"user bob authenticated through APOP - 192.0.2.7": "192.0.2.7"},
        ),
        Pattern(
            _USER + _APOP + _NAMED,
            service="pop3",
            identity={"_UID": LOGIN_UID},
            samples={"user bob authenticated through APOP - 203.0.113.66 (192.0.2.7)": "192.0.2.7"},
        ),
        Pattern(
            _USER,
            service="pop3",
            samples={"user bob authenticated": "", "mapped user bob authenticated": ""},
        ),
        Pattern(
            _USER + _APOP,
            service="pop3",
            identity={"_UID": LOGIN_UID},
            samples={"user bob authenticated through APOP": ""},
        ),
        Pattern(CONNECT, samples=CONNECTS, tells="connect"),
        Pattern(CONNECT_BY_NAME, samples=CONNECTS_BY_NAME, tells="connect"),
        Pattern(
            rb"connect from " + _ADDRESS,
            samples={"connect from 192.0.2.14": "192.0.2.14"},
            tells="connect",
        ),
    ),
    programs=("/usr/sbin/solid-pop3d", "/usr/sbin/spop3d"),
    traps=(
        *NO_CONNECTS,
        "authentication failed: no such user: user bob authenticated - 203.0.113.66",
        "authentication failed: no such user: bob - 203.0.113.66",
        "authentication failed for user bob - 203.0.113.66",
        "APOP authentication failed for mapped user bob - 203.0.113.66",
        "can't find APOP secret for user bob - 203.0.113.66",
        "authentication failed: can't map user name: bob - 203.0.113.66",
        "root login not allowed - 203.0.113.66",
        "session ended for user bob - 203.0.113.66",
        "session ended - 203.0.113.66",
        "user x authenticated - 203.0.113.66 authenticated - 192.0.2.7",
        "user bob authenticated - client.example.org",
        "user bob authenticated - 203.0.113.66 (192.0.2.7",
    ),
)
