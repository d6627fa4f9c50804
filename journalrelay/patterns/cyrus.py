"""Cyrus IMAP: pop3d and imapd, from 1.x to the logfmt lines of 2025.

Source: imap/imapd.c, imap/pop3d.c at 2.0 to 3.10, lines recorded from 3.6.1 (Debian 12);
imap/loginlog.c and lib/logfmt.c of cyrusimap/cyrus-imapd for the new ones; the two shapes before
2.0 are hearsay. The client's name is from reverse DNS, and he chooses it: only the address in
brackets counts, which stands before all that is his. A user's name with a blank is not read, so
that nothing of it can be taken for the mechanism; nor in logfmt one that must be quoted, which
is always escaped there. ``login: H anonymous TEXT`` has the client's own text.

backupd, timsieved, nntpd, httpd and others write the same texts: they have other programs.
"""

from journalrelay.patterns.identity import SYSTEM_UID
from journalrelay.patterns.pattern import Daemon, Pattern

_SERVICES = {
    f"{prefix}{name}": service
    for prefix in ("cyrus/", "")
    for name, service in (
        ("imap", "imap"),
        ("imaps", "imap"),
        ("imapd", "imap"),
        ("pop3", "pop3"),
        ("pop3s", "pop3"),
        ("pop3d", "pop3"),
    )
}
_CLIENT = rb"login: (?:[A-Za-z0-9._:-]{1,255} ?)?\[(?P<address>[0-9A-Fa-f:.]{2,45})\] "
_USER = rb"(?P<user>[^\x00-\x20\x7f]{1,255})"
_LOGIN = (
    _CLIENT + rb"(?!anonymous )(?!as [^ ]*\Z)" + _USER + rb" [A-Za-z0-9_-]{1,32}(?:\+TLS)?"
    rb"(?: User logged in(?: SESSIONID=<[A-Za-z0-9._:-]{1,128}>)?)?"
)
_AS = _CLIENT + rb"as " + _USER
_WORD = rb"[!#-<>-\[\]-~]{1,255}"
_VALUE = rb'(?:[!#-<>-\[\]-~]{1,255}|"[ !#-\[\]-~]{0,255}")'
_LOGFMT = (
    rb"event=login\.good (?:session[._]id=" + _WORD + rb" )?(?:r\.tid=" + _WORD + rb" )?"
    rb'r\.clienthost="?(?:[A-Za-z0-9._:-]{1,255} )?\[(?P<address>[0-9A-Fa-f:.]{2,45})\]"? '
    rb"u\.username=(?P<user>[!#-<>-\[\]-~]{1,255})(?: login\.nopassword=1)?"
    rb"(?: login\.magic=" + _VALUE + rb")? login\.mech=[A-Za-z0-9_-]{1,32} login\.tls=[01]"
    rb"(?: login\.magic=" + _VALUE + rb")?(?: login\.nopassword=1)?"
    rb"(?: pop\.subfolder=" + _VALUE + rb")?"
)

