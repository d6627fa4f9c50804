"""vm-pop3d, in one line or in two.

Source: vm-pop3d.c and user.c of Orc/vm-pop3d-cc for the two lines, and the patterns of
pop-before-smtp 1.50 for the one. The login is logged when the process has become its user; the
connect line before it is root's and has the address. A name with a blank is refused by vm-pop3d,
one with a quote is not read here. IPv4 only, as is vm-pop3d.

Run from inetd or xinetd, or by the init script vm-pop3d of its sources.
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

_USER = rb"User '(?P<user>[^\x00-\x20'\x7f]{1,128})'"
_ADDRESS = rb"(?P<address>[0-9]{1,3}(?:\.[0-9]{1,3}){3})"
_LOGIN = _USER + rb" logged in from " + _ADDRESS + rb"(?:, nmsgs=[0-9]{1,9})?"
_SECOND = (
    _USER + rb"(?: of '[^\x00-\x20'\x7f]{1,255}')? logged in"
    rb"(?: with mailbox '[^\x00-\x20'\x7f]{1,255}')?"
)

VM_POP3D = Daemon(
    name="vm-pop3d",
    identity={
        "_SYSTEMD_UNIT": ("inetd.service", "xinetd.service", "vm-pop3d.service"),
        "_EXE": ("/usr/sbin/vm-pop3d", "/usr/sbin/tcpd"),
        "_UID": LOGIN_UID,
        "_TRANSPORT": ("syslog",),
        "SYSLOG_IDENTIFIER": ("vm-pop3d",),
    },
    patterns=(
        Pattern(
            _LOGIN,
            service="pop3",
            samples={"User 'bob' logged in from 192.0.2.7, nmsgs=3": "192.0.2.7"},
        ),
        Pattern(
            _SECOND,
            service="pop3",
            samples={
                "User 'bob' logged in": "",
                "User 'bob' of 'example.org' logged in": "",
                "User 'bob' logged in with mailbox '/var/mail/bob'": "",
            },
        ),
        Pattern(
            rb"Connect from " + _ADDRESS,
            samples={"Connect from 192.0.2.7": "192.0.2.7"},
            tells="connect",
            identity={"_UID": ("0",)},
        ),
        Pattern(CONNECT, samples=CONNECTS, tells="connect", identity={"_UID": ("0",)}),
        Pattern(
            CONNECT_BY_NAME,
            samples=CONNECTS_BY_NAME,
            tells="connect",
            identity={"_UID": ("0",)},
        ),
    ),
    programs=("/usr/sbin/vm-pop3d",),
    traps=(
        *NO_CONNECTS,
        "Session ended for user: 'bob' from 203.0.113.66, nmsgs=3, ndel=0",
        "Session timed out for user: User 'bob' logged in from 203.0.113.66, nmsgs=3",
        "Unable to use bob's mailbox; using /dev/null for testing",
        "Non-existent user: User 'bob' logged in from 203.0.113.66, nmsgs=3",
        "User 'x' logged in from 203.0.113.66, nmsgs=3' logged in from 192.0.2.7, nmsgs=3",
        "pop3 user: User 'bob' logged in from 203.0.113.66, nmsgs=3",
        "Connection to 203.0.113.66",
    ),
)
