"""The metrics are what Prometheus' own tools take, and its alerts come of what happens."""

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from journalrelay.commands import units
from journalrelay.errors import printable
from journalrelay.telling.metrics import Metric, metrics, openmetrics, prometheus
from journalrelay.telling.report import Report
from lab.poprelayd import IN_JOURNAL, Poprelayd
from lab.wait import wait_for
from tests.test_documentation import TOP, section

RULES = TOP / "packaging/prometheus/poprelayd.rules.yml"
NASTY = 'x"} 1\n# EOF\npoprelayd_up 0 \\'
HOST = 'instance="mail:9100", job="node"'
NOW_US = 1_795_000_000_000_000
FULL: Mapping[str, Any] = {
    **vars(Report(NOW_US, "popip.db", "journal", "the journal", ["dovecot"])),
    "running": True,
    "pid": 7,
    "granted_now": 3,
    "cut_short": False,
    "expired": 2,
    "expired_from_us": NOW_US,
    "logins": {"dovecot": 5, NASTY: 1},
    "verdicts": {"granted": 4, "refused": 2},
    "refused": {"never granted": 2},
    "suppressed": {"dovecot.service": 9},
    "read_to_us": NOW_US,
    "last_fault_us": NOW_US,
    "restarts": 0,
    "expire_next_us": NOW_US,
    "expire_last_us": NOW_US,
    "expire_result": "success",
}


