"""A session holds its address while it lives, at most as long as it may, and no longer."""

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journalrelay import clock
from journalrelay.event import Login, Logout, Revocation
from journalrelay.patterns.courier import COURIER
from journalrelay.patterns.dovecot import DOVECOT
from journalrelay.recognition.logins import Logins
from journalrelay.relay import Relay
from journalrelay.rules import sessions
from journalrelay.rules.policy import Revocations, Rules, never_granted
from journalrelay.rules.recent import Recent
from lab.journald import login_line, logout_line
from lab.journalfile import entry, make_journal
from lab.record import FakeRecord
from tests.support import address, drain, relay_on
from tests.test_forgery import CUT, HELLO, courier
from tests.test_patterns import of
from tests.test_relay import key, revoke

SECOND, MINUTE = 1_000_000, 60_000_000
HOUR = 60 * MINUTE
NOW_US = 1_795_400_640 * SECOND  # a whole number of the steps in which the clock goes
NOW_S = NOW_US // SECOND
RULES = Rules(
    window_us=16 * MINUTE,
    windows_us={},
    never=(),
    ipv6_prefix=128,
    max_grant_us=HOUR,
    skew_us=MINUTE,
    while_connected_us=12 * HOUR,
)
NONE = Revocations()
TEXT = '[relay]\nwindow = "16min"\nwhile_connected = "12h"\n'


def login(number: int = 1, at_us: int = NOW_US, session: bytes = b"S", boot: bytes = b"b") -> Login:
    where = ipaddress.ip_address(address(number))
    return Login(where, b"anna", "imap", "dovecot", at_us, session=session, boot=boot)


def logout(at_us: int, session: bytes = b"S", boot: bytes = b"b") -> Logout:
    return Logout("dovecot", session, at_us, boot)


def minutes(granted: dict[bytes, int], number: int = 1) -> float | None:
    """Return how long after NOW_US a grant ends, None when there was none."""
    expiry_s = granted.get(key(number))
    return None if expiry_s is None else (expiry_s - NOW_S) / 60


def test_a_session_is_granted_a_window_again_after_each_half() -> None:
    recent = Recent(RULES)
    recent.weigh(login(), NONE, NOW_US)
    seen = [minutes(recent.due(NONE, NOW_US + at * MINUTE)) for at in range(25)]
    assert {at: until for at, until in enumerate(seen) if until} == {8: 24, 16: 32, 24: 40}


def test_the_last_grant_ends_a_window_after_the_logout() -> None:
    recent = Recent(RULES)
    recent.weigh(login(), NONE, NOW_US)
    recent.end(logout(NOW_US + 100 * MINUTE), NONE, NOW_US + 100 * MINUTE)
    assert minutes(recent.due(NONE, NOW_US + 100 * MINUTE)) == 116
    assert recent.due(NONE, NOW_US + 110 * MINUTE) == {}
    recent.end(logout(NOW_US + 115 * MINUTE), NONE, NOW_US + 115 * MINUTE)
    assert recent.due(NONE, NOW_US + 115 * MINUTE) == {}


def test_it_never_holds_longer_than_it_may() -> None:
    for ended in (None, 719, 721, 3000):
        recent, granted = Recent(RULES), dict[bytes, int]()
        recent.weigh(login(), NONE, NOW_US)
        for at in range(1500):
            if at == ended:
                recent.end(logout(NOW_US + at * MINUTE), NONE, NOW_US + at * MINUTE)
            granted |= recent.due(NONE, NOW_US + at * MINUTE)
        assert minutes(granted) == 720
        assert len(recent._sessions) == 0
    short = RULES._replace(while_connected_us=MINUTE)
    recent = Recent(short)
    recent.weigh(login(), NONE, NOW_US)
    recent.end(logout(NOW_US + 9 * MINUTE), NONE, NOW_US + 9 * MINUTE)
    assert minutes(recent.due(NONE, NOW_US + 9 * MINUTE)) in (None, 16)


def test_a_revocation_ends_it_and_a_later_login_begins_anew() -> None:
    recent, revoked = Recent(RULES), Revocations()
    recent.weigh(login(), revoked, NOW_US)
    revoked.record(
        Revocation(ipaddress.ip_network(address(1)), NOW_US + MINUTE), 128, NOW_US + HOUR
    )
    assert recent.due(revoked, NOW_US + 30 * MINUTE) == {}
    recent.end(logout(NOW_US + 40 * MINUTE), revoked, NOW_US + 40 * MINUTE)
    assert recent.due(revoked, NOW_US + 40 * MINUTE) == {}
    later = NOW_US + 50 * MINUTE
    recent.weigh(login(at_us=later, session=b"T"), revoked, later)
    assert minutes(recent.due(revoked, later + 8 * MINUTE)) == 74


