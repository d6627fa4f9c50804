"""Where the bench keeps what it makes: a directory on a disk, not in memory."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.journals import KEPT
from bench.measures import Figures


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a fresh directory, 0755, beside the kept journals; remove it afterwards."""
    KEPT.mkdir(parents=True, exist_ok=True)
    here = Path(tempfile.mkdtemp(prefix="run-", dir=KEPT))
    here.chmod(0o755)
    try:
        yield here
    finally:
        shutil.rmtree(here)


def sync_ms(here: Path, times: int = 200) -> Figures:
    """Return how long this disk takes for an fdatasync of one changed page, in ms."""
    took = []
    with open(here / "page", "wb", buffering=0) as file:
        for number in range(times):
            os.pwrite(file.fileno(), b"%4096d" % number, 0)
            began_s = time.perf_counter()
            os.fdatasync(file.fileno())
            took.append((time.perf_counter() - began_s) * 1000)
    return Figures(tuple(took))