def promtool(*words: str, told: str = "") -> None:
    """Have promtool check something; it must find nothing to say."""
    done = subprocess.run(["promtool", *words], input=told, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def named(every: Sequence[Metric]) -> set[str]:
    return {metric.sample_name for metric in every}


def test_promtool_takes_the_metrics() -> None:
    promtool("check", "metrics", told=prometheus(metrics(FULL, "0.1.0")))


def test_openmetrics_is_read_strictly() -> None:
    text = openmetrics(metrics(FULL, "0.1.0"))
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["poprelayd_logins"].type == "counter"
    counts = {s.labels["daemon"]: s.value for s in families["poprelayd_logins"].samples}
    assert counts == {"dovecot": 5, printable(NASTY): 1}
    assert families["poprelayd_build"].samples[0].labels == {"version": "0.1.0"}
    assert families["poprelayd_lag_seconds"].unit == "seconds"
    assert families["poprelayd_up"].samples[0].value == 1


def test_what_is_not_known_has_no_metric() -> None:
    little = {
        "running": False,
        "pid": None,
        "granted_now": 0,
        "cut_short": False,
        "expired": None,
        "expired_from_us": None,
        "daemons": [],
        **units.UNKNOWN,
    }
    assert named(metrics(little, "0.1.0")) == {
        "poprelayd_build_info",
        "poprelayd_up",
        "poprelayd_granted_addresses",
        "poprelayd_map_cut_short",
    }
    partly = metrics({**FULL, "expired_from_us": NOW_US + 1}, "0.1.0")
    assert named(metrics(FULL, "0.1.0")) - named(partly) == {"poprelayd_expired_addresses_total"}


def test_every_metric_is_in_the_manual() -> None:
    told = re.findall(r"^\.It Li (poprelayd_\w+)", section("poprelayd.8", "METRICS"), re.M)
    assert sorted(told) == sorted(named(metrics(FULL, "0.1.0")))


def test_a_running_daemon_has_metrics(place: Path, journald: object) -> None:
    with Poprelayd(place, wrapper=IN_JOURNAL) as daemon:
        wait_for((place / "status.json").exists, "the report")
        done = daemon.run("status", "--prometheus")
        assert done.returncode == 0
        assert "\npoprelayd_up 1\n" in done.stdout
        promtool("check", "metrics", told=done.stdout)
        strict = daemon.run("status", "--openmetrics").stdout
        assert list(text_string_to_metric_families(strict))
    done = daemon.run("status", "--prometheus")
    assert (done.returncode, "\npoprelayd_up 0\n" in done.stdout) == (1, True)


# The alerts


def test_promtool_takes_the_rules() -> None:
    done = subprocess.run(["promtool", "check", "rules", RULES], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"SUCCESS: \d+ rules found", done.stdout)


def test_every_metric_in_the_rules_is_one_of_ours() -> None:
    used = set(re.findall(r"\bpoprelayd_\w+\b", RULES.read_text()))
    assert used <= named(metrics(FULL, "0.1.0"))


def test_every_alert_is_in_the_manual_and_has_a_mend() -> None:
    alerts = re.findall(r"alert: (\w+)", RULES.read_text())
    assert alerts == re.findall(r"^\.It Li (Poprelayd\w+)", section("poprelayd.8", "METRICS"), re.M)
    assert set(alerts) == set(HAPPENINGS)
    assert len(re.findall(r"^          mend: ", RULES.read_text(), re.M)) == len(alerts)


# By alert: the series of a host, a value a minute, and the minute by which it is given. All begin
# with a quiet host, on which no alert is.
WRITTEN = 'node_textfile_mtime_seconds{file="/var/lib/prometheus/node-exporter/poprelayd.prom"}'
QUIET = {
    "poprelayd_up": "1x60",
    "poprelayd_start_time_seconds": "-90000x60",
    "poprelayd_restarts_total": "0x60",
    "poprelayd_lag_seconds": "0x60",
    "poprelayd_gap_seconds": "0x60",
    "poprelayd_map_cut_short": "0x60",
    "poprelayd_expire_failed": "0x60",
    "poprelayd_expire_last_run_timestamp_seconds": "0+60x60",
    "poprelayd_expire_next_run_timestamp_seconds": "60+60x60",
    'poprelayd_verdicts_total{verdict="granted"}': "0+50x60",
    'poprelayd_refused_total{reason="never granted"}': "0+2x60",
    WRITTEN: "0+60x60",
}
HAPPENINGS: dict[str, dict[str, str]] = {
    "PoprelaydDown": {"poprelayd_up": "1x20 0x40"},
    "PoprelaydMetricsOld": {WRITTEN: "0+60x20 1200x40"},
    "PoprelaydStartedAgain": {"poprelayd_restarts_total": "0x30 1x30"},
    "PoprelaydLags": {"poprelayd_lag_seconds": "0x20 90x40"},
    "PoprelaydFault": {"poprelayd_last_fault_timestamp_seconds": "_x30 1860x30"},
    "PoprelaydLinesSuppressed": {
        'poprelayd_suppressed_lines_total{unit="dovecot.service"}': "_x30 70x30"
    },
    "PoprelaydGap": {
        "poprelayd_start_time_seconds": "-90000x30 1800x30",
        "poprelayd_gap_seconds": "0x30 600x30",
    },
    "PoprelaydMapCutShort": {"poprelayd_map_cut_short": "0x20 1x40"},
    "PoprelaydExpireNotRun": {"poprelayd_expire_last_run_timestamp_seconds": "0+60x20 1200x40"},
    "PoprelaydExpireFailed": {"poprelayd_expire_failed": "0x20 1x40"},
    "PoprelaydRefusesMany": {'poprelayd_refused_total{reason="never granted"}': "0x20 0+90x40"},
    "PoprelaydLimitReached": {
        'poprelayd_refused_total{reason="relay.max_addresses"}': "_x30 4x30",
    },
}


def judged(
    place: Path, series: Mapping[str, str], firing: set[str], quiet_minute: int = 19
) -> None:
    """Have promtool play ``series``: no alert fires in the quiet minute, and just those that are
    ``firing`` in the 40th."""
    inputs = [{"series": _of_host(name), "values": values} for name, values in series.items()]
    checks = []
    for minute, wanted in ((quiet_minute, set[str]()), (40, firing)):
        labels = [f'{{alertname="{alert}"}}' for alert in sorted(wanted)]
        checks.append(
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{minute}m",
                "exp_samples": [{"labels": label, "value": 1} for label in labels],
            }
        )
    test = {"interval": "1m", "input_series": inputs, "promql_expr_test": checks}
    file = place / "tests.yml"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "tests": [test]}))  # JSON is YAML
    done = subprocess.run(["promtool", "test", "rules", file], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def _of_host(series: str) -> str:
    name, _, labels = series.rstrip("}").partition("{")
    return f"{name}{{{HOST}{', ' if labels else ''}{labels}}}"


def test_a_quiet_host_has_no_alert(place: Path) -> None:
    judged(place, QUIET, set())


@pytest.mark.parametrize("alert", HAPPENINGS)
def test_what_happens_gives_its_alert_and_no_other(place: Path, alert: str) -> None:
    judged(place, {**QUIET, **HAPPENINGS[alert]}, {alert})


def test_an_expire_that_never_ran_is_noticed(place: Path) -> None:
    never = {name: values for name, values in QUIET.items() if "_expire_" not in name}
    judged(place, never, {"PoprelaydExpireNotRun"}, quiet_minute=1)
