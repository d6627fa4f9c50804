"""Hash files of Berkeley DB 1.85, read here so that nothing must be installed
for one import: Debian's libdb1-compat has a db_dump185 for them, and no binding to Python.

Layout: hash.h, page.h and hash_page.c of Berkeley DB 1.85 (4.4BSD, libdb1). The head is in network
byte order, whatever machine wrote it; ``lorder`` says in which order the pages are. A page that was
given up keeps what stood on it, so that pages are read from the buckets on, never in a row. The
head's count of keys falls behind by one whenever a key is put again: it says how many there are at
least.
"""

import struct
from collections.abc import Generator, Iterator

MAGIC, VERSION = 0x061561, 2
_HEAD = struct.Struct(">2i I 14i 32i")  # magic version lorder bsize … hdrpages charkey spares
_ORDERS = {1234: "<", 4321: ">"}
_OVERFLOW, _LARGE = 0, 4  # what stands in an offset's place and is none
_LEAST, _MOST = 64, 65536  # bytes of a page; hash.c takes no more, and dbopen(3) names 256


def is_one(content: bytes) -> bool:
    """Tell whether ``content`` is that of a hash file of Berkeley DB 1.85."""
    return content[:4] == MAGIC.to_bytes(4, "big")


def pairs(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a file; ValueError when it is damaged."""
    table = _Table(content)
    found = 0
    for bucket in range(table.max_bucket + 1):
        for pair in table.bucket(bucket):
            found += 1
            yield pair
    if found < table.nkeys:
        raise ValueError(f"it should hold {table.nkeys} keys, and {found} were found")


class _Table:
    """The head of a file, and its pages."""

    def __init__(self, content: bytes) -> None:
        if len(content) < _HEAD.size:
            raise ValueError(f"it is cut short ({len(content)} bytes)")
        _magic, version, lorder, self._size, *rest = _HEAD.unpack_from(content)
        if version != VERSION:
            raise ValueError(f"its version, {version}, is not that of Berkeley DB 1.85")
        self.max_bucket, self.nkeys, self._first = rest[6], rest[10], rest[11]
        self._spares = rest[13:]
        self._order = _ORDERS.get(lorder, "")
        sound = _LEAST <= self._size <= _MOST and not self._size & (self._size - 1)
        self._pages = len(content) // self._size if sound else 0
        if not self._order or not 0 < self._first <= self._pages or self.nkeys < 0:
            raise ValueError("its first page is damaged")
        if not 0 <= self.max_bucket < max(self._pages, 1 << 16):  # pages may not be written yet
            raise ValueError("its first page is damaged")
        self._content = content

    def bucket(self, bucket: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield what stands on the pages of a bucket."""
        number, seen = self._page_of(bucket), set[int]()
        while number:
            if number in seen:
                raise ValueError(f"page {number} is chained in a ring")
            seen.add(number)
            number = yield from self._page(number)

    def _page(self, number: int) -> Generator[tuple[bytes, bytes], None, int]:
        """Yield the pairs of a page; return the number of the next one, or 0."""
        page = self._content[number * self._size : (number + 1) * self._size]
        if not page:  # a bucket that was never written
            return 0
        if len(page) < self._size:
            raise ValueError(f"it is cut short: page {number} is missing")
        (count,) = struct.unpack_from(f"{self._order}H", page)
        floor = 2 * (count + 3)  # behind the offsets stand the free space and its end
        if count % 2 or (count and floor > self._size):
            raise ValueError(f"page {number} has a damaged head")
        offsets = struct.unpack_from(f"{self._order}{count}H", page, 2)
        end = self._size
        for at in range(0, count, 2):
            key, value = offsets[at : at + 2]
            if value == _OVERFLOW and at + 2 == count:
                return self._overflow(key)
            if value < _LARGE:
                raise ValueError(f"page {number} has a key or value that is larger than a page")
            if not floor <= value <= key <= end:
                raise ValueError(f"page {number} has an item outside its place")
            yield page[key:end], page[value:key]
            end = value
        return 0

    def _page_of(self, bucket: int) -> int:
        """Return the page at which a bucket begins (BUCKET_TO_PAGE, hash.h)."""
        spare = self._spares[bucket.bit_length() - 1] if bucket else 0
        return int(bucket + self._first + spare)

    def _overflow(self, address: int) -> int:
        """Return the page that an overflow address names (OADDR_TO_PAGE, page.h)."""
        split, page = address >> 11, address & 0x7FF
        number = self._page_of((1 << split) - 1) + page
        if not page or not self._first < number < self._pages:
            raise ValueError(f"it is cut short: page {number} is missing")
        return number
