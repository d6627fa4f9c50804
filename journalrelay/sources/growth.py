"""Whether journal files have grown, told by the number of entries in their headers.

To ask libsystemd is to have it look at every file there is, archived ones too, many times a second.
An entry is counted before a look at its fields finds it (src/libsystemd/sd-journal/journal-file.c,
link_entry_into_array and journal_file_link_entry), so a look after its count has been seen to
change mostly comes late enough; for the rest there is the second look.
"""

import os
from collections.abc import Iterable
from pathlib import Path

_COUNT_AT, _COUNT_SIZE = 152, 8  # n_entries (src/libsystemd/sd-journal/journal-def.h, Header)
_MOST = 16  # files; with more, to look at them all is hardly dearer


class Growth:
    """The files that may grow. They are read, not mapped: that one was cut off is no fault."""

    def __init__(self) -> None:
        self._fds: list[int] = []
        self._counts: list[bytes] = []

    def __del__(self) -> None:
        self.close()

    def watch(self, files: Iterable[Path]) -> None:
        """Watch these files, and no others."""
        self.close()
        try:
            for file in files:
                self._fds.append(os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY))
        except OSError:  # it has just gone, or is not for us to read
            self.close()
        if len(self._fds) > _MOST:
            self.close()

    def seen(self) -> bool:
        """Tell whether one has grown since this was asked last, or may have."""
        try:
            counts = [os.pread(fd, _COUNT_SIZE, _COUNT_AT) for fd in self._fds]
        except OSError:
            counts = []
        before, self._counts = self._counts, counts
        return not counts or counts != before

    def close(self) -> None:
        """Watch nothing."""
        for fd in self._fds:
            os.close(fd)
        self._fds, self._counts = [], []
