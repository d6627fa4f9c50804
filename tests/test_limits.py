"""How many addresses a user, a server and all of them may open, in whatever order it is told."""

import ipaddress
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journalrelay.event import Login, Revocation
from journalrelay.rules.limits import Known
from journalrelay.rules.policy import Revocations, Rules, Verdict, decide
from journalrelay.rules.recent import Recent
from tests.support import address

SECOND = 1_000_000
NOW_US = 1_795_400_000 * SECOND
WINDOW_S = 60
RULES = Rules(
    window_us=WINDOW_S * SECOND,
    windows_us={"courier": 20 * SECOND},
    never=(ipaddress.ip_network("203.0.113.0/24"),),
    ipv6_prefix=128,
    max_grant_us=86400 * SECOND,
    skew_us=60 * SECOND,
    max_addresses_per_user=2,
    max_addresses=5,
    max_addresses_of={"courier": 3},
)
Told = tuple[Login, Verdict]


def login(
    client: int | str, at_s: float = 0, user: bytes = b"anna", daemon: str = "dovecot"
) -> Login:
    where = address(client) if isinstance(client, int) else client
    at_us = NOW_US + round(at_s * SECOND)
    return Login(ipaddress.ip_address(where), user, "imap", daemon, at_us)


def told(logins: Iterable[Login], rules: Rules = RULES, recent: Recent | None = None) -> list[Told]:
    """Return what each login is worth, weighed when it is logged."""
    recent = recent or Recent(rules)
    return [(login, recent.weigh(login, Revocations(), login.logged_at_us)) for login in logins]


def words(logins: Iterable[Login], rules: Rules = RULES) -> str:
    """Return the first letters of the verdicts."""
    return "".join(verdict.word[0] for _, verdict in told(logins, rules))


def test_no_more_addresses_of_a_user_than_the_limit_at_once() -> None:
    assert words([login(1), login(2), login(3), login(1), login(2)]) == "ggrgg"
    verdict = told([login(1), login(2), login(3)])[-1][1]
    assert (verdict.word, verdict.reason) == ("refused", "relay.max_addresses_per_user: 2")
    assert verdict.expiry_s is None


def test_a_place_is_free_to_the_second_when_its_grant_ends() -> None:
    story = [login(1), login(2, 10), login(3, WINDOW_S - 0.01), login(3, WINDOW_S)]
    assert words(story) == "ggrg"


def test_each_user_has_places_of_his_own_under_one_name_at_all_servers() -> None:
    assert words([login(1), login(2), login(3, user=b"bert")]) == "ggg"
    assert words([login(1), login(2, daemon="courier"), login(3)]) == "ggr"
    assert words([login(1), login(2, user=b"ANNA"), login(3, user=b"Anna")]) == "ggr"


def test_who_logs_in_from_a_known_address_keeps_it_whatever_an_attacker_does() -> None:
    """He has the password, and a new address each second."""
    honest = [login(1, at) for at in range(0, 600, 50)]
    attacker = [login(100 + at, at + 0.5) for at in range(600)]
    story = sorted(honest + attacker, key=lambda each: each.logged_at_us)
    mine = [verdict.word for each, verdict in told(story) if each in honest]
    assert set(mine) == {"granted"}
    others = [login(9, at, user=b"bert") for at in range(0, 600, 100)]
    story = sorted(attacker + others, key=lambda each: each.logged_at_us)
    assert {v.word for each, v in told(story) if each in others} == {"granted"}


def test_a_user_of_whom_the_line_tells_nothing_counts_in_the_others_only() -> None:
    assert words(login(n, user=b"") for n in range(6)) == "gggggr"


def test_all_addresses_have_a_limit_and_one_servers_too() -> None:
    def users(count: int, daemon: str) -> list[Login]:
        return [login(n, user=b"u%d" % n, daemon=daemon) for n in range(count)]

    assert words(users(6, "dovecot")) == "gggggr"
    assert told(users(6, "dovecot"))[-1][1].reason == "relay.max_addresses: 5"
    assert words(users(4, "courier")) == "gggr"
    assert told(users(4, "courier"))[-1][1].reason == "daemons.courier.max_addresses: 3"
    shared = [*users(3, "courier"), login(0, user=b"other"), login(8, user=b"u8")]
    assert words(shared) == "ggggg"


