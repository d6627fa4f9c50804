"""The page of ``report``: its figures are those of a replay, it shows what was told and holds
nothing that a reader would obey, and it needs nothing but itself."""

import itertools
import json
import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest

from journalrelay.cli import main
from journalrelay.sources.journal import JournalSource
from journalrelay.telling import message
from lab.journald import Journald, Sender, login_line
from lab.journalfile import entry, make_journal
from lab.poprelayd import COMMAND, IN_JOURNAL, TOP, Poprelayd, journalrelay
from lab.wait import wait_for
from lab.week import CONFIG, END_S, week
from tests.support import address

WEEK_S = 7 * 86400
VOID = {"meta"}


class Page(HTMLParser):
    """A page as a browser would see it; raises when a tag is left open or closed twice."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.source = text
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.words: list[str] = []
        self._rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "table":
            self._rows = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th"):
            self._rows[-1].append("")
        elif tag == "caption":
            self._caption = ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "table":
            self.tables[self._caption] = self._rows

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if "caption" in self.open:
            self._caption += data
        elif self.open and "table" in self.open and self._rows and self._rows[-1]:
            self._rows[-1][-1] += data

    def text(self) -> str:
        """Return what can be read."""
        return " ".join(self.words)

    def totals(self, caption: str) -> dict[str, int]:
        """Return the last row of a plot's table: of each name all there were."""
        heads, *_, last = self.tables[caption]
        return {name: count(cell) for name, cell in zip(heads[1:], last[1:], strict=True)}


def count(cell: str) -> int:
    return int(re.sub(r"\D", "", cell))


def files(place: Path, *entries: bytes) -> Path:
    return make_journal(entries, place / "some.journal")


def run(*words: str, zone: str = "UTC") -> "subprocess.CompletedProcess[bytes]":
    command = [*COMMAND, *words]
    environment = {**os.environ, "TZ": zone}
    return subprocess.run(command, cwd=TOP, capture_output=True, check=False, env=environment)


def report(place: Path, journal: Path, *words: str, config: str = "") -> Page:
    """Return the page of a journal file, for the map that a daemon in ``place`` would keep."""
    (place / "poprelay.conf").write_text(config)
    begin = ["-c", str(place / "poprelay.conf"), "report", "--file", str(journal)]
    done = run(*begin, "--map", str(place / "popip.db"), *words)
    assert (done.returncode, done.stderr) == (0, b"")
    return Page(done.stdout.decode())


def replayed(place: Path, journal: Path) -> list[dict[str, object]]:
    """Return every login of a journal file as replay weighs it, by the same configuration."""
    begin = ["-c", str(place / "poprelay.conf"), "replay", "--all", "--dry-run", "--json"]
    done = run(*begin, "--file", str(journal), "--map", str(place / "none.db"))
    assert done.returncode == 0
    return [json.loads(line) for line in done.stdout.splitlines()]


def told(kind: message.Kind, time_us: int, place: Path, text: str, pid: int = 9) -> bytes:
    return entry(
        text,
        time_us,
        unit="poprelayd.service",
        exe="/usr/bin/python3.11",
        transport="journal",
        identifier="poprelayd",
        pid=pid,
        extra=[("MESSAGE_ID", kind.id), ("RELAY_MAP", str(place / "popip.db"))],
    )


@pytest.fixture(scope="module")
def of_a_week(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Page]:
    place = tmp_path_factory.mktemp("week")
    place.chmod(0o755)
    journal = files(place, *week(END_S * 1_000_000, place / "popip.db", logins=3000))
    return place, report(place, journal, config=CONFIG)


