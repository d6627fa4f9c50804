"""CVE-2001-1075, played end to end: who may not relay writes a login into sendmail's own log."""

import json
from pathlib import Path

import pytest

from lab import room
from lab.journald import Journald, Sender, login_line
from lab.poprelayd import Poprelayd
from lab.sendmail import Sendmail
from lab.wait import wait_for
from tests.test_daemon import await_granted

ATTACKER, LIE, MARK = "198.51.100.66", "203.0.113.66", "198.51.100.21"
ELSEWHERE = "friend@elsewhere.example"
QPOPPERS = f'POP login by user "admin" at ({LIE}) {LIE}'
DOVECOTS = login_line(LIE).replace(", session=<lab0000000000000>", "")


@pytest.mark.parametrize("enable", ["auto", "all"])
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        # as published in 2001, and with today's most common line
        (f"<{QPOPPERS}@example.org>", "POP login by user"),
        (f'<"{DOVECOTS}"@example.org>', f"rip={LIE}"),
    ],
    ids=["qpopper", "dovecot"],
)
def test_a_login_in_sendmails_log_is_none(
    journald: Journald, place: Path, enable: str, text: str, shown: str
) -> None:
    config = f'[daemons]\nenable = "{enable}"\n'
    with (
        Poprelayd(place, config=config) as daemon,
        Sendmail(room.scratch("sendmail-"), popip=place / "popip") as sendmail,
    ):
        with sendmail.session(ATTACKER) as session:
            session.smtp.ehlo()
            session.smtp.docmd(f"MAIL FROM:{text}")
            session.another(ELSEWHERE)

        def arrived() -> bool:
            entries = journald.entries()
            return any(shown in str(entry.get("MESSAGE")) for entry in entries)

        wait_for(arrived, "the attacker's text in the journal")
        with Sender() as dovecot:
            dovecot.send(login_line(MARK))
            await_granted(daemon, MARK)
        assert set(daemon.granted()) == {MARK}
        assert sendmail.rcpt(LIE, "anna@mail.example.test", ELSEWHERE).code == 550
        replayed = daemon.run("replay", "--all", "--dry-run", "--json").stdout.splitlines()
        assert [json.loads(row)["address"] for row in replayed] == [MARK]