@pytest.mark.parametrize("network", [address(1), None])
def test_a_revocation_takes_back_what_is_not_in_the_map_yet(network: str | None) -> None:
    recent, revoked = Recent(RULES), Revocations()
    recent.weigh(login(), revoked, NOW_US)
    later = NOW_US + 9 * MINUTE
    recent.weigh(login(2, later, b"T"), revoked, later)
    what = None if network is None else ipaddress.ip_network(network)
    recent.withdraw(Revocation(what, later))
    assert recent.due(revoked, later) == {}


def test_what_was_refused_holds_nothing() -> None:
    recent = Recent(RULES._replace(max_addresses_per_user=1))
    recent.weigh(login(), NONE, NOW_US)
    recent.weigh(login(2, session=b"T"), NONE, NOW_US)
    assert recent.due(NONE, NOW_US + 9 * MINUTE).keys() == {key(1)}
    assert never_granted(ipaddress.ip_address("127.0.0.1"), 128, ())
    own = login()._replace(address=ipaddress.ip_address("127.0.0.1"), session=b"U")
    recent.weigh(own, NONE, NOW_US)
    assert len(recent._sessions) == 1


def test_a_session_holds_its_place_among_the_users_addresses() -> None:
    recent = Recent(RULES._replace(max_addresses_per_user=1))
    recent.weigh(login(), NONE, NOW_US)
    late = NOW_US + 3 * HOUR
    assert recent.weigh(login(2, late, b"T"), NONE, late).word == "refused"
    recent.end(logout(late), NONE, late)
    assert recent.weigh(login(2, late + 15 * MINUTE, b"T"), NONE, late + HOUR).word == "refused"
    assert recent.weigh(login(2, late + 16 * MINUTE, b"T"), NONE, late + HOUR).expiry_s is not None


def test_a_logout_ends_its_own_session_only() -> None:
    recent = Recent(RULES)
    recent.weigh(login(1, session=b"S"), NONE, NOW_US)
    recent.weigh(login(2, session=b"T"), NONE, NOW_US)
    recent.end(logout(NOW_US + MINUTE, b"T"), NONE, NOW_US + MINUTE)
    recent.end(logout(NOW_US + MINUTE, b""), NONE, NOW_US + MINUTE)
    recent.end(logout(NOW_US + MINUTE)._replace(daemon="courier"), NONE, NOW_US + MINUTE)
    granted = recent.due(NONE, NOW_US + HOUR)
    assert (minutes(granted, 1), minutes(granted, 2)) == (72, None)


def test_another_boot_ends_all_sessions() -> None:
    recent = Recent(RULES)
    recent.weigh(login(1), NONE, NOW_US)
    recent.weigh(login(2, NOW_US + MINUTE, b"T", boot=b"c"), NONE, NOW_US + MINUTE)
    assert recent.due(NONE, NOW_US + HOUR).keys() == {key(2)}


def test_there_are_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MOST", 3)
    recent = Recent(RULES._replace(max_addresses_per_user=0))
    for number in range(5):
        recent.weigh(login(number, session=b"%d" % number), NONE, NOW_US)
    assert recent.due(NONE, NOW_US + HOUR).keys() == {key(0), key(1), key(2)}


@given(
    began=st.lists(st.integers(0, 200), min_size=1, max_size=6),
    lasted=st.lists(st.integers(0, 300) | st.none(), min_size=6, max_size=6),
    turns=st.lists(st.integers(1, 60), max_size=20),
)
def test_whoever_reads_it_later_or_in_other_steps_comes_to_the_same(
    began: list[int], lasted: list[int | None], turns: list[int]
) -> None:
    rules = RULES._replace(while_connected_us=2 * HOUR)
    lines: list[tuple[int, Login | Logout]] = []
    for number, at in enumerate(began):
        name, last = b"%d" % number, lasted[number]
        lines.append((at, login(number, NOW_US + at * MINUTE, name)))
        if last is not None:
            lines.append((at + last, logout(NOW_US + (at + last) * MINUTE, name)))
    lines.sort(key=lambda line: line[0])
    ends_us = NOW_US + sum(turns) * MINUTE

    def granted(times_us: list[int]) -> dict[bytes, int]:
        recent, content, left = Recent(rules), dict[bytes, int](), list(lines)
        for now_us in [*times_us, ends_us]:
            while left and NOW_US + left[0][0] * MINUTE <= now_us:
                event = left.pop(0)[1]
                if isinstance(event, Logout):
                    recent.end(event, NONE, now_us)
                else:
                    verdict = recent.weigh(event, NONE, now_us)
                    content[verdict.key] = max(verdict.expiry_s or 0, content.get(verdict.key, 0))
            for each, expiry_s in recent.due(NONE, now_us).items():
                content[each] = max(expiry_s, content.get(each, 0))
        return {each: end_s for each, end_s in content.items() if end_s * SECOND > ends_us}

    times_us = [NOW_US + sum(turns[:n]) * MINUTE for n in range(len(turns))]
    assert granted(times_us) == granted([])


