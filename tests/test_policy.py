"""What a login is worth is a function of the login, what was revoked, and the clock."""

import ipaddress

import pytest

from journalrelay.event import HandGrant, Login, Revocation
from journalrelay.rules.policy import Revocations, Rules, decide, decide_by_hand, revoked_keys

SECOND = 1_000_000
NOW_US = 1_795_400_000 * SECOND
RULES = Rules(
    window_us=900 * SECOND,
    windows_us={"courier": 60 * SECOND},
    never=(ipaddress.ip_network("198.51.100.0/24"),),
    ipv6_prefix=128,
    max_grant_us=7 * 86400 * SECOND,
    skew_us=60 * SECOND,
)


def login(address: str = "192.0.2.7", age_s: float = 0, **changes: object) -> Login:
    made = Login(
        ipaddress.ip_address(address), b"u", "pop3", "dovecot", NOW_US - round(age_s * SECOND)
    )
    return made._replace(**changes)  # type: ignore[arg-type]


def words(
    event: Login, revocations: Revocations | None = None, rules: Rules = RULES
) -> tuple[str, str]:
    verdict = decide(event, revocations or Revocations(), NOW_US, rules)
    return verdict.word, verdict.reason


def test_expiry_is_login_time_plus_window_whenever_it_is_decided() -> None:
    verdict = decide(login(age_s=100), Revocations(), NOW_US, RULES)
    assert (verdict.word, verdict.expiry_s) == ("granted", 1_795_400_000 - 100 + 900)


def test_window_is_the_daemons_own_where_it_has_one() -> None:
    verdict = decide(login(daemon="courier"), Revocations(), NOW_US, RULES)
    assert verdict.expiry_s == 1_795_400_000 + 60


def test_expired_login_grants_nothing_to_the_second() -> None:
    assert words(login(age_s=899))[0] == "granted"
    assert words(login(age_s=900)) == ("expired", "its window is over")


def test_login_from_the_future_is_refused_beyond_the_skew() -> None:
    assert words(login(age_s=-60))[0] == "granted"
    assert words(login(age_s=-60.001)) == ("refused", "from the future")


def test_login_stamped_by_a_clock_that_ran_ahead_is_refused() -> None:
    assert words(login(clock_ahead_us=60 * SECOND))[0] == "granted"
    late = login(clock_ahead_us=3600 * SECOND)
    assert words(late) == ("refused", "logged while the clock was ahead")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.10",
        "::1",
        "0.0.0.0",
        "::",
        "224.0.0.5",
        "ff02::1",
        "169.254.3.4",
        "fe80::1",
        "255.255.255.255",
    ],
)
def test_addresses_of_no_client_are_never_granted(address: str) -> None:
    assert words(login(address))[0] == "refused"


def test_the_operators_networks_are_never_granted() -> None:
    assert words(login("198.51.100.9")) == ("refused", "relay.never: 198.51.100.0/24")
    assert words(login("198.51.101.9"))[0] == "granted"


def test_a_64_that_holds_a_network_never_granted_is_refused_whole() -> None:
    never = (ipaddress.ip_network("2001:db8:1:2::25/128"),)
    rules = RULES._replace(never=never, ipv6_prefix=64)
    assert words(login("2001:db8:1:2::99"), rules=rules)[0] == "refused"
    assert words(login("2001:db8:1:3::99"), rules=rules)[0] == "granted"


def test_the_servers_own_address_is_refused() -> None:
    own = login(server=ipaddress.ip_address("192.0.2.7"))
    assert words(own) == ("refused", "the server's own address")
    assert words(login(server=ipaddress.ip_address("192.0.2.1")))[0] == "granted"


def revocations(network: str | None, age_s: float, rules: Rules = RULES) -> Revocations:
    made = Revocations()
    what = None if network is None else ipaddress.ip_network(network)
    made.record(Revocation(what, NOW_US - round(age_s * SECOND)), rules.ipv6_prefix, NOW_US)
    return made


@pytest.mark.parametrize("network", ["192.0.2.7", None])
def test_only_logins_later_than_the_revocation_count(network: str | None) -> None:
    assert words(login(age_s=11), revocations(network, 10)) == ("refused", "revoked")
    assert words(login(age_s=10), revocations(network, 10)) == ("refused", "revoked")
    assert words(login(age_s=9), revocations(network, 10))[0] == "granted"
    assert words(login("192.0.2.8", age_s=11), revocations("192.0.2.7", 10))[0] == "granted"


