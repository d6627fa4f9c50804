"""The pipeline's properties: twice equals once, and the journal is the ledger."""

import json
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from journalrelay import clock
from journalrelay.cursor import CursorFile, Place
from journalrelay.event import Login, Record
from journalrelay.map.popmap import PopMap
from journalrelay.rules.policy import Verdict
from journalrelay.telling.message import HAND_GRANT, HAND_REVOCATION
from lab.journald import login_line
from lab.journalfile import entry, make_journal
from tests.support import address, drain, relay_on

SECOND, MINUTE = 1_000_000, 60_000_000
NOW_US = 1_795_400_000_000_000
WINDOW_S = 900


def login(number: int, at_us: int, **fields: object) -> bytes:
    return entry(login_line(address(number)), at_us, **fields)  # type: ignore[arg-type]


def by_hand(kind: str, what: str, at_us: int, place: Path, **fields: str) -> bytes:
    """Return an entry as ``grant`` or ``revoke`` leaves it; ``fields`` change it."""
    extra = {
        "MESSAGE_ID": kind,
        "RELAY_ADDRESS": what,
        "RELAY_MAP": f"{place}/popip.db",
        **fields,
    }
    return entry(
        f"relay by hand: {what}",
        at_us,
        unit="user@0.service",
        uid=int(extra.pop("uid", "0")),
        exe="/usr/bin/python3.11",
        transport=extra.pop("transport", "journal"),
        identifier="poprelayd",
        machine_id=extra.pop("machine_id", None),
        extra=list(extra.items()),
    )


def grant(number: int, at_us: int, expiry_s: int, place: Path, **fields: str) -> bytes:
    what = fields.pop("what", address(number))
    return by_hand(HAND_GRANT.id, what, at_us, place, **{"RELAY_EXPIRY": str(expiry_s), **fields})


def revoke(what: str, at_us: int, place: Path, **fields: str) -> bytes:
    return by_hand(HAND_REVOCATION.id, what, at_us, place, **fields)


def replayed(place: Path, entries: list[bytes], now_us: int = NOW_US) -> dict[bytes, int]:
    """Return the map that a daemon which starts with nothing makes of the entries."""
    file = make_journal(entries, place / "x.journal")
    relay = relay_on(place, file)
    relay.start(now_us)
    drain(relay, now_us)
    return PopMap(place / "popip.db", "hash").read()


def key(number: int) -> bytes:
    return address(number).encode()