def test_a_name_that_looks_like_a_logout_ends_no_other_session() -> None:
    made = Logins([DOVECOT], sessions=True)
    name = "x)<1><VICTIM>: Disconnected: Logged out"
    read = [
        made.read(of(DOVECOT, line))
        for line in (
            login_line("192.0.2.7", user=name, service="imap", session="OWN"),
            logout_line("OWN", name),
            logout_line("OWN", "x><VICTIM>: Disconnected"),
            f"imap-login: Login: user=<{logout_line('VICTIM')}>",
            "imap(x)<1><VICTIM>: Error: no such thing",
        )
    ]
    sessions = [event.session if isinstance(event, Login | Logout) else None for event in read]
    assert sessions == [b" OWN"] * 3 + [None] * 2


def test_only_imap_sessions_with_a_name_hold_anything() -> None:
    made = Logins([DOVECOT, COURIER], sessions=True)
    for line, name in (
        (login_line("192.0.2.7", service="imap", session="S"), b" S"),
        (login_line("192.0.2.7", service="pop3", session="S"), b""),
        (login_line("192.0.2.7", service="imap").partition(", session")[0], b""),
    ):
        event = made.read(of(DOVECOT, line))
        assert isinstance(event, Login) and event.session == name
    event = Logins([DOVECOT]).read(of(DOVECOT, login_line("192.0.2.7", service="imap")))
    assert isinstance(event, Login) and event.session == b""
    assert Logins([DOVECOT]).read(of(DOVECOT, logout_line())) is None


def imapd(message: str) -> FakeRecord:
    return courier(message, _SYSTEMD_UNIT="courier-imap.service", SYSLOG_IDENTIFIER="imapd")


def test_a_session_at_courier_is_its_address_and_port() -> None:
    made = Logins([COURIER], sessions=True)
    client = "ip=[::ffff:192.0.2.7], port=[4711]"
    hello, begun, ended, piece, doubted = (
        made.read(imapd(line))
        for line in (
            HELLO,
            f"LOGIN, user=anna, {client}, protocol=IMAP",
            f"LOGOUT, user=anna, {client}, headers=0, body=0, rcvd=26, sent=417, time=0",
            CUT,
            f"TIMEOUT, user=anna, {client}, headers=0, body=0",
        )
    )
    assert hello is piece is None
    assert isinstance(begun, Login) and begun.session == b"192.0.2.7 4711"
    assert isinstance(ended, Logout) and ended.session == begun.session
    assert isinstance(doubted, Logout), "to end one too soon does little harm"
    assert made.read(courier(f"LOGOUT, user=anna, {client}, top=0, retr=0")) is None


def imap(number: int, at_us: int, session: str) -> bytes:
    return entry(login_line(address(number), service="imap", session=session), at_us)


def end(at_us: int, session: str) -> bytes:
    return entry(logout_line(session), at_us)


class Life:
    """A daemon that goes on, is killed and started on a growing journal, at times of its own."""

    def __init__(self, place: Path, text: str = TEXT) -> None:
        self.place, self.text = place, text
        self.file = place / "x.journal"
        self.relay: Relay | None = None

    def log(self, *entries: bytes) -> None:
        make_journal(entries, self.file)
        self.relay = None  # systemd-journal-remote has rotated what it continued

    def at(self, now_us: int, *, save: bool = True) -> dict[bytes, int]:
        """Go on, or start, and return what can relay then."""
        files = sorted(self.place.glob("x*.journal"))
        if self.relay is None:
            self.relay = relay_on(self.place, *files, text=self.text)
            cursors = list(self.place.glob("*.cursor"))
            if cursors:  # its name is that of the files
                cursors[0].rename(self.place / self.relay._kept.path.name)
            self.relay.start(now_us)
        drain(self.relay, now_us)
        if save:
            self.relay.save()
        content = self.relay._popmap.read()
        return {each: end_s for each, end_s in content.items() if end_s * SECOND > now_us}