def test_a_revocation_from_the_future_counts_as_made_now() -> None:
    ahead = revocations("192.0.2.7", -86400)
    assert words(login(age_s=1), ahead) == ("refused", "revoked")
    assert decide(login(age_s=-5), ahead, NOW_US, RULES).word == "granted"


def test_revoking_an_address_revokes_the_64_that_its_login_was_granted() -> None:
    rules = RULES._replace(ipv6_prefix=64)
    gone = revocations("2001:db8:1:2::9", 10, rules)
    assert words(login("2001:db8:1:2::77", age_s=11), gone, rules) == ("refused", "revoked")
    keys = revoked_keys(ipaddress.ip_network("2001:db8:1:2::9"))
    assert set(keys) == {b"ipv6:2001:db8:1:2:0:0:0:9", b"ipv6:2001:db8:1:2"}


def test_revoking_an_address_does_not_revoke_its_neighbours() -> None:
    gone = revocations("2001:db8:1:2::9", 10)
    assert words(login("2001:db8:1:2::9", age_s=11), gone) == ("refused", "revoked")
    assert words(login("2001:db8:1:2::77", age_s=11), gone)[0] == "granted"


def test_revoking_a_64_revokes_the_addresses_in_it() -> None:
    gone = revocations("2001:db8:1:2::/64", 10)
    assert words(login("2001:db8:1:2::77", age_s=11), gone) == ("refused", "revoked")


def test_a_revocation_that_a_clock_ahead_stamped_counts_from_when_it_was_made() -> None:
    made = Revocations()
    hour = 3600 * SECOND
    ahead = Revocation(None, NOW_US - 10 * SECOND + hour, clock_ahead_us=hour)
    made.record(ahead, 128, NOW_US + hour)
    assert words(login(age_s=11), made) == ("refused", "revoked")
    assert words(login(age_s=9), made)[0] == "granted"


def test_the_same_revocation_measured_again_is_no_news() -> None:
    made = Revocations()
    first = Revocation(None, NOW_US - 10 * SECOND, clock_ahead_us=7)
    assert made.record(first, 128, NOW_US)
    assert not made.record(first._replace(clock_ahead_us=2), 128, NOW_US)
    assert not made.record(first._replace(clock_ahead_us=-3), 128, NOW_US)


def test_a_64_that_holds_the_server_is_refused() -> None:
    rules = RULES._replace(ipv6_prefix=64)
    inside = login("2001:db8::50", server=ipaddress.ip_address("2001:db8::1"))
    assert words(inside, rules=rules) == ("refused", "the server's own address")
    assert words(inside)[0] == "granted"


def test_a_window_of_less_than_a_second_has_a_length() -> None:
    rules = RULES._replace(window_us=SECOND // 2)
    verdict = decide(login(age_s=0.1), Revocations(), NOW_US, rules)
    assert (verdict.word, verdict.expiry_s) == ("granted", 1_795_400_001)


def by_hand(expiry_s: int, age_s: float = 0) -> HandGrant:
    network = ipaddress.ip_network("192.0.2.7")
    return HandGrant(network, expiry_s, NOW_US - round(age_s * SECOND))


def test_a_hand_grant_holds_until_its_expiry_but_not_beyond_the_longest() -> None:
    def expiry(event: HandGrant) -> int | None:
        return decide_by_hand(event, Revocations(), NOW_US, RULES).expiry_s

    assert expiry(by_hand(1_795_403_600)) == 1_795_403_600
    assert expiry(by_hand(9_999_999_999, age_s=3600)) == 1_795_400_000 - 3600 + 7 * 86400


def test_a_hand_grant_of_a_64_stays_one_whatever_logins_are_granted_now() -> None:
    event = HandGrant(ipaddress.ip_network("2001:db8:1:2::/64"), 1_795_403_600, NOW_US)
    assert decide_by_hand(event, Revocations(), NOW_US, RULES).key == b"ipv6:2001:db8:1:2"


def test_a_hand_grant_ends_with_its_revocation() -> None:
    gone = revocations("192.0.2.7", 10)
    verdict = decide_by_hand(by_hand(1_795_403_600, age_s=11), gone, NOW_US, RULES)
    assert (verdict.word, verdict.reason) == ("refused", "revoked")