def test_figures_are_those_of_a_replay(of_a_week: tuple[Path, Page]) -> None:
    place, page = of_a_week
    logins = replayed(place, place / "some.journal")
    refused = [login for login in logins if login["verdict"] == "refused"]
    assert page.totals("What came of the logins: logins") == {
        "granted": len(logins) - len(refused),
        "refused": len(refused),
    }
    servers = Counter(f"{login['daemon']}, {login['service']}" for login in logins)
    assert page.totals("By server: logins") == servers
    reasons = Counter(str(login["reason"]).partition(":")[0] for login in refused)
    assert len(reasons) > 2
    assert page.totals("Why logins were refused: refused") == reasons
    listed = page.tables["Refused, by reason and server"][1:]
    assert {row[0]: count(row[2]) for row in listed} == reasons


def test_addresses_of_each_user_are_counted(of_a_week: tuple[Path, Page]) -> None:
    place, page = of_a_week
    addresses: dict[object, set[object]] = {}
    for login in replayed(place, place / "some.journal"):
        addresses.setdefault(login["user"], set()).add(login["address"])
    top = page.tables["Users with the most addresses"][1:]
    assert [count(row[1]) for row in top] == [len(addresses[row[0]]) for row in top]
    most = sorted(map(len, addresses.values()), reverse=True)
    assert [count(row[1]) for row in top] == most[: len(top)]
    spread = page.tables["How many addresses a user had"][1:]
    assert sum(count(row[1]) for row in spread) == len(addresses)
    assert count(spread[0][1]) == sum(len(found) == 1 for found in addresses.values())


def test_attacks_are_seen(of_a_week: tuple[Path, Page]) -> None:
    _, page = of_a_week
    (flood,) = page.tables["Each flood"][1:]
    assert flood[0] == "2026-11-18 23:20"
    assert count(flood[2]) >= 2600
    refused = page.tables["Addresses refused 10 times and more"][1:]
    assert {row[0] for row in refused} == {f"203.0.113.{n}" for n in range(60, 66)}  # no web mail
    assert ["clara@example.org", "120"] in page.tables["Users from 16 addresses and more"]
    (forger,) = page.tables["Who logged them"][1:]
    assert forger[:3] == ["uid 1007, /usr/bin/logger, unit session-4.scope", "60", "dovecot"]


def test_gaps_are_seen(of_a_week: tuple[Path, Page]) -> None:
    _, page = of_a_week
    gaps = {(row[0], row[1]): row[2:] for row in page.tables["Gaps"][1:]}
    assert gaps[("2026-11-16 15:00:00", "daemon not running")][0] == "3h"
    assert gaps[("2026-11-21 05:00:00", "daemon not running")][0] == "9s"
    assert gaps[("2026-11-19 13:00:00", "map not writable")][0] == "1h 35min"
    assert gaps[("2026-11-20 19:00:00", "lines suppressed")][1] == "77 lines of dovecot.service"
    assert len(gaps) == 6


def test_page_needs_nothing_else(of_a_week: tuple[Path, Page]) -> None:
    _, page = of_a_week
    assert not set(page.tags) & {"script", "link", "img", "iframe", "object", "base", "image"}
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name not in ("src", "srcset", "xlink:href", "data", "action")
        if name == "href":
            assert value.startswith("#")
    assert not re.search(r"url\(|@import|@font-face|https?:", page.source)
    policy = {value for tag, name, value in page.attributes if tag == "meta" and name == "content"}
    assert any(value.startswith("default-src 'none'") for value in policy)


def test_every_link_in_the_page_leads_somewhere(of_a_week: tuple[Path, Page]) -> None:
    _, page = of_a_week
    names = [value for _, name, value in page.attributes if name == "id"]
    assert len(names) == len(set(names))
    targets = [v[1:] for _, n, v in page.attributes if n == "href"]
    targets += [value for _, name, value in page.attributes if name == "aria-labelledby"]
    assert targets and set(targets) <= set(names)


def test_every_plot_has_its_figures_as_a_table(of_a_week: tuple[Path, Page]) -> None:
    _, page = of_a_week
    assert page.tags["svg"] == page.tags["details"] == 5
    labels = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert all(re.search(r"\d", label) for label in labels)


