"""What FEATURE(`poprelay') permits and refuses, asked of a real sendmail over real SMTP.

Runs inside a room: python3 -m lab.room -- python3 -m pytest tests/test_ruleset.py
"""

import fcntl
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from bsddb3 import db

from lab import room
from lab.nameserver import Nameserver
from lab.sendmail import CF, PORT, Reply, RuleTest, Sendmail, Session, makemap, overlay

LOCAL = "root@mail.example.test"
SENDER = "bob@mail.example.test"
AWAY = "ann@else.example"
GRANTED, GRANTED6 = "192.0.2.7", "2001:db8::7"
REFUSED = "5.7.1 <ann@else.example>... Relaying denied. Check your mail first."
TOP = Path(__file__).resolve().parent.parent
SAMPLES = TOP / "sendmail"
HOUR_S = 3600
PATIENCE_S = 10.0

Build = Callable[..., Sendmail]


def soon() -> str:
    return str(int(time.time()) + HOUR_S)


def write(path: Path, rows: Mapping[str, str], kind: int = db.DB_HASH) -> None:
    """Put ROWS into the map as its daemon does: in place, locked, synced, mtime moved forward."""
    path = path.with_name(path.name + ".db")
    with path.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        old = int(path.stat().st_mtime)
        if os.fstat(lock.fileno()).st_size == 0:
            path.unlink()  # Berkeley DB does not make a database of an empty file
        handle = db.DB()
        handle.open(str(path), None, kind, db.DB_CREATE, 0o644)
        for key, value in rows.items():
            handle.put(key.encode(), value.encode())
        handle.sync()
        handle.close()
        tick = max(int(time.time()), old + 1)
        os.utime(path, (tick, tick))


@pytest.fixture(scope="module")
def build() -> Build:
    """Return a function that makes a Sendmail of its own directory and port."""
    ports = count(PORT)

    def make(**settings: Any) -> Sendmail:
        return Sendmail(room.scratch("sendmail-"), port=next(ports), **settings)

    return make


@pytest.fixture(scope="module")
def mta(build: Build) -> Iterator[Sendmail]:
    localip = {
        "198.51.100": "RELAY",
        "203.0": "any word",
        "203.0.113.9": "NO",
        "192.0.2.12": "RELAY",
        "10": "RELAY",
        "192.168": "RELAY",
        "172.16": "REJECT",
        "172.17": "ERROR:550 go away",
        "IPv6": "RELAY",
        "IPv6:2001:DB8:5": "RELAY",
        "ipv6:2001:db8:5:6": "NO",
        "IPv6:2001:db8:6:0:0:0:0:1": "RELAY",
    }
    relay = {"example.org": "RELAY", "kept.example.org": "REJECT", "Example.COM": "yes"}
    with build(localip=localip, relay=relay) as site:
        write(site.popip, {GRANTED: soon(), "ipv6:2001:db8:0:0:0:0:0:7": soon()})
        yield site


@pytest.fixture(scope="module")
def rules(mta: Sendmail) -> Iterator[RuleTest]:
    with mta.rule_test() as test:
        yield test


def assert_refused(reply: Reply) -> None:
    assert reply == Reply(550, REFUSED)


# --- popip


@pytest.mark.parametrize("client", [GRANTED, GRANTED6])
def test_granted_address_relays(mta: Sendmail, client: str) -> None:
    assert mta.rcpt(client, SENDER, AWAY).code == 250


def test_granted_ipv6_network_relays_from_each_of_its_addresses(mta: Sendmail) -> None:
    write(mta.popip, {"ipv6:2001:db8:1:2": soon()})
    for client in ("2001:db8:1:2::1", "2001:db8:1:2:a:b:c:d"):
        assert mta.rcpt(client, SENDER, AWAY).code == 250


@pytest.mark.parametrize(
    "client", ["192.0.2.8", "192.0.2.70", "2001:db8::8", "2001:db8:1:3::1", "2001:db8:1::7"]
)
def test_neighbour_of_a_granted_address_is_refused(mta: Sendmail, client: str) -> None:
    write(mta.popip, {"ipv6:2001:db8:1:2": soon()})
    assert_refused(mta.rcpt(client, SENDER, AWAY))


