"""Logins that are passed over at a start change nothing of what is weighed after it."""

import ipaddress
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from journalrelay.entry import Entry
from journalrelay.event import Login
from journalrelay.map.changes import Changes
from journalrelay.patterns import REGISTRY, TRUSTED_FIELDS
from journalrelay.patterns.identity import example
from journalrelay.recognition.logins import Logins
from journalrelay.rules.limits import Known
from journalrelay.rules.policy import Revocations, Rules
from journalrelay.rules.recent import Recent
from journalrelay.rules.repeats import Repeats
from journalrelay.sources.journal import JournalSource
from journalrelay.sources.openjournal import Where
from lab.journald import login_line, logout_line
from lab.journalfile import entry, make_journal
from tests.support import address

SECOND = 1_000_000
NOW_US = 1_795_400_000 * SECOND
RULES = Rules(
    window_us=60 * SECOND,
    windows_us={"courier": 20 * SECOND},
    never=(),
    ipv6_prefix=128,
    max_grant_us=86400 * SECOND,
    skew_us=1000 * SECOND,
    max_addresses_per_user=2,
    max_addresses=4,
)
DOVECOT = next(daemon for daemon in REGISTRY if daemon.name == "dovecot")
COURIER = next(daemon for daemon in REGISTRY if daemon.name == "courier")
TRUSTED = {
    name: value.encode()
    for name, value in example(DOVECOT.identity).items()
    if name in TRUSTED_FIELDS
}


def line(client: int, user: str, at_s: float, session: int = 0, **fields: bytes) -> Entry:
    text = login_line(address(client), user, session=f"s{session}")
    return Entry(text.encode(), {**TRUSTED, **fields}, NOW_US + round(at_s * SECOND))


def needed(records: Sequence[Entry], stretch_s: float = 20) -> list[Entry]:
    """Return what of the records need be recalled."""
    repeats = Logins([DOVECOT]).repeats(round(stretch_s * SECOND))
    assert repeats
    return sieved(records, repeats)


def sieved(records: Sequence[Entry], repeats: Repeats) -> list[Entry]:
    for record in reversed(records):
        repeats.see(record, record.time_us)
    found, at = [], -1
    for steps in repeats.steps():
        at += steps
        found.append(records[at])
    return found


def logins(records: Sequence[Entry]) -> list[Login]:
    read = Logins([DOVECOT]).read
    return [login for record in records if isinstance(login := read(record), Login)]


def recalled(records: Sequence[Entry], known: Known) -> Recent:
    recent, now_us = Recent(RULES), records[-1].time_us
    for login in logins(records):
        recent.recall(login, Revocations(), now_us, known)
    return recent


def granted(records: Sequence[Entry]) -> Known:
    """Return what came of the records when they were logged."""
    recent, changes = Recent(RULES), Changes()
    for login in logins(records):
        verdict = recent.weigh(login, Revocations(), login.logged_at_us)
        if verdict.expiry_s is not None:
            changes.grant(verdict.key, verdict.expiry_s)
    return Known(changes.granted.items())


TOLD = st.tuples(st.integers(0, 5), st.sampled_from("abc"), st.integers(0, 15))


@settings(deadline=None, max_examples=50)
@given(st.lists(TOLD, min_size=1, max_size=60))
def test_the_same_places_are_held_as_if_all_were_recalled(told: list[tuple[int, str, int]]) -> None:
    at_s, records = 0, []
    for number, (client, user, later_s) in enumerate(told):
        at_s += later_s
        records.append(line(client, user, at_s, number))
    known, some = granted(records), needed(records)
    for client in range(7):
        for user in "abcd":
            probe = Login(
                ipaddress.ip_address(address(client)), user.encode(), "imap", "dovecot", 0
            )
            for after_s in (0, 30, 50):
                now_us = records[-1].time_us + after_s * SECOND
                verdicts = [
                    recalled(which, known).weigh(
                        probe._replace(logged_at_us=now_us), Revocations(), now_us
                    )
                    for which in (records, some)
                ]
                assert verdicts[0] == verdicts[1]


def test_the_first_and_the_last_login_of_a_client_are_needed() -> None:
    records = [line(n % 2, "anna", n, n) for n in range(10)]
    assert needed(records) == [*records[:2], *records[-2:]]


def test_no_stretch_is_longer_than_the_shortest_window() -> None:
    records = [line(1, "anna", 10 * n, n) for n in range(7)]
    assert needed(records, stretch_s=20) == [records[n] for n in (0, 1, 3, 4, 6)]


def test_where_the_clock_was_set_back_nothing_is_passed_over_for_an_earlier_time() -> None:
    records = [line(1, "anna", at_s, at_s) for at_s in (10, 11, 12, 3, 4, 5)]
    assert needed(records) == [records[n] for n in (0, 2, 3, 5)]


def test_a_line_that_lies_about_its_sender_hides_no_login_before_it() -> None:
    records = [line(1, "anna", n, n) for n in range(4)]
    liar = line(1, "anna", 5, 5, _UID=b"1000")
    assert needed([*records, liar]) == [records[0], records[3], liar]


def test_what_is_no_login_stands_for_itself() -> None:
    other = Entry(logout_line("s1", "anna").encode(), TRUSTED, NOW_US)
    assert needed([other] * 4) == [other] * 4


def test_where_lines_tell_more_together_none_is_passed_over() -> None:
    assert Logins([DOVECOT, COURIER]).repeats(SECOND) is None
    assert Logins([DOVECOT], sessions=True).repeats(SECOND) is None


def test_the_journal_passes_them_over(place: Path) -> None:
    entries = [
        entry(login_line(address(n % 3), session=f"s{n}"), NOW_US + n * SECOND) for n in range(30)
    ]
    file = make_journal(entries, place / "x.journal")
    source = JournalSource(Where(files=(file,)), [[b"_SYSTEMD_UNIT=dovecot.service"]], [b"X=Y"])
    source.seek_time(NOW_US + 28 * SECOND)  # two are still to be read
    repeats = Logins([DOVECOT]).repeats(3600 * SECOND)
    seen = [record.message for record in source.earlier(60 * SECOND, repeats)]
    assert seen == [
        login_line(address(n % 3), session=f"s{n}").encode() for n in (0, 1, 2, 25, 26, 27)
    ]
    source.close()