HOSTILE_NAMES = (
    b"<script>alert(1)</script>",
    b"\"' onmouseover='x' style=\"",
    "\u202eevil\u2066".encode(),
    b"</style></svg></title><img src=x>",
    b"&lt;b&gt;&#x202e;",
    b"\xff\xfe\xc3",
    "\u05d0\u05d1\u05d2 123".encode(),
    b"--><!--",
    b"x" * 250,
)


@pytest.fixture(scope="module")
def of_hostile_names(tmp_path_factory: pytest.TempPathFactory) -> Page:
    place = tmp_path_factory.mktemp("hostile")
    numbers = itertools.count()
    entries = []
    for user in HOSTILE_NAMES:
        for n in range(20):
            line = login_line(address(n), "USER").encode().replace(b"USER", user)
            entries.append(entry(line, END_S * 1_000_000 + next(numbers)))
            forged = entry(
                line,
                END_S * 1_000_000 + next(numbers),
                unit=user.decode("utf-8", "replace") + ".service",
                exe=f"/tmp/{user.decode('utf-8', 'replace')}",
            )
            entries.append(forged)
    reason = HOSTILE_NAMES[3].decode()
    entries.append(told(message.FAULT, END_S * 1_000_000 + next(numbers), place, reason))
    return report(place, files(place, *entries))


def test_hostile_names_are_only_shown(of_hostile_names: Page) -> None:
    page = of_hostile_names
    assert not set(page.tags) & {"script", "img"}
    assert page.tags["style"] == 1
    assert not any(name.startswith("on") for _, name, _ in page.attributes)
    shown = [row[0] for row in page.tables["Users with the most addresses"][1:]]
    assert len(shown) == len(HOSTILE_NAMES)
    assert "<script>alert(1)</script>" in shown
    assert r"\u202eevil\u2066" in shown
    assert "&lt;b&gt;&#x202e;" in shown
    assert r"\xff\xfe\xc3" in shown
    assert "x" * 159 + "…" in shown
    assert page.tables["Faults that the daemon told: 1"][1][1] == HOSTILE_NAMES[3].decode()
    assert len(page.tables["Who logged them"]) == len(HOSTILE_NAMES) + 1


def test_nothing_in_the_page_is_a_control(of_hostile_names: Page) -> None:
    kept = {"\n", "\u202f"}  # the narrow blank between thousands is the page's own
    assert {c for c in of_hostile_names.source if not c.isprintable()} <= kept


def test_what_is_not_to_be_shown_is_not_in_the_page(tmp_path: Path) -> None:
    text = "[log]\nusers = false\naddresses = false\n"
    journal = files(tmp_path, *week(END_S * 1_000_000, tmp_path / "popip.db", logins=300))
    shown = report(tmp_path, journal, config=CONFIG)
    hidden = report(tmp_path, journal, config=CONFIG + text)
    private = r"@example\.org|203\.0\.113|198\.51\.100|198\.18|2001:db8|127\.0\.0\.1"
    assert set(re.findall(private, shown.source)) >= {"@example.org", "203.0.113"}
    assert not re.search(private, hidden.source)
    same = "What came of the logins: logins"
    assert hidden.tables[same] == shown.tables[same]
    assert "users and addresses are left out" in hidden.text()


@pytest.mark.parametrize("what", ["users", "addresses"])
def test_one_of_both_is_left_out(tmp_path: Path, what: str) -> None:
    journal = files(tmp_path, *week(END_S * 1_000_000, tmp_path / "popip.db", logins=300))
    page = report(tmp_path, journal, config=f"{CONFIG}[log]\n{what} = false\n")
    assert ("clara@example.org" in page.source) == (what != "users")
    assert ("203.0.113.60" in page.source) == (what != "addresses")


def test_nothing_logged_is_said(tmp_path: Path) -> None:
    other = entry("hello", END_S * 1_000_000, unit="cron.service", identifier="CRON")
    page = report(tmp_path, files(tmp_path, other))
    assert "Nothing was logged in this time" in page.text()
    assert page.tags["svg"] == 0


