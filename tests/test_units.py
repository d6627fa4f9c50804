"""The units say what they should, and systemd agrees: asked with a scratch root, nothing runs."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from journalrelay.cli import journalrelay_parser, poprelayd_parser
from journalrelay.config import KEYS
from journalrelay.errors import ConfigError, NoInputError, PermissionRelayError, UsageError
from journalrelay.site import RUNTIME, STATE
from journalrelay.telling.message import COUNTED, EXPIRED, FAILED, NOTICE

TOP = Path(__file__).resolve().parent.parent
UNITS = TOP / "units"
SYSTEMD = Path("/usr/lib/systemd/system")
DAEMON, EXPIRE, TIMER = "poprelayd.service", "poprelayd-expire.service", "poprelayd-expire.timer"
METRICS, WRITING = "poprelayd-metrics.service", "poprelayd-metrics.timer"
RESOLVE = "poprelayd-resolve.conf"
EXPOSURE = 2  # of 100, what systemd 252 and 257 both say of both services: 0.2 of 10
# What the daemon needs and expiring does not, and what it has otherwise
READING = {"SupplementaryGroups", "RuntimeDirectory", "RuntimeDirectoryMode", "WatchdogSec"}
READING |= {
    "ExecReload",
    "Restart",
    "RestartSec",
    "RestartPreventExitStatus",
    "TimeoutStopSec",
    "TimeoutAbortSec",
}
READING |= {"Environment", "LimitNOFILE"}
DIFFERENT = {"Type", "ExecStart", "TimeoutStartSec", "UMask", "InaccessiblePaths"}

Settings = dict[str, list[str]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a scratch root as an installation leaves it, with stand-ins for the programs."""
    units = tmp_path / SYSTEMD.relative_to("/")
    units.mkdir(parents=True)
    for target in SYSTEMD.glob("*.target"):
        shutil.copy(target, units)
    for name in (DAEMON, EXPIRE, TIMER, METRICS, WRITING):
        shutil.copy(UNITS / name, units)
    for program in (*(f"usr/bin/{name}" for name in scripts()), "bin/kill", "bin/sh"):
        (tmp_path / program).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / program).touch(0o755)
    (tmp_path / "etc").mkdir()
    for name in ("sysusers", "tmpfiles"):
        place = tmp_path / f"usr/lib/{name}.d/poprelayd.conf"
        place.parent.mkdir(parents=True)
        shutil.copy(UNITS / f"poprelayd.{name}", place)
    return tmp_path


def scripts() -> set[str]:
    """Return the programs that an installation has."""
    project = tomllib.loads((TOP / "pyproject.toml").read_text("utf-8"))
    return set(project["project"]["scripts"])


def settings(name: str) -> Settings:
    """Return a unit's settings: every value of each key, in order; no key is in two sections."""
    found: Settings = {}
    for line in (UNITS / name).read_text("utf-8").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def ask(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


def verify(root: Path, *names: str) -> str:
    """Return what systemd says of units; some faults are told with exit status 0."""
    done = ask("systemd-analyze", "verify", f"--root={root}", "--man=no", *names)
    return done.stdout + done.stderr


def passwd(root: Path) -> dict[str, list[str]]:
    """Return the users of the scratch root, once they are made."""
    done = ask("systemd-sysusers", f"--root={root}", "poprelayd.conf")
    assert done.returncode == 0, done.stderr
    lines = (root / "etc/passwd").read_text().splitlines()
    return {line.split(":")[0]: line.split(":") for line in lines}


def test_systemd_finds_no_fault(root: Path) -> None:
    assert verify(root, DAEMON, EXPIRE, TIMER, METRICS, WRITING) == ""


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("WatchdogSec=", "WatchdogSecs="), ("ExecStart=/usr/bin/", "ExecStart=/usr/games/")],
)
def test_systemd_would_find_a_fault(root: Path, right: str, wrong: str) -> None:
    unit = root / SYSTEMD.relative_to("/") / DAEMON
    unit.write_text(unit.read_text().replace(right, wrong))
    assert verify(root, DAEMON)


@pytest.mark.parametrize("name", [DAEMON, EXPIRE])
def test_exposure_is_as_low_as_it_was(root: Path, name: str) -> None:
    security = ("systemd-analyze", "security", f"--root={root}", "--offline=true", "--no-pager")
    done = ask(*security, f"--threshold={EXPOSURE}", name)
    assert done.returncode == 0, done.stdout + done.stderr


def test_expiring_is_exposed_to_less_than_the_daemon(root: Path) -> None:
    def exposed(name: str) -> set[str]:
        security = ("systemd-analyze", "security", f"--root={root}", "--offline=true")
        done = ask(*security, "--json=short", name)
        return {row["name"] for row in json.loads(done.stdout) if row["exposure"]}

    assert exposed(EXPIRE) < exposed(DAEMON)


