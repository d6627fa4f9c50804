"""Hash and btree files of Berkeley DB 2 to 6, in either byte order.

libdb 5.3 opens none older than its own (they want an upgrade in place, and the old file is never
changed here), and believes what it reads. Items lie in the same way in all of them: db_page.h of
Berkeley DB 2.7, and src/dbinc/db_page.h of 5.3.28. A page that was given up says so, and all the
others are read in a row.
"""

import struct
from collections.abc import Iterator

# By the file's version, the releases that wrote it (src/dbinc/db_upgrade.h, hash_upgrade.c,
# bt_upgrade.c of 5.3.28, and the magic numbers of file(1)).
HASH = {4: "2", 5: "2", 6: "3.0", 7: "3.1 to 3.3", 8: "4.0 to 4.5", 9: "4.6 to 5.3"}
BTREE = {6: "2", 7: "3.0", 8: "3.1 to 3.3", 9: "4.0 to 5.3", 10: "6"}
_KINDS = {0x061561: ("hash", HASH), 0x053162: ("btree", BTREE)}
_PAGE = "8x I I I H H B B"  # pgno prev next entries hf_offset level type
_HEADER = 26
_FREE, _INTERNAL, _META = 0, 3, (8, 9)
_HASH_PAGES, _LEAF = (2, 13), 5
_KEYDATA, _DELETED = 1, 0x80
_CHECKSUM = 0x01  # in the head, from version 8 of a hash and 9 of a btree on


def is_one(content: bytes) -> bool:
    """Tell whether ``content`` is that of a hash or btree file of Berkeley DB 2 or later."""
    return _order(content) is not None


def name(content: bytes) -> str:
    """Return what wrote a file, and its kind, for people."""
    kind, releases, version, _, _ = _head(content)
    return f"Berkeley DB {releases[version]} {kind}"


def pairs(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a file; ValueError when it is damaged."""
    kind, _, _, order, size = _head(content)
    head = struct.Struct(order + _PAGE)
    for start in range(size, len(content), size):
        number, page = start // size, content[start : start + size]
        pgno, _previous, _following, entries, _free, _level, type_ = head.unpack_from(page)
        if type_ in (_FREE, _INTERNAL, *_META):
            continue
        if pgno != number or type_ not in (_HASH_PAGES if kind == "hash" else (_LEAF,)):
            raise ValueError(f"page {number} is not a page of its kind")
        floor = _HEADER + 2 * entries
        if entries % 2 or floor > size:
            raise ValueError(f"page {number} has a damaged head")
        offsets = struct.unpack_from(f"{order}{entries}H", page, _HEADER)
        read = _hash_items if kind == "hash" else _btree_items
        items = list(read(number, page, offsets, floor, order))
        for key, value in zip(items[::2], items[1::2], strict=True):
            if key is not None and value is not None:
                yield key, value


def _order(content: bytes) -> str | None:
    for order in "<>":
        if len(content) >= 16 and struct.unpack_from(f"{order}I", content, 12)[0] in _KINDS:
            return order
    return None


def _head(content: bytes) -> tuple[str, dict[int, str], int, str, int]:
    """Return kind, releases by version, version, byte order and page size of a file."""
    order = _order(content)
    if order is None or len(content) < 512:
        raise ValueError(f"it is cut short ({len(content)} bytes)")
    magic, version, size = struct.unpack_from(f"{order}3I", content, 12)
    kind, releases = _KINDS[magic]
    if version not in releases:
        raise ValueError(f"its version, {version}, is not one of {', '.join(map(str, releases))}")
    if size not in (512 << n for n in range(8)):
        raise ValueError("its first page is damaged")
    if len(content) % size:
        raise ValueError("it is cut short: it does not end with a page")
    if version >= {"hash": 8, "btree": 9}[kind] and (content[24] or content[26] & _CHECKSUM):
        raise ValueError("it is encrypted or has checksums")
    return kind, releases, version, order, size


def _hash_items(
    number: int, page: bytes, offsets: tuple[int, ...], floor: int, _order: str
) -> Iterator[bytes | None]:
    end = len(page)
    for offset in offsets:
        if not floor <= offset < end:
            raise ValueError(f"page {number} has an item outside its place")
        if page[offset] != _KEYDATA:
            raise ValueError(f"page {number} has an item that is no plain key or value")
        yield page[offset + 1 : end]
        end = offset


def _btree_items(
    number: int, page: bytes, offsets: tuple[int, ...], floor: int, order: str
) -> Iterator[bytes | None]:
    """Yield the items of a leaf, None for one that is deleted."""
    room = len(page)
    for offset in offsets:
        if not floor <= offset <= len(page) - 3:
            raise ValueError(f"page {number} has an item outside its place")
        length, type_ = struct.unpack_from(f"{order}HB", page, offset)
        if type_ & ~_DELETED != _KEYDATA or offset + 3 + length > len(page):
            raise ValueError(f"page {number} has an item that is no plain key or value")
        room -= length
        if room < 0:  # a small file would unfold to any size
            raise ValueError(f"page {number} has items that share their bytes")
        yield None if type_ & _DELETED else page[offset + 3 : offset + 3 + length]
