"""The drop-in that an import leaves: its text, and how it is put in place."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from journalrelay.errors import DataError
from journalrelay.owner import read_plain

_HEAD = "# Written by: journalrelay import\n"


def text(settings: Mapping[str, Any]) -> str:
    """Return settings, by their full names, as TOML; a JSON string or list is one of TOML too."""
    tables: dict[str, list[str]] = {}
    for name, value in settings.items():
        table, _, key = name.partition(".")
        tables.setdefault(table, []).append(f"{key} = {json.dumps(value)}\n")
    return _HEAD + "".join(f"\n[{table}]\n{''.join(lines)}" for table, lines in tables.items())


def is_there(path: Path, content: str) -> bool:
    """Tell whether ``path`` has ``content`` already; DataError when it has another one."""
    try:
        found = read_plain(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    if found.decode("utf-8", "replace") != content:
        raise DataError(
            f"{path}: it is there already, with other settings (move it away, or name another "
            "file with --output)"
        )
    return True


def write(path: Path, content: str) -> None:
    """Put a new file with ``content`` at ``path``, whole or not at all; its directory is made, and
    is no symbolic link."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    if not os.path.lexists(path.parent):
        path.parent.mkdir(mode=0o755)
    directory = os.open(path.parent, os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    beside = f".{path.name}.new-{os.getpid()}"
    try:
        fd = os.open(beside, flags, 0o644, dir_fd=directory)
        try:
            with open(fd, "w", encoding="utf-8") as file:
                os.fchmod(fd, 0o644)
                file.write(content)
                file.flush()
                os.fsync(fd)
            os.link(beside, path.name, src_dir_fd=directory, dst_dir_fd=directory)
        finally:
            os.unlink(beside, dir_fd=directory)
        os.fsync(directory)
    finally:
        os.close(directory)
