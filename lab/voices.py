"""What each POP and IMAP daemon logs for a client; the clients are those of lab/hostile.py.

A voice writes the lines for a client who has logged in and for one who has not, by the daemon's own
rules of escaping, replacing and cutting. Sources are those of the daemon's pattern file.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

SERVER = b"192.0.2.1"
OTHER = b"192.0.2.200"  # the server behind a proxy
_NOW = b"2025-07-20T10:20:30Z "


@dataclass(frozen=True)
class Client:
    """Somebody connected; ``user`` and ``host`` are of his choice, ``address`` is not."""

    address: bytes
    user: bytes
    host: bytes


class Said(NamedTuple):
    """One line, and what it may be taken for: a login, a connect line, or neither."""

    line: bytes
    tells: str = ""


def login(line: bytes) -> Said:
    return Said(line, "login")


def connect(line: bytes) -> Said:
    return Said(line, "connect")


# The daemons' rules


def _replaced(text: bytes, limit: int = 80) -> bytes:
    """Return a name as Dovecot shows it: str_sanitize()."""
    clean = bytes(63 if byte < 32 else byte for byte in text)
    return clean if len(clean) <= limit else clean[: limit - 3] + b"..."


def _word(text: bytes) -> bytes:
    """Return what is left of a name where commands are parted at blanks."""
    return (text.split() or [b"x"])[0]


def _line(text: bytes) -> bytes:
    """Return what can be sent as one line."""
    return text.translate(None, b"\r\n\0")


def _caret(text: bytes) -> bytes:
    """Return control characters as Cyrus shows them."""
    return b"".join(b"^%c" % (byte + 64) if byte < 32 else bytes([byte]) for byte in text)


def _logfmt(text: bytes) -> bytes:
    """Return a value as Cyrus' logfmt.c writes it."""
    if not text:
        return b'""'
    if re.fullmatch(rb"[!#-<>-\[\]-~]+", text):
        return text
    named = {9: b"\\t", 10: b"\\n", 13: b"\\r", 34: b'\\"', 92: b"\\\\"}
    return b'"%b"' % b"".join(
        named.get(byte) or (bytes([byte]) if 32 <= byte < 127 else b"\\x{%02x}" % byte)
        for byte in text
    )


def _courier(who: Client) -> Iterator[Said]:
    for tail in (b"", b", protocol=IMAP", b", protocol=IMAP, starttls=1", b", stls=1"):
        end = b"user=%b, ip=[%b], port=[4711]%b" % (_line(who.user), who.address, tail)
        yield login(b"LOGIN, " + end)
        yield Said(b"LOGIN FAILED, " + end)
        yield Said(b"LOGOUT, " + end)
    yield Said(b"LOGIN: ip=[%b], username=%b" % (who.address, who.user))


def _cucipop(who: Client) -> Iterator[Said]:
    tail = b"%b %b 12, 3 (4711), 0 (0)" % (_word(who.user)[:40], who.address)
    yield login(tail)
    yield Said(b"lost " + tail)
    yield Said(b"authentication failure " + tail)
    yield Said(b"Invalid command %b" % _line(who.user))


def _cyrus(who: Client) -> Iterator[Said]:
    user, named = _caret(who.user), b"%b [%b]" % (who.host, who.address)
    for client in (named, b"%b[%b]" % (who.host, who.address), b"[%b]" % who.address):
        for how in (b"plaintext", b"PLAIN+TLS", b"nopassword"):
            end = b"%b %b User logged in SESSIONID=<cyrus-1-2-3-4>" % (user, how)
            yield login(b"login: %b %b" % (client, end))
        yield login(b"login: %b %b plaintext" % (client, user))
        yield login(b"login: %b as %b" % (client, user))
        yield Said(b"login: %b anonymous %b" % (client, user[:500]))
        yield Said(
            b"badlogin: %b plaintext (%b) [SASL(-13): no: checkpass failed]" % (client, user)
        )
        yield Said(b"badlogin: %b plaintext %b no" % (client, user))
    client, user = _logfmt(named), _logfmt(who.user)
    head = b"r.clienthost=%b u.username=%b " % (client, user)
    yield login(b"event=login.good session_id=cyrus-1-2 %blogin.mech=PLAIN login.tls=1" % head)
    yield Said(b"event=login.bad %berror=no" % head)
    yield Said(
        b"event=login.good r.clienthost=%b login.mech=x login.tls=0 login.anonymous=1 "
        b"login.password=%b" % (client, user)
    )


