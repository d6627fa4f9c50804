"""Btree files of Berkeley DB 1.85, read here so that nothing must be installed
for one import: Debian's libdb1-compat has a db_dump185 for them, and no binding to Python.

Layout: btree.h of Berkeley DB 1.85 (4.4BSD, libdb1), in the byte order of the machine that wrote
it. A page that was given up keeps what stood on it, so that the leaves are read in their chain.
"""

import struct
from collections.abc import Generator, Iterator

MAGIC, VERSION = 0x053162, 3
_ROOT = 1
_INTERNAL, _LEAF, _TYPE = 0x01, 0x02, 0x1F
_LARGE = 0x03  # a key or a value on pages of its own
_HEAD = 20
_DEPTH = 50


def is_one(content: bytes) -> bool:
    """Tell whether ``content`` is that of a btree file of Berkeley DB 1.85."""
    return content[:4] in (MAGIC.to_bytes(4, "big"), MAGIC.to_bytes(4, "little"))


def pairs(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a file; ValueError when it is damaged."""
    tree = _Tree(content)
    number, seen = tree.first_leaf(), set[int]()
    while number:
        if number in seen:
            raise ValueError(f"page {number} is chained in a ring")
        seen.add(number)
        number = yield from tree.leaf(number)


class _Tree:
    """The head of a file, and its pages."""

    def __init__(self, content: bytes) -> None:
        if len(content) < _HEAD:
            raise ValueError(f"it is cut short ({len(content)} bytes)")
        self._order = "<" if content[:4] == MAGIC.to_bytes(4, "little") else ">"
        version, self._size = struct.unpack_from(f"{self._order}II", content, 4)
        if version != VERSION:
            raise ValueError(f"its version, {version}, is not that of Berkeley DB 1.85")
        if self._size not in (512 << n for n in range(8)):
            raise ValueError("its first page is damaged")
        if len(content) % self._size:
            raise ValueError("it is cut short: it does not end with a page")
        self._content = content

    def first_leaf(self) -> int:
        """Return the leaf with the lowest keys."""
        number = _ROOT
        for _ in range(_DEPTH):
            page, kind, offsets, _ = self._page(number)
            if kind == _LEAF:
                return number
            if kind != _INTERNAL or not offsets:
                break
            (number,) = struct.unpack_from(f"{self._order}I", page, offsets[0] + 4)
        raise ValueError(f"page {number} is not a page of its kind")

    def leaf(self, number: int) -> Generator[tuple[bytes, bytes], None, int]:
        """Yield the pairs of a leaf; return the number of the next one, or 0."""
        page, kind, offsets, following = self._page(number)
        if kind != _LEAF:
            raise ValueError(f"page {number} is not a page of its kind")
        for offset in offsets:
            key, value, flags = struct.unpack_from(f"{self._order}IIB", page, offset)
            start = offset + 9
            if flags & _LARGE:
                raise ValueError(f"page {number} has a key or value that is larger than a page")
            if start + key + value > self._size:
                raise ValueError(f"page {number} has an item outside its place")
            yield page[start : start + key], page[start + key : start + key + value]
        return int(following)

    def _page(self, number: int) -> tuple[bytes, int, tuple[int, ...], int]:
        """Return a page with its kind, the offsets of its items, and its follower."""
        page = self._content[number * self._size : (number + 1) * self._size]
        if len(page) < self._size:
            raise ValueError(f"it is cut short: page {number} is missing")
        order = self._order
        pgno, _previous, following, flags, lower, upper = struct.unpack_from(f"{order}4I2H", page)
        if pgno != number or lower % 2 or not _HEAD <= lower <= upper <= self._size:
            raise ValueError(f"page {number} has a damaged head")
        offsets = struct.unpack_from(f"{order}{(lower - _HEAD) // 2}H", page, _HEAD)
        if not all(upper <= offset <= self._size - 9 for offset in offsets):
            raise ValueError(f"page {number} has an item outside its place")
        return page, flags & _TYPE, offsets, following
