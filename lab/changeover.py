"""The step of :mod:`lab.day` in which Postfix takes sendmail's place and reads the same map.

What Postfix cannot do is seen here too: it does not look at the time, so that expiring must not
fail unnoticed.
"""

import json

from lab import debian
from lab.mailhost import MAP
from lab.stage import CONF, Stage, expect
from lab.wait import wait_for

# As docs/postfix.md says.
DROP_INS = "/etc/mail/poprelay.conf.d"
SPELLING = '[map]\nspelling = "postfix"\n'
MENDED = ("postfix", "units")  # the doctor's parts that are about Postfix
EXPIRE, TIMER = "poprelayd-expire.service", "poprelayd-expire.timer"
SIX, NEIGHBOURLY = "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::77"


def change_to_postfix(stage: Stage) -> str:
    """Install Postfix, do what the doctor says, and go the road; then let expiring fail."""
    host = stage.host
    host.run(f"{debian.APT} install {debian.OTHER_MAILER}")
    host.path(DROP_INS).mkdir(exist_ok=True)
    host.path(f"{DROP_INS}/postfix.conf").write_text(SPELLING)
    host.run("systemctl reload poprelayd")
    mends = _mend(stage)
    for address in (stage.client(), SIX):
        _answers(stage, address, 554)
        host.log_in(address)
        host.await_granted([address], f"a login from {address}")
        _answers(stage, address, 250)
    host.log_in(NEIGHBOURLY)
    stage.login_counts()
    _answers(stage, NEIGHBOURLY, 554)
    _expires(stage)
    _fails(stage)
    _outlives(stage)
    return f"{mends} faults mended as the doctor said; no grant outlives its time"


def _mend(stage: Stage) -> int:
    """Do to the letter what the doctor says of Postfix; return how many faults there were."""
    faults = _faults(stage)
    for mend in faults:
        stage.host.run(mend)
    expect("faults that are left", _faults(stage), [])
    return len(faults)


def _faults(stage: Stage) -> list[str]:
    found = json.loads(stage.host.run("journalrelay doctor --json", check=False))
    return [one["mend"] for one in found if one["word"] == "wrong" and one["part"] in MENDED]


def _expires(stage: Stage) -> None:
    """The daemon takes out what is over, without the timer."""
    host, address = stage.host, stage.client()
    host.run(f"systemctl stop {TIMER}")
    stage.configure("4s")
    host.log_in(address)
    host.await_granted([address], "the short grant")
    wait_for(lambda: not _finds(stage, address), "the daemon to take it out", 30, 0.2)
    _answers(stage, address, 554)
    stage.configure("1h")
    host.run(f"systemctl start {TIMER}")


def _fails(stage: Stage) -> None:
    """A configuration that cannot be read ends the daemon and every expire: nobody relays."""
    host, address = stage.host, stage.client()
    host.log_in(address)
    host.await_granted([address], "a login before the fault")
    good = host.path(CONF).read_bytes()
    host.path(CONF).write_text("nonsense\n")
    host.run(f"systemctl restart poprelayd; systemctl start {EXPIRE}", check=False)
    expect("the map is there", host.path(MAP).exists(), False)
    _answers(stage, address, 451)
    expect("own mail", host.rcpt(address, f"anna@{host.run('hostname -f')}").code, 250)
    host.path(CONF).write_bytes(good)
    host.run("systemctl start poprelayd; systemctl reload postfix")
    host.await_granted([address], "the map made anew")
    wait_for(lambda: host.rcpt(address).code == 250, "Postfix to see it", 30, 0.2)


def _outlives(stage: Stage) -> None:
    """Who disables the daemon, and the timer with it, still has the timer with Postfix."""
    host = stage.host
    host.run(f"systemctl disable --now poprelayd; systemctl stop {TIMER}")
    host.run("systemctl restart postfix")
    stage.unit_is(TIMER, "disabled", "active")
    host.run("systemctl enable --now poprelayd")


def _finds(stage: Stage, address: str) -> bool:
    asked = f"postmap -q {address} hash:{MAP.removesuffix('.db')}"
    return bool(stage.host.run(asked, check=False))


def _answers(stage: Stage, address: str, code: int) -> None:
    expect(f"{address} sends", stage.host.rcpt(address).code, code)