def test_a_login_becomes_a_grant_for_its_window(place: Path) -> None:
    at = NOW_US - 5 * MINUTE
    assert replayed(place, [login(1, at)]) == {key(1): at // 1_000_000 + WINDOW_S}


def test_what_is_over_or_from_the_future_or_not_the_daemons_grants_nothing(place: Path) -> None:
    entries = [
        login(1, NOW_US - 15 * MINUTE),
        login(2, NOW_US - MINUTE, uid=1000),
        login(3, NOW_US - MINUTE, exe="/usr/bin/logger"),
        login(4, NOW_US - MINUTE, transport="journal"),
        login(5, NOW_US - MINUTE, identifier="imap"),
        login(6, NOW_US - MINUTE, unit=None),
        login(7, NOW_US - MINUTE),
        login(8, NOW_US + 2 * MINUTE),
    ]
    assert set(replayed(place, entries)) == {key(7)}


def test_while_there_is_more_to_read_a_commit_waits_for_it_a_second_at_most(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make_journal([login(n, NOW_US - MINUTE + n) for n in range(35)], place / "x.journal")
    relay, passed_us = relay_on(place, file), 0
    relay._source.seek_time(0)
    relay.recall(NOW_US)
    PopMap(place / "popip.db", "hash").create()
    monkeypatch.setattr(clock, "monotonic_us", lambda: 5 * SECOND + passed_us)

    def stepped(**how: bool) -> tuple[bool, int]:
        step = relay.step(NOW_US, limit=10, **how)
        return step.held, len(PopMap(place / "popip.db", "hash").read())

    assert stepped() == (True, 0)
    passed_us = SECOND
    assert stepped() == (False, 20)
    assert stepped() == (True, 20)
    assert stepped() == (False, 35)  # there was no more
    relay._source.seek_time(0)
    assert stepped(patient=False) == (False, 35)


def test_several_messages_in_one_entry_grant_nothing(place: Path) -> None:
    lie = [("MESSAGE", login_line(address(9)))]
    entries = [entry("x", NOW_US - MINUTE, transport="journal", extra=lie), login(1, NOW_US)]
    assert set(replayed(place, entries)) == {key(1)}


events = st.lists(
    st.tuples(
        st.sampled_from(["login", "login", "login", "grant", "revoke", "revoke-all"]),
        st.integers(0, 3),
        st.integers(0, 29),
    ),
    max_size=25,
)


def model(story: list[tuple[str, int, int]]) -> dict[bytes, int]:
    """Return what the map must hold after a story told in the order of time, in plain words."""
    content: dict[bytes, int] = {}
    for kind, number, minute in story:
        at_s = (NOW_US - (30 - minute) * MINUTE) // 1_000_000
        if kind == "revoke-all":
            content.clear()
        elif kind == "revoke":
            content.pop(key(number), None)
        else:
            expiry = at_s + (WINDOW_S if kind == "login" else 3600)
            content[key(number)] = max(expiry, content.get(key(number), 0))
    return {k: expiry for k, expiry in content.items() if expiry * 1_000_000 > NOW_US}


def told(story: list[tuple[str, int, int]], place: Path) -> list[bytes]:
    entries = []
    for index, (kind, number, minute) in enumerate(story):
        at = NOW_US - (30 - minute) * MINUTE + index  # no two at once
        if kind == "login":
            entries.append(login(number, at))
        elif kind == "grant":
            entries.append(grant(number, at, at // 1_000_000 + 3600, place))
        else:
            entries.append(revoke("all" if kind == "revoke-all" else address(number), at, place))
    return entries


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(story=events, cut=st.integers(0, 25))
def test_any_story_ends_as_the_model_does_however_often_it_is_read(
    place: Path, story: list[tuple[str, int, int]], cut: int
) -> None:
    story.sort(key=lambda event: event[2])
    inner = Path(tempfile.mkdtemp(dir=place))
    file = make_journal(
        [login(999, NOW_US - 40 * MINUTE), *told(story, inner)], inner / "x.journal"
    )
    relay = relay_on(inner, file)
    relay.start(NOW_US)
    assert live(inner) == model(story)  # made anew from nothing
    again = relay_on(inner, file)
    again._source.seek_time(0)  # every entry once more, in batches of any size
    again.recall(NOW_US)
    while again.step(NOW_US, limit=cut + 1).more:
        pass
    assert live(inner) == model(story)
    (inner / "popip.db").unlink()
    third = relay_on(inner, file)
    third.start(NOW_US)
    assert live(inner) == model(story)


def live(place: Path) -> dict[bytes, int]:
    content = PopMap(place / "popip.db", "hash").read()
    return {k: expiry for k, expiry in content.items() if expiry * 1_000_000 > NOW_US}


def test_an_old_hand_grant_is_found_and_an_old_revocation_holds(place: Path) -> None:
    day = 24 * 60 * MINUTE
    end_s = NOW_US // 1_000_000 + 100
    entries = [
        grant(1, NOW_US - 2 * day, end_s, place),
        grant(2, NOW_US - 2 * day, end_s, place),
        revoke(address(2), NOW_US - day, place),
        grant(3, NOW_US - 8 * day, end_s, place),  # longer ago than relay.max_grant
        login(4, NOW_US - MINUTE),
    ]
    assert replayed(place, entries) == {
        key(1): end_s,
        key(4): NOW_US // 1_000_000 - 60 + WINDOW_S,
    }


@pytest.mark.parametrize(
    "forged",
    [
        {"uid": "1000"},
        {"transport": "syslog"},
        {"machine_id": "f" * 32},
        {"RELAY_MAP": "/etc/mail/popip.db"},
        {"MESSAGE_ID": "0" * 32},
        {"what": "0.0.0.0/0"},
        {"what": "127.0.0.1"},
        {"what": "x"},
        {"RELAY_EXPIRY": "9e9"},
    ],
    ids=lambda forged: next(iter(forged)),
)
def test_a_hand_entry_of_anybody_else_grants_nothing(place: Path, forged: dict[str, str]) -> None:
    expiry_s = NOW_US // 1_000_000 + 100
    entries = [grant(1, NOW_US - MINUTE, expiry_s, place, **forged), login(2, NOW_US)]
    assert set(replayed(place, entries)) == {key(2)}


def test_a_revocation_by_anybody_else_revokes_nothing(place: Path) -> None:
    entries = [
        login(1, NOW_US - 2 * MINUTE),
        by_hand(HAND_REVOCATION.id, "all", NOW_US - MINUTE, place, uid="1000"),
        by_hand(HAND_REVOCATION.id, address(1), NOW_US - MINUTE, place, machine_id="f" * 32),
    ]
    assert set(replayed(place, entries)) == {key(1)}


def place_of(place: Path, file: Path, count: int) -> Place:
    """Return the place behind the first ``count`` logins."""
    relay = relay_on(place, file)
    relay._source.seek_time(0)
    assert len(list(relay._source.read(count))) == count
    found = relay._source.place()
    assert found
    return Place(*found, clock.boot_id(), clock.offset_us(), "")


def starts_with(place: Path, file: Path, kept: Place | None) -> tuple[list[str], set[bytes]]:
    """Start on a whole map, empty unless there is one; return notes and what was granted."""
    if not (place / "popip.db").exists():
        PopMap(place / "popip.db", "hash").replace({})
    relay = relay_on(place, file)
    if kept:
        there = PopMap(place / "popip.db", "hash").identity() or ""
        relay._kept.save(kept._replace(map=kept.map or there))
    notes = relay.start(NOW_US)
    drain(relay, NOW_US)
    return notes, set(PopMap(place / "popip.db", "hash").read())


@pytest.fixture
def three(place: Path) -> Path:
    ages = (20, 10, 5)
    entries = [login(age, NOW_US - age * MINUTE) for age in ages]
    return make_journal(entries, place / "x.journal")


def test_reading_goes_on_behind_the_kept_place(place: Path, three: Path) -> None:
    assert starts_with(place, three, place_of(place, three, 2)) == ([], {key(5)})


LIE = {b"192.0.2.99": NOW_US // 1_000_000 + 3600}


def test_a_map_that_is_not_the_one_of_the_place_is_made_anew(place: Path, three: Path) -> None:
    PopMap(place / "popip.db", "hash").replace(LIE)
    kept = place_of(place, three, 3)._replace(map="1:1")
    notes, granted = starts_with(place, three, kept)
    assert granted == {key(10), key(5)}
    assert "removed or replaced" in notes[0]


@pytest.mark.parametrize("known", [False, True])
def test_a_replay_does_not_vouch_for_a_map_that_it_found(
    place: Path, three: Path, known: bool
) -> None:
    """Whether another one was kept before or none: the daemon makes it anew all the same."""
    kept = place_of(place, three, 2)
    PopMap(place / "popip.db", "hash").replace(LIE)
    walk, notes = relay_on(place, three), list[str]()
    if known:
        walk._kept.save(kept._replace(map="1:1"))
    walk.resume(NOW_US, notes, walk.settle_map(NOW_US, notes))
    drain(walk, NOW_US)
    walk.save()
    assert starts_with(place, three, None)[1] == {key(10), key(5)}


def test_a_map_without_a_place_is_made_anew(place: Path, three: Path) -> None:
    """It may hold what a wrong clock granted, nearer than any grant by hand may end."""
    PopMap(place / "popip.db", "hash").replace(LIE)
    assert starts_with(place, three, None) == ([], {key(10), key(5)})


def test_a_map_is_made_anew_at_the_first_start_after_a_boot(place: Path, three: Path) -> None:
    """When power fails, the digits of two expiries on a page written in part make a third."""
    PopMap(place / "popip.db", "hash").replace(LIE)
    kept = place_of(place, three, 3)._replace(boot="0" * 32)
    assert starts_with(place, three, kept) == ([], {key(10), key(5)})


def test_a_place_older_than_any_login_that_matters_is_passed_over(place: Path, three: Path) -> None:
    kept = place_of(place, three, 1)
    assert starts_with(place, three, kept) == ([], {key(10), key(5)})


def test_a_vacuumed_place_is_said_and_the_last_window_read(place: Path, three: Path) -> None:
    kept = place_of(place, three, 2)
    gone = kept._replace(cursor=f"s={1:032x};i=1;b={2:032x};m=1;t=1;x=1")
    notes, granted = starts_with(place, three, gone)
    assert granted == {key(10), key(5)}
    assert "gone from the journal" in notes[0]


def test_a_place_that_is_no_cursor_is_said_and_the_last_window_read(
    place: Path, three: Path
) -> None:
    kept = place_of(place, three, 2)
    notes, granted = starts_with(place, three, kept._replace(cursor="x"))
    assert granted == {key(10), key(5)}
    assert "is no cursor" in notes[0]


def test_a_garbage_state_file_is_said_and_the_last_window_read(place: Path, three: Path) -> None:
    PopMap(place / "popip.db", "hash").replace({})
    relay = relay_on(place, three)
    relay._kept.path.write_text("garbage")
    notes = relay.start(NOW_US)
    drain(relay, NOW_US)
    assert "not a saved place" in notes[0]
    assert set(PopMap(place / "popip.db", "hash").read()) == {key(10), key(5)}


@pytest.mark.parametrize("sign", ["future", "offset"])
def test_a_clock_that_was_set_back_makes_the_map_anew(place: Path, three: Path, sign: str) -> None:
    kept = place_of(place, three, 3)
    hour = 60 * MINUTE
    ahead = {
        "future": kept._replace(time_us=NOW_US + hour),
        "offset": kept._replace(clock_us=kept.clock_us + hour),
    }[sign]
    popmap = PopMap(place / "popip.db", "hash")
    popmap.replace({b"192.0.2.99": NOW_US // 1_000_000 + 3600})
    notes, granted = starts_with(place, three, ahead)
    assert granted == {key(10), key(5)}
    assert "the clock was set back" in notes[0]


def test_a_login_stamped_by_a_clock_ahead_in_this_boot_is_refused(place: Path) -> None:
    """Its monotonic time says when it was, whatever the wall clock said."""
    boot, offset = clock.boot_id(), clock.offset_us()
    now = clock.now_us()

    def stamped(number: int, ahead_us: int) -> bytes:
        made = login(number, now - SECOND, boot_id=boot)
        monotonic = b"__MONOTONIC_TIMESTAMP=%d" % (now - SECOND - offset - ahead_us)
        return re.sub(rb"__MONOTONIC_TIMESTAMP=[0-9]+", monotonic, made)

    file = make_journal([stamped(1, 5 * SECOND), stamped(2, 0)], place / "x.journal")
    relay_on(place, file, text='[relay]\nskew = "1s"').start(now)
    assert set(PopMap(place / "popip.db", "hash").read()) == {key(2)}


def test_grants_too_far_ahead_make_the_map_anew(place: Path, three: Path) -> None:
    PopMap(place / "popip.db", "hash").replace({b"192.0.2.99": NOW_US // 1_000_000 + 30 * 86400})
    notes, granted = starts_with(place, three, None)
    assert granted == {key(10), key(5)}
    assert "would not expire before" in notes[0]
    assert (place / "popip.db.damaged").exists()


def test_a_removed_map_is_made_anew_while_running(place: Path, three: Path) -> None:
    relay = relay_on(place, three)
    relay.start(NOW_US)
    assert relay.mend(NOW_US) is None
    (place / "popip.db").unlink()
    assert "removed or replaced" in str(relay.mend(NOW_US))
    assert live(place).keys() == {key(10), key(5)}
    assert relay.mend(NOW_US) is None


def test_the_witness_sees_every_login_once(place: Path, three: Path) -> None:
    seen: list[tuple[str, str]] = []

    def witness(record: Record, login: Login, verdict: Verdict) -> None:
        assert json.dumps(record.cursor())
        seen.append((str(login.address), verdict.word))

    relay = relay_on(place, three, witness=witness)
    relay._source.seek_time(0)
    assert relay.weigh(NOW_US).records == 3
    words = ["expired", "granted", "granted"]
    assert seen == list(zip([address(20), address(10), address(5)], words, strict=True))
    assert not (place / "popip.db").exists()


def test_the_place_is_saved_only_when_it_moved(place: Path, three: Path) -> None:
    relay = relay_on(place, three)
    relay.start(NOW_US)
    relay.save()
    kept = CursorFile(place, relay._source.name)
    first = kept.path.stat().st_ino
    relay.save()
    assert kept.path.stat().st_ino == first
