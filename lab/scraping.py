"""A step of the day: Debian's own node exporter and Prometheus beside the daemon see how it is, and
an alert fires when it is stopped."""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from lab.debian import MONITORING
from lab.mailhost import MailHost
from lab.stage import Stage, expect
from lab.wait import wait_for

WRITER, TIMER = "poprelayd-metrics.service", "poprelayd-metrics.timer"
WRITTEN = "/var/lib/prometheus/node-exporter/poprelayd.prom"
EXAMPLE = "/usr/share/doc/poprelayd/examples/prometheus/poprelayd.rules.yml"
RULES, CONFIG = "/etc/prometheus/poprelayd.rules.yml", "/etc/prometheus/prometheus.yml"
EXPORTER, PROMETHEUS = 9100, 9090
LOCAL = "127.0.0.1"
SCRAPING = {  # JSON is YAML
    "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
    "rule_files": [RULES],
    "scrape_configs": [
        {"job_name": "node", "static_configs": [{"targets": [f"{LOCAL}:{EXPORTER}"]}]}
    ],
}
OF_SYSTEMD = ("poprelayd_restarts_total", "poprelayd_expire_next_run_timestamp_seconds")
DOWN = "PoprelaydDown"
PATIENCE_S = 30


def scrape(stage: Stage) -> str:
    """Have the daemon's metrics written, exported, scraped and judged; stop it, and see the alert
    come, and go when it is back."""
    host = stage.host
    with _installed(host):
        wait_for(host.path(WRITTEN).exists, "the timer to write the metrics", PATIENCE_S)
        known = host.path(WRITTEN).read_text()
        expect("known of systemd", [name for name in OF_SYSTEMD if f"\n{name} " not in known], [])
        host.run(f"promtool check metrics <{WRITTEN} && promtool check rules {EXAMPLE}")
        _await_metric(host, 1)
        expect(f"{DOWN} while it runs", DOWN in _firing(host), False)
        host.run(f"systemctl stop poprelayd && systemctl start {WRITER}")
        _await_metric(host, 0)
        wait_for(lambda: DOWN in _firing(host), f"{DOWN} to fire", PATIENCE_S)
        host.run("systemctl start poprelayd")
        host.await_active()
        host.run(f"systemctl start {WRITER}")
        wait_for(lambda: DOWN not in _firing(host), f"{DOWN} to be over", PATIENCE_S)
        stage.apt("reinstall", stage.packages.first)
        expect("the timer after an upgrade", host.property("ActiveState", TIMER), "active")
        count = host.run(f"grep -c '^poprelayd_' {WRITTEN}")
    return f"{count} numbers through node exporter to Prometheus; {DOWN} fires and ends"


@contextmanager
def _installed(host: MailHost) -> Iterator[None]:
    """Have both there, with the example's rules in a hurry, while the context is held."""
    host.run(f"apt-get -qq -y --no-install-recommends install {MONITORING}")
    rules = host.path(EXAMPLE).read_text()
    expect("how long until it is said", "for: 2m" in rules, True)
    host.path(RULES).write_text(rules.replace("for: 2m", "for: 2s"))
    host.path(CONFIG).write_text(json.dumps(SCRAPING))
    host.run(f"systemctl restart prometheus && systemctl enable -q --now {TIMER}")
    yield
    host.run(f"systemctl disable -q --now {TIMER}; rm {RULES}")
    host.run(f"apt-get -qq -y autopurge {MONITORING}; rm -rf /var/lib/prometheus")


def _await_metric(host: MailHost, wanted: int) -> None:
    """Wait until node exporter serves ``poprelayd_up``, and Prometheus has it from there."""
    line = f"\npoprelayd_up {wanted}\n"
    wait_for(lambda: line in _get(host, EXPORTER, "/metrics"), "node exporter", PATIENCE_S)
    wait_for(lambda: _known(host) == [str(wanted)], "Prometheus to scrape it", PATIENCE_S)


def _known(host: MailHost) -> list[str]:
    found = _ask(host, "query?query=poprelayd_up")
    return [row["value"][1] for row in found["result"]] if found else []


def _firing(host: MailHost) -> set[str]:
    """Return the alerts that fire by now."""
    alerts = _ask(host, "alerts").get("alerts", [])
    return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


def _ask(host: MailHost, what: str) -> dict[str, Any]:
    """Return what Prometheus' API answers; nothing while it is not there yet."""
    text = _get(host, PROMETHEUS, f"/api/v1/{what}")
    return dict(json.loads(text)["data"]) if text.startswith("{") else {}


def _get(host: MailHost, port: int, path: str) -> str:
    """Return a page that is served in the box; nothing when nobody serves it."""
    with closing(http.client.HTTPConnection(LOCAL, port)) as asked:
        try:
            asked.sock = host.from_address(LOCAL, port, LOCAL)()
            asked.request("GET", path)
            return asked.getresponse().read().decode()
        except OSError:
            return ""