def open_network(root: Path) -> Path:
    """Install the drop-in for host names, as its text says; return it."""
    place = root / "etc/systemd/system" / f"{DAEMON}.d/resolve.conf"
    place.parent.mkdir(parents=True)
    return Path(shutil.copy(UNITS / RESOLVE, place))


def test_drop_in_for_host_names_opens_the_network_and_nothing_else(root: Path) -> None:
    before = exposures(root)
    drop_in = open_network(root)
    assert verify(root, DAEMON) == ""
    changed = {name for name, exposure in exposures(root).items() if exposure != before[name]}
    assert changed == {
        "PrivateNetwork=",
        "RestrictAddressFamilies=~AF_(INET|INET6)",
        "IPAddressDeny=",
    }
    assert set(settings(RESOLVE)) == {
        "PrivateNetwork",
        "RestrictAddressFamilies",
        "IPAddressAllow",
    }
    assert f"/etc/systemd/system/{DAEMON}.d/{drop_in.name}" in drop_in.read_text()


def exposures(root: Path) -> dict[str, str]:
    """Return what systemd says of each thing that the daemon is kept from."""
    security = ("systemd-analyze", "security", f"--root={root}", "--offline=true")
    return {
        row["name"]: row["exposure"]
        for row in json.loads(ask(*security, "--json=short", DAEMON).stdout)
    }


def test_programs_are_installed_and_take_these_arguments() -> None:
    assert settings(DAEMON)["ExecStart"] == ["/usr/bin/poprelayd"]
    assert settings(EXPIRE)["ExecStart"] == ["/usr/bin/journalrelay expire"]
    assert {"poprelayd", "journalrelay"} <= scripts()
    assert poprelayd_parser().parse_args([]).verb == "run"
    assert journalrelay_parser().parse_args(["expire"]).verb == "expire"


def test_daemon_tells_systemd_how_it_is() -> None:
    unit = settings(DAEMON)
    assert unit["Type"] == ["notify"]
    assert unit["WatchdogSec"] == ["30s"]
    assert unit["ExecReload"] == ["/bin/kill -HUP $MAINPID"]


def test_daemon_is_started_again_unless_that_cannot_help() -> None:
    unit = settings(DAEMON)
    hopeless = (UsageError, PermissionRelayError, ConfigError)
    assert unit["Restart"] == ["on-failure"]
    assert unit["StartLimitIntervalSec"] == ["0"]
    codes = " ".join(str(error.exit_code) for error in hopeless)
    assert unit["RestartPreventExitStatus"] == [codes]


WHAT_STATUS_SAYS = {0: "poprelayd_up 1", 1: "poprelayd_up 0", 65: "half a"}


@pytest.mark.parametrize("code", WHAT_STATUS_SAYS)
def test_metrics_are_written_whole_or_not_at_all(tmp_path: Path, code: int) -> None:
    """1 is a daemon that does not run, and more a failure: then what was there stays."""
    (command,) = re.findall(r"^ExecStart=/bin/sh -c '(.*?)'$", unit_text(METRICS), re.M | re.S)
    said = WHAT_STATUS_SAYS[code]
    program = tmp_path / "journalrelay"
    program.write_text(
        f"#!/bin/sh\necho '{said}'\n[ \"$*\" = 'status --prometheus' ] && exit {code}\n"
    )
    program.chmod(0o755)
    written = tmp_path / "poprelayd.prom"
    written.write_text("earlier\n")
    before = written.stat().st_ino
    script = command.replace("\\\n", "").replace("$$", "$").replace("/usr/bin/", f"{tmp_path}/")
    done = subprocess.run(["/bin/sh", "-c", script], cwd=tmp_path)
    assert (done.returncode == 0) is (code <= 1)
    assert written.read_text() == ("earlier\n" if code > 1 else f"{said}\n")
    assert (written.stat().st_ino == before) is (code > 1)  # renamed, not written over
    assert journalrelay_parser().parse_args(["status", "--prometheus"]).prometheus


def unit_text(name: str) -> str:
    return (UNITS / name).read_text("utf-8")


def test_who_writes_metrics_can_write_nothing_else() -> None:
    unit = settings(METRICS)
    place = "/var/lib/prometheus/node-exporter"
    assert unit["ProtectSystem"] == ["strict"]
    assert unit["ReadWritePaths"] == [f"-{place}"]
    assert unit["WorkingDirectory"] == unit["ConditionPathIsDirectory"] == [place]
    assert unit["CapabilityBoundingSet"] == ["CAP_SETUID CAP_SETGID"]  # to become the map's owner
    assert unit["NoNewPrivileges"] == unit["PrivateNetwork"] == ["yes"]


def test_missing_map_is_no_failure_of_expiring() -> None:
    assert settings(EXPIRE)["SuccessExitStatus"] == [str(NoInputError.exit_code)]


