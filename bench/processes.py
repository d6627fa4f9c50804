"""What a running process has used."""

import re
from pathlib import Path


def cpu_s(pid: int) -> float:
    """Return the processor's time that a process has had so far, all its threads, in seconds."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def anonymous_kb(pid: int) -> int:
    """Return its anonymous pages, in KiB: pages of a journal that it maps are not its own."""
    found = re.search(r"^Anonymous: +(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
    assert found
    return int(found[1])
