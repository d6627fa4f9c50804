"""Teapop 0.3.

Source: teapop/pop_auth.c (jediblair/teapop). The first bracket is the server's own end, the last
the client's; the name before it is from reverse DNS. The user's name is an account's, and cannot
reach the end of the line. Logged before the process gives up root.

Run from inetd or xinetd (teapop.xinetd of the sources), or as a server of its own by the init
script teapop (``teapop -s``).
"""

from journalrelay.patterns.pattern import Daemon, Pattern

_LOGIN = (
    rb"Successful login for (?P<user>[^\x00-\x20\x7f]{1,255}) "
    rb"\[(?P<server>[0-9A-Fa-f:.]{2,45})\] "
    rb"from [A-Za-z0-9._:-]{1,255} \[(?P<address>[0-9A-Fa-f:.]{2,45})\]"
)

TEAPOP = Daemon(
    name="teapop",
    identity={
        "_SYSTEMD_UNIT": ("inetd.service", "xinetd.service", "teapop.service"),
        "_EXE": ("/usr/sbin/teapop", "/usr/sbin/tcpd"),
        "_UID": ("0",),
        "_TRANSPORT": ("syslog",),
        "SYSLOG_IDENTIFIER": ("teapop",),
    },
    patterns=(
        Pattern(
            _LOGIN,
            service="pop3",
            samples={
                "Successful login for bob [192.0.2.1] from client.example.org [192.0.2.7]": (
                    "192.0.2.7"
                ),
                "Successful login for bob@example.org [192.0.2.1] from 203.0.113.66 [192.0.2.7]": (
                    "192.0.2.7"
                ),
            },
        ),
    ),
    programs=("/usr/sbin/teapop",),
    traps=(
        "Failed login for bob [192.0.2.1] from client.example.org [203.0.113.66]",
        "Failed login for Successful login for bob [192.0.2.1] from x [203.0.113.66]",
        "Successful login for bob [203.0.113.66]",
        "Successful login for x [192.0.2.1] from x [203.0.113.66] [192.0.2.1] from y [192.0.2.7]",
        "Three failed login attempts from x [203.0.113.66] - Possible account probe",
        "connect from 203.0.113.66 (203.0.113.66)",
        "bob [203.0.113.66] RN(1) DN(0) LN(3)",
    ),
)
