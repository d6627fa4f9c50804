"""Tell whether a Berkeley DB file is whole, without asking Berkeley DB.

libdb 5.3 trusts what it reads: of 400 hash files with a few bytes changed in their page headers,
174 made it crash or loop. So a map is looked at here first. What passes has only pages that
libdb can walk without leaving them; whether its keys and values make sense is the map's business.

Layout: src/dbinc/db_page.h of Berkeley DB 5.3.28, version 9 hash and version 9 or 10 btree files,
in this machine's byte order.
"""

import os
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

_META = struct.Struct("=8x I I I I B B x x I I I I I I")  # pgno magic version pagesize enc type …
_HASH = struct.Struct("=I I I I I I 32I")  # max_bucket high_mask low_mask ffactor nelem hash spares
_PAGE = struct.Struct("=8x I I I H H B B")  # pgno prev next entries hf_offset level type
_META_END = 72  # of what all types have
_HASH_MAGIC, _BTREE_MAGIC = 0x061561, 0x053162
_HASH_PAGES, _BTREE_PAGES = {2, 13}, {3, 5}  # unsorted and sorted hash; internal and leaf btree
_INTERNAL, _KEYDATA = 3, 1
_HEADER = 26
_SAMPLE = 0x5E688DD1  # of CHARKEY, "%$sniglet^&" and its NUL (hash.h)


class _Meta(NamedTuple):
    magic: int
    pagesize: int
    last: int
    free: int
    first_page: bytes


class _Fault(Exception):
    """Where a file is not what libdb would have written."""


def kind(fd: int) -> str | None:
    """Return ``hash`` or ``btree`` by the file's magic number, None for anything else."""
    head = os.pread(fd, 16, 0)
    magic = int.from_bytes(head[12:16], "little") if len(head) == 16 else 0
    return {_HASH_MAGIC: "hash", _BTREE_MAGIC: "btree"}.get(magic)


def elements(fd: int) -> int:
    """Return how many keys the meta page of a hash says that it has, and as many more as it was
    made for (``set_h_nelem``): libdb begins to count with these."""
    return int(_HASH.unpack(os.pread(fd, _HASH.size, _META_END))[4])


def fault(fd: int, keys: Iterable[bytes] | None = None) -> str | None:
    """Return what is wrong with the open file ``fd``, or None when libdb can be let at it; of a
    hash, when it can be let at ``keys``.

    The caller holds a lock that keeps writers away. Reads the file once, or of a hash the pages
    of ``keys``; holes cost nothing.
    """
    try:
        meta = _meta(fd)
        links = _Links(meta.last)
        if meta.magic == _HASH_MAGIC:
            _check_buckets(meta)
        if keys is not None and _hashes_as_we_do(meta):
            pages, free = _chains(fd, meta, set(map(_finder(meta), keys))), 0
        else:
            pages, free = _pages(fd, meta), meta.free
        for number, page in pages:
            _check_page(number, page, meta, links)
        if meta.magic == _BTREE_MAGIC:
            links.child(_btree_root(meta))
        links.settle(free)
    except _Fault as found:
        return str(found)
    return None


def finder(fd: int) -> Callable[[bytes], int] | None:
    """Return what tells near which page of the open file ``fd`` a key is; None where that is not
    known. What is damaged is for :func:`fault` to say."""
    try:
        meta = _meta(fd)
    except _Fault:
        return None
    return _finder(meta) if _hashes_as_we_do(meta) else None


def _meta(fd: int) -> _Meta:
    head = os.pread(fd, 512, 0)
    if len(head) < 512:
        raise _Fault(f"it is cut short ({len(head)} bytes)")
    pgno, magic, version, pagesize, encrypted, _type, free, last, parts, *_ = _META.unpack_from(
        head
    )
    wanted = {_HASH_MAGIC: ((9,), 8), _BTREE_MAGIC: ((9, 10), 9)}.get(magic)
    if wanted is None:
        raise _Fault("it is no Berkeley DB hash or btree file")
    if version not in wanted[0] or head[25] != wanted[1] or pgno or encrypted or parts:
        raise _Fault("its first page is not of a version or kind that sendmail reads")
    if pagesize not in (512 << n for n in range(8)) or free > last:
        raise _Fault("its first page is damaged")
    size = os.fstat(fd).st_size
    if size % pagesize:
        raise _Fault("it does not end with a page")
    if size < (last + 1) * pagesize:
        raise _Fault(f"it is cut short: page {last} is missing")
    return _Meta(magic, pagesize, last, free, head)