@pytest.mark.parametrize(
    "key",
    ["192", "192.0", "192.0.2", "ipv6", "ipv6:2001", "ipv6:2001:db8:3", "ipv6:2001:db8:3:0:0"],
)
def test_prefix_in_popip_grants_nothing(build: Build, key: str) -> None:
    site = build()
    write(site.popip, {key: soon()})
    with site.rule_test() as test:
        assert not test.allows("192.0.2.8", AWAY)
        assert not test.allows("IPv6:2001:db8:3:0:0:0:0:1", AWAY)


def test_expired_address_is_refused(mta: Sendmail) -> None:
    write(mta.popip, {"192.0.2.20": str(int(time.time()) - 1), "192.0.2.21": "946684800"})
    assert_refused(mta.rcpt("192.0.2.20", SENDER, AWAY))
    assert_refused(mta.rcpt("192.0.2.21", SENDER, AWAY))


def test_live_network_counts_beside_an_expired_address(mta: Sendmail) -> None:
    past = str(int(time.time()) - 1)
    write(mta.popip, {"ipv6:2001:db8:8:1:0:0:0:1": past, "ipv6:2001:db8:8:1": soon()})
    write(mta.popip, {"ipv6:2001:db8:8:2:0:0:0:1": soon(), "ipv6:2001:db8:8:2": past})
    assert mta.rcpt("2001:db8:8:1::1", SENDER, AWAY).code == 250
    assert mta.rcpt("2001:db8:8:2::1", SENDER, AWAY).code == 250
    assert_refused(mta.rcpt("2001:db8:8:2::2", SENDER, AWAY))


def test_grant_ends_in_the_second_of_its_expiry(build: Build) -> None:
    site = build()
    set_clock(site, "#!/bin/sh\necho 2000000000\n")
    write(site.popip, {f"192.0.2.{n}": f"{1999999998 + n}" for n in (1, 2, 3)})
    with site.rule_test() as test:
        answers = [test.allows(f"192.0.2.{n}", AWAY) for n in (1, 2, 3)]
    assert answers == [False, False, True]


def test_grant_ends_in_the_middle_of_a_session(mta: Sendmail) -> None:
    expiry = int(time.time()) + 2
    write(mta.popip, {"192.0.2.22": str(expiry)})
    with mta.session("192.0.2.22") as session:
        assert session.rcpt(SENDER, AWAY).code == 250
        refused = until_refused(session)
        assert 0 <= time.time() - expiry < 1
        assert_refused(refused)
        assert_refused(session.rcpt(SENDER, AWAY))
        assert session.rcpt(SENDER, LOCAL).code == 250


def until_refused(session: Session) -> Reply:
    """Repeat RCPT in the open transaction until it is refused."""
    limit = time.monotonic() + PATIENCE_S
    while (reply := session.another(AWAY)).code == 250:
        assert time.monotonic() < limit
    return reply


def test_grant_reaches_a_session_that_is_open(mta: Sendmail) -> None:
    with mta.session("192.0.2.23") as session:
        assert_refused(session.rcpt(SENDER, AWAY))
        write(mta.popip, {"192.0.2.23": soon()})
        assert session.rcpt(SENDER, AWAY).code == 250
        write(mta.popip, {"192.0.2.23": str(int(time.time()))})
        assert_refused(session.rcpt(SENDER, AWAY))


@pytest.mark.parametrize(
    "value",
    ["0{}", "{} bob", "bob {}", "{}.5", "{}0", "+{}", "-5", "-{}", "", " ", "99999999999999999999"]
    + ["0x7fffffff", "017777777777", "%0", "%1", "$", "$1{}", "TRUE", "RELAY", "NO", "{},{}", "9e9"]
    + ["{}<TMPF>", "<{}>", "\x01", "٣٣٣٣٣٣٣٣٣٣"],
)
def test_junk_value_grants_nothing(mta: Sendmail, value: str) -> None:
    junk = value.replace("{}", soon())
    write(mta.popip, {"192.0.2.24": junk, "ipv6:2001:db8:0:0:0:0:0:24": junk})
    assert_refused(mta.rcpt("192.0.2.24", SENDER, AWAY))
    assert_refused(mta.rcpt("2001:db8::24", SENDER, AWAY))


