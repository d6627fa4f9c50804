"""Tpop3d up to 1.5.

Source: netloop.c (fork_child) and pop3.c of colinmkeith/tpop3d. The parent, root, logs it when it
has forked the child for a login, in a known form for relaying. The user's name stands before and
after the address: one with a bracket or a quote is not read, so that the first bracket is the
daemon's. IPv4 only, as is tpop3d.

Run by the init script tpop3d of Debian and PLD.
"""

from journalrelay.patterns.pattern import Daemon, Pattern

_NAME = rb"[^\x00-\x20()'`\x7f]{1,255}"
_LOGIN = (
    rb"fork_child: \[[0-9]{1,6}\](?P<user>" + _NAME + rb")"
    rb"\((?P<address>[0-9]{1,3}(?:\.[0-9]{1,3}){3})\): "
    rb"began session for `" + _NAME + rb"' with [a-z0-9_-]{1,32}; child PID is [0-9]{1,10}"
)

TPOP3D = Daemon(
    name="tpop3d",
    identity={
        "_SYSTEMD_UNIT": ("tpop3d.service",),
        "_EXE": ("/usr/sbin/tpop3d",),
        "_UID": ("0",),
        "_TRANSPORT": ("syslog",),
        "SYSLOG_IDENTIFIER": ("tpop3d",),
    },
    patterns=(
        Pattern(
            _LOGIN,
            service="pop3",
            samples={
                "fork_child: [6]bob(192.0.2.7): began session for `bob' with pam; child PID is "
                "4711": "192.0.2.7",
                "fork_child: [6]bob@example.org(192.0.2.7): began session for "
                "`bob@example.org' with mysql; child PID is 4711": "192.0.2.7",
            },
        ),
    ),
    programs=("/usr/sbin/tpop3d",),
    traps=(
        "authcontext_new_user_pass: began session for `bob' with pam; uid 1000, gid 1000",
        "fork_child: [6]x(203.0.113.66): began session for `x(192.0.2.7): began session for "
        "`x' with pam; child PID is 1' with pam; child PID is 1",
        "fork_child: client [6]203.0.113.66/mail.example.org: authentication context has UID of 0",
        "connections_post_select: client [6]bob(203.0.113.66): disconnected; 1/1 bytes "
        "read/written",
        "connections_post_select: client [6]bob(203.0.113.66): finished session for `bob' with pam",
        "listeners_post_select: client [6]203.0.113.66/mail.example.org: connected to local "
        "address 192.0.2.1:110",
    ),
)
