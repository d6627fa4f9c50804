"""docs/performance.md: the table in it is written by the bench, the words around it by hand."""

import os
import platform
import subprocess
import time
from collections.abc import Sequence

from bench.measures import TOP, BenchError
from bench.table import Row, markdown

PAGE = TOP / "docs" / "performance.md"
_BEGIN = "<!-- written by make bench -->\n"
_END = "<!-- end of what make bench writes -->\n"
_PACKAGES = ("systemd", "sendmail-bin", "libdb5.3", "python3-systemd", "python3-bsddb3", "fail2ban")


def write(rows: Sequence[Row], full: bool) -> None:
    """Put the table, with its date and what was measured with what, into the page."""
    text = PAGE.read_text()
    try:
        before, rest = text.split(_BEGIN)
        _, after = rest.split(_END)
    except ValueError:
        raise BenchError(f"{PAGE}: it has no place for the table ({_BEGIN.strip()})") from None
    told = f"{_when_and_where()}\n\n{markdown(rows)}\n"
    if full:
        told = told.replace("\n\n", ", FULL=1\n\n", 1)
    PAGE.write_text(f"{before}{_BEGIN}{told}{_END}{after}")


def _when_and_where() -> str:
    versions = [f"Python {platform.python_version()}", *_versions()]
    load = os.getloadavg()[2]
    return (
        f"{time.strftime('%-d %B %Y')}, {os.cpu_count()} processors ({_processor()}), "
        f"load {load:.1f} in the last 15 minutes; Linux {platform.release()}, {', '.join(versions)}"
    )


def _processor() -> str:
    with open("/proc/cpuinfo") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _versions() -> list[str]:
    form = "${binary:Package} ${Version} ${db:Status-Status}\n"
    command = ["dpkg-query", "--show", f"--showformat={form}", *_PACKAGES]
    lines = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    words = [line.split() for line in lines]
    return [
        f"{name.split(':')[0]} {version}" for name, version, state in words if state == "installed"
    ]