def test_since_and_until_bound_it(tmp_path: Path) -> None:
    entries = [entry(login_line(address(n)), (END_S + n) * 1_000_000) for n in range(100)]
    bounds = ["--since", f"@{END_S + 20}", "--until", f"@{END_S + 50}"]
    page = report(tmp_path, files(tmp_path, *entries), *bounds)
    assert page.totals("What came of the logins: logins")["granted"] == 30


def test_late_beginning_of_the_journal_is_said(tmp_path: Path) -> None:
    journal = files(tmp_path, entry(login_line("192.0.2.7"), END_S * 1_000_000))
    bounds = ["--since", f"@{END_S - WEEK_S}", "--until", f"@{END_S + 3600}"]
    page = report(tmp_path, journal, *bounds)
    assert "The journal begins at 2026-11-22 09:00:00" in page.text()


def test_a_daemon_that_ended_without_a_word_is_seen(tmp_path: Path) -> None:
    at = [(END_S + n * 60) * 1_000_000 for n in range(6)]
    page = report(
        tmp_path,
        files(
            tmp_path,
            told(message.READY, at[0], tmp_path, "keeping", pid=7),
            told(message.READY, at[1], tmp_path, "keeping", pid=7),  # reloaded
            told(message.FAULT, at[2], tmp_path, "something", pid=7),
            told(message.READY, at[4], tmp_path, "keeping", pid=8),
            told(message.STOPPED, at[5], tmp_path, "stopped", pid=8),
            entry(login_line("192.0.2.7"), at[5] + 120_000_000),
        ),
    )
    assert [row[:3] for row in page.tables["Gaps"][1:]] == [
        ["2026-11-22 09:02:00", "daemon not running", "2min"],
        ["2026-11-22 09:05:00", "daemon not running", "2min"],
    ]


