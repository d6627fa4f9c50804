"""vpop3d, Conectiva's vpopd.

Source: the agent vpopd of Mail::POPRelay, which reads ``vpop3d: (USER,IP) Authenticated`` in
/var/log/messages; neither sources nor package were seen. The user's name is the letters, digits,
dots and dashes of an account. Run from inetd or xinetd.
"""

import re

from journalrelay.patterns.identity import Like
from journalrelay.patterns.pattern import Daemon, Pattern

_LOGIN = (
    rb"\((?P<user>[A-Za-z0-9._@-]{1,128}),(?P<address>[0-9]{1,3}(?:\.[0-9]{1,3}){3})\) "
    rb"Authenticated"
)

VPOP3D = Daemon(
    name="vpop3d",
    identity={
        "_SYSTEMD_UNIT": ("inetd.service", "xinetd.service"),
        "_EXE": ("/usr/sbin/vpop3d", "/usr/sbin/tcpd"),
        "_UID": Like(re.compile(rb"[0-9]{1,10}"), example="0"),
        "_TRANSPORT": ("syslog",),
        "SYSLOG_IDENTIFIER": ("vpop3d",),
    },
    patterns=(
        Pattern(_LOGIN, service="pop3", samples={"(bob,192.0.2.7) Authenticated": "192.0.2.7"}),
    ),
    programs=("/usr/sbin/vpop3d",),
    traps=(
        "(x,203.0.113.66) Authenticated,192.0.2.7) Authenticated",
        "(bob,203.0.113.66) Not authenticated",
        "(bob 203.0.113.66) Authenticated",
    ),
)
