"""Old maps for the tests: written by Berkeley DB 1.85 itself, or made of a map of 5.3.

    python3 -m lab.oldmaps DIRECTORY    writes those of 1.85 anew (tests/oldmaps)

Berkeley DB 1.85 is the library of Debian's package libdb1-compat, which comes without headers;
its own db_dump185 prints what the files hold. Of Berkeley DB 2 to 4 Debian has no library: `aged`
takes a file of 5.3 back to their heads and page types, and 5.3's own upgrade is the judge of it.
"""

import ctypes
import os
import struct
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

LIBRARY = "libdb1.so.2"
DUMP = "db_dump185"
BTREE, HASH = 0, 1
LITTLE, BIG = 1234, 4321
_AT_S = 1_795_399_495


class _Thing(ctypes.Structure):
    _fields_ = (("data", ctypes.c_char_p), ("size", ctypes.c_size_t))


class _Database(ctypes.Structure):
    """DB of <db1/db.h>: the type and its functions."""


_Handle = ctypes.POINTER(_Database)
_Item = ctypes.POINTER(_Thing)
_Database._fields_ = (
    ("type", ctypes.c_int),
    ("close", ctypes.CFUNCTYPE(ctypes.c_int, _Handle)),
    ("delete", ctypes.CFUNCTYPE(ctypes.c_int, _Handle, _Item, ctypes.c_uint)),
    ("get", ctypes.c_void_p),
    ("put", ctypes.CFUNCTYPE(ctypes.c_int, _Handle, _Item, _Item, ctypes.c_uint)),
)


class _HashInfo(ctypes.Structure):
    _fields_ = (
        ("bsize", ctypes.c_uint),
        ("ffactor", ctypes.c_uint),
        ("nelem", ctypes.c_uint),
        ("cachesize", ctypes.c_uint),
        ("hash", ctypes.c_void_p),
        ("lorder", ctypes.c_int),
    )


class _BtreeInfo(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_ulong),
        ("cachesize", ctypes.c_uint),
        ("maxkeypage", ctypes.c_int),
        ("minkeypage", ctypes.c_int),
        ("psize", ctypes.c_uint),
        ("compare", ctypes.c_void_p),
        ("prefix", ctypes.c_void_p),
        ("lorder", ctypes.c_int),
    )


def write(
    path: Path,
    kind: int,
    pairs: Mapping[bytes, bytes],
    gone: Iterable[bytes] = (),
    order: int = 0,
    page: int = 256,
) -> None:
    """Put PAIRS into a file of Berkeley DB 1.85, and take out of it the keys that are GONE; a
    second opening puts some of the rest again, as a daemon does that is started anew."""
    info = (
        _HashInfo(page, 8, 1, 0, None, order)
        if kind == HASH
        else _BtreeInfo(0, 0, 0, 0, max(page, 512), None, None, order)
    )
    kept = {key: value for key, value in pairs.items() if key not in set(gone)}
    _fill(path, kind, info, pairs, gone)
    _fill(path, kind, info, dict(list(kept.items())[:5]), ())


def _fill(
    path: Path,
    kind: int,
    info: ctypes.Structure,
    pairs: Mapping[bytes, bytes],
    gone: Iterable[bytes],
) -> None:
    library = ctypes.CDLL(LIBRARY, use_errno=True)
    library.dbopen.restype = _Handle
    flags = os.O_RDWR | os.O_CREAT
    handle = library.dbopen(os.fsencode(path), flags, 0o644, kind, ctypes.byref(info))
    if not handle:
        raise OSError(ctypes.get_errno(), "dbopen", str(path))
    for key, value in pairs.items():
        put = handle.contents.put(handle, _thing(key), _thing(value), 0)
        assert put == 0, key
    for key in gone:
        assert handle.contents.delete(handle, _thing(key), 0) == 0, key
    assert handle.contents.close(handle) == 0


def _thing(content: bytes) -> ctypes.Structure:
    return _Thing(content, len(content))


def aged(content: bytes, version: int) -> bytes:
    """Return a file of Berkeley DB 5.3 as an earlier one would have it: a hash as version 8 (4.0
    to 4.5), 7 (3.1) or 5 (2), a btree as version 8 (3.1) or 6 (2)."""
    made = bytearray(content)
    size = struct.unpack_from("<I", content, 20)[0]
    hashed = struct.unpack_from("<I", content, 12)[0] == 0x061561
    for start in range(size, len(content), size):
        if made[start + 25] == 13:  # sorted pages came with 4.6
            made[start + 25] = 2
    made[16:20] = struct.pack("<I", version)
    if version < 7:
        made[24:size] = bytes(size - 24)
        head = _head_of_2(content) if hashed else struct.pack("<4I", 0, 2, 0, 0)
        made[24 : 24 + len(head)] = head
    return bytes(made)


def _head_of_2(content: bytes) -> bytes:
    """Return the rest of the head of a hash file of Berkeley DB 2, behind the page size: HASHHDR
    of src/dbinc/db_upgrade.h in 5.3.28."""
    most, high, low, ffactor, nelem, charkey, *spares = struct.unpack_from("<6I32I", content, 72)
    doubling = most.bit_length()
    old = [max(spare - 1, 0) for spare in spares[1:]] + [0]
    return struct.pack(
        "<9I32I", doubling, 0, most, high, low, ffactor, nelem, charkey, 0, *old
    ) + bytes(20)


def many(count: int) -> dict[bytes, bytes]:
    """Return addresses with the ends of their grants, as the ancestor stored them."""
    return {
        b"198.51.%d.%d" % (100 + n // 250, n % 250 + 1): b"%d" % (_AT_S + n) for n in range(count)
    }


def _rebuild(place: Path) -> None:
    pairs = many(600)
    gone = [key for n, key in enumerate(pairs) if n % 3 == 0]
    for kind, name in ((HASH, "hash"), (BTREE, "btree")):
        for order, mark in ((LITTLE, "little"), (BIG, "big")):
            path = place / f"db185-{name}-{mark}.db"
            path.unlink(missing_ok=True)
            write(path, kind, pairs, gone, order)
            dumped = subprocess.run([DUMP, "-p", path], capture_output=True, check=True)
            path.with_suffix(".dump").write_bytes(dumped.stdout)


if __name__ == "__main__":
    _rebuild(Path(sys.argv[1]))