def test_page_is_made_of_the_journal_alone(tmp_path: Path) -> None:
    """A map that is nobody's business is not looked at."""
    (tmp_path / "popip.db").write_bytes(os.urandom(4096))
    before = (tmp_path / "popip.db").read_bytes()
    journal = files(tmp_path, entry(login_line("192.0.2.7"), time.time_ns() // 1000))
    page = report(tmp_path, journal)
    assert page.totals("What came of the logins: logins")["granted"] == 1
    assert (tmp_path / "popip.db").read_bytes() == before


def test_what_is_looked_at_again_is_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As when journald writes meanwhile, and a second look finds other entries than the first."""
    began_us = time.time_ns() // 1000 - 100
    journal = files(tmp_path, *(entry(login_line(address(n)), began_us + n) for n in range(50)))
    monkeypatch.setattr(JournalSource, "_comes_to_place", lambda _source: False)
    words = ["report", "--file", str(journal), "--map", str(tmp_path / "popip.db")]
    assert main(["-c", "/dev/null", *words]) == os.EX_OK
    page = Page(capsys.readouterr().out)
    assert page.totals("What came of the logins: logins")["granted"] == 50


def test_output_replaces_a_file_whole(tmp_path: Path) -> None:
    journal = files(tmp_path, entry(login_line("192.0.2.7"), END_S * 1_000_000))
    page = tmp_path / "report.html"
    page.write_text("the former one")
    done = run("report", "--file", str(journal), "--output", str(page))
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert Page(page.read_text()).tags["svg"] == 2
    assert sorted(file.name for file in tmp_path.iterdir()) == ["report.html", "some.journal"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--output", "/dev/null"], os.EX_USAGE, "/dev/null is no regular file"),
        (["--output", "/nowhere/x.html"], os.EX_NOINPUT, "/nowhere/x.html"),
        (["--since", "now", "--until", "yesterday"], os.EX_USAGE, "--since is not before --until"),
        (["--until", "soon"], os.EX_USAGE, "'soon' is not a time"),
    ],
)
def test_what_cannot_be_is_said(tmp_path: Path, words: Sequence[str], code: int, said: str) -> None:
    journal = files(tmp_path, entry(login_line("192.0.2.7"), END_S * 1_000_000))
    done = run("report", "--file", str(journal), *words)
    assert (done.returncode, done.stdout) == (code, b"")
    assert said in done.stderr.decode() and done.stderr.count(b"\n") == 1


def test_log_file_says_that_it_cannot_tell_forged_lines(tmp_path: Path) -> None:
    log = tmp_path / "mail.log"
    host = os.uname().nodename
    stamp = time.strftime("%b %e %H:%M:%S")
    log.write_text(f"{stamp} {host} dovecot: {login_line('192.0.2.7')}\n")
    done = run("report", "--logfile", str(log), zone=time.tzname[0])
    page = Page(done.stdout.decode())
    assert page.totals("What came of the logins: logins")["granted"] == 1
    assert "A log file does not tell who logged a line" in page.text()


# On a live journald


def live(place: Path, config: str = "") -> Page:
    (place / "report.conf").write_text(config)
    words = ["-c", str(place / "report.conf"), "report", "--map", str(place / "popip.db")]
    done = journalrelay(*words)
    assert (done.returncode, done.stderr) == (0, "")
    return Page(done.stdout)


def test_live_journal_with_all_that_happens(place: Path, journald: Journald) -> None:
    with Sender() as dovecot, Sender(uid=1000, unit="user@1000.service") as stranger:
        with Poprelayd(place, wrapper=IN_JOURNAL, config=CONFIG) as daemon:
            dovecot.send_many(login_line(address(n)) for n in range(12))
            dovecot.send_many(login_line("203.0.113.9") for _ in range(40))
            stranger.send(login_line("192.0.2.66"))
            wait_for(lambda: len(daemon.granted()) == 12, "the grants")
        journald.sync()
        page = live(place, CONFIG)
    assert page.totals("What came of the logins: logins") == {"granted": 12, "refused": 40}
    assert page.totals("Addresses that came and went: addresses") == {"opened by a login": 12}
    assert page.tables["Who logged them"][1][1] == "1"
    assert "uid 1000" in page.tables["Who logged them"][1][0]
    assert [row[1] for row in page.tables["Gaps"][1:]] == ["daemon not running"]
    (refused,) = page.tables["Addresses refused 10 times and more"][1:]
    assert refused[:3] == ["203.0.113.9", "40", "relay.never"]


def test_lines_that_a_live_journald_suppressed_are_a_gap(place: Path) -> None:
    settings = {"RateLimitIntervalSec": "1s", "RateLimitBurst": "20"}
    with Journald(**settings) as journald, Sender() as dovecot:
        dovecot.send_many(login_line(address(n)) for n in range(2000))

        def suppressed() -> bool:
            dovecot.send(login_line("192.0.2.7"))
            return bool(journald.entries("MESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e"))

        wait_for(suppressed, "journald's word of what it suppressed")
        told = journald.entries("MESSAGE_ID=a596d6fe7bfa4994828e72309e95d61e")
        page = live(place)
    lost = sum(int(entry["N_DROPPED"]) for entry in told)
    rows = [row for row in page.tables["Gaps"][1:] if row[1] == "lines suppressed"]
    assert sum(count(row[3].partition(" lines")[0]) for row in rows) == lost
    assert all("dovecot.service" in row[3] for row in rows)


def test_who_may_read_the_journal_may_make_the_page(place: Path, journald: Journald) -> None:
    with Sender() as dovecot:
        dovecot.send(login_line("192.0.2.7"))
        journald.sync()
    words = [*COMMAND, "report", "--map", str(place / "popip.db")]
    group = ["setpriv", "--reuid=65534", "--regid=65534", "--groups=systemd-journal", "--"]
    done = subprocess.run([*group, *words], cwd=TOP, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert Page(done.stdout.decode()).tags["svg"] == 2
