"""Logins in two lines: the pid's own last connection, once, and nobody else's."""

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from journalrelay.event import Login, Process
from journalrelay.patterns import Told
from journalrelay.patterns.courier import COURIER
from journalrelay.patterns.dovecot import DOVECOT
from journalrelay.patterns.popa3d import POPA3D
from journalrelay.recognition.correlate import LONGEST_US, MOST, Connections
from journalrelay.recognition.logins import Logins
from lab.record import FakeRecord

SECOND = 1_000_000
UNITS = ("popa3d.service", "inetd.service")


def popa3d(message: str, at_us: int = 0, pid: int = 7, **fields: str) -> FakeRecord:
    """Return a record of a popa3d's process, as root until it has passed a login."""
    usual = {
        "_SYSTEMD_UNIT": "popa3d.service",
        "_EXE": "/usr/sbin/popa3d",
        "_UID": "1000" if message.startswith("Authentication") else "0",
        "_TRANSPORT": "syslog",
        "SYSLOG_IDENTIFIER": "popa3d",
        "_BOOT_ID": "b1",
        "_PID": str(pid),
    }
    return FakeRecord(message.encode(), usual | fields, at_us)


def connect(address: str, at_us: int = 0, pid: int = 7, **fields: str) -> FakeRecord:
    return popa3d(f"Session from {address}", at_us, pid, **fields)


def passed(at_us: int = 0, pid: int = 7, **fields: str) -> FakeRecord:
    return popa3d("Authentication passed for anna", at_us, pid, **fields)


def lost(unit: str | None = "popa3d.service", **fields: str) -> FakeRecord:
    """Return what journald says of entries that it has not taken."""
    usual = {
        "_TRANSPORT": "driver",
        "MESSAGE_ID": "a596d6fe7bfa4994828e72309e95d61e",
        "SYSLOG_IDENTIFIER": "systemd-journald",
    }
    object_ = {"OBJECT_SYSTEMD_UNIT": unit} if unit else {}
    return FakeRecord(b"Suppressed 9 messages from x", usual | object_ | fields)


def addresses(*records: FakeRecord) -> list[str]:
    """Return what a daemon that reads popa3d and others grants for the records."""
    logins = Logins([DOVECOT, POPA3D, COURIER])
    return [
        str(login.address)
        for record in records
        if isinstance(login := logins.read(record), Login) and not login.doubt
    ]


def test_a_login_has_the_address_of_its_connection_once() -> None:
    assert addresses(connect("192.0.2.7"), passed(), passed()) == ["192.0.2.7"]


def test_a_login_before_its_connection_grants_nothing() -> None:
    assert addresses(passed(), connect("192.0.2.7")) == []


def test_a_number_given_out_again_is_another_client() -> None:
    told = (connect("192.0.2.7"), connect("192.0.2.8"), passed(), passed())
    assert addresses(*told) == ["192.0.2.8"]


def test_another_process_boot_unit_or_name_is_another_connection() -> None:
    first = connect("192.0.2.7")
    assert addresses(first, passed(pid=8)) == []
    assert addresses(first, passed(_BOOT_ID="b2")) == []
    assert addresses(first, passed(_SYSTEMD_UNIT="inetd.service")) == []
    by_tcpd = popa3d(
        "connect from evil (192.0.2.7)", _SYSTEMD_UNIT="inetd.service", _EXE="/usr/sbin/tcpd"
    )
    assert addresses(by_tcpd, passed(_SYSTEMD_UNIT="inetd.service")) == ["192.0.2.7"]
    by_tcpd.fields["SYSLOG_IDENTIFIER"] = "pop3d"  # another daemon that inetd has started
    assert addresses(by_tcpd, passed(_SYSTEMD_UNIT="inetd.service")) == []


def test_only_root_tells_of_a_connection() -> None:
    assert addresses(connect("203.0.113.66", _UID="1000"), passed()) == []
    assert addresses(connect("203.0.113.66", _SYSTEMD_UNIT="user@1000.service"), passed()) == []


def test_a_process_that_is_not_known_has_no_connection() -> None:
    for field in ("_BOOT_ID", "_PID"):
        nobody = connect("192.0.2.7")
        del nobody.fields[field]
        login = passed()
        del login.fields[field]
        assert addresses(nobody, login, connect("192.0.2.8"), login) == []


def test_a_connection_is_forgotten_after_its_time() -> None:
    assert addresses(connect("192.0.2.7"), passed(LONGEST_US)) == ["192.0.2.7"]
    assert addresses(connect("192.0.2.7"), passed(LONGEST_US + 1)) == []


def test_what_was_lost_of_a_unit_makes_its_connections_void() -> None:
    assert addresses(connect("192.0.2.7"), lost(), passed()) == []
    assert addresses(connect("192.0.2.7"), lost(None), passed()) == []
    assert addresses(connect("192.0.2.7"), lost("dovecot.service"), passed()) == ["192.0.2.7"]
    for forged in ({"_TRANSPORT": "syslog"}, {"MESSAGE_ID": "0"}):
        assert addresses(connect("192.0.2.7"), lost(**forged), passed()) == ["192.0.2.7"]


def test_the_oldest_connection_goes_when_there_are_too_many() -> None:
    connections = Connections()
    told = Told("connect", POPA3D, "", b"", ipaddress.ip_address("192.0.2.7"), None)
    processes = [Process(b"b", b"u", b"%d" % number) for number in range(MOST + 2)]
    for process in processes:
        connections.note(process, told, 0)
    assert len(connections) == MOST
    assert [connections.take(process, 0) is None for process in processes[:3]] == [
        True,
        True,
        False,
    ]


steps = st.lists(
    st.tuples(st.sampled_from(["connect", "login"]), st.integers(1, 4), st.sampled_from(UNITS)),
    max_size=40,
)


@given(story=steps)
def test_any_interleaving_grants_a_process_its_own_last_address_once(
    story: list[tuple[str, int, str]],
) -> None:
    logins = Logins([DOVECOT, POPA3D, COURIER])
    open_: dict[tuple[int, str], str] = {}
    for number, (kind, pid, unit) in enumerate(story):
        fields = {"_SYSTEMD_UNIT": unit}
        if kind == "login":
            login = logins.read(passed(number, pid, **fields))
            expected = open_.pop((pid, unit), None)
            assert (str(login.address) if isinstance(login, Login) else None) == expected
            continue
        address = f"192.0.2.{number}"
        text = f"Session from {address}"
        if unit == "inetd.service":
            text = f"connect from client.example.org ({address})"
        assert logins.read(popa3d(text, number, pid, **fields)) is None
        open_[pid, unit] = address