CYRUS = Daemon(
    name="cyrus",
    identity={
        "_SYSTEMD_UNIT": ("cyrus-imapd.service",),
        "_EXE": (
            "/usr/lib/cyrus/bin/imapd",
            "/usr/lib/cyrus/bin/pop3d",
            "/usr/libexec/cyrus-imapd/imapd",
            "/usr/libexec/cyrus-imapd/pop3d",
            "/usr/lib/cyrus-imapd/imapd",
            "/usr/lib/cyrus-imapd/pop3d",
        ),
        "_UID": SYSTEM_UID,
        "_TRANSPORT": ("syslog",),
        "SYSLOG_IDENTIFIER": tuple(_SERVICES),
    },
    patterns=(
        Pattern(
            _LOGIN,
            service=_SERVICES,
            samples={
                # 3.6.1, recorded
                "login: [192.0.2.16] alice plaintext User logged in "
                "SESSIONID=<cyrus-1795382703-316-1-7872859258424555667>": "192.0.2.16",
                "login: [2001:db8::10] alice plaintext User logged in "
                "SESSIONID=<cyrus-1795382697-333-1-14255806633572681125>": "2001:db8::10",
                "login: [192.0.2.17] alice PLAIN User logged in "
                "SESSIONID=<cyrus-1795382705-316-1-15157308454750311958>": "192.0.2.17",
                "login: client.example.org [192.0.2.12] alice plaintext+TLS User logged in "
                "SESSIONID=<cyrus-1795382707-384-1-503747642653750101>": "192.0.2.12",
                "login: 203.0.113.66 [192.0.2.18] alice plaintext+TLS User logged in "
                "SESSIONID=<cyrus-1795382708-346-1-7727320092330900158>": "192.0.2.18",
                # 2.x, imap/imapd.c
                "login: client.example.org[192.0.2.7] bob+Lists SCRAM-SHA-1+TLS User logged in": (
                    "192.0.2.7"
                ),
                "login: client.example.org [192.0.2.7] bob nopassword User logged in "
                "SESSIONID=<mail.example.org-7-1-1>": "192.0.2.7",
                # 2.0 and 2.1 had no more to say, 1.x nothing but KERBEROS
                "login: client.example.org[192.0.2.7] bob plaintext": "192.0.2.7",
                "login: client.example.org[192.0.2.7] bob KERBEROS": "192.0.2.7",
            },
        ),
        Pattern(
            _AS,
            service=_SERVICES,
            samples={"login: client.example.org[192.0.2.7] as bob": "192.0.2.7"},
        ),
        Pattern(
            _LOGFMT,
            service=_SERVICES,
            samples={
                # imap/loginlog.c, 2025
                'event=login.good session_id=cyrus-1-2-3-4 r.clienthost="client.example.org '
                '[192.0.2.7]" u.username=bob login.mech=PLAIN login.tls=1 login.magic=~null~': (
                    "192.0.2.7"
                ),
                "event=login.good r.clienthost=[2001:db8::7] u.username=bob "
                "login.mech=plaintext login.tls=0 pop.subfolder=~null~": "2001:db8::7",
                "event=login.good session.id=cyrus-1-2-3-4 r.tid=abc r.clienthost=[192.0.2.7] "
                "u.username=bob@example.org login.nopassword=1 login.mech=plaintext login.tls=0": (
                    "192.0.2.7"
                ),
            },
        ),
    ),
    programs=("/usr/lib/cyrus/bin/imapd", "/usr/libexec/cyrus-imapd/imapd"),
    traps=(
        "badlogin: [203.0.113.66] plaintext (bob) [SASL(-13): user not found: checkpass failed]",
        "badlogin: [198.51.100.111] plaintext (login: foo [203.0.113.66] bob plaintext User "
        "logged in) invalid user",
        "login: [203.0.113.66] anonymous plaintext User logged in SESSIONID=<x>",
        "login: [203.0.113.66] anonymous x@example.org",
        "login: x [203.0.113.66] [192.0.2.7] bob plaintext User logged in SESSIONID=<x>",
        "login: 203.0.113.66 bob plaintext User logged in",
        "login: [203.0.113.66] bob carol plaintext User logged in",
        "event=login.bad r.clienthost=[203.0.113.66] u.username=bob login.mech=plaintext "
        "error=~null~",
        "event=login.good r.clienthost=[203.0.113.66] login.mech=ANONYMOUS login.tls=0 "
        "login.anonymous=1 login.password=x",
        "event=login.good r.clienthost=[203.0.113.66] u.username=bob login.tls=0 "
        "login.scheme=Basic",
        'event=login.bad r.clienthost=[192.0.2.7] u.username="x event=login.good '
        'r.clienthost=[203.0.113.66] u.username=x login.mech=PLAIN login.tls=0"',
        "accepted connection from [203.0.113.66]",
    ),
)
