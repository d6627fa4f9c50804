"""Dovecot 0.99 to 2.4, also as a proxy.

Source: src/login-common/client-common.c, client-common-auth.c and ``login_log_format_elements`` at
1.0 to 2.4, lines recorded from 2.3.19 (Debian 12) and 2.4.1 (Debian 13); 0.99 as the patterns of
pop-before-smtp 1.50 have it. The user's name is the client's text: Dovecot replaces control
characters and cuts it at 80 characters, nothing else, so that a real account may be called
``x>, method=PLAIN, rip=203.0.113.66``. Only the last ``rip=`` counts, which the greedy user group
and the anchored tail make sure of. Up to 1.2 the master itself wrote to syslog.

A proxy says that it has started only when the other server has said OK to the login (``L OK``,
``+OK``: imap-proxy.c and pop3-proxy.c call client_proxy_finish_destroy_client() there; 1.1 and
1.2 log it at the same place). A login that failed there is ``proxy(U): Login failed ...`` with the
same tail, and names are not escaped in it either: so a name with a blank, bracket or comma is not
read from a proxy. Where the passdb sets both ``nopassword`` and ``proxy_noauth``, nobody asks for
a password, and a login proves nothing.
"""

from journalrelay.patterns.pattern import Daemon, Pattern

_TAIL = (
    rb"method=(?!ANONYMOUS,)[A-Za-z0-9_-]{1,32}, "
    rb"rip=(?P<address>[0-9A-Fa-f:.]{2,45}), (?:rport=[0-9]{1,5}, )?"
    rb"lip=(?P<server>[0-9A-Fa-f:.]{2,45})(?:, lport=[0-9]{1,5})?"
    rb"(?:, mpid=[0-9]{1,10})?(?:, (?:TLS|secured))?"
    rb"(?:, TLSv1(?:\.[0-3])? with cipher [A-Z0-9_-]{1,64} \([0-9]{1,4}/[0-9]{1,4} bits\))?"
    rb"(?:, session=<"
)
_ID = rb"[A-Za-z0-9+/=]{1,64}"
_LOGIN = (
    rb"(?P<service>pop3|imap)-login: (?:Login|Logged in): "
    rb"user=<(?P<user>[^\x00-\x1f\x7f]*)>, " + _TAIL + rb"(?P<session>" + _ID + rb")>)?"
)
_NAME = rb"[^\x00-\x20()<>,\x7f]{1,255}"
_PROXY = (
    rb"(?P<service>pop3|imap)-login: proxy\(" + _NAME + rb"(?:,[0-9A-Fa-f:.\[\]]{4,53})?\): "
    rb"[Ss]tarted proxying to (?:remote host )?[<>A-Za-z0-9._:\[\]-]{3,270}(?:/" + _NAME + rb")?"
    rb"(?: \(<[A-Za-z0-9._:-]{1,255}>\))?(?: from [0-9A-Fa-f:.]{2,45})?(?: as user "
    + _NAME
    + rb")?"
    rb"(?: \(master " + _NAME + rb"\))?(?: \([0-9.]{1,12} secs(?:, [0-9]{1,4} reconnects)?\))?: "
    rb"user=<(?P<user>" + _NAME + rb")>, " + _TAIL + _ID + rb">)?"
)
_OLD = (
    rb"(?P<service>pop3|imap)-login: Login: "
    rb"(?P<user>[^\x00-\x20<>=,\[\]\x7f]{1,128}) \[(?P<address>[0-9A-Fa-f:.]{2,45})\]"
)
# mail_log_prefix of 2.3 and 2.4; the last place in the line that looks like it is the real one,
# since only the user's name, before it, can hold such text: the reason is Dovecot's, and has no
# angle brackets.
_LOGOUT = (
    rb"imap(?:-hibernate)?\((?P<user>[^\x00-\x1f\x7f]{0,255})\)<[0-9]{1,10}>"
    rb"<(?P<session>[A-Za-z0-9+/=]{1,64})>: "
    rb"(?:Disconnected|Logged out|Connection close)[^\x00-\x1f<>\x7f]{0,300}[^\x00-\x20<>\x7f]"
)

