"""What a room needs of the kernel's namespaces and unshare(1) does not do.

The calling process must have one thread and a mount namespace of its own.
"""

import ctypes
import os
import signal
from pathlib import Path

SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
MS_BIND, MS_REC, MNT_DETACH = 0x1000, 0x4000, 2
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x20000, 0x10000000, 0x40000000
CAP_NET_ADMIN = 12

_libc = ctypes.CDLL(None, use_errno=True)


def leave_chroot() -> None:
    """Make the chroot that this process lives in the root of its mount namespace, if it does.

    The kernel tells a process of another mount namespace by its path from that namespace's root:
    journald would record `/some/chroot/usr/lib/dovecot/log` as a sender's `_EXE`.
    """
    root, here = os.open("/", os.O_PATH), os.open(".", os.O_PATH)
    join("/proc/self/ns/mnt", CLONE_NEWNS)  # also takes root to the namespace's own, setns(2)
    if not os.path.samestat(os.stat("/"), os.fstat(root)):
        os.fchdir(root)
        path = os.getcwd()
        _call("mount", path.encode(), path.encode(), None, MS_BIND | MS_REC, None)
        os.chdir(path)
        _call("syscall", SYS_PIVOT_ROOT[os.uname().machine], b".", b".")
        _call("umount2", b".", MNT_DETACH)
    os.fchdir(here)
    os.close(root)
    os.close(here)


def new_network() -> None:
    """Move this process into a network namespace that it may administrate.

    A container that shares its host's network (systemd-nspawn without --private-network) has no
    CAP_NET_ADMIN. A user namespace's owner has it over the networks made therein, so a child makes
    one in a user namespace, and only the network is joined: user_namespaces(7).
    """
    if _capable(CAP_NET_ADMIN):
        _call("unshare", CLONE_NEWNET)
        return
    ready, done = os.pipe()
    child = os.fork()
    if child == 0:
        status = _libc.unshare(CLONE_NEWUSER | CLONE_NEWNET)
        os.write(done, b"." if status == 0 else b"!")
        signal.pause()
    os.read(ready, 1)
    try:
        join(f"/proc/{child}/ns/net", CLONE_NEWNET)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(done)


def _capable(capability: int) -> bool:
    status = Path("/proc/self/status").read_text().split()
    return bool(int(status[status.index("CapEff:") + 1], 16) >> capability & 1)


def join(path: str, kind: int) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        _call("setns", handle, kind)
    finally:
        os.close(handle)


def _call(name: str, *arguments: object) -> None:
    """Call a C function that returns -1 on failure; raise its OSError."""
    if getattr(_libc, name)(*arguments) == -1:
        error = ctypes.get_errno()
        raise OSError(error, f"{name}: {os.strerror(error)}")
