"""The daemon's units, as systemd sees them."""

from collections.abc import Iterator, Mapping

from journalrelay.doctor.diagnosis import Diagnosis, note, well, wrong
from journalrelay.doctor.host import ask

SERVICE, EXPIRE, TIMER = "poprelayd.service", "poprelayd-expire.service", "poprelayd-expire.timer"
_ASKED = (
    "LoadState,UnitFileState,ActiveState,SubState,Result,User,SupplementaryGroups,NeedDaemonReload"
)
_PART = "units"

State = Mapping[str, str]


def service() -> State:
    """Return systemd's properties of the daemon's service; empty where systemd does not run."""
    return _state(SERVICE)


def examine(found: State) -> Iterator[Diagnosis]:
    """Yield how the daemon and its timer are; ``found`` is the daemon's state."""
    if not found:
        yield note(_PART, "systemd does not run here: who starts the daemon and expire?")
        return
    if found["LoadState"] == "not-found":
        yield wrong(_PART, f"there is no {SERVICE}", "apt install --reinstall poprelayd")
        return
    yield from _enabled(SERVICE, found)
    if found["ActiveState"] == "active":
        yield well(_PART, f"{SERVICE} runs")
    else:
        yield wrong(
            _PART,
            f"{SERVICE} is {found['ActiveState']}: {found['Result']} (journalctl -u {SERVICE})",
            f"systemctl restart {SERVICE}",
        )
    if found["NeedDaemonReload"] == "yes":
        yield wrong(
            _PART,
            f"{SERVICE} was changed on disk and systemd has not read it",
            f"systemctl daemon-reload && systemctl restart {SERVICE}",
        )
    yield from _timer(_state(TIMER), _state(EXPIRE))


def _timer(timer: State, expire: State) -> Iterator[Diagnosis]:
    yield from _enabled(TIMER, timer)
    if timer.get("ActiveState") == "active":
        yield well(_PART, f"{TIMER} elapses every minute")
    else:
        yield wrong(
            _PART,
            f"{TIMER} does not run: what has expired stays in the map",
            f"systemctl start {TIMER}",
        )
    if expire.get("Result", "success") != "success":
        yield wrong(
            _PART,
            f"{EXPIRE} failed ({expire['Result']}; why: journalctl -u {EXPIRE})",
            f"systemctl start {EXPIRE}",
        )


def _enabled(unit: str, state: State) -> Iterator[Diagnosis]:
    how = state.get("UnitFileState", "")
    if how == "masked":
        yield wrong(_PART, f"{unit} is masked", f"systemctl unmask {unit}")
    elif how not in ("enabled", "enabled-runtime", "linked", "static"):
        yield wrong(
            _PART, f"{unit} is not enabled: it will not start at boot", f"systemctl enable {unit}"
        )


def _state(unit: str) -> State:
    said = ask("systemctl", "show", f"--property={_ASKED}", unit) or ""
    pairs = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    return pairs if "LoadState" in pairs else {}
