"""Dovecot 2.0 to 2.4.

Source: src/login-common/client-common-auth.c and ``login_log_format_elements`` at those versions,
and lines recorded from 2.3.19 (Debian 12) and 2.4.1 (Debian 13). The user's name is the client's
text: Dovecot replaces control characters and cuts it at 80 characters, nothing else, so that a
real account may be called ``x>, method=PLAIN, rip=203.0.113.66``. Only the last ``rip=`` counts,
which the greedy user group and the anchored tail make sure of.
"""

import re

from journalrelay.patterns.pattern import Daemon, Pattern

_LOGIN = re.compile(
    rb"(?P<service>pop3|imap)-login: (?:Login|Logged in): "
    rb"user=<(?P<user>[^\x00-\x1f\x7f]*)>, "
    rb"method=(?!ANONYMOUS,)[A-Za-z0-9_-]{1,32}, "
    rb"rip=(?P<address>[0-9A-Fa-f:.]{2,45}), (?:rport=[0-9]{1,5}, )?"
    rb"lip=(?P<server>[0-9A-Fa-f:.]{2,45})(?:, lport=[0-9]{1,5})?"
    rb"(?:, mpid=[0-9]{1,10})?(?:, (?:TLS|secured))?"
    rb"(?:, session=<(?P<session>[A-Za-z0-9+/=]{1,64})>)?"
)
# mail_log_prefix of 2.3 and 2.4; the last place in the line that looks like it is the real one,
# since only the user's name, before it, can hold such text: the reason is Dovecot's, and where it
# names the client's last command, that is one word.
_LOGOUT = re.compile(
    rb"imap(?:-hibernate)?\((?P<user>[^\x00-\x1f\x7f]{0,255})\)<[0-9]{1,10}>"
    rb"<(?P<session>[A-Za-z0-9+/=]{1,64})>: "
    rb"(?:Disconnected|Logged out|Connection close)[^\x00-\x1f\x7f]{0,300}[^\x00-\x20\x7f]"
)

DOVECOT = Daemon(
    name="dovecot",
    identity={
        "_SYSTEMD_UNIT": ("dovecot.service",),
        "_EXE": ("/usr/lib/dovecot/log", "/usr/libexec/dovecot/log"),
        "_UID": ("0",),
        "_TRANSPORT": ("syslog",),
        "SYSLOG_IDENTIFIER": ("dovecot",),
    },
    patterns=(
        Pattern(
            _LOGIN,
            samples={
                # 2.3.19, recorded
                "pop3-login: Login: user=<alice>, method=PLAIN, rip=192.0.2.10, lip=192.0.2.1, "
                "mpid=98, session=<IzGWE+RgjJvAAAIK>": "192.0.2.10",
                "imap-login: Login: user=<alice>, method=PLAIN, rip=2001:db8::13, "
                "lip=2001:db8::1, mpid=187, TLS, session=<AjuTGORgr68gAQ24AAAAAAAAAAAAAAAT>": (
                    "2001:db8::13"
                ),
                # 2.4.1, recorded
                "pop3-login: Logged in: user=<alice>, method=PLAIN, rip=192.0.2.10, "
                "lip=192.0.2.1, mpid=778, session=<kdV7FORgy9/AAAIK>": "192.0.2.10",
                # 2.0 and 2.1 had no session, login-common/client-common.c at 2.1.17
                "imap-login: Login: user=<bob@example.org>, method=CRAM-MD5, rip=192.0.2.7, "
                "lip=192.0.2.1, mpid=4711, TLS": "192.0.2.7",
                # an account of this name, 2.3.19, recorded
                "imap-login: Login: user=<x>, rip=203.0.113.66, lip=1.1.1.1, session=<abc>>, "
                "method=PLAIN, rip=2001:db8::51, lip=2001:db8::1, mpid=618, "
                "session=<yt4bOeRgL+QgAQ24AAAAAAAAAAAAAABR>": "2001:db8::51",
            },
        ),
        Pattern(
            _LOGOUT,
            tells="logout",
            service="imap",
            samples={
                # 2.3.19, recorded
                "imap(alice)<137><GHXiFORgG6HAAAIL>: Disconnected: Logged out in=26 out=782 "
                "deleted=0 expunged=0 trashed=0 hdr_count=0 hdr_bytes=0 body_count=0 "
                "body_bytes=0": "",
                # 2.4.1, recorded
                "imap(alice)<848><i4ESFeRgn6wgAQ24AAAAAAAAAAAAAAAW>: Disconnected: Connection "
                "closed (No commands sent) in=0 out=453 deleted=0 expunged=0 trashed=0 "
                "hdr_count=0 hdr_bytes=0 body_count=0 body_bytes=0": "",
                # an account of this name
                "imap(x)<1><GHXiFORgG6HAAAIL>: Disconnected: y)<848><i4ESFeRgn6wgAQ24>: "
                "Disconnected: Logged out in=26 out=819": "",
            },
        ),
    ),
    programs=("/usr/sbin/dovecot", "/usr/local/sbin/dovecot"),
    traps=(
        "imap(x)<137>: Disconnected: Logged out in=26 out=782",
        "pop3(x)<105><P7mBFORgW+fAAAIK>: Disconnected: Logged out top=0/0, retr=0/0, del=0/0",
        "imap-login: Disconnected: Aborted login by logging out (auth failed, 1 attempts in 2 "
        "secs): user=<x>, method=PLAIN, rip=203.0.113.66, lip=192.0.2.1, session=<abc>",
        "managesieve-login: Login: user=<alice>, method=PLAIN, rip=203.0.113.66, lip=192.0.2.1, "
        "mpid=1, session=<abc>",
        "pop3-login: Login: user=<anonymous>, method=ANONYMOUS, rip=203.0.113.66, "
        "lip=192.0.2.1, mpid=1, session=<abc>",
        "pop3-login: Login: user=<x>, method=PLAIN, rip=203.0.113.66, lip=192.0.2.1, mpid=1, "
        "session=<abc>\nand a second line",
        "auth: pop3-login: Login: user=<x>, method=PLAIN, rip=203.0.113.66, lip=192.0.2.1, mpid=1",
    ),
)
