"""``check`` decides as a real sendmail does, and says which part of the rules did."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from journalrelay.grant import parse_address
from journalrelay.mailer import ruleset, sendmailcf
from lab import room
from lab.poprelayd import COMMAND, TOP
from lab.sendmail import Sendmail, makemap
from tests.test_ruleset import write

SENDER, AWAY = "bob@mail.example.test", "ann@else.example"
GRANTED, GRANTED_64 = "192.0.2.7", "2001:db8:1:2::7"
LOCALIP = {
    "198.51.100": "RELAY",
    "203.0.113": "any word",
    "203.0.113.9": "NO",
    "203.0.113.10": "REJECT now",
    "203.0.113.11": "ERROR:550 no",
    "203.0.113.12": "not denied",
    "203.0.113.13": "<TMPF>",
    "ipv6:2001:db8:5": "RELAY",
    "ipv6:2001:db8:5:6": "no",
}
RELAY = {"example.org": "RELAY", "kept.example.org": "REJECT"}
ACCESS = {
    "Connect:192.0.2.20": "REJECT",
    "192.0.2.21": "RELAY",
    "Connect:192.0.2.22": "OK",
    "Connect:192.0.2.23": "ERROR:5.7.1:550 go away",
    "198.51.100.66": "550 not you",
    "Connect:ipv6:2001:db8:6": "RELAY",
    "Connect:192.0.2.24": "RELAY",
    "192.0.2.24": "REJECT",
}
CLIENTS = (
    *(GRANTED, "192.0.2.8", GRANTED_64, "2001:db8:1:3::7", "198.51.100.1", "198.51.100.66"),
    *(f"203.0.113.{number}" for number in (8, 9, 10, 11, 12, 13)),
    *("2001:db8:5::1", "2001:db8:5:6::1", "2001:db8:6::1", "2001:db8:66::1"),
    *(f"192.0.2.{number}" for number in (20, 21, 22, 23, 24, 30, 31, 130)),
)
RECIPIENTS = (AWAY, "x@example.org", "x@a.example.org", "x@kept.example.org", "x%y@example.org")


ROWS = "".join(f"{key}\t{value}\n" for key, value in ACCESS.items())
USUAL_CF = Path("/etc/mail/sendmail.cf")


@pytest.fixture(scope="module")
def mta() -> Iterator[Sendmail]:
    before = "RELAY_DOMAIN(`192.0.2.30')dnl\n"
    base = room.scratch("sendmail-")
    with Sendmail(base, before=before, access=ROWS, localip=LOCALIP, relay=RELAY) as site:
        soon = str(int(time.time()) + 3600)
        write(site.popip, {GRANTED: soon, "ipv6:2001:db8:1:2": soon})
        yield site


@pytest.fixture
def usual_cf(mta: Sendmail) -> Iterator[Path]:
    """Have sendmail's configuration where check looks for it."""
    before = USUAL_CF.read_bytes() if USUAL_CF.exists() else None
    USUAL_CF.write_bytes(mta.cf.read_bytes())
    yield USUAL_CF
    if before is None:
        USUAL_CF.unlink()
    else:
        USUAL_CF.write_bytes(before)


def check(popip: Path, *words: str, wrapper: tuple[str, ...] = ()) -> tuple[int, str]:
    """Run check on a map; return its exit status and what it printed, one stream or the other."""
    command = [*wrapper, *COMMAND, "-c", "/dev/null", "check", *words, "--map", f"{popip}.db"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=TOP)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("client", CLIENTS)
def test_check_says_what_sendmail_does(mta: Sendmail, usual_cf: Path, client: str) -> None:
    for recipient in RECIPIENTS:
        relays = mta.rcpt(client, SENDER, recipient).code == 250
        code, said = check(mta.popip, client, "--to", recipient)
        assert code == (0 if relays else 1), f"{recipient}\n{said}"


def parts(said: str) -> dict[str, str]:
    """Return what each part of the rules said, by the first word of its line."""
    return {line[2:11].strip(): line[11:] for line in said.splitlines() if line.startswith("  ")}


def test_check_goes_through_the_rules_map_by_map(mta: Sendmail, usual_cf: Path) -> None:
    code, said = check(mta.popip, GRANTED)
    assert code == 0
    assert re.match(rf"{re.escape(GRANTED)}: may relay for \d+min( \d+s)?: ", said)
    assert list(parts(said)) == ["class R", "access", "localip", "relay", "popip"]
    assert parts(said)["popip"] == f"yes: {GRANTED} is granted"
    assert parts(said)["localip"] == f"no: its address is not in {mta.mail}/localip.db"
    assert parts(said)["relay"].startswith("it is about recipients")


@pytest.mark.parametrize(
    ("client", "part", "why"),
    [
        ("192.0.2.130", "class R", "no"),
        ("192.0.2.30", "class R", "yes: 192.0.2.30 is in class R"),
        ("127.0.0.1", "itself", "yes: it is this host itself"),
        ("::1", "itself", "yes: it is this host itself"),
        ("192.0.2.20", "access", "rejects: "),
        ("192.0.2.21", "access", "yes: "),
        ("192.0.2.22", "access", "no: "),
        ("198.51.100.1", "localip", "yes: "),
        ("2001:db8:5:6::1", "localip", "no: "),
    ],
)
def test_the_part_that_decides_is_named(
    mta: Sendmail, usual_cf: Path, client: str, part: str, why: str
) -> None:
    code, said = check(mta.popip, client)
    assert parts(said)[part].startswith(why)
    if not why.startswith("no"):
        assert code == (0 if why.startswith("yes") else 1)
        assert parts(said)[part].partition(": ")[2] in said.splitlines()[0]