@pytest.mark.parametrize("name", [DAEMON, EXPIRE])
def test_service_is_a_real_user_without_privileges(name: str) -> None:
    unit = settings(name)
    assert unit["User"] == unit["Group"] == ["poprelayd"]
    assert "DynamicUser" not in unit
    assert unit["CapabilityBoundingSet"] == unit["AmbientCapabilities"] == [""]
    assert unit["NoNewPrivileges"] == unit["PrivateNetwork"] == unit["MemoryDenyWriteExecute"]
    assert unit["NoNewPrivileges"] == ["yes"]
    assert unit["ProtectSystem"] == ["strict"]
    assert not unit.keys() & {"ExecPaths", "NoExecPaths"}  # they mount anew, and writable


def test_only_the_daemon_reads_the_journal() -> None:
    assert settings(DAEMON)["SupplementaryGroups"] == ["systemd-journal"]
    assert "SupplementaryGroups" not in settings(EXPIRE)
    hidden = settings(EXPIRE)["InaccessiblePaths"][0].split()
    assert {"-/var/log", "-/run/log"} <= set(hidden)


@pytest.mark.parametrize("name", [DAEMON, EXPIRE])
def test_service_reaches_journald_and_no_network(name: str) -> None:
    assert settings(name)["RestrictAddressFamilies"] == ["AF_UNIX"]
    assert settings(name)["PrivateNetwork"] == ["yes"]


def test_what_expiring_says_is_not_below_its_level() -> None:
    """journald drops what a unit says below LogLevelMax=, in fields too."""
    assert settings(EXPIRE)["LogLevelMax"] == ["notice"]
    assert max(EXPIRED.priority, COUNTED.priority, FAILED.priority) <= NOTICE


def test_the_daemon_can_read_the_boot_id() -> None:
    """With ProcSubset=pid there is no /proc/sys, and the clock's steps are not seen."""
    assert "ProcSubset" not in settings(DAEMON)


def test_services_have_the_same_sandbox() -> None:
    daemon, expire = settings(DAEMON), settings(EXPIRE)
    same = {key for key in daemon if key[0].isupper()} - READING - DIFFERENT - of_the_unit(daemon)
    assert len(same) > 25
    assert {key: expire.get(key) for key in same} == {key: daemon[key] for key in same}


def of_the_unit(unit: Settings) -> set[str]:
    """Return the keys of the sections [Unit] and [Install]."""
    keys = {"Description", "Documentation", "After", "Wants", "StartLimitIntervalSec"}
    return (keys | {"WantedBy", "Also"}) & unit.keys()


def test_directories_are_those_of_the_code() -> None:
    for name in (DAEMON, EXPIRE):
        assert [Path("/var/lib", *settings(name)["StateDirectory"])] == [STATE]
        assert settings(name)["StateDirectoryMode"] == ["0755"]
    assert Path("/run", *settings(DAEMON)["RuntimeDirectory"]) == RUNTIME
    assert settings(DAEMON)["RuntimeDirectoryMode"] == ["0755"]
    assert settings(DAEMON)["UMask"] == ["0022"]
    (map_path,) = (key.default for key in KEYS if key.name == "map.path")
    assert Path(map_path).parent == STATE


def test_the_timer_comes_with_the_daemon_every_minute() -> None:
    daemon, timer = settings(DAEMON), settings(TIMER)
    assert daemon["Also"] == daemon["Wants"] == [TIMER]
    assert daemon["WantedBy"] == ["multi-user.target"]
    assert timer["WantedBy"] == ["timers.target"]
    assert timer["OnActiveSec"] == timer["OnUnitActiveSec"] == ["1min"]
    assert timer["AccuracySec"] == ["1s"]
    assert "Persistent" not in timer


def test_daemon_waits_for_no_mail_and_no_journal() -> None:
    """It outlives journald, and mail does not wait for its catch-up."""
    unit = settings(DAEMON)
    assert unit["After"] == ["time-set.target"]
    assert not unit.keys() & {"Before", "Requires", "BindsTo", "PartOf", "Requisite"}


def test_user_is_made_and_can_neither_log_in_nor_have_mail_obey_him(root: Path) -> None:
    """sendmail reads ~/.forward and procmail ~/.procmailrc, and neither is in a sandbox."""
    users = passwd(root)
    assert list(users) == ["poprelayd"]
    assert users["poprelayd"][5:] == ["/nonexistent", "/usr/sbin/nologin"]
    groups = (root / "etc/group").read_text().splitlines()
    assert [line.split(":")[0] for line in groups] == ["poprelayd"]


def test_directory_is_made_as_sendmail_wants_it(root: Path) -> None:
    user = passwd(root)["poprelayd"]
    done = ask("systemd-tmpfiles", f"--root={root}", "--create", "poprelayd.conf")
    assert done.returncode == 0, done.stderr
    status = (root / STATE.relative_to("/")).stat()
    assert status.st_mode & 0o7777 == 0o755
    assert [str(status.st_uid), str(status.st_gid)] == user[2:4]
