"""What systemd is told: readiness, status, reload, watchdog (sd_notify(3))."""

import os
import time

from sdnotify import SystemdNotifier


class Notifier:
    """The service's side of sd_notify; silent when nobody listens, and never in the way."""

    def __init__(self) -> None:
        self._systemd = SystemdNotifier()
        if self._systemd.socket is not None:
            self._systemd.socket.setblocking(False)
        self._feed_every_s = _watchdog_s() / 4
        self._fed_s = 0.0
        self._status = ""

    def ready(self) -> None:
        """Say that the service does its work, or does it again after a reload."""
        self._systemd.notify("READY=1")

    def reloading(self) -> None:
        """Say that the configuration is being read."""
        stamp = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={stamp}")

    def stopping(self) -> None:
        """Say that the service ends."""
        self._systemd.notify("STOPPING=1")

    def status(self, text: str) -> None:
        """Show ``text`` in ``systemctl status``; the same text is not sent twice."""
        if text != self._status:
            self._status = text
            self._systemd.notify(f"STATUS={text}")

    def alive(self, starting_s: int = 0) -> None:
        """Feed the watchdog, at most four times in its span, and while starting ask for
        ``starting_s`` more before the start counts as failed. Only the loop's progress calls
        this: a loop that stalls is killed and started again."""
        now_s = time.monotonic()
        if now_s - self._fed_s < self._feed_every_s:
            return
        self._fed_s = now_s
        more = f"\nEXTEND_TIMEOUT_USEC={starting_s * 1_000_000}" if starting_s else ""
        self._systemd.notify(f"WATCHDOG=1{more}")


def _watchdog_s() -> float:
    """Return the watchdog's span in seconds; when none is set, a span to no effect."""
    try:
        return int(os.environ["WATCHDOG_USEC"]) / 1e6
    except (KeyError, ValueError):
        return 40.0
