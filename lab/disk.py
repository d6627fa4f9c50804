"""Disks that are small, full or read-only, for a while."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def small(place: Path, size: str = "256k") -> Iterator[Path]:
    """Have ``place`` be a disk of its own."""
    options = f"size={size},mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "small", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@contextmanager
def full(place: Path) -> Iterator[None]:
    """Use up all the room of the disk at ``place``."""
    ballast = place / "ballast"
    try:
        with open(ballast, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"\xff" * 4096)
            except OSError:
                pass
        yield
    finally:
        ballast.unlink()


@contextmanager
def read_only(place: Path) -> Iterator[None]:
    """Let nobody write to the files at ``place`` whoever opens them by their path, as when the
    kernel has found the disk at fault."""
    subprocess.run(["mount", "--bind", str(place), str(place)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(place)], check=True)
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
