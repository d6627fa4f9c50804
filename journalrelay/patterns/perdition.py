"""Perdition, a proxy for POP3 and IMAP4.

Source: perdition/perdition.c of 1.x to 2.2 (horms/perdition), lines recorded from 2.2 (Debian 12),
which runs from an init script as perdition.service, by default as nobody. ``status="ok"`` is logged
when the other server has accepted the login. The client's address is the line's first field,
before anything of his. Quotes in a name are not escaped: so a name with one is not read, and the
status counts at the end of the line only. Lines of 1,215 bytes were seen whole: where a name could
be long enough to cut the real status off, the line is longer than what is read. The older wording
names no protocol: its port does.
"""

import re

from journalrelay.patterns.identity import Like
from journalrelay.patterns.pattern import Daemon, Pattern

_NAME = rb'[^\x00-\x1f"\x7f]{1,255}'
_SECURE = rb"(?:ssl|starttls|plaintext)"
_LOGIN = (
    rb"Auth: (?P<address>[0-9A-Fa-f:.]{2,45}):[0-9]{1,5}->"
    rb"(?P<server>[0-9A-Fa-f:.]{2,45}):[0-9]{1,5} client-secure=" + _SECURE + rb" "
    rb'authorisation_id=(?:NONE|"' + _NAME + rb'") authentication_id="(?P<user>' + _NAME + rb')" '
    rb'(?:passwd="[^\x00-\x1f"\x7f]{0,255}" )?server="[^\x00-\x20"\x7f]{1,255}" '
    rb"protocol=(?P<service>[A-Z0-9]{3,12}) server-secure=" + _SECURE + rb' status="ok"'
)
_OLD = (
    rb"Auth: (?P<address>[0-9.]{7,15})(?::[0-9]{1,5})?->(?P<server>[0-9.]{7,15})(?::[0-9]{1,5})? "
    rb'user="(?P<user>' + _NAME + rb')" (?:passwd="[^\x00-\x1f"\x7f]{0,255}" )?'
    rb'server="[^\x00-\x20"\x7f]{1,255}" port="(?P<service>[a-z0-9]{1,12})" status="ok"'
)

PERDITION = Daemon(
    name="perdition",
    identity={
        "_SYSTEMD_UNIT": ("perdition.service",),
        "_EXE": (
            "/usr/sbin/perdition.pop3",
            "/usr/sbin/perdition.pop3s",
            "/usr/sbin/perdition.imap4",
            "/usr/sbin/perdition.imap4s",
            "/usr/sbin/perdition.imaps",
            "/usr/sbin/perdition",
        ),
        "_UID": Like(re.compile(rb"[1-9][0-9]{0,2}|65534"), example="65534"),
        "_TRANSPORT": ("syslog",),
        "SYSLOG_IDENTIFIER": (
            "perdition.pop3",
            "perdition.pop3s",
            "perdition.imap4",
            "perdition.imap4s",
            "perdition.imaps",
            "perdition",
        ),
    },
    patterns=(
        Pattern(
            _LOGIN,
            service={"POP3": "pop3", "POP3S": "pop3", "IMAP4": "imap", "IMAP4S": "imap"},
            samples={
                # 2.2, recorded
                "Auth: 192.0.2.10:56631->192.0.2.1:110 client-secure=plaintext "
                'authorisation_id=NONE authentication_id="alice" server="127.0.0.1:10110" '
                'protocol=POP3 server-secure=plaintext status="ok"': "192.0.2.10",
                "Auth: 192.0.2.13:49423->192.0.2.1:993 client-secure=ssl "
                'authorisation_id=NONE authentication_id="alice" server="127.0.0.1:10143" '
                'protocol=IMAP4S server-secure=plaintext status="ok"': "192.0.2.13",
                # perdition.c, with an authorisation of its own and log_passwd
                "Auth: 2001:db8::7:56631->2001:db8::1:143 client-secure=starttls "
                'authorisation_id="bob" authentication_id="admin" passwd="XXXXXX" '
                'server="mail.example.org:143" protocol=IMAP4 server-secure=ssl status="ok"': (
                    "2001:db8::7"
                ),
            },
        ),
        Pattern(
            _OLD,
            service={
                **dict.fromkeys(("110", "995", "pop3", "pop3s"), "pop3"),
                **dict.fromkeys(("143", "993", "imap2", "imap", "imaps"), "imap"),
            },
            samples={
                'Auth: 192.0.2.7->192.0.2.1 user="bob" server="mail.example.org" port="110" '
                'status="ok"': "192.0.2.7",
                'Auth: 192.0.2.7->192.0.2.1 user="bob" passwd="XXXXXX" '
                'server="mail.example.org" port="143" status="ok"': "192.0.2.7",
            },
        ),
    ),
    programs=("/usr/sbin/perdition",),
    traps=(
        "Auth: 203.0.113.66:56631->192.0.2.1:110 client-secure=plaintext authorisation_id=NONE "
        'authentication_id="bob" server="127.0.0.1:10110" protocol=POP3 '
        'server-secure=plaintext status="failed: Re-Authentication Failure"',
        "Auth: 203.0.113.66:56631->192.0.2.1:110 client-secure=plaintext authorisation_id=NONE "
        'authentication_id="bob" server="h:1" protocol=POP3 server-secure=plaintext status="ok"" '
        'server="127.0.0.1:10110" protocol=POP3 server-secure=plaintext status="failed: x"',
        "Auth: 203.0.113.66:56631->192.0.2.1:4190 client-secure=plaintext authorisation_id=NONE "
        'authentication_id="bob" server="127.0.0.1:4190" protocol=MANAGESIEVE '
        'server-secure=plaintext status="ok"',
        'Auth: 203.0.113.66->192.0.2.1 user="bob" server="h" port="110" status="failed: x"',
        'Auth: 203.0.113.66->192.0.2.1 user="bob" server="h" port="4190" status="ok"',
        "Connect:  203.0.113.66:47231->192.0.2.1:143",
        "Closing session: 203.0.113.66:47231->192.0.2.1:143 authorisation_id=NONE "
        'authentication_id="alice" received=11 sent=65',
        'Close: 203.0.113.66:47231->192.0.2.1:143 user="alice" received=11 sent=65',
        "Fatal Error reading authentication information from client "
        "203.0.113.66:59211->192.0.2.1:143: Exiting child",
    ),
)