def test_relay_is_asked_for_a_recipient(mta: Sendmail, usual_cf: Path) -> None:
    code, said = check(mta.popip, "192.0.2.8", "--to", "friend@a.example.org")
    assert (code, parts(said)["relay"]) == (
        0,
        f"yes: {mta.mail}/relay.db has example.org: 'RELAY'",
    )
    code, said = check(mta.popip, "192.0.2.8", "--to", "kept.example.org")
    assert (code, parts(said)["relay"][:3]) == (1, "no:")


@pytest.mark.parametrize("fault", ["missing", "garbage", "btree", "a directory", "unreadable"])
def test_a_table_that_cannot_be_asked_is_said(
    mta: Sendmail, usual_cf: Path, place: Path, fault: str
) -> None:
    table, text = place / "localip", usual_cf.read_text()
    made = table.with_name("localip.db")
    wrapper: tuple[str, ...] = ()
    makemap(table, LOCALIP, "btree" if fault == "btree" else "hash")
    if fault == "missing":
        made.unlink()
    elif fault == "garbage":
        made.write_bytes(made.read_bytes()[:4096] + os.urandom(8192))
    elif fault == "a directory":
        made.unlink()
        made.mkdir()
    elif fault == "unreadable":
        made.chmod(0o600)
        wrapper = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    usual_cf.write_text(text.replace(f"{mta.mail}/localip", str(table)))
    code, said = check(mta.popip, GRANTED, wrapper=wrapper)
    assert code == 0  # popip says yes all the same
    assert str(made) in parts(said)["localip"]
    assert not parts(said)["localip"].startswith(("yes", "no:"))


def test_keys_that_end_in_a_nul_are_found(mta: Sendmail, usual_cf: Path, place: Path) -> None:
    rows = "192.0.2.130\tRELAY\n"
    command = ["makemap", "-N", "hash", str(place / "localip")]
    subprocess.run(command, input=rows, text=True, check=True)
    text = usual_cf.read_text()
    usual_cf.write_text(text.replace(f"{mta.mail}/localip", f"{place}/localip"))
    code, said = check(mta.popip, "192.0.2.130")
    assert (code, parts(said)["localip"]) == (
        0,
        f"yes: {place}/localip.db has 192.0.2.130: 'RELAY'",
    )


@pytest.mark.parametrize("without", ["sendmail.cf", "the feature"])
def test_without_the_feature_the_map_alone_is_asked(
    mta: Sendmail, usual_cf: Path, without: str
) -> None:
    if without == "sendmail.cf":
        usual_cf.unlink()
    else:
        usual_cf.write_text(usual_cf.read_text().replace("Kpopip", "Kother"))
    code, said = check(mta.popip, "198.51.100.1")
    assert (code, list(parts(said))) == (1, ["sendmail", "popip"])
    assert "the map alone is asked" in parts(said)["sendmail"]
    usual_cf.touch()


def test_another_map_than_sendmails_is_said(mta: Sendmail, usual_cf: Path, place: Path) -> None:
    write(place / "popip", {GRANTED: str(int(time.time()) + 60)})
    code, said = check(place / "popip", GRANTED)
    assert code == 0
    assert f"sendmail asks {mta.popip}.db, another map than this" in said


def test_root_reads_nobodys_table_as_root(
    mta: Sendmail, usual_cf: Path, place: Path, tmp_path: Path
) -> None:
    """Who can write a table could break who reads it with Berkeley DB."""
    table = place / "localip"
    makemap(table, LOCALIP)
    os.chown(table.with_name("localip.db"), 1234, 1234)
    usual_cf.write_text(usual_cf.read_text().replace(f"{mta.mail}/localip", str(table)))
    program = (
        "import os, sys; from journalrelay import cli; from journalrelay.map import libdb\n"
        "real = libdb.opened\n"
        "def opened(*given):\n"
        "    name = os.readlink(f'/proc/self/fd/{given[1]}')\n"
        "    os.write(2, f'{name} {os.getresuid()}\\n'.encode())\n"
        "    return real(*given)\n"
        "libdb.opened = opened; cli.main()"
    )
    words = ["-c", "/dev/null", "check", GRANTED, "--map", f"{mta.popip}.db"]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, cwd=TOP
    )
    assert f"{table}.db (1234, 1234, 1234)" in done.stderr.splitlines()


# The rules, as functions


@pytest.mark.parametrize(
    ("address", "member", "inside"),
    [
        ("192.0.2.7", "192.0.2", True),
        ("192.0.2.7", "192.0.2.7", True),
        ("192.0.25.7", "192.0.2", False),
        ("192.0.2.7", "example.net", False),
        ("2001:db8::7", "IPv6:2001:db8", True),
        ("2001:db8::7", "IPv6:2001:db", False),
    ],
)
def test_class_r_holds_leading_parts(address: str, member: str, inside: bool) -> None:
    parsed = parse_address(address.encode())
    assert parsed is not None
    assert (ruleset.in_class(parsed, [member]) == member) is inside


def test_class_r_is_read_from_lines_and_files(place: Path) -> None:
    (place / "relay-domains").write_text("192.0.2 # ours\n\nexample.org 10\n")
    text = f"CRone\nC{{R}}two\nFR-o {place}/relay-domains %[^\\#]\nFR-o {place}/none\nCPREDIRECT\n"
    assert list(sendmailcf.relayable(text)) == ["one", "two", "192.0.2", "example.org", "10"]
