"""Imports point one way: from the edges inward, and each outside thing has one room."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from journalrelay.cli import VERBS

PACKAGE = Path(__file__).parent.parent / "journalrelay"

# One file a daemon, all alike; they know the shape and nothing of each other.
DAEMONS = {f"patterns.{file.stem}" for file in (PACKAGE / "patterns").glob("[a-z]*.py")} - {
    "patterns.identity",
    "patterns.pattern",
    "patterns.tcpd",
    "patterns.dispatch",
    "patterns.automaton",
    "patterns.linear",
    "patterns.fit",
    "patterns.unvouched",
}

# Innermost first. A module imports only from layers before its own.
LAYERS = (
    {
        "errors",
        "timespan",
        "clock",
        "map.changes",
        "telling.message",
        "entry",
        "workshop.likeness",
        "rules.places",
        "mailer.sendmailcf",
        "patterns.automaton",
        "sources.logtime",
        "reporting",
        "reporting.span",
        "reporting.bounded",
        "reporting.reasons",
        "reporting.style",
    },
    {"reporting.markup", "reporting.floods"},
    {"reporting.chart"},
    {"grant", "notify", "owner", "map.pages", "telling.metrics", "patterns.linear", "patterns.fit"},
    {"remote.hostclock", "settings", "sources.openlog", "sources.logline", "sources.openjournal"},
    {"sources.growth", "sources.spot", "sources.moments", "sources.sieve", "sources.watch"},
    {"sources.reading", "sources.rotation", "sources.received"},
    {"sources.beginning", "sources.succession"},
    {"sources.stream"},
    {"event", "map.locks", "map.due", "map.libdb", "mailer.ruleset", "map.spelling"},
    {"reporting.gaps"},
    {"rules.trust"},
    {
        "patterns.identity",
        "patterns.tcpd",
        "cursor",
        "rules.policy",
        "map.mapfile",
        "recognition.names",
        "history",
        "rules.repeats",
        "mailer.tables",
    },
    {
        "patterns.pattern",
        "telling.ledger",
        "map.popmap",
        "recognition.resolve",
        "rules.limits",
        "openings",
    },
    {"rules.sessions", "reporting.tally"},
    {"rules.recent", "reporting.attacks"},
    {"reporting.page"},
    {"patterns.dispatch", "patterns.unvouched", "telling.log", "telling.report"} | DAEMONS,
    {"patterns"},
    {"sources.source", "telling.teller", "recognition.correlate", "recognition.strangers"},
    {"recognition.forgery"},
    {"recognition.logins"},
    {"workshop.finding"},
    {"workshop.trial"},
    {"workshop.own"},
    {"config", "sources.journal"},
    {"remote.host"},
    {"remote.hosts"},
    {"relay", "sources.text", "sources.logfile"},
    {"sources.choice"},
    {"site"},
    {"daemon", "commands", "commands.address", "doctor.diagnosis", "doctor.host", "options"},
    {"commands.live", "commands.byhand", "commands.progress", "commands.units", "streams"},
    {"commands.facts", "commands.screen"},
    {"doctor.mailer", "doctor.mapstate", "doctor.remote", "doctor.rivals", "doctor.units"},
    {"doctor.journal", "doctor.postfix"},
    {"doctor"},
    {
        "migration.btree185",
        "migration.dropin",
        "migration.dump",
        "migration.hash185",
        "migration.laterdb",
        "migration.perlvalue",
        "migration.servers",
    },
    {"migration.oldmap", "migration.perl"},
    {"migration.heirs"},
    {f"commands.{verb}" for verb in VERBS},
    {"cli"},
    {"programs"},
    {"__main__"},
)
WITHOUT_SIDE = {
    "mailer",
    "map",
    "migration",
    "recognition",
    "remote",
    "rules",
    "sources",
    "telling",
    "workshop",
    "__init__",
}
ONE_ROOM = {
    "systemd": {"sources.openjournal"},
    "berkeleydb": {"map.libdb"},
    "bsddb3": {"map.libdb"},
    "signal": {"daemon", "cli"},  # cli: the numbers for exit codes
    "argparse": {"options"},
    "tomllib": {"config"},
    "sdnotify": {"notify"},
    "threading": {"recognition.resolve"},
    "subprocess": {"doctor.host", "sources.openlog"},
    "inotify": {"sources.watch"},
}
OUTSIDE = {"os", "time", "socket", "subprocess", "pathlib", "fcntl", "sys", "threading"}


def name_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


def imports() -> dict[str, set[str]]:
    """Return for each module the full names of what it imports."""
    found: dict[str, set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        names = found.setdefault(name_of(file), set())
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


IMPORTS = imports()
RANK = {module: rank for rank, layer in enumerate(LAYERS) for module in layer}
PURE = {
    "errors",
    "telling.metrics",
    "mailer.ruleset",
    "timespan",
    "map.changes",
    "telling.message",
    "grant",
    "event",
    "rules.policy",
    "recognition.logins",
    "recognition.correlate",
    "recognition.forgery",
    "recognition.names",
    "entry",
    "workshop.likeness",
    "workshop.finding",
    "settings",
    "remote.hostclock",
    "rules.trust",
    "workshop.trial",
    "workshop.own",
    "rules.places",
    "rules.limits",
    "rules.sessions",
    "rules.recent",
    "migration.btree185",
    "migration.dump",
    "migration.hash185",
    "migration.heirs",
    "migration.laterdb",
    "migration.oldmap",
    "migration.perl",
    "migration.perlvalue",
    "migration.servers",
    "sources.logtime",
    "sources.logline",
    "sources.sieve",
    "recognition.strangers",
} | {module for module in RANK if module.startswith(("patterns", "reporting"))}


def inner(imported: str) -> str | None:
    """Return the module of the package that an imported name lies in."""
    name = imported.removeprefix("journalrelay.")
    if name == imported:
        return None
    while name and name not in IMPORTS:
        name = name.rpartition(".")[0]
    return name or None


def test_every_module_has_its_layer() -> None:
    assert set(RANK) == set(IMPORTS) - WITHOUT_SIDE


def test_every_package_is_installed() -> None:
    told = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    packages = {
        ".".join(file.parent.relative_to(PACKAGE.parent).parts)
        for file in PACKAGE.rglob("__init__.py")
    }
    assert set(told["tool"]["setuptools"]["packages"]) == packages


@pytest.mark.parametrize("module", sorted(RANK))
def test_a_module_imports_only_from_further_inside(module: str) -> None:
    used = {name for imported in IMPORTS[module] if (name := inner(imported))} - WITHOUT_SIDE
    assert {name for name in used if RANK[name] >= RANK[module]} == set()


@pytest.mark.parametrize(("library", "rooms"), ONE_ROOM.items())
def test_each_outside_thing_has_one_room(library: str, rooms: set[str]) -> None:
    users = {m for m, names in IMPORTS.items() if any(n.split(".")[0] == library for n in names)}
    assert users == rooms


@pytest.mark.parametrize("module", sorted(PURE))
def test_the_middle_is_pure(module: str) -> None:
    used = {name.split(".")[0] for name in IMPORTS[module]}
    # for the exit codes, for inet_pton and inet_ntop
    allowed = {"errors": {"os"}, "grant": {"socket"}, "map.spelling": {"socket"}}
    assert used & OUTSIDE <= allowed.get(module, set())


@pytest.mark.parametrize("words", [("check", "192.0.2.7"), ("expire",)])
def test_what_is_called_often_loads_little(words: tuple[str, ...], tmp_path: Path) -> None:
    program = "import sys; from journalrelay import cli; cli.main(); print(*sys.modules)"
    command = [sys.executable, "-c", program, "-c", "/dev/null"]
    done = subprocess.run(
        [*command, *words, "--map", str(tmp_path / "popip.db")],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    modules = done.stdout.splitlines()[-1].split()
    loaded = {name.removeprefix("journalrelay.") for name in modules}
    assert "map.popmap" in loaded
    assert not loaded & {"patterns", "relay", "daemon", "sources.journal", "sources.logfile"}


def test_only_the_command_line_prints() -> None:
    printing = set()
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print":
                printing.add(name_of(file).split(".")[0])
    assert printing == {"cli", "commands", "telling", "options"}
