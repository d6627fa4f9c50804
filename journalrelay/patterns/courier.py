"""Courier: pop3d and imapd, with TLS of their own or by STLS and STARTTLS.

Source: libs/imap/imaplogin.C, pop3login.C, imapd.C, pop3dserver.C, and lines recorded from 1.0.16
(Debian 12) and 1.4. What they write goes through courierlogger, which cuts at 511 bytes and logs
the pieces with the same fields, and before authentication the client has its text in there: see
journalrelay/recognition/forgery.py.
"""

from journalrelay.patterns.pattern import Daemon, Pattern

COURIER = Daemon(
    name="courier",
    identity={
        "_SYSTEMD_UNIT": (
            "courier-pop.service",
            "courier-pop-ssl.service",
            "courier-imap.service",
            "courier-imap-ssl.service",
        ),
        "_EXE": ("/usr/sbin/courierlogger",),
        "_UID": ("0",),
        "_TRANSPORT": ("syslog",),
        "SYSLOG_IDENTIFIER": ("pop3d", "pop3d-ssl", "imapd", "imapd-ssl"),
    },
    patterns=(
        Pattern(
            (
                rb"LOGIN, user=(?P<user>[^\x00-\x1f\x7f]{1,255}), "
                rb"ip=\[(?P<address>[0-9A-Fa-f:.]{2,45})\](?:, port=\[(?P<session>[0-9]{1,5})\])?"
                rb"(?:, protocol=(?:IMAP|SMAP1))?(?:, (?:stls|starttls)=1)?"
            ),
            service={"pop3d": "pop3", "pop3d-ssl": "pop3", "imapd": "imap", "imapd-ssl": "imap"},
            samples={
                # 1.0.16, recorded
                "LOGIN, user=alice, ip=[::ffff:192.0.2.10], port=[56617]": "192.0.2.10",
                "LOGIN, user=alice, ip=[::ffff:192.0.2.13], port=[59561], protocol=IMAP": (
                    "192.0.2.13"
                ),
                "LOGIN, user=alice, ip=[2001:db8::10], port=[4711], stls=1": "2001:db8::10",
                "LOGIN, user=alice, ip=[::ffff:192.0.2.16], port=[4711], protocol=IMAP, "
                "starttls=1": "192.0.2.16",
                # 0.50 and before had no port
                "LOGIN, user=alice, ip=[::ffff:192.0.2.7], protocol=IMAP": "192.0.2.7",
                # an account of this name
                "LOGIN, user=x, ip=[203.0.113.66], port=[1], ip=[::ffff:192.0.2.7], port=[5]": (
                    "192.0.2.7"
                ),
            },
        ),
        Pattern(
            (
                rb"(?:LOGOUT|DISCONNECTED|TIMEOUT), user=(?P<user>[^\x00-\x1f\x7f]{1,255}), "
                rb"ip=\[(?P<address>[0-9A-Fa-f:.]{2,45})\], port=\[(?P<session>[0-9]{1,5})\]"
                rb"(?:, [a-z]{1,10}=[0-9]{1,20}){0,9}"
            ),
            tells="logout",
            service={"imapd": "imap", "imapd-ssl": "imap"},
            identity={"SYSLOG_IDENTIFIER": ("imapd", "imapd-ssl")},
            samples={
                # 1.0.16, recorded
                "LOGOUT, user=alice, ip=[::ffff:192.0.2.11], port=[39043], headers=0, body=0, "
                "rcvd=26, sent=417, time=0": "192.0.2.11",
                "DISCONNECTED, user=alice, ip=[2001:db8::16], port=[36461], headers=0, body=0, "
                "rcvd=0, sent=17, time=0": "2001:db8::16",
                # an account of this name
                "LOGOUT, user=x, ip=[203.0.113.66], port=[1], ip=[::ffff:192.0.2.7], port=[5], "
                "headers=0, body=0": "192.0.2.7",
            },
        ),
    ),
    programs=("/usr/sbin/courierlogger", "/usr/lib/courier/courier/pop3login"),
    forgeable=(
        "a client that never logged in can have courierlogger cut its text so that a piece of it "
        "is logged as a login"
    ),
    traps=(
        "LOGIN FAILED, user=x, ip=[::ffff:203.0.113.66], port=[4711]",
        "LOGIN FAILED, method=PLAIN, ip=[::ffff:203.0.113.66], port=[4711]",
        "LOGIN: ip=[::ffff:203.0.113.66], command=LOGIN",
        "LOGOUT, ip=[::ffff:203.0.113.66], port=[4711]",
        "Disconnected, ip=[::ffff:203.0.113.66], port=[4711]",
        "Connection, ip=[::ffff:203.0.113.66], port=[4711]",
    ),
)
