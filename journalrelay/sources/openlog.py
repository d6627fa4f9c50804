"""A log file held open, plain or compressed, if only its writer could have written it."""

import gzip
import lzma
import os
import stat
import subprocess
import zlib
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from journalrelay.errors import PermissionRelayError

BLOCK = 1 << 17  # bytes that are read at once
_KEPT = 256  # bytes of a packed file before those that were asked for last
_MARKS = (b"\x1f\x8b", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")

Key = tuple[int, int]


class Log(Protocol):
    """What is read of a log file."""

    key: Key
    name: str
    packed: bool

    def read(self, offset: int, count: int) -> bytes:
        """Return the bytes at an offset, fewer at the end of what there is."""

    def status(self) -> os.stat_result:
        """Return what the system knows of the file."""

    def close(self) -> None:
        """Let go of it."""


class Plain:
    """A file as it was written."""

    packed = False

    def __init__(self, fd: int, name: str) -> None:
        self.fd = fd
        self.name = name
        status = os.fstat(fd)
        self.key = status.st_dev, status.st_ino

    def read(self, offset: int, count: int) -> bytes:
        """Return the bytes at an offset."""
        return os.pread(self.fd, count, offset)

    def status(self) -> os.stat_result:
        """Return what the system knows of the file."""
        return os.fstat(self.fd)

    def close(self) -> None:
        """Let go of it."""
        os.close(self.fd)


class Packed:
    """A compressed file, unpacked as it is read; going back begins anew."""

    packed = True

    def __init__(self, fd: int, name: str, mark: bytes) -> None:
        self._fd = fd
        self._mark = mark
        self.name = name
        status = os.fstat(fd)
        self.key = status.st_dev, status.st_ino
        self._stream = _unpacked(fd, mark)
        self._began, self._kept = 0, b""
        self._head = b""

    def read(self, offset: int, count: int) -> bytes:
        """Return the bytes at an offset; what cannot be unpacked is as the end of the file."""
        if offset + count <= len(self._head):
            return self._head[offset : offset + count]
        if offset < self._began:
            self._stream.close()
            self._stream = _unpacked(self._fd, self._mark)
            self._began, self._kept = 0, b""
        while self._began + len(self._kept) < offset + count and self._more():
            surplus = max(0, min(offset - self._began, len(self._kept) - _KEPT))
            self._kept, self._began = self._kept[surplus:], self._began + surplus
        if self._began == 0:  # by it files are told, again and again
            self._head = self._kept[:_KEPT]
        start = offset - self._began
        return self._kept[start : start + count]

    def status(self) -> os.stat_result:
        """Return what the system knows of the compressed file."""
        return os.fstat(self._fd)

    def close(self) -> None:
        """Let go of it."""
        self._stream.close()
        os.close(self._fd)

    def _more(self) -> bool:
        """Unpack some more; tell whether there was any."""
        try:
            got = self._stream.read(BLOCK)
        except (OSError, EOFError, zlib.error, lzma.LZMAError):  # cut short, or still being made
            return False
        self._kept += got
        return bool(got)


class _Zstd:
    """What the program zstd makes of a file: who has such files has it, and Python 3.11 to 3.13
    have nothing that reads them."""

    def __init__(self, fd: int) -> None:
        self._process = subprocess.Popen(
            ["zstd", "-dcq"], stdin=fd, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def read(self, count: int) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.read(count)

    def close(self) -> None:
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process.kill()
        self._process.wait()


def _unpacked(fd: int, mark: bytes) -> BinaryIO:
    """Return a stream of what a compressed file holds, from its beginning."""
    again = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    if mark == _MARKS[2]:
        try:
            return cast(BinaryIO, _Zstd(again))
        finally:
            os.close(again)
    file = open(again, "rb")  # noqa: SIM115
    if mark == _MARKS[0]:
        return cast(BinaryIO, _Owned(gzip.GzipFile(fileobj=file), file))
    return cast(BinaryIO, _Owned(lzma.LZMAFile(file), file))


class _Owned:
    """A stream that closes the file below it."""

    def __init__(self, stream: gzip.GzipFile | lzma.LZMAFile, file: BinaryIO) -> None:
        self._stream = stream
        self._file = file

    def read(self, count: int) -> bytes:
        return self._stream.read(count)

    def close(self) -> None:
        self._stream.close()
        self._file.close()


def open_log(path: Path) -> Log:
    """Open a log file. OSError when it cannot be, also when zstd is missing for it;
    PermissionRelayError when others than its owner could have written it."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(2, "it is no regular file", str(path))
        check_mode(path, status)
        start = os.pread(fd, 8, 0)
        mark = next((mark for mark in _MARKS if start.startswith(mark)), None)
        return Packed(fd, str(path), mark) if mark else Plain(fd, str(path))
    except BaseException:
        os.close(fd)
        raise


def check_mode(path: Path, status: os.stat_result) -> None:
    """Raise PermissionRelayError when everybody can write the file, or put another in its place:
    what it holds says nothing then."""
    if status.st_mode & stat.S_IWOTH:
        raise PermissionRelayError(f"{path}: everybody can write it (chmod o-w {path})")
    directory = path.resolve().parent
    for part in {path.parent.absolute(), directory, *directory.parents}:
        mode = part.stat().st_mode
        sticky = mode & stat.S_ISVTX and part not in (directory, path.parent.absolute())
        if mode & stat.S_IWOTH and not sticky:
            raise PermissionRelayError(
                f"{path}: everybody can write {part}, and so lay another file there "
                f"(keep the log in a directory that only its writer can write, as /var/log)"
            )


def written_us(log: Log) -> int:
    """Return when a file was last written."""
    return log.status().st_mtime_ns // 1000


def is_removed(log: Log) -> bool:
    """Tell whether a file has no name any more."""
    return log.status().st_nlink == 0