def test_an_address_that_several_share_is_one() -> None:
    assert words(login(1, user=b"u%d" % n) for n in range(9)) == "ggggggggg"


def test_a_64_is_one_address_where_it_is_granted_as_one() -> None:
    clients = [login(f"2001:db8:1:2::{n:x}") for n in range(1, 9)]
    assert words(clients) == "ggrrrrrr"
    assert words(clients, RULES._replace(ipv6_prefix=64)) == "gggggggg"


def test_what_is_refused_for_another_reason_takes_no_place() -> None:
    recent, revoked = Recent(RULES), Revocations()
    revoked.record(Revocation(ipaddress.ip_network(address(1)), NOW_US), 128, NOW_US)
    refused = [
        login("203.0.113.1"),
        login("203.0.113.2"),
        login(1, -1),
        login(2, 61),
        login(3)._replace(doubt="a piece"),
    ]
    for each in refused:
        assert recent.weigh(each, revoked, NOW_US).word == "refused"
    assert {recent.weigh(login(n), revoked, NOW_US).word for n in (4, 5)} == {"granted"}


def test_a_revocation_frees_the_place() -> None:
    for network, free in ((address(1), "gr"), ("192.0.2.1", "rr"), (None, "gg")):
        recent = Recent(RULES)
        told([login(1), login(2)], recent=recent)
        what = None if network is None else ipaddress.ip_network(network)
        recent.withdraw(Revocation(what, NOW_US))
        after = told([login(3), login(4)], recent=recent)
        assert "".join(verdict.word[0] for _, verdict in after) == free


def test_a_revoked_64_frees_the_places_of_its_addresses() -> None:
    recent = Recent(RULES)
    told([login("2001:db8:1:2::1"), login("2001:db8:1:2::2"), login(9, user=b"b")], recent=recent)
    recent.withdraw(Revocation(ipaddress.ip_network("2001:db8:1:2::/64"), NOW_US))
    after = [login(n, user=b"u%d" % n) for n in range(1, 6)]
    assert [v.word[0] for _, v in told([login(1), login(2)], recent=recent)] == ["g", "g"]
    assert [v.word[0] for _, v in told(after, recent=recent)] == ["g", "g", "g", "g", "r"]


def test_0_is_no_limit() -> None:
    free = RULES._replace(max_addresses_per_user=0, max_addresses=0, max_addresses_of={})
    assert not free.limited and not free.memory_us
    assert set(words((login(n) for n in range(50)), free)) == {"g"}


@pytest.mark.parametrize(
    ("user", "reason"),
    [
        (b"root", "relay.never_users: root"),
        (b"Root", "relay.never_users: root"),
        (b"x@EXAMPLE.net", "relay.never_users: *@example.net"),
        (b"a" * 77 + b"...", "relay.never_users: the name is cut"),
        (b"Anna", "relay.only_users: not among them"),
        (b"anna ", "relay.only_users: not among them"),
        (b"anna@example.org@evil", "relay.only_users: not among them"),
        (b"x@Example.org", "relay.only_users: not among them"),
        (b"", "relay.only_users: not among them"),
        (b"*@example.org", ""),
        (b"anna", ""),
        (b"x@example.org", ""),
        ("zoë".encode(), ""),
    ],
)
def test_users_who_are_never_granted_or_alone(user: bytes, reason: str) -> None:
    rules = RULES._replace(
        never_users=frozenset([b"root", b"*@example.net"]),
        only_users=frozenset([b"anna", "zoë".encode(), b"root", b"*@example.org"]),
    )
    verdict = decide(login(1, user=user), Revocations(), NOW_US, rules)
    assert verdict.reason == reason
    assert (verdict.word == "refused") == bool(reason)


stories = st.lists(
    st.tuples(
        st.integers(0, 150),
        st.integers(0, 7),
        st.sampled_from([b"anna", b"bert", b"cleo", b""]),
        st.sampled_from(["dovecot", "courier"]),
    ),
    max_size=60,
)
Story = list[tuple[int, int, bytes, str]]


