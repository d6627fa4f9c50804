"""vchkpw of vpopmail, which checks the passwords for qmail's POP3 and IMAP servers.

Source: vchkpw.c and parse_email() of vpopmail 5.4 (with --enable-logging=y or v); ``login [U] from
IP`` is older, from the patterns of pop-before-smtp 1.50. The address is the last of what colons
part, so IPv4 only: with IPv6 one could not tell where it begins. User and domain hold no colon
(parse_email() refuses both), and a name with one is not read. The service is in vchkpw's own
name for the line: smtp, smtps and submission are no POP or IMAP login, webmail is the web server's
address, and a number is a port that vpopmail does not know, perhaps SMTP's.

vpopmail is built from source, in /home/vpopmail or /var/vpopmail; it is logged by root, or by
vpopmail's own user, under whatever runs qmail's servers: qmail.service or svscan.service.
"""

import re

from journalrelay.patterns.identity import Like
from journalrelay.patterns.pattern import Daemon, Pattern

_SERVICES = {"pop3": "pop3", "pop3s": "pop3", "imap": "imap", "imaps": "imap"}
_NAME = rb"[^\x00-\x20:@\[\]\x7f]{1,155}"
_ADDRESS = rb"(?P<address>[0-9]{1,3}(?:\.[0-9]{1,3}){3})"
_LOGIN = (
    rb"vchkpw-(?P<service>[a-z0-9]{3,10}): \((?:PLAIN|CRAM-MD5|APOP)\) login success "
    rb"(?P<user>" + _NAME + rb"@[A-Za-z0-9.-]{1,155}):(?:::ffff:)?" + _ADDRESS
)
_SYSTEM = (
    rb"vchkpw-(?P<service>[a-z0-9]{3,10}): system password login success "
    rb"(?P<user>" + _NAME + rb"):(?:::ffff:)?" + _ADDRESS
)
_OLD = rb"vchkpw: login \[(?P<user>" + _NAME + rb"(?:@[A-Za-z0-9.-]{1,155})?)\] from " + _ADDRESS

VCHKPW = Daemon(
    name="vchkpw",
    identity={
        "_SYSTEMD_UNIT": ("qmail.service", "svscan.service"),
        "_EXE": (
            "/home/vpopmail/bin/vchkpw",
            "/var/vpopmail/bin/vchkpw",
            "/usr/local/vpopmail/bin/vchkpw",
        ),
        "_UID": Like(re.compile(rb"0|[1-9][0-9]{0,2}"), example="0"),
        "_TRANSPORT": ("syslog",),
        "SYSLOG_IDENTIFIER": ("vpopmail", "vchkpw"),
    },
    patterns=(
        Pattern(
            _LOGIN,
            service=_SERVICES,
            samples={
                "vchkpw-pop3: (PLAIN) login success bob@example.org:192.0.2.7": "192.0.2.7",
                "vchkpw-pop3s: (APOP) login success bob@example.org:::ffff:192.0.2.7": "192.0.2.7",
                "vchkpw-imap: (PLAIN) login success bob@example.org:192.0.2.7": "192.0.2.7",
            },
        ),
        Pattern(
            _SYSTEM,
            service=_SERVICES,
            samples={"vchkpw-pop3: system password login success bob:192.0.2.7": "192.0.2.7"},
        ),
        Pattern(
            _OLD,
            service="pop3",
            samples={"vchkpw: login [bob@example.org] from 192.0.2.7": "192.0.2.7"},
        ),
    ),
    programs=(
        "/home/vpopmail/bin/vchkpw",
        "/var/vpopmail/bin/vchkpw",
        "/usr/local/vpopmail/bin/vchkpw",
    ),
    traps=(
        "vchkpw-smtp: (PLAIN) login success bob@example.org:203.0.113.66",
        "vchkpw-submission: (CRAM-MD5) login success bob@example.org:203.0.113.66",
        "vchkpw-webmail: (PLAIN) login success bob@example.org:203.0.113.66",
        "vchkpw-2525: (PLAIN) login success bob@example.org:203.0.113.66",
        "vchkpw-pop3: (PLAIN) login success bob@example.org:2001:db8::203.0.113.66",
        "vchkpw-pop3: (PLAIN) login success bob@example.org:203.0.113.66@x:192.0.2.7",
        "vchkpw-pop3: password fail (pass: 'x') bob@example.org:203.0.113.66",
        "vchkpw-pop3: password fail (pass: '(PLAIN) login success a@b:1.2.3.4') b@c:203.0.113.66",
        "vchkpw-pop3: vpopmail user not found bob@example.org:203.0.113.66",
        "vchkpw-pop3: vpopmail user not found x: (PLAIN) login success b@c:203.0.113.66",
        "vchkpw-pop3: pop access denied bob@example.org:203.0.113.66",
        "vchkpw-imap: imap access denied bob@example.org:203.0.113.66",
        "vchkpw-pop3: invalid user/domain characters x:203.0.113.66",
        "vchkpw-pop3: null user name given bob:203.0.113.66",
        "vchkpw-pop3: null password given bob:203.0.113.66",
        "vchkpw-pop3: system user not found bob:203.0.113.66",
        "vchkpw-pop3: system password fail (pass: 'x') bob:203.0.113.66",
    ),
)
