"""What ``status`` knows, as metrics in the words of Prometheus. Pure.

Two texts are written: Prometheus' own (https://prometheus.io/docs/instrumenting/exposition_formats,
version 0.0.4), which node exporter's textfile collector reads, and OpenMetrics 1.0
(https://openmetrics.io). They are lines of ``name{label="value"} number``: a library that keeps
and serves metrics would bring all else that it does, and take longer to load than all of this.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from journalrelay.errors import printable

Kind = Literal["counter", "gauge", "info"]
Number = int | float
_S_US = 1_000_000


class Sample(NamedTuple):
    """A number, and the labels that tell it from others of its metric."""

    number: Number
    labels: Mapping[str, str] = {}


class Metric(NamedTuple):
    """A metric: its name without a counter's ``_total`` or an information's ``_info``."""

    name: str
    kind: Kind
    about: str
    samples: Sequence[Sample]

    @property
    def sample_name(self) -> str:
        """Return the name of its samples."""
        return self.name + {"counter": "_total", "info": "_info", "gauge": ""}[self.kind]


def metrics(facts: Mapping[str, Any], version: str) -> list[Metric]:
    """Return what is known; what is not known has no metric, rather than a wrong number."""
    every = [*_running(facts, version), *_work(facts), *_lost(facts), *_expiry(facts)]
    return [metric for metric in every if metric.samples]


def _running(facts: Mapping[str, Any], version: str) -> Iterator[Metric]:
    yield Metric(
        "poprelayd_build", "info", "The version installed.", [Sample(1, {"version": version})]
    )
    yield _gauge("poprelayd_up", "Whether the daemon runs.", int(facts["running"]))
    yield _moment(
        "poprelayd_start_time_seconds",
        "When it was started or last reloaded: its counters began at 0 then.",
        facts.get("since_us"),
    )
    yield _counter(
        "poprelayd_restarts", "How often systemd has started it again.", facts["restarts"]
    )
    yield _gauge(
        "poprelayd_granted_addresses", "How many addresses may relay.", facts["granted_now"]
    )
    yield _gauge(
        "poprelayd_map_cut_short",
        "Whether the last commit to the map did not come to its end.",
        int(facts["cut_short"]),
    )


def _work(facts: Mapping[str, Any]) -> Iterator[Metric]:
    yield _counter("poprelayd_entries_read", "Entries read.", facts.get("records"))
    yield _counters("poprelayd_logins", "Logins found.", "daemon", facts.get("logins"))
    yield _counters(
        "poprelayd_verdicts", "What became of logins.", "verdict", facts.get("verdicts")
    )
    yield _counters("poprelayd_refused", "Logins refused.", "reason", facts.get("refused"))
    yield _gauge(
        "poprelayd_lag_seconds",
        "How old the last entry read was when more was waiting behind it.",
        facts.get("lag_s"),
    )
    yield _moment(
        "poprelayd_last_entry_timestamp_seconds",
        "The time of the last entry read.",
        facts.get("read_to_us"),
    )


def _lost(facts: Mapping[str, Any]) -> Iterator[Metric]:
    yield _counters(
        "poprelayd_suppressed_lines",
        "Lines of a server that journald did not take.",
        "unit",
        facts.get("suppressed"),
    )
    if "gap_from_us" in facts:
        gap_us = (facts["gap_to_us"] or 0) - (facts["gap_from_us"] or 0)
        about = "How much was gone from the journal at the start; 0 if nothing was."
        yield _gauge("poprelayd_gap_seconds", about, gap_us / _S_US)
    yield _moment(
        "poprelayd_last_fault_timestamp_seconds",
        "When the last fault was logged.",
        facts.get("last_fault_us"),
    )


def _expiry(facts: Mapping[str, Any]) -> Iterator[Metric]:
    whole = facts["expired"] is not None and facts["expired_from_us"] == facts["since_us"]
    yield _counter(
        "poprelayd_expired_addresses",
        "Grants taken out of the map because their time was over.",
        facts["expired"] if whole else None,
    )
    yield _moment(
        "poprelayd_expire_last_run_timestamp_seconds",
        "When systemd last ran expire.",
        facts["expire_last_us"],
    )
    yield _moment(
        "poprelayd_expire_next_run_timestamp_seconds",
        "When systemd runs expire next.",
        facts["expire_next_us"],
    )
    result = facts["expire_result"]
    yield _gauge(
        "poprelayd_expire_failed",
        "Whether the last run of expire failed.",
        None if result is None else int(result != "success"),
    )


def _gauge(name: str, about: str, number: Number | None) -> Metric:
    return Metric(name, "gauge", about, [] if number is None else [Sample(number)])


def _moment(name: str, about: str, time_us: int | None) -> Metric:
    return _gauge(name, about, None if time_us is None else time_us / _S_US)


def _counter(name: str, about: str, number: int | None) -> Metric:
    return Metric(name, "counter", about, [] if number is None else [Sample(number)])


def _counters(name: str, about: str, label: str, counts: Mapping[str, int] | None) -> Metric:
    samples = [Sample(count, {label: what}) for what, count in (counts or {}).items()]
    return Metric(name, "counter", about, samples)


# The texts


def prometheus(every: Sequence[Metric]) -> str:
    """Return the text that node exporter reads."""
    lines = []
    for metric in every:
        name = metric.sample_name
        kind = "gauge" if metric.kind == "info" else metric.kind
        lines += [f"# HELP {name} {metric.about}", f"# TYPE {name} {kind}", *_lines(metric)]
    return "\n".join(lines) + "\n"


def openmetrics(every: Sequence[Metric]) -> str:
    """Return the text of OpenMetrics."""
    lines = []
    for metric in every:
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        if metric.name.endswith("_seconds"):
            lines.append(f"# UNIT {metric.name} seconds")
        lines += [f"# HELP {metric.name} {metric.about}", *_lines(metric)]
    return "\n".join([*lines, "# EOF"]) + "\n"


def _lines(metric: Metric) -> Iterator[str]:
    for number, labels in metric.samples:
        pairs = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
        yield f"{metric.sample_name}{f'{{{pairs}}}' if pairs else ''} {number!r}"


def _escaped(text: str) -> str:
    return printable(text).replace("\\", r"\\").replace('"', r"\"")