def _pages(fd: int, meta: _Meta) -> Iterator[tuple[int, bytes]]:
    """Yield the pages that hold something, with their numbers; a hole is an empty bucket."""
    number = 1
    while number <= meta.last:
        try:
            start = os.lseek(fd, number * meta.pagesize, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole up to the end
            return
        number = start // meta.pagesize
        stop = min(os.lseek(fd, start, os.SEEK_HOLE), (meta.last + 1) * meta.pagesize)
        while number <= meta.last and number * meta.pagesize < stop:
            yield number, os.pread(fd, meta.pagesize, number * meta.pagesize)
            number += 1


def _chains(fd: int, meta: _Meta, numbers: set[int]) -> Iterator[tuple[int, bytes]]:
    """Yield the pages of the buckets that begin at ``numbers``."""
    seen: set[int] = set()
    while numbers:
        number = numbers.pop()
        seen.add(number)
        page = os.pread(fd, meta.pagesize, number * meta.pagesize)
        yield number, page
        following = _PAGE.unpack_from(page)[2]
        if 0 < following <= meta.last and following not in seen:
            numbers.add(following)


def _finder(meta: _Meta) -> Callable[[bytes], int]:
    """Return what tells the page at which the bucket of a key begins (BUCKET_TO_PAGE, hash.h)."""
    most, high, low, _ffactor, _nelem, _charkey, *spares = _HASH.unpack_from(
        meta.first_page, _META_END
    )

    def first_page(key: bytes) -> int:
        bucket = _hashed(key) & high
        if bucket > most:
            bucket &= low
        return int(bucket + spares[bucket.bit_length()])

    return first_page


def _hashes_as_we_do(meta: _Meta) -> bool:
    """Tell whether it is a hash with libdb's usual function, by what that makes of a sample."""
    return meta.magic == _HASH_MAGIC and _HASH.unpack_from(meta.first_page, _META_END)[5] == _SAMPLE


def _hashed(key: bytes) -> int:
    """Return what ``__ham_func5`` (hash_func.c) makes of a key: Fowler, Noll and Vo's hash."""
    found = 0
    for byte in key:
        found = found * 16777619 & 0xFFFFFFFF ^ byte
    return found


class _Links:
    """Which page names which: chains and trees that libdb follows must have no loop."""

    def __init__(self, last: int) -> None:
        self._last = last
        self._next: dict[int, int] = {}
        self._previous: dict[int, int] = {}
        self._children: set[int] = set()
        self._free: dict[int, int] = {}

    def free(self, number: int, following: int) -> None:
        """Note a page that is in no use, and the next one of its list."""
        if following > self._last:
            raise _Fault(f"page {number} names a neighbour that cannot be")
        self._free[number] = following

    def chain(self, number: int, previous: int, following: int) -> None:
        """Note a page's neighbours; 0 is none."""
        if max(previous, following) > self._last or number in (previous, following):
            raise _Fault(f"page {number} names a neighbour that cannot be")
        if previous:
            self._previous[number] = previous
        if following:
            self._next[number] = following

    def child(self, number: int) -> None:
        """Note a page that hangs below another one."""
        if not 0 < number <= self._last or number in self._children:
            raise _Fault(f"page {number} hangs in two places or does not exist")
        self._children.add(number)

    def settle(self, free: int) -> None:
        """Raise unless every chain reads the same in both directions and has an end, that of the
        free pages, which begins at ``free``, among them."""
        while free:
            if free not in self._free:
                raise _Fault("its list of free pages is damaged")
            free = self._free.pop(free)
        if {after: before for before, after in self._next.items()} != self._previous:
            raise _Fault("its pages are chained wrongly")
        seen: set[int] = set()
        for first in self._next.keys() - self._previous.keys():
            at: int | None = first
            while at is not None:
                seen.add(at)
                at = self._next.get(at)
        if not seen >= self._next.keys():
            raise _Fault("its pages are chained in a ring")


def _check_page(number: int, page: bytes, meta: _Meta, links: _Links) -> None:
    pgno, previous, following, entries, high, level, kind_ = _PAGE.unpack_from(page)
    if kind_ == 0 and entries == 0 and pgno in (0, number):
        links.free(number, following)  # in no use, or of a bucket that was never written
        return
    hashed = meta.magic == _HASH_MAGIC
    if pgno != number or kind_ not in (_HASH_PAGES if hashed else _BTREE_PAGES):
        raise _Fault(f"page {number} is not a page of its kind")
    floor = _HEADER + 2 * entries
    offsets = struct.unpack_from(f"={entries}H", page, _HEADER) if floor <= len(page) else ()
    if high != min(offsets, default=meta.pagesize) or floor > high or (hashed and entries % 2):
        raise _Fault(f"page {number} has a damaged head")
    if (level == 0) != hashed or level > 20 or (kind_ == _INTERNAL) != (level > 1):
        raise _Fault(f"page {number} is at a level that cannot be")
    if kind_ != _INTERNAL:  # libdb keeps no order among those, and follows none
        links.chain(number, previous, following)
    if hashed:
        _check_hash_items(number, page, offsets, floor)
    else:
        _check_btree_items(number, page, offsets, floor, kind_, links)


def _check_hash_items(number: int, page: bytes, offsets: tuple[int, ...], floor: int) -> None:
    end = len(page)
    for offset in offsets:
        if not floor <= offset < end or page[offset] != _KEYDATA:
            raise _Fault(f"page {number} has an item outside its place")
        end = offset


def _check_btree_items(
    number: int, page: bytes, offsets: tuple[int, ...], floor: int, kind_: int, links: _Links
) -> None:
    head = 12 if kind_ == _INTERNAL else 3
    room = len(page) - floor
    for offset in offsets:
        if not floor <= offset <= len(page) - head:
            raise _Fault(f"page {number} has an item outside its place")
        length, type_ = struct.unpack_from("=HB", page, offset)
        if type_ & 0x7F != _KEYDATA or offset + head + length > len(page):
            raise _Fault(f"page {number} has an item that is no plain key or value")
        room -= head + length
        if room < 0:  # a small file would unfold to any size
            raise _Fault(f"page {number} has items that share their bytes")
        if kind_ == _INTERNAL:
            links.child(struct.unpack_from("=I", page, offset + 4)[0])


def _check_buckets(meta: _Meta) -> None:
    buckets, high, low, _ffactor, _nelem, _hash, *spares = _HASH.unpack_from(
        meta.first_page, _META_END
    )
    if high & (high + 1) or low != high >> 1 or not low < buckets + (high == 0) <= high + 1:
        raise _Fault("its bucket masks are damaged")
    for doubling, spare in enumerate(spares):
        top = min((1 << doubling) - 1, buckets) + spare
        if not 0 < top <= meta.last if doubling <= buckets.bit_length() else spare:
            raise _Fault("its table of buckets is damaged")


def _btree_root(meta: _Meta) -> int:
    return int(struct.unpack_from("=I", meta.first_page, 88)[0])