def logins(story: Story) -> list[Login]:
    return [login(number, at_s, user, daemon) for at_s, number, user, daemon in story]


def most_at_once(granted: Iterable[Told], of: tuple[str, object] | None, now_us: int) -> int:
    """Return how many addresses can relay at most at one time from now on."""
    live = [
        (each, verdict)
        for each, verdict in granted
        if verdict.word == "granted" and (of is None or getattr(each, of[0]) == of[1])
    ]
    times = [now_us, *(each.logged_at_us for each, _ in live if each.logged_at_us > now_us)]
    return max(
        len(
            {
                each.address
                for each, v in live
                if each.logged_at_us <= at < (v.expiry_s or 0) * SECOND
            }
        )
        for at in times
    )


def assert_within(seen: list[Told], now_us: int) -> None:
    for user in (b"anna", b"bert", b"cleo"):
        assert most_at_once(seen, ("user", user), now_us) <= 2
    assert most_at_once(seen, ("daemon", "courier"), now_us) <= 3
    assert most_at_once(seen, None, now_us) <= 5


@given(story=stories)
def test_at_no_time_are_there_more_than_the_limits(story: Story) -> None:
    assert_within(told(logins(sorted(story))), NOW_US)


@given(story=stories)
def test_nor_in_any_order_from_the_time_on_when_all_is_told(story: Story) -> None:
    now_us, recent = NOW_US + 100 * SECOND, Recent(RULES)
    seen = [(each, recent.weigh(each, Revocations(), now_us)) for each in logins(story)]
    assert_within(seen, now_us)


@given(story=stories)
def test_what_is_refused_has_no_part_in_what_comes_later(story: Story) -> None:
    seen = told(logins(sorted(story)))
    granted = [each for each, verdict in seen if verdict.word == "granted"]
    assert {v.word for _, v in told(granted)} <= {"granted"}


@given(story=stories)
def test_a_login_is_refused_only_when_all_places_are_held(story: Story) -> None:
    """In plain words: who holds a place keeps it; who has none gets one that is free."""
    held: dict[tuple[str, object], dict[object, int]] = {}
    most = {"user": 2, "daemon": 3, "all": 5}
    for each, verdict in told(logins(sorted(story))):
        scopes: list[tuple[str, object]] = [("all", "")]
        scopes += [("user", each.user)] if each.user else []
        scopes += [("daemon", each.daemon)] if each.daemon == "courier" else []
        full = False
        for scope in scopes:
            live = {a for a, end in held.get(scope, {}).items() if end * SECOND > each.logged_at_us}
            full |= each.address not in live and len(live) >= most[scope[0]]
        assert verdict.word == ("refused" if full else "granted")
        if verdict.expiry_s is not None:
            for scope in scopes:
                places = held.setdefault(scope, {})
                places[each.address] = max(verdict.expiry_s, places.get(each.address, 0))


@given(story=stories, cut=st.integers(0, 60))
def test_read_again_the_same_is_granted(story: Story, cut: int) -> None:
    """Whatever part of it is read again on top, which an error of the reader may cause."""
    story.sort()
    recent, now_us = Recent(RULES), NOW_US + 150 * SECOND
    first = [recent.weigh(each, Revocations(), now_us) for each in logins(story)]
    content: dict[bytes, int] = {}
    for verdict in first:
        content[verdict.key] = max(verdict.expiry_s or 0, content.get(verdict.key, 0))
    recent.forget()
    for each in logins(story[:cut]):
        recent.recall(each, Revocations(), now_us, Known(content.items()))
    for each, before in zip(logins(story[cut:]), first[cut:], strict=True):
        after = recent.weigh(each, Revocations(), now_us)
        assert after.expiry_s is None or content[after.key] >= after.expiry_s
        if before.word == "granted":
            assert after == before


def test_a_window_of_a_century_is_a_window() -> None:
    rules = RULES._replace(window_us=100 * 365 * 86_400 * SECOND)
    assert words([login(1), login(2), login(3), login(1), login(2)], rules) == "ggrgg"
