"""A daemon that a client can make lie is believed only after a whole line that is known."""

import pytest

from journalrelay.event import Login, process_of
from journalrelay.patterns.courier import COURIER
from journalrelay.patterns.dovecot import DOVECOT
from journalrelay.patterns.identity import example
from journalrelay.recognition.correlate import LONGEST_US
from journalrelay.recognition.forgery import MOST, Predecessors
from journalrelay.recognition.logins import Logins
from lab.record import FakeRecord
from tests.test_correlate import lost

UNIT = "courier-pop.service"
HELLO = "Connection, ip=[::ffff:192.0.2.7], port=[4711]"
LOGIN = "LOGIN, user=anna, ip=[::ffff:192.0.2.7], port=[4711]"
CUT = "LOGIN FAILED, user=" + "A" * 492  # courierlogger's piece of 511 bytes


def courier(message: str, at_us: int = 0, pid: int = 7, **fields: str) -> FakeRecord:
    usual = {
        "_SYSTEMD_UNIT": UNIT,
        "_EXE": "/usr/sbin/courierlogger",
        "_UID": "0",
        "_TRANSPORT": "syslog",
        "SYSLOG_IDENTIFIER": "pop3d",
        "_BOOT_ID": "b1",
        "_PID": str(pid),
    }
    return FakeRecord(message.encode(), usual | fields, at_us)


def doubts(*records: FakeRecord) -> list[str]:
    """Return for each login its doubt's first word, empty when it is believed."""
    logins = Logins([DOVECOT, COURIER])
    read = [logins.read(record) for record in records]
    return [login.doubt.partition(" ")[0] for login in read if isinstance(login, Login)]


def test_a_login_after_a_whole_line_is_believed() -> None:
    assert doubts(courier(HELLO), courier(LOGIN), courier(LOGIN)) == ["", ""]


def test_a_piece_of_a_line_is_not() -> None:
    assert doubts(courier(HELLO), courier(CUT), courier(LOGIN)) == ["after"]
    padded = courier(LOGIN, SYSLOG_RAW=f"<22>pop3d: {LOGIN}    ")
    assert doubts(courier(HELLO), padded) == ["padded"]
    assert doubts(courier(HELLO), padded, courier(LOGIN)) == ["padded", "after"]
    blank = courier("LOGIN FAILED, user=A", SYSLOG_RAW="<22>pop3d: LOGIN FAILED, user=A   ")
    assert doubts(courier(HELLO), blank, courier(LOGIN)) == ["after"]
    assert doubts(courier(HELLO), courier(""), courier(LOGIN)) == ["after"]


def test_after_the_last_piece_lines_are_whole_again() -> None:
    assert doubts(courier(CUT), courier(CUT), courier(LOGIN), courier(LOGIN)) == ["after", ""]


def test_another_processs_lines_say_nothing() -> None:
    story = (courier(HELLO), courier(CUT, pid=8), courier(LOGIN), courier(LOGIN, pid=8))
    assert doubts(*story) == ["", "after"]


@pytest.mark.parametrize("field", ["_PID", "_BOOT_ID"])
def test_what_comes_from_an_unknown_process_is_not_believed(field: str) -> None:
    unknown = courier(LOGIN)
    del unknown.fields[field]
    assert doubts(courier(HELLO), unknown) == ["its"]


def test_a_login_of_which_nothing_is_known_before_is_not_believed() -> None:
    assert doubts(courier(LOGIN), courier(LOGIN)) == ["after", ""]


def test_what_follows_lost_entries_is_not_believed_until_a_line_is_known() -> None:
    assert doubts(courier(HELLO), lost(UNIT), courier(LOGIN), courier(LOGIN)) == ["after", ""]
    assert doubts(courier(HELLO), lost(None), courier(LOGIN)) == ["after"]
    assert doubts(courier(HELLO), lost("dovecot.service"), courier(LOGIN)) == [""]


def test_a_daemon_that_nobody_can_forge_needs_no_line_before() -> None:
    line = next(iter(DOVECOT.patterns[0].samples))
    fields = example(DOVECOT.identity)
    assert doubts(FakeRecord(line.encode(), fields)) == [""]


def test_a_connect_line_may_come_first_but_not_after_lost_entries() -> None:

    for since_us, doubted in ((LONGEST_US, True), (LONGEST_US + 1, False)):
        known = Predecessors()
        first = courier("connect from x (192.0.2.7)", since_us)
        process = process_of(first)
        assert process
        assert known.see(process, first, first=True) == ""
        known.forget(UNIT.encode(), 0)
        assert bool(known.see(process, first, first=True)) is doubted


def test_units_that_another_host_names_are_bounded() -> None:
    predecessors = Predecessors()
    hello = courier(HELLO, at_us=LONGEST_US)
    for number in range(2 * MOST + 10):
        predecessors.forget(b"popa3d@%d.service" % number, 0)
    assert len(predecessors._gaps) <= MOST
    process = process_of(hello)
    assert process
    assert predecessors.see(process, hello, first=True)  # of any unit lines may have been lost