def _dovecot(who: Client) -> Iterator[Said]:
    shown, raw = _replaced(who.user), who.user
    tail = b"method=PLAIN, rip=%b, lip=%b, mpid=42, TLS, session=<AAAA>" % (who.address, SERVER)
    end = b"user=<%b>, %b" % (shown, tail)
    for word in (b"Login", b"Logged in"):
        yield login(b"imap-login: %b: %b" % (word, end))
    yield Said(b"imap-login: Disconnected: Aborted login (auth failed, 1 attempts): " + end)
    yield Said(b"imap-login: Login aborted: Logged out (auth failed) (auth_failed): " + end)
    for prefix in (b"proxy(%b): " % raw, b"proxy(%b,%b:143): " % (raw, OTHER)):
        begun = b"tarted proxying to %b:143" % OTHER
        yield login(b"pop3-login: %bs%b: %b" % (prefix, begun, end))
        yield login(b"pop3-login: %bS%b/%b (0.012 secs): %b" % (prefix, begun, raw, end))
        for where in (b"", b" to %b:143" % OTHER, b" to %b:143/%b" % (OTHER, raw)):
            yield Said(b"pop3-login: %bLogin failed%b: no: %b" % (prefix, where, end))
    yield login(b"pop3-login: Login: %b [%b]" % (shown, who.address))


def _gnu_pop3d(who: Client) -> Iterator[Said]:
    user = _word(who.user)
    yield login(b"User %b logged in with mailbox /m/%b from %b" % (user, user, who.address))
    yield Said(b"User '%b': nonexistent" % user)
    yield Said(b"APOP user %b tried to log in with USER" % user)


def _tcpd(who: Client) -> Iterator[Said]:
    yield connect(b"connect from %b (%b)" % (who.host, who.address))
    yield connect(b"connect from %b@%b (%b)" % (_word(who.user)[:255], who.host, who.address))
    yield Said(b"refused connect from %b (%b)" % (who.host, who.address))


def _mailutils(who: Client) -> Iterator[Said]:
    yield from _tcpd(who)
    yield connect(b"Connect from " + who.address)
    yield login(b"POP3 login: user `%b', source system" % who.user)
    yield login(b"User '%b' logged in with mailbox '/m/%b' (3 msgs)" % (who.user, who.user))
    for form in (
        b"user `%b' nonexistent",
        b"user `%b': authentication failed",
        b"login failed: %b",
    ):
        yield Said(form % who.user)
    yield Said(b"APOP failed for `%b'" % who.user)


def _mailutils_imap4d(who: Client) -> Iterator[Said]:
    yield from _tcpd(who)
    yield login(b"user `%b' logged in (source: system)" % who.user)
    yield Said(b"user `%b' nonexistent" % who.user)
    yield Said(b"anonymous user %b logged in" % who.user)


def _perdition(who: Client) -> Iterator[Said]:
    new = b"%b:4711->%b:110 client-secure=plaintext " % (who.address, SERVER)
    ids = (
        b'authorisation_id=NONE authentication_id="%b"' % who.user,
        b'authorisation_id="%b" authentication_id="%b"' % (who.user, who.user),
    )
    for name in ids:
        where = b'server="%b:110" protocol=POP3 server-secure=plaintext' % OTHER
        yield login(b'Auth: %b%b %b status="ok"' % (new, name, where))
        yield Said(b'Auth: %b%b %b status="failed: no"' % (new, name, where))
        yield Said(b"Closing session: %b%b received=1 sent=1" % (new, name))
    old = b'Auth: %b->%b user="%b" server="h" port="110"' % (who.address, SERVER, who.user)
    yield login(b'%b status="ok"' % old)
    yield Said(b'%b status="failed: no"' % old)


def _popa3d(who: Client) -> Iterator[Said]:
    yield connect(b"Session from " + who.address)
    yield login(b"Authentication passed for %b" % _word(who.user))
    yield login(b"Authentication passed for %b -- [%b]" % (_word(who.user), who.address))
    yield Said(b"Authentication failed for %b" % _line(who.user))


def _qpopper(who: Client) -> Iterator[Said]:
    user, whence = _word(who.user)[:64], b" [pop_log.c:244]"
    for end in (b"", whence):
        at = (user, who.host, who.address, end)
        yield login(b'(v4.0.9) POP login by user "%b" at (%b) %b%b' % at)
        yield login(b"Stats: %b 0 0 3 4711 %b %b%b" % at)
        yield login(b"[drac]: login by %b from host %b (%b)%b" % at)
        yield Said(b"[AUTH] Failed attempted login to %b from host (%b) %b%b" % at)
        yield Said(b"%b at %b (%b): -ERR [AUTH] no%b" % at)
    yield login(b"(%b,%b) Authenticated." % (user, who.address))
    at = (user, who.host, who.address, _line(who.user))
    yield Said(b'%b at %b (%b): -ERR Unknown command: "%b".' % at)


def _solid_pop3d(who: Client) -> Iterator[Said]:
    user = _line(who.user).lower()[:40]
    yield from _tcpd(who)
    for tail in (who.address, b"%b (%b)" % (who.host[:256], who.address)):
        yield connect(b"connect from " + tail)
        yield login(b"user %b authenticated - %b" % (user, tail))
        yield login(b"mapped user %b authenticated through APOP - %b" % (user, tail))
        yield Said(b"authentication failed: no such user: %b - %b" % (user, tail))
        yield Said(b"authentication failed for user %b - %b" % (user, tail))
        yield Said(b"session ended for user %b - %b" % (user, tail))
    yield login(b"user %b authenticated" % user)
    yield Said(b"authentication failed: no such user: %b" % user)


