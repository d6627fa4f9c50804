"""UW IMAP toolkit: ipop2d, ipop3d and imapd, up to Panda IMAP.

Source: src/ipopd/ipop2d.c, ipop3d.c, src/imapd/imapd.c, tcp_unix.c and env_unix.c of Panda IMAP
(jonabbey/panda-imap), and the patterns of pop-before-smtp 1.50 for older wordings. The line is
logged when the process has become its user. User and host are cut at 80 characters each: so an
address counts only with its closing bracket. The host's name is checked by tcp_name_valid() to
be letters, digits, dots and dashes. Versions of the nineties write the name alone
(``host=mail.example.org``): it is what the client's reverse zone says, and nobody has looked
whether it is his. One of 80 characters may have been cut, and where UNKNOWN stands there is
nothing to grant. The user's name is a real account's; that it may hold
`` host=x [203.0.113.66]`` does not matter, since only the last bracket counts.

Run from inetd or xinetd: Debian's ipopd and uw-imapd, Fedora's uw-imap, all in /usr/sbin.
"""

from journalrelay.patterns.identity import LOGIN_UID
from journalrelay.patterns.pattern import Daemon, Pattern

_BEGIN = (
    rb"(?:\[[A-Za-z0-9._-]{1,32}\])?(?:Admin )?(?:Login|Auth|APOP|Authenticated) "
    rb"user=(?P<user>[^\x00-\x1f\x7f]{1,80}) host="
)
_END = rb"(?: nmsgs=[0-9]{1,9}/[0-9]{1,9}| no mailbox| mech=[A-Za-z0-9_-]{1,32})?"
_LOGIN = _BEGIN + rb"(?:[A-Za-z0-9._-]{1,80} )?\[(?P<address>[0-9A-Fa-f:.]{2,45})\]" + _END
_BY_NAME = _BEGIN + rb"(?P<host>[A-Za-z0-9._-]{1,79})" + _END
_SERVICES = {"ipop2d": "pop2", "ipop3d": "pop3", "imapd": "imap"}

UW = Daemon(
    name="uw",
    identity={
        "_SYSTEMD_UNIT": ("inetd.service", "xinetd.service"),
        "_EXE": ("/usr/sbin/imapd", "/usr/sbin/ipop2d", "/usr/sbin/ipop3d", "/usr/sbin/tcpd"),
        "_UID": LOGIN_UID,
        "_TRANSPORT": ("syslog",),
        "SYSLOG_IDENTIFIER": ("imapd", "ipop2d", "ipop3d"),
    },
    patterns=(
        Pattern(
            _LOGIN,
            service=_SERVICES,
            samples={
                # ipop3d, ipop2d
                "Login user=bob host=client.example.org [192.0.2.7] nmsgs=3/12": "192.0.2.7",
                "Login user=bob host=[192.0.2.7] nmsgs=0/0": "192.0.2.7",
                "Admin Login user=bob host=client.example.org [192.0.2.7] nmsgs=3/12": "192.0.2.7",
                "Login user=bob host=client.example.org [192.0.2.7] no mailbox": "192.0.2.7",
                "Auth user=bob host=client.example.org [2001:db8::7] nmsgs=3/12": "2001:db8::7",
                "APOP user=bob host=client.example.org [192.0.2.7] no mailbox": "192.0.2.7",
                # imapd
                "Login user=bob host=client.example.org [192.0.2.7]": "192.0.2.7",
                "Authenticated user=bob host=client.example.org [192.0.2.7] mech=CRAM-MD5": (
                    "192.0.2.7"
                ),
                "[main]Login user=bob host=[192.0.2.7]": "192.0.2.7",
                # an account, and a host, of these names
                "Login user=x host=[203.0.113.66] nmsgs=1/1 host=203.0.113.66 [192.0.2.7] "
                "nmsgs=3/12": "192.0.2.7",
            },
        ),
        Pattern(
            _BY_NAME,
            service=_SERVICES,
            samples={
                "Login user=bob host=client.example.org nmsgs=3/12": "client.example.org",
                "Login user=bob host=Client.example.org": "client.example.org",
                "Authenticated user=x host=[203.0.113.66] host=client.example.org": (
                    "client.example.org"
                ),
            },
        ),
    ),
    programs=("/usr/sbin/ipop2d", "/usr/sbin/ipop3d", "/usr/sbin/imapd"),
    traps=(
        "Login user=bob host=203.0.113.66 nmsgs=3/12",
        "Login user=bob host=203.0.113.66",
        "Login user=bob host=0x7f.1",
        "Login user=bob host=localhost",
        "Login user=bob host="
        "cut.at.the.eightieth.character.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example.org",
        "Login user=bob host=UNKNOWN",
        "Login user=bob host=KRB5REMOTEADDR=203.0.113.66",
        "Login user=bob host=a.very.long.name.that.leaves.no.room.example.org [203.0.113.66",
        "Login failed user=bob auth=bob host=client.example.org [203.0.113.66]",
        "Login disabled user=bob auth=bob host=client.example.org [203.0.113.66]",
        "Login excessive login failures user=bob auth=bob host=x.example.org [203.0.113.66]",
        "Login SYSTEM BREAK-IN ATTEMPT user=bob auth=bob host=x.example.org [203.0.113.66]",
        "Login failure user=bob host=client.example.org [203.0.113.66]",
        "Login anonymous=bob host=client.example.org [203.0.113.66]",
        "Authenticated anonymous=bob host=client.example.org [203.0.113.66]",
        "Preauthenticated user=bob host=client.example.org [203.0.113.66]",
        "AUTHENTICATE PLAIN failure host=client.example.org [203.0.113.66]",
        "IMAP login to host=x user=y host=client.example.org [203.0.113.66]",
        "Logout user=Login user=bob host=client.example.org [203.0.113.66]",
        "Command stream end of file, while reading line user=Login user=bob host=[203.0.113.66]",
        "Update user=bob host=client.example.org [203.0.113.66] nmsgs=3 ndele=1",
        "pop3 service init from 203.0.113.66",
    ),
)
