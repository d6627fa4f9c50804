"""Stalwart 0.9 and later, by its console tracer.

Source: crates/trc/src/serializers/text.rs, crates/common/src/telemetry/tracers/, auth events of
crates/common, and resources/systemd/stalwart-mail.service of stalwartlabs/mail-server and
stalwartlabs/stalwart. The console tracer (``tracer.ID.type = "console"``, without ansi) writes the
line to standard error, which systemd passes to the journal. The address stands before anything
of the client's; the port says which service it was.

Its journal tracer is of no use here: it sends ``Authentication successful`` as MESSAGE, and the
rest as fields of its own. Its log file is no journal.
"""

import re

from journalrelay.patterns.identity import Like
from journalrelay.patterns.pattern import Daemon, Pattern

_LOGIN = (
    rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,18}(?:Z|[+-][0-9:]{4,5}) INFO "
    rb"Authentication successful \(auth\.success\) listenerId = \"[A-Za-z0-9._-]{1,64}\", "
    rb"localPort = (?P<service>[0-9]{1,5}), remoteIp = (?P<address>[0-9A-Fa-f:.]{2,45}), "
    rb"remotePort = [0-9]{1,5}, accountName = \"(?P<user>[^\x00-\x1f\"\\\x7f]{1,255})\", "
    rb"accountId = [0-9]{1,10}(?:, type = \"?[A-Za-z]{1,32}\"?)?"
)

STALWART = Daemon(
    name="stalwart",
    identity={
        "_SYSTEMD_UNIT": ("stalwart.service", "stalwart-mail.service"),
        "_EXE": ("/opt/stalwart/bin/stalwart", "/opt/stalwart-mail/bin/stalwart-mail"),
        "_UID": Like(re.compile(rb"0|[1-9][0-9]{0,2}"), example="0"),
        "_TRANSPORT": ("stdout",),
        "SYSLOG_IDENTIFIER": ("stalwart", "stalwart-mail"),
    },
    patterns=(
        Pattern(
            _LOGIN,
            service={"110": "pop3", "995": "pop3", "143": "imap", "993": "imap"},
            samples={
                "2025-07-20T10:20:30Z INFO Authentication successful (auth.success) listenerId = "
                '"imaptls", localPort = 993, remoteIp = 192.0.2.7, remotePort = 50121, '
                'accountName = "bob@example.org", accountId = 3': "192.0.2.7",
                "2024-08-20T10:20:30Z INFO Authentication successful (auth.success) listenerId = "
                '"pop3", localPort = 110, remoteIp = 2001:db8::7, remotePort = 50121, '
                'accountName = "bob", accountId = 3, type = "individual"': "2001:db8::7",
            },
        ),
    ),
    programs=("/opt/stalwart/bin/stalwart", "/opt/stalwart-mail/bin/stalwart-mail"),
    traps=(
        "2025-07-20T10:20:30Z INFO Authentication successful (auth.success) listenerId = "
        '"submission", localPort = 587, remoteIp = 203.0.113.66, remotePort = 50121, '
        'accountName = "bob", accountId = 3',
        "2025-07-20T10:20:30Z INFO Authentication successful (auth.success) listenerId = "
        '"https", localPort = 443, remoteIp = 203.0.113.66, remotePort = 50121, '
        'accountName = "bob", accountId = 3',
        "2025-07-20T10:20:30Z WARN Authentication failed (auth.failed) listenerId = "
        '"imaptls", localPort = 993, remoteIp = 203.0.113.66, remotePort = 50121, '
        'accountName = "bob"',
        "2025-07-20T10:20:30Z WARN Authentication failed (auth.failed) listenerId = "
        '"imaptls", localPort = 993, remoteIp = 192.0.2.7, remotePort = 50121, accountName = '
        '"2025-07-20T10:20:30Z INFO Authentication successful (auth.success) listenerId = '
        '"imap", localPort = 143, remoteIp = 203.0.113.66, remotePort = 1, accountName = "x", '
        'accountId = 3"',
        "Authentication successful",
    ),
    forgeable="versions that do not escape quotes, and journald's cut of a long line of standard "
    "error, let a client that has not logged in write a line of its own",
)