@pytest.mark.parametrize("value", ["{}> <{}", "<", '"', "(", "{})"])
def test_value_that_sendmail_cannot_parse_grants_nothing(mta: Sendmail, value: str) -> None:
    write(mta.popip, {"192.0.2.26": value.replace("{}", soon())})
    assert mta.rcpt("192.0.2.26", SENDER, AWAY).code >= 500
    assert mta.rcpt("192.0.2.26", SENDER, LOCAL).code == 250


@pytest.mark.parametrize(
    "program",
    [None, "#!/bin/sh\n", "#!/bin/sh\necho\n", "#!/bin/sh\necho 0\n", "#!/bin/sh\necho noon\n"]
    + ["#!/bin/sh\necho -1\n", "#!/bin/sh\necho 12345678901\n", "#!/no/interpreter\n"]
    + ["#!/bin/sh\necho 1000000000; exit 75\n", "#!/bin/sh\necho 1000000000 1000000000\n"],
)
def test_broken_clock_refuses(build: Build, program: str | None) -> None:
    site = build(localip={"198.51.100": "RELAY"})
    set_clock(site, program)
    write(site.popip, {GRANTED: soon()})
    with site:
        assert site.rcpt(GRANTED, SENDER, AWAY).code >= 400
        assert site.rcpt(GRANTED, SENDER, LOCAL).code == 250
        assert site.rcpt("198.51.100.1", SENDER, AWAY).code == 250


def set_clock(site: Sendmail, program: str | None) -> None:
    """Have the rule ask PROGRAM for the time; None: one that does not exist."""
    place = site.base / "clock"
    if program is not None:
        place.write_text(program)
        place.chmod(0o755)
    cf = site.cf.read_text()
    assert cf.count("/bin/date -u\n") == 1
    site.cf.write_text(cf.replace("/bin/date -u\n", f"{place}\n"))


def looked_up(site: Sendmail, client: str) -> list[str]:
    """Return the keys that the rule asks of popip for CLIENT."""
    lines = [f".D{{client_addr}}{client}", ".D{client_resolve}OK", f"Rcpt_ok {AWAY}"]
    trace = "\n".join(site.bt(lines, "-d60.5"))
    return re.findall(r"map_lookup\(popip, ([^,]+),", trace)


def test_ipv4_client_is_looked_up_by_one_key(mta: Sendmail) -> None:
    assert looked_up(mta, "192.0.2.99") == ["192.0.2.99"]


def test_ipv6_client_is_looked_up_by_two_keys(mta: Sendmail) -> None:
    full = "IPv6:2001:db8:9:8:0:0:0:1"
    assert looked_up(mta, full) == [full, "IPv6:2001:db8:9:8"]


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("2001:db8:9:8::1", "2001:db8:9:8:0:0:0:1"),
        ("2001:db8::1", "2001:db8:0:0:0:0:0:1"),
        ("2001:db8::", "2001:db8:0:0:0:0:0:0"),
        ("2001:db8:1:2:3::5", "2001:db8:1:2:3:0:0:5"),
        ("2001:db8:1:2:3:4:5::", "2001:db8:1:2:3:4:5:0"),
        ("2001::1:2:3:4:5:6", "2001:0:1:2:3:4:5:6"),
        ("::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6"),
    ],
)
def test_compressed_ipv6_address_is_written_out(mta: Sendmail, short: str, full: str) -> None:
    network = ":".join(full.split(":")[:4])
    assert looked_up(mta, f"IPv6:{short}") == [f"IPv6:{full}", f"IPv6:{network}"]