DOVECOT = Daemon(
    name="dovecot",
    identity={
        "_SYSTEMD_UNIT": ("dovecot.service",),
        "_EXE": ("/usr/lib/dovecot/log", "/usr/libexec/dovecot/log", "/usr/sbin/dovecot"),
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
                # 1.0 to 1.2, behind a socket for both families
                "imap-login: Login: user=<bob>, method=PLAIN, rip=::ffff:192.0.2.7, "
                "lip=::ffff:192.0.2.1, secured": "192.0.2.7",
                # rip, rport, lip, lport and %k in login_log_format_elements
                "imap-login: Login: user=<bob>, method=PLAIN, rip=192.0.2.7, rport=50121, "
                "lip=192.0.2.1, lport=993, mpid=7, TLS, TLSv1.3 with cipher "
                "TLS_AES_256_GCM_SHA384 (256/256 bits), session=<AAAA>": "192.0.2.7",
                # an account of this name, 2.3.19, recorded
                "imap-login: Login: user=<x>, rip=203.0.113.66, lip=1.1.1.1, session=<abc>>, "
                "method=PLAIN, rip=2001:db8::51, lip=2001:db8::1, mpid=618, "
                "session=<yt4bOeRgL+QgAQ24AAAAAAAAAAAAAABR>": "2001:db8::51",
            },
        ),
        Pattern(
            _PROXY,
            samples={
                # 2.0 to 2.3.10, client-common-auth.c
                "imap-login: proxy(bob): started proxying to 192.0.2.200:143: user=<bob>, "
                "method=PLAIN, rip=192.0.2.7, lip=192.0.2.1, TLS, session=<LGL0EwwQOQBOmTSo>": (
                    "192.0.2.7"
                ),
                "pop3-login: proxy(bob): started proxying to mail.example.org:110/bob@example.org "
                "(master admin): user=<bob>, method=PLAIN, rip=192.0.2.7, lip=192.0.2.1": (
                    "192.0.2.7"
                ),
                # 2.3.11 to 2.4
                "imap-login: proxy(bob,192.0.2.200:143): Started proxying to <192.0.2.200> "
                "(<mail.example.org>) from 192.0.2.2 as user bob@example.org (0.012 secs, 1 "
                "reconnects): user=<bob>, method=PLAIN, rip=2001:db8::7, lip=2001:db8::1, TLS, "
                "session=<AAAA>": "2001:db8::7",
            },
        ),
        Pattern(
            _OLD,
            samples={
                "pop3-login: Login: bob [192.0.2.7]": "192.0.2.7",
                "imap-login: Login: bob@example.org [::ffff:192.0.2.7]": "192.0.2.7",
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
        "imap-login: Login aborted: Logged out (auth failed, 1 attempts in 2 secs) "
        "(auth_failed): user=<x>, method=PLAIN, rip=203.0.113.66, lip=192.0.2.1, session=<abc>",
        "managesieve-login: Login: user=<alice>, method=PLAIN, rip=203.0.113.66, lip=192.0.2.1, "
        "mpid=1, session=<abc>",
        "submission-login: Logged in: user=<alice>, method=PLAIN, rip=203.0.113.66, "
        "lip=192.0.2.1, mpid=1, session=<abc>",
        "pop3-login: Login: user=<anonymous>, method=ANONYMOUS, rip=203.0.113.66, "
        "lip=192.0.2.1, mpid=1, session=<abc>",
        "pop3-login: Login: user=<x>, method=PLAIN, rip=203.0.113.66, lip=192.0.2.1, mpid=1, "
        "session=<abc>\nand a second line",
        "auth: pop3-login: Login: user=<x>, method=PLAIN, rip=203.0.113.66, lip=192.0.2.1, mpid=1",
        # the user's name at the end, where 0.99 had the address
        "pop3-login: Login: method=PLAIN, rip=192.0.2.7, lip=192.0.2.1, user=x [203.0.113.66]",
        "pop3-login: Login: user=<x>, method=PLAIN, lip=192.0.2.1, x [203.0.113.66]",
        # what a proxy logs when the other server says no, to names of the client's
        "imap-login: proxy(x): Login failed to 192.0.2.200:143: no: user=<x>, method=PLAIN, "
        "rip=203.0.113.66, lip=192.0.2.1",
        "imap-login: proxy(x,192.0.2.200:143): Login failed: [AUTHENTICATIONFAILED] no: "
        "user=<x>, method=PLAIN, rip=203.0.113.66, lip=192.0.2.1",
        "imap-login: proxy(x): started proxying to h:1: user=<y): Login failed to h:143: no: "
        "user=<x): started proxying to h:1: user=<y>, method=PLAIN, rip=203.0.113.66, "
        "lip=192.0.2.1, TLS",
        "imap-login: proxy(x): started proxying to h:1/y): Login failed to h:143: no: user=<x): "
        "started proxying to h:1/y>, method=PLAIN, rip=203.0.113.66, lip=192.0.2.1, TLS",
        "imap-login: proxy(x): disconnecting 203.0.113.66 (Disconnected by client(0s idle, in=1))",
        "managesieve-login: proxy(bob): started proxying to 192.0.2.200:4190: user=<bob>, "
        "method=PLAIN, rip=203.0.113.66, lip=192.0.2.1, TLS",
    ),
)