@pytest.mark.parametrize("fate", ["runs", "starts", "rebuilds"])
def test_a_session_is_found_again_after_a_start(place: Path, fate: str) -> None:
    life = Life(place)
    began = NOW_US - 5 * HOUR
    life.log(imap(1, began, "S"), imap(2, began, "T"), imap(3, began + HOUR, "U"))
    life.log(end(began + HOUR, "T"), imap(4, NOW_US - 5 * MINUTE, "V"), end(NOW_US - MINUTE, "U"))
    assert life.at(NOW_US).keys() == {key(1), key(3), key(4)}
    for at in (5, 10, 60):
        now_us = NOW_US + at * MINUTE
        if fate != "runs":
            life.relay = None
        if fate == "rebuilds":
            (place / "popip.db").unlink()
        found = life.at(now_us)
        assert minutes(found, 1) == {5: 20, 10: 20, 60: 76}[at]
        assert minutes(found, 3) == (15 if at < 15 else None)
        assert minutes(found, 2) is None


def test_a_start_after_a_boot_knows_that_no_session_goes_on(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = Life(place)
    life.log(imap(1, NOW_US - HOUR, "S"), imap(3, NOW_US - MINUTE, "U"))
    before = life.at(NOW_US)
    assert before.keys() == {key(1), key(3)}
    life.relay = None
    monkeypatch.setattr(clock, "boot_id", lambda: "another")
    assert life.at(NOW_US + 8 * MINUTE).keys() == {key(3)}  # by its login; what S held ended
    later = entry(login_line(address(2)), NOW_US + 20 * MINUTE, boot_id=f"{7:032x}")
    life.log(later)
    assert life.at(NOW_US + 30 * MINUTE).keys() == {key(2)}


def test_a_revocation_ends_a_session_that_is_found_again(place: Path) -> None:
    life = Life(place)
    life.log(imap(1, NOW_US - HOUR, "S"), revoke(address(1), NOW_US - MINUTE, place))
    assert life.at(NOW_US) == {}
    life.relay = None
    assert life.at(NOW_US + HOUR) == {}


def test_without_the_setting_a_session_holds_nothing(place: Path) -> None:
    life = Life(place, "")
    life.log(imap(1, NOW_US - 10 * MINUTE, "S"))
    assert minutes(life.at(NOW_US)) == 5
    assert life.at(NOW_US + 6 * MINUTE) == {}


LIMITED = "[relay]\nmax_addresses_per_user = 2\n"


def of_anna(number: int, at_us: int) -> bytes:
    return entry(login_line(address(number), user="anna"), at_us)


@pytest.mark.parametrize("save", [True, False])
def test_a_limit_holds_over_starts_and_rebuilds(place: Path, save: bool) -> None:
    life = Life(place, LIMITED)
    life.log(of_anna(1, NOW_US - 14 * MINUTE), of_anna(2, NOW_US - 13 * MINUTE))
    assert life.at(NOW_US).keys() == {key(1), key(2)}
    life.log(of_anna(3, NOW_US - 12 * MINUTE), of_anna(1, NOW_US - 11 * MINUTE))
    assert life.at(NOW_US, save=save).keys() == {key(1), key(2)}
    life.log(of_anna(4, NOW_US - 10 * MINUTE))
    assert life.at(NOW_US, save=save).keys() == {key(1), key(2)}
    (place / "popip.db").unlink()
    life.relay = None
    assert life.at(NOW_US).keys() == {key(1), key(2)}
    life.log(of_anna(5, NOW_US + 2 * MINUTE + SECOND))  # the place of 2 is free
    assert life.at(NOW_US + 3 * MINUTE).keys() == {key(1), key(5)}


def test_a_rebuild_gives_the_places_to_who_had_them_in_their_time(place: Path) -> None:
    """1 holds the only place by a login that is over, and has renewed it; 2 came between."""
    life = Life(place, LIMITED.replace("2", "1"))
    life.log(of_anna(1, NOW_US - 16 * MINUTE - 30 * SECOND), of_anna(2, NOW_US - 14 * MINUTE))
    life.log(of_anna(1, NOW_US - 5 * MINUTE))
    assert life.at(NOW_US).keys() == {key(1)}
