"""Qpopper 3.0 to 4.1.

Source: pop_log.c (do_log_login), pop_init.c, pop_updt.c, pop_apop.c and drac.c of 4.0 and 4.1, and
the patterns of pop-before-smtp 1.50. The line is logged when the process has become its user
(pop_dropcopy). ``log-login`` is the administrator's: only its default wording is read. Statistics
(``-s``) are logged at the end of a session, and so is the login's time. The client's name is from
reverse DNS, and the address stands behind it, at the end, with the place in the source behind it
when debugging. The user's name is a real account's. ``(USER,IP) Authenticated.`` is of a patch.

Run from inetd or xinetd as in.qpopper (Debian), qpopper (PLD), popper (SUSE, upstream), which its
identifier is too, or as a server of its own by PLD's init script.
"""

from journalrelay.patterns.identity import LOGIN_UID
from journalrelay.patterns.pattern import Daemon, Pattern

_USER = rb'(?P<user>[^\x00-\x20"(),\x7f]{1,128})'
_ADDRESS = rb"(?P<address>[0-9]{1,3}(?:\.[0-9]{1,3}){3})"
_WHENCE = rb"(?: \[[A-Za-z0-9_./-]{1,64}:[0-9]{1,5}\])?"
_LOGIN = (
    rb"\(v[A-Za-z0-9._+-]{1,32}\) POP login by user \"" + _USER + rb"\" "
    rb"at \([A-Za-z0-9._-]{1,255}\) " + _ADDRESS + _WHENCE
)
_STATS = (
    rb"Stats: " + _USER + rb" [0-9]{1,9} [0-9]{1,15} [0-9]{1,9} [0-9]{1,15} "
    rb"[A-Za-z0-9._-]{1,255} " + _ADDRESS + _WHENCE
)
_DRAC = (
    rb"\[drac\]: login by " + _USER + rb" from host [A-Za-z0-9._-]{1,255} "
    rb"\(" + _ADDRESS + rb"\)" + _WHENCE
)
_PATCHED = rb"\(" + _USER + rb"," + _ADDRESS + rb"\) Authenticated\."

QPOPPER = Daemon(
    name="qpopper",
    identity={
        "_SYSTEMD_UNIT": ("inetd.service", "xinetd.service", "qpopper.service"),
        "_EXE": (
            "/usr/sbin/in.qpopper",
            "/usr/sbin/qpopper",
            "/usr/sbin/popper",
            "/usr/local/sbin/popper",
            "/usr/sbin/tcpd",
        ),
        "_UID": LOGIN_UID,
        "_TRANSPORT": ("syslog",),
        "SYSLOG_IDENTIFIER": ("in.qpopper", "qpopper", "popper"),
    },
    patterns=(
        Pattern(
            _LOGIN,
            service="pop3",
            samples={
                # 4.0.9, from a forum, with this address in place of the real one
                '(v4.0.9) POP login by user "nick" at (client.example.org) 192.0.2.7 '
                "[pop_log.c:244]": "192.0.2.7",
                '(v4.0.9) POP login by user "bob" at (203.0.113.66) 192.0.2.7': "192.0.2.7",
            },
        ),
        Pattern(
            _STATS,
            service="pop3",
            samples={
                "Stats: bob 0 0 3 12345 client.example.org 192.0.2.7": "192.0.2.7",
                "Stats: bob 0 0 3 12345 203.0.113.66 192.0.2.7 [pop_updt.c:228]": "192.0.2.7",
            },
        ),
        Pattern(
            _DRAC,
            service="pop3",
            samples={
                "[drac]: login by bob from host client.example.org (192.0.2.7) [drac.c:36]": (
                    "192.0.2.7"
                ),
            },
        ),
        Pattern(
            _PATCHED,
            service="pop3",
            samples={"(bob,192.0.2.7) Authenticated.": "192.0.2.7"},
        ),
    ),
    programs=("/usr/sbin/in.qpopper", "/usr/sbin/qpopper", "/usr/local/sbin/popper"),
    traps=(
        "Stats: bob 0 0 3 12345",
        "Stats: bob 0 0 3 12345 203.0.113.66",
        "[AUTH] Failed attempted login to bob from host (client.example.org) 203.0.113.66",
        'bob at client.example.org (203.0.113.66): -ERR [AUTH] Password supplied for "bob" is '
        "incorrect. [pop_pass.c:1188]",
        "bob at client.example.org (203.0.113.66): -ERR [IN-USE] /var/spool/bob lock busy!",
        'x at x (192.0.2.7): -ERR Unknown command: "(v4.0.9) pop login by user "bob" at (x) '
        '203.0.113.66"',
        'apop "bob"',
        "connect from 203.0.113.66",
        "(v4.0.9) Unable to get canonical name of client 203.0.113.66: Unknown host (1)",
        '(v4.0.9) Servicing request from "x" at 203.0.113.66',
        "[drac]: dracauth returned 1: 203.0.113.66",
        # sendmail's, where the hole of 2001 was
        'POP login by user "admin" at (203.0.113.66) 203.0.113.66@example.org',
    ),
)
