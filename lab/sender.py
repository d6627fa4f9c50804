"""The process behind `journald.Sender`: puts what it reads on standard input into a log socket.

    sender.py SOCKET UID

Standard input is batches of datagrams: their number, then each one's length and bytes (lengths are
32 bits, network order). The number 2**32 - 1 is followed by a user's id, whom it becomes. Standard
output gets a dot at the start and after every batch. It stands
alone, for it runs under the name of another program.
"""

import os
import socket
import struct
import sys
import time
from typing import BinaryIO

PATIENCE_S = 10.0
BECOME = 0xFFFFFFFF


def become(uid: int) -> None:
    """Give up root for UID and the group of the same number."""
    if uid:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)


def connect(path: str) -> socket.socket:
    """Connect to the datagram socket at PATH, waiting while nobody listens there."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            out.connect(path)
        except OSError as error:
            out.close()
            if time.monotonic() > deadline:
                sys.exit(f"{path}: {error.strerror}")
            time.sleep(0.005)
        else:
            return out


def read_number(stream: BinaryIO) -> int | None:
    """Read one 32-bit number; None at the end."""
    head = stream.read(4)
    return int(struct.unpack("!I", head)[0]) if len(head) == 4 else None


def main(path: str, uid: int) -> None:
    """Send until standard input ends."""
    become(uid)
    out = connect(path)
    while True:
        sys.stdout.write(".")
        sys.stdout.flush()
        count = read_number(sys.stdin.buffer)
        if count is None:
            return
        if count == BECOME:
            become(read_number(sys.stdin.buffer) or 0)
            continue
        for _ in range(count):
            datagram = sys.stdin.buffer.read(read_number(sys.stdin.buffer) or 0)
            try:
                out.send(datagram)
            except (ConnectionError, FileNotFoundError):
                out = connect(path)
                out.send(datagram)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
