"""Cucipop 1.31, the Cubic Circle POP3 daemon.

Source: the patterns of pop-before-smtp 1.50 and of logcheck; of the sources only those parts were
seen that say how a command is taken apart: at blanks, so that a name holds none. The line is the
statistics at the end of a session, when the process has become its user; the login's time is
theirs. ``lost USER ADDRESS ...`` and ``authentication failure USER ADDRESS ...`` have a word more
before the address.

Run from inetd or xinetd, or as a server of its own (cucipop.service, from an init script).
"""

from journalrelay.patterns.identity import LOGIN_UID
from journalrelay.patterns.pattern import Daemon, Pattern

_LOGIN = (
    rb"(?P<user>[^\x00-\x20\x7f]{1,128}) (?P<address>[0-9A-Fa-f:.]{2,45}) [0-9]{1,9}, "
    rb"[0-9]{1,9} \([0-9]{1,15}\), [0-9]{1,9} \([0-9]{1,15}\)"
)

CUCIPOP = Daemon(
    name="cucipop",
    identity={
        "_SYSTEMD_UNIT": ("inetd.service", "xinetd.service", "cucipop.service"),
        "_EXE": ("/usr/sbin/cucipop", "/usr/sbin/tcpd"),
        "_UID": LOGIN_UID,
        "_TRANSPORT": ("syslog",),
        "SYSLOG_IDENTIFIER": ("cucipop",),
    },
    patterns=(
        Pattern(
            _LOGIN,
            service="pop3",
            samples={"bob 192.0.2.7 12, 3 (4711), 0 (0)": "192.0.2.7"},
        ),
    ),
    programs=("/usr/sbin/cucipop",),
    traps=(
        "lost bob 203.0.113.66 12, 3 (4711), 0 (0)",
        "authentication failure bob 203.0.113.66 12, 3 (4711), 0 (0)",
        "lost bob 192.0.2.7 203.0.113.66 12, 3 (4711), 0 (0)",
        "connect from 203.0.113.66",
        "bob 203.0.113.66",
        "Invalid command bob 203.0.113.66 12, 3 (4711), 0 (0)",
    ),
)