def test_compressed_ipv6_addresses_may_be_switched_on(build: Build) -> None:
    switch = "define(`confUSE_COMPRESSED_IPV6_ADDRESSES', `True')"
    with build(after=switch, localip={"IPv6:2001:db8:5": "RELAY"}) as site:
        write(site.popip, {"ipv6:2001:db8:0:0:0:0:0:7": soon(), "ipv6:2001:db8:1:2": soon()})
        for client in (GRANTED6, "2001:db8:1:2::1", "2001:db8:5::1"):
            assert site.rcpt(client, SENDER, AWAY).code == 250
        assert_refused(site.rcpt("2001:db8::8", SENDER, AWAY))


def test_update_in_the_same_second_is_seen_by_a_process_that_lives_on(
    mta: Sendmail, rules: RuleTest
) -> None:
    for value in range(1, 21):
        write(mta.popip, {"192.0.2.25": str(value)})
        assert rules.lookup("popip", "192.0.2.25") == str(value)


# --- broken maps


def damage(path: Path, how: str) -> None:
    path = path.with_name(path.name + ".db")
    size = path.stat().st_size
    match how:
        case "missing":
            path.unlink()
        case "empty":
            os.truncate(path, 0)
        case "cut in its first page":
            os.truncate(path, 1000)
        case "cut in the middle of a page":
            os.truncate(path, size // 2 + 77)
        case "garbage":
            path.write_bytes(os.urandom(size))
        case "garbage after the first page":
            with path.open("r+b") as file:
                file.seek(4096)
                file.write(os.urandom(size - 4096))
        case "readable by its owner alone":
            os.chown(path, 1, 1)
            path.chmod(0o600)
        case "in a directory that others may write":
            path.parent.chmod(0o777)
        case _:
            raise AssertionError(how)


DAMAGE = [
    "missing",
    "empty",
    "cut in its first page",
    "cut in the middle of a page",
    "garbage",
    "garbage after the first page",
    "readable by its owner alone",
    "in a directory that others may write",
]


@pytest.fixture(scope="module")
def bare(build: Build) -> Iterator[Sendmail]:
    """A site whose popip stands apart, for a test to break."""
    place = room.scratch("popip-") / "popip"
    with build(popip=place, access="Connect:203.0.113\tRELAY\n") as site:
        yield site


@pytest.fixture
def breakable(bare: Sendmail) -> Iterator[Path]:
    """Return a popip with GRANTED in it, large enough to be broken in several ways."""
    bare.popip.parent.chmod(0o755)
    bare.popip.with_name("popip.db").unlink(missing_ok=True)
    write(bare.popip, {GRANTED: soon()} | {f"10.0.{n // 250}.{n % 250}": "1" for n in range(2000)})
    yield bare.popip


@pytest.mark.parametrize("how", DAMAGE)
def test_broken_map_refuses_and_harms_no_other_mail(
    bare: Sendmail, breakable: Path, how: str
) -> None:
    assert bare.rcpt(GRANTED, SENDER, AWAY).code == 250
    damage(breakable, how)
    reply = bare.rcpt(GRANTED, SENDER, AWAY)
    if how == "garbage after the first page":
        assert reply.code == 451  # Berkeley DB's own error, found in the lookup
    else:
        assert_refused(reply)
    assert bare.rcpt(GRANTED, SENDER, LOCAL).code == 250
    assert bare.rcpt("127.0.0.1", SENDER, AWAY).code == 250
    assert bare.rcpt("203.0.113.1", SENDER, AWAY).code == 250


@pytest.mark.parametrize("how", [how for how in DAMAGE if how != "missing"])
def test_map_that_breaks_in_a_session_refuses(bare: Sendmail, breakable: Path, how: str) -> None:
    with bare.session(GRANTED) as session:
        assert session.rcpt(SENDER, AWAY).code == 250
        damage(breakable, how)
        tick = time.time() + 60
        os.utime(f"{breakable}.db", (tick, tick))
        assert session.rcpt(SENDER, AWAY).code in (451, 550)
        assert session.rcpt(SENDER, LOCAL).code == 250


def test_map_of_another_type_refuses(bare: Sendmail, breakable: Path) -> None:
    breakable.with_name("popip.db").unlink()
    write(breakable, {GRANTED: soon()}, db.DB_BTREE)
    assert_refused(bare.rcpt(GRANTED, SENDER, AWAY))


def test_btree_map_may_be_named(build: Build) -> None:
    place = room.scratch("popip-") / "popip"
    write(place, {GRANTED: soon()}, db.DB_BTREE)
    with build(popip=f"btree {place}") as site:
        assert site.rcpt(GRANTED, SENDER, AWAY).code == 250
        assert_refused(site.rcpt("192.0.2.8", SENDER, AWAY))


@pytest.mark.parametrize("options", ["-T<TMPF>", "-o", "-o -T<TMPF>"])
def test_missing_map_refuses_whatever_its_options(build: Build, options: str) -> None:
    with build(popip=f"hash {options} /srv/nowhere/popip") as site:
        assert_refused(site.rcpt(GRANTED, SENDER, AWAY))


@pytest.mark.parametrize("options", ["-T<TMPF>", "-o", ""])
@pytest.mark.parametrize("name", ["localip", "relay"])
def test_missing_table_permits_nothing(build: Build, name: str, options: str) -> None:
    site = build()
    cf, stock = site.cf.read_text(), f"K{name} hash -o {site.mail}/{name}\n"
    assert stock in cf
    site.cf.write_text(cf.replace(stock, f"K{name} hash {options} /srv/nowhere/{name}\n"))
    write(site.popip, {GRANTED: soon()})
    with site:
        assert_refused(site.rcpt("192.0.2.8", SENDER, AWAY))
        assert site.rcpt(GRANTED, SENDER, AWAY).code == 250


# --- localip


@pytest.mark.parametrize(
    ("client", "relays"),
    [
        ("198.51.100.1", True),
        ("203.0.113.1", True),
        ("203.0.113.9", False),
        ("192.0.2.12", True),
        ("192.0.2.121", False),
        ("2001:db8:5::1", True),
        ("2001:db8:5:6::1", False),
        ("2001:db8:50::1", False),
        ("2001:db8:6::1", True),
        ("2001:db8:6::2", False),
    ],
)
def test_localip_permits_by_address_and_prefix(mta: Sendmail, client: str, relays: bool) -> None:
    assert (mta.rcpt(client, SENDER, AWAY).code == 250) == relays


@pytest.mark.parametrize(
    ("client", "relays"),
    [
        ("10.1.2.3", True),
        ("101.1.2.3", False),
        ("110.1.2.3", False),
        ("1.10.2.3", False),
        ("192.168.5.6", True),
        ("192.16.8.5", False),
        ("192.1.68.5", False),
        ("172.16.1.1", False),
        ("172.17.1.1", False),
        ("IPv6:2001:db8:5:1:2:3:4:5", True),
        ("IPv6:2001:d:b8:5:1:2:3:4", False),
        ("IPv6:10:0:0:0:0:0:0:1", False),
    ],
)
def test_localip_prefixes_end_between_octets(rules: RuleTest, client: str, relays: bool) -> None:
    assert rules.allows(client, AWAY) == relays


# --- relay


@pytest.mark.parametrize(
    ("recipient", "relays"),
    [
        ("ann@example.org", True),
        ("ann@a.b.example.org", True),
        ("ann@EXAMPLE.org", True),
        ("ann+tag@example.com", True),
        ("ann@evilexample.org", False),
        ("ann@example.org.evil.example", False),
        ("ann@org", False),
        ("ann@kept.example.org", False),
        ("ann@a.kept.example.org", False),
        ("ann@[192.0.2.200]", False),
        ("ann%else.example@example.org", False),
        ("else.example!ann@example.org", False),
        ('"ann@else.example"@example.org', False),
        ('"ann%else.example"@example.org', False),
        ('"else.example!ann"@example.org', False),
        ("ann\\@else.example@example.org", False),
        ("ann@else.example@example.org", False),
        ("@example.org:ann@else.example", False),
        ("@example.org,@a.example.org:ann@else.example", False),
        ("ann@else.example%example.org", False),
        ("example.org!ann@else.example", False),
    ],
)
@pytest.mark.parametrize("loose", [False, True])
def test_relay_permits_mail_to_its_domains_alone(
    mta: Sendmail, lenient: Sendmail, recipient: str, relays: bool, loose: bool
) -> None:
    site = lenient if loose else mta
    assert (site.rcpt("192.0.2.8", SENDER, recipient).code == 250) == relays


@pytest.fixture(scope="module")
def lenient(build: Build) -> Iterator[Sendmail]:
    """A site with the features that take special meaning from % and !."""
    before = "FEATURE(`loose_relay_check')\n"
    before += "FEATURE(`nopercenthack', `nospecial')\nFEATURE(`nouucp', `nospecial')\n"
    relay = {"example.org": "RELAY", "kept.example.org": "REJECT", "example.com": "RELAY"}
    with build(before=before, relay=relay) as site:
        yield site


def test_relay_domain_is_no_licence_for_its_senders(mta: Sendmail) -> None:
    assert mta.rcpt("192.0.2.8", "ann@example.org", AWAY).code >= 500
    assert_refused(mta.rcpt("192.0.2.8", "x@client-8.example.net", AWAY))


# --- the other checks still hold

ACCESS = """\
Connect:192.0.2.31	REJECT
Connect:192.0.2.32	ERROR:5.7.1:550 not you
From:spam@mail.example.test	REJECT
To:victim@else.example	REJECT
Connect:192.0.2.33	RELAY
"""
CHECKS = "FEATURE(`blocklist_recipients')\nFEATURE(`dnsbl', `bl.example.test')\n"
LISTED = "192.0.2.34"


@pytest.fixture(scope="module")
def blocklist() -> Iterator[None]:
    """A name server that lists LISTED and knows nothing else."""
    with Nameserver() as names:
        names.forward(".".join([*reversed(LISTED.split(".")), "bl.example.test"]), "127.0.0.2")
        yield


@pytest.fixture(scope="module", params=[False, True], ids=["at once", "delay_checks"])
def checked(build: Build, blocklist: None, request: pytest.FixtureRequest) -> Iterator[Sendmail]:
    with build(access=ACCESS, before=CHECKS, delay_checks=request.param) as site:
        write(site.popip, {f"192.0.2.{n}": soon() for n in (7, 31, 32, 34)})
        yield site


def test_granted_client_passes_the_other_checks(checked: Sendmail) -> None:
    assert checked.rcpt(GRANTED, SENDER, AWAY).code == 250
    assert_refused(checked.rcpt("192.0.2.8", SENDER, AWAY))
    assert checked.rcpt("192.0.2.33", SENDER, AWAY).code == 250


@pytest.mark.parametrize(
    ("client", "sender", "recipient", "said"),
    [
        ("192.0.2.31", SENDER, AWAY, "Access denied"),
        ("192.0.2.32", SENDER, AWAY, "not you"),
        (GRANTED, "spam@mail.example.test", AWAY, "Access denied"),
        (GRANTED, SENDER, "victim@else.example", "disabled"),
        (LISTED, SENDER, AWAY, "listed at bl.example.test"),
        (GRANTED, "bob@nowhere.invalid", AWAY, "does not exist"),
    ],
    ids=["Connect", "Connect with a text", "From", "To", "DNSBL", "unresolvable sender"],
)
def test_granted_client_meets_the_other_checks(
    checked: Sendmail, client: str, sender: str, recipient: str, said: str
) -> None:
    reply = checked.rcpt(client, sender, recipient)
    assert 550 <= reply.code < 560
    assert said in reply.text


# --- beside SMTP AUTH


@pytest.fixture(scope="module")
def authenticating(build: Build) -> Iterator[Sendmail]:
    """A site where user ann may authenticate with the password secret (real SASL, a sasldb)."""
    before = "TRUST_AUTH_MECH(`PLAIN')\ndefine(`confAUTH_MECHANISMS', `PLAIN')\n"
    site = build(before=before)
    passwords = db.DB()
    passwords.open(str(site.base / "sasldb2"), None, db.DB_HASH, db.DB_CREATE, 0o600)
    passwords.put(b"ann\0mail.example.test\0userPassword", b"secret")
    passwords.close()
    conf = Path("/etc/sasl2/Sendmail.conf")  # of the room alone
    conf.parent.mkdir(exist_ok=True)
    conf.write_text(
        "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN\n"
        f"sasldb_path: {site.base}/sasldb2\n"
    )
    write(site.popip, {GRANTED: soon()})
    with site:
        yield site
    conf.unlink()


def test_authenticated_client_relays_without_a_grant(authenticating: Sendmail) -> None:
    with authenticating.session("192.0.2.8") as session:
        assert session.rcpt(SENDER, AWAY).code == 550
        session.smtp.rset()
        session.smtp.login("ann", "secret")
        assert session.rcpt(SENDER, AWAY).code == 250


def test_granted_client_need_not_authenticate(authenticating: Sendmail) -> None:
    assert authenticating.rcpt(GRANTED, SENDER, AWAY).code == 250


def test_authenticated_client_relays_with_a_broken_map(authenticating: Sendmail) -> None:
    damage(authenticating.popip, "garbage after the first page")
    with authenticating.session("192.0.2.8") as session:
        session.smtp.login("ann", "secret")
        assert session.rcpt(SENDER, AWAY).code == 250


# --- what is said


@pytest.mark.parametrize("client", ["192.0.2.8", "2001:db8::8", "2001:db8:9::1", "198.18.0.1"])
def test_refusal_says_what_to_do(mta: Sendmail, client: str) -> None:
    subprocess.run(["ip", "route", "replace", "local", "198.18.0.0/24", "dev", "lo"], check=True)
    assert_refused(mta.rcpt(client, SENDER, AWAY))


def said_in_test_mode(site: Sendmail, resolve: str) -> str:
    lines = [".D{client_addr}192.0.2.8", f".D{{client_resolve}}{resolve}", f"check_rcpt {AWAY}"]
    return [line for line in site.bt(lines) if "returns:" in line][-1]


@pytest.mark.parametrize("resolve", ["OK", "FAIL", "FORGED"])
def test_refusal_is_the_same_whatever_the_name_lookup_says(mta: Sendmail, resolve: str) -> None:
    assert "550 Relaying denied. Check your mail first." in said_in_test_mode(mta, resolve)


def test_client_without_a_certain_name_is_put_off(mta: Sendmail) -> None:
    assert "450 Relaying temporarily denied" in said_in_test_mode(mta, "TEMP")


@pytest.mark.parametrize("resolve", ["FAIL", "FORGED", "TEMP"])
def test_granted_client_needs_no_name(rules: RuleTest, resolve: str) -> None:
    assert rules.allows(GRANTED, AWAY, resolve)


OWN_TEXT = "define(`confRELAY_MSG', `\"550 Read first.\"')\n"


def test_text_of_the_site_is_kept(build: Build) -> None:
    site = build(before=OWN_TEXT)
    for resolve in ("OK", "FAIL"):
        assert "550 Read first." in said_in_test_mode(site, resolve)


# --- the feature in a configuration

OWN_RULES = """\
LOCAL_CONFIG
C{{OwnDomain}}{name}.example
LOCAL_RULESETS
SLocal_check_mail
R<own@$+>		$#error $@ 5.7.1 $: "550 own rule"
SRcpt_ok
R$+ < @ $={{OwnDomain}} >	$@ RELAY
R$+ < @ fallthrough.example >	$: RELAY
"""


@pytest.mark.parametrize("place", ["before", "after"])
def test_rules_of_the_site_work_on_either_side(build: Build, place: str) -> None:
    own = OWN_RULES.format(name=place)
    with build(**{place: own}) as site:
        write(site.popip, {GRANTED: soon()})
        assert site.rcpt(GRANTED, SENDER, AWAY).code == 250
        for client in ("192.0.2.8", "2001:db8:9::1"):
            assert site.rcpt(client, SENDER, f"ann@{place}.example").code == 250
            assert site.rcpt(client, SENDER, "ann@fallthrough.example").code == 250
            assert_refused(site.rcpt(client, SENDER, AWAY))
        assert "own rule" in site.rcpt(GRANTED, "own@mail.example.test", AWAY).text


def test_feature_may_stand_before_the_checks(build: Build) -> None:
    late = "FEATURE(`access_db')\nFEATURE(`delay_checks')\n" + CHECKS
    site = build(after=late)
    makemap(site.mail / "access", ACCESS)
    write(site.popip, {"192.0.2.7": soon(), "192.0.2.31": soon()})
    with site:
        assert site.rcpt(GRANTED, SENDER, AWAY).code == 250
        assert site.rcpt("192.0.2.31", SENDER, AWAY).code == 550
        assert site.rcpt(GRANTED, "spam@mail.example.test", AWAY).code == 550
        assert_refused(site.rcpt("192.0.2.8", SENDER, AWAY))


def test_arguments_may_be_left_out(build: Build) -> None:
    cf = build(feature=False, after="FEATURE(`poprelay')").cf.read_text()
    assert "\nKpopip hash /var/lib/poprelayd/popip\n" in cf
    assert re.search(r"^Klocalip hash -o \S+/mail/localip$", cf, re.M)
    assert re.search(r"^Krelay hash -o \S+/mail/relay$", cf, re.M)


def test_arguments_name_the_maps(build: Build) -> None:
    line = "FEATURE(`poprelay', `btree /a/popip', `hash /b/localip', `regex -a, ^x,y$')"
    cf = build(feature=False, after=line).cf.read_text()
    assert "\nKpopip btree /a/popip\nKlocalip hash /b/localip\nKrelay regex -a, ^x,y$\n" in cf


def test_host_without_the_feature_refuses_as_ever(build: Build) -> None:
    site = build(feature=False)
    write(site.popip, {GRANTED: soon()})
    with site:
        assert "Relaying denied" in site.rcpt(GRANTED, SENDER, AWAY).text


def cf_of(mc: str) -> Path:
    """Build MC, a Debian configuration, against the cf tree with our feature in it."""
    base = room.scratch("cf-")
    overlay(base / "cf")
    text = mc.replace(f"{CF}/m4/cf.m4", f"{base}/cf/m4/cf.m4")
    assert text != mc
    (base / "site.mc").write_text(text)
    command = ["m4", f"-D_CF_DIR_={base}/cf/", str(base / "site.mc")]
    built = subprocess.run(command, check=True, capture_output=True, text=True)
    assert built.stderr == ""
    (base / "site.cf").write_text(built.stdout)
    return base / "site.cf"


@pytest.mark.parametrize("name", ["poprelay-sample.mc", "Debian's own"])
def test_debian_configuration_builds_with_the_feature(name: str) -> None:
    if name == "Debian's own":
        mc = (CF / "debian" / "sendmail.mc").read_text()
        mc = re.sub(r"(?m)^(MAILER_DEFINITIONS)", "FEATURE(`poprelay')dnl\n\\1", mc)
    else:
        mc = (SAMPLES / name).read_text()
    test = RuleTest(["/usr/sbin/sendmail", "-C", str(cf_of(mc)), "-bt"])
    test.ask(".D{client_addr}192.0.2.8")
    test.ask(".D{client_resolve}FAIL")
    answer = " ".join(test.ask(f"Rcpt_ok {AWAY}"))
    test.close()
    assert "Check your mail first." in answer


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("localip", {"192.168": "RELAY", "192.168.7": "NO", "ipv6:fd12:3456:789a": "RELAY"}),
        ("relay", {"example.org": "RELAY", "internal.example.org": "NO"}),
    ],
)
def test_sample_table_is_built_by_its_makemap_line(name: str, rows: dict[str, str]) -> None:
    place = room.scratch("table-") / name
    text = (SAMPLES / f"{name}.sample").read_text()
    line = f"makemap hash /etc/mail/{name} < /etc/mail/{name}"
    assert f"#       {line}\n" in text
    place.write_text(text)
    subprocess.run(line.replace("/etc/mail", str(place.parent)), shell=True, check=True)
    table = db.DB()
    table.open(f"{place}.db", None, db.DB_HASH, db.DB_RDONLY)
    assert {key: table.get(key.encode()) for key in rows} == {
        key: value.encode() for key, value in rows.items()
    }
    table.close()