def _stalwart(who: Client) -> Iterator[Said]:
    escapes = {9: b"\\t", 10: b"\\n", 13: b"\\r", 92: b"\\\\"}
    for rules in (escapes, escapes | {34: b'\\"'}):
        user = b"".join(rules.get(byte) or bytes([byte]) for byte in who.user)
        for port in (993, 587):
            end = (
                b'listenerId = "x", localPort = %d, remoteIp = %b, remotePort = 1, '
                b'accountName = "%b"' % (port, who.address, user)
            )
            good = b"INFO Authentication successful (auth.success) %b, accountId = 1" % end
            yield Said(_NOW + good, "login" if port == 993 else "")
            yield Said(_NOW + b"WARN Authentication failed (auth.failed) " + end)


def _teapop(who: Client) -> Iterator[Said]:
    end = b"login for %b [%b] from %b [%b]" % (
        _line(who.user).rstrip(b" "),
        SERVER,
        who.host,
        who.address,
    )
    yield login(b"Successful " + end)
    yield Said(b"Failed " + end)


def _tpop3d(who: Client) -> Iterator[Said]:
    user = _line(who.user)
    fork = b"fork_child: [6]%b(%b)" % (user, who.address)
    yield login(b"%b: began session for `%b' with pam; child PID is 4711" % (fork, user))
    yield Said(b"authcontext_new_user_pass: began session for `%b' with pam; uid 1, gid 1" % user)
    yield Said(b"connections_post_select: client [6]%b(%b): disconnected" % (user, who.address))


def _uw(who: Client) -> Iterator[Said]:
    user, host = who.user[:80], (b"%b [%b]" % (who.host, who.address))[:80]
    for end in (b"", b" nmsgs=3/12", b" no mailbox", b" mech=PLAIN"):
        yield login(b"Login user=%b host=%b%b" % (user, host, end))
        yield login(b"Admin Login user=%b host=[%b]%b" % (user, who.address, end))
    yield Said(b"Login user=%b host=%b" % (user, who.host[:80]))
    yield Said(b"Login failed user=%b auth=%b host=%b" % (user[:64], user[:64], host))
    yield Said(b"Logout user=%b host=%b" % (user, host))
    yield Said(b"IMAP login to host=%b user=%b host=%b" % (user, user, host))
    yield Said(b"AUTHENTICATE %b failure host=%b" % (user, host))
    yield Said(b"Login anonymous=%b host=%b" % (user, host))


def _vchkpw(who: Client) -> Iterator[Said]:
    name = _line(who.user)[:155].translate(None, b":@")  # parse_email() refuses these
    at = b"%b@example.org:%b" % (name, who.address)
    for service, word in ((b"pop3", "login"), (b"smtp", ""), (b"webmail", "")):
        yield Said(b"vchkpw-%b: (PLAIN) login success %b" % (service, at), word)
    yield Said(b"vchkpw-pop3: password fail (pass: '%b') %b" % (who.user[:155], at))
    for form in (b"invalid user/domain characters", b"vpopmail user not found", b"null user given"):
        yield Said(b"vchkpw-pop3: %b %b:%b" % (form, who.user[:155], who.address))
    yield login(b"vchkpw-pop3: system password login success %b:%b" % (name, who.address))


def _vm_pop3d(who: Client) -> Iterator[Said]:
    user = _word(who.user)
    yield connect(b"Connect from " + who.address)
    yield login(b"User '%b' logged in from %b, nmsgs=3" % (user, who.address))
    yield login(b"User '%b' of '%b' logged in" % (user, user))
    yield login(b"User '%b' logged in" % user)
    yield Said(b"Non-existent user: %b (%b)" % (user, user))
    yield Said(b"pop3 user: %b" % _line(who.user))


def _vpop3d(who: Client) -> Iterator[Said]:
    yield login(b"(%b,%b) Authenticated" % (_word(who.user), who.address))
    yield Said(b"(%b,%b) Authentication failed" % (_word(who.user), who.address))


VOICES: dict[str, Callable[[Client], Iterator[Said]]] = {
    "courier": _courier,
    "cucipop": _cucipop,
    "cyrus": _cyrus,
    "dovecot": _dovecot,
    "gnu-pop3d": _gnu_pop3d,
    "mailutils": _mailutils,
    "mailutils-imap4d": _mailutils_imap4d,
    "perdition": _perdition,
    "popa3d": _popa3d,
    "qpopper": _qpopper,
    "solid-pop3d": _solid_pop3d,
    "stalwart": _stalwart,
    "teapop": _teapop,
    "tpop3d": _tpop3d,
    "uw": _uw,
    "vchkpw": _vchkpw,
    "vm-pop3d": _vm_pop3d,
    "vpop3d": _vpop3d,
}
