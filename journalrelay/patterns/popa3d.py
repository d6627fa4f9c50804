"""popa3d 0.4 to 1.0.

Source: pop_root.c, standalone.c at 1.0.3, and lines recorded from 1.0.3 (Debian 12). It names the
client in one line, as root, and the account in a later one of the same process, which has become
that account's user by then. Run by a socket unit (Accept=yes) or by inetd it does not name the
client at all: the unit's instance does, or the tcpd before it.
"""

from journalrelay.patterns.identity import LOGIN_UID, socket_unit
from journalrelay.patterns.pattern import Daemon, Pattern
from journalrelay.patterns.tcpd import (
    CONNECT,
    CONNECT_BY_NAME,
    CONNECTS,
    CONNECTS_BY_NAME,
    NO_CONNECTS,
)

_ADDRESS = rb"(?P<address>[0-9A-Fa-f:.]{2,45})"
_USER = rb"(?P<user>[^\x00-\x20\x7f]{1,128})"
_PASSED = rb"Authentication passed for " + _USER
_INETD = ("inetd.service", "xinetd.service")
# tcpd becomes the daemon; journald may still know the process by either
_TCPD = {
    "_SYSTEMD_UNIT": _INETD,
    "_EXE": ("/usr/sbin/tcpd", "/usr/sbin/popa3d", "/usr/local/sbin/popa3d"),
}

POPA3D = Daemon(
    name="popa3d",
    identity={
        "_SYSTEMD_UNIT": ("popa3d.service",),
        "_EXE": ("/usr/sbin/popa3d", "/usr/local/sbin/popa3d"),
        "_UID": ("0",),
        "_TRANSPORT": ("syslog",),
        "SYSLOG_IDENTIFIER": ("popa3d",),
    },
    patterns=(
        Pattern(
            rb"Session from " + _ADDRESS,
            tells="connect",
            samples={"Session from 192.0.2.10": "192.0.2.10"},  # standalone.c
        ),
        Pattern(
            CONNECT,
            tells="connect",
            identity=_TCPD,
            samples=CONNECTS,
        ),
        Pattern(CONNECT_BY_NAME, samples=CONNECTS_BY_NAME, tells="connect", identity=_TCPD),
        Pattern(
            _PASSED,
            service="pop3",
            identity={"_SYSTEMD_UNIT": ("popa3d.service", *_INETD), "_UID": LOGIN_UID},
            samples={"Authentication passed for alice": ""},  # 1.0.3, recorded
        ),
        Pattern(
            _PASSED,
            service="pop3",
            identity={"_SYSTEMD_UNIT": socket_unit("popa3d"), "_UID": LOGIN_UID},
            samples={"Authentication passed for alice": "192.0.2.10"},  # 1.0.3, recorded
        ),
        Pattern(
            rb"Authentication passed for " + _USER + rb" -- \[" + _ADDRESS + rb"\]",
            service="pop3",
            identity={"_SYSTEMD_UNIT": ("popa3d.service", *_INETD), "_UID": LOGIN_UID},
            # with a patch that was shared among pop-before-smtp's users
            samples={"Authentication passed for alice -- [192.0.2.10]": "192.0.2.10"},
        ),
    ),
    programs=("/usr/sbin/popa3d", "/usr/local/sbin/popa3d"),
    traps=(
        "Authentication failed for alice",
        "Authentication failed for UNKNOWN USER",
        "Authentication passed for x (203.0.113.66)",
        "Authentication passed for x -- [203.0.113.66] -- [192.0.2.1]",
        "Didn't attempt authentication",
        *NO_CONNECTS,
        "0 messages (0 bytes) loaded",
    ),
)
