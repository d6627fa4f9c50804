"""The clock is stepped forward and back under journald and the daemon; grants stay true.

libfaketime moves the wall clock of both for real (the monotonic clock goes on), by a file that the
test rewrites.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.journald import Journald, Sender, login_line
from lab.poprelayd import Poprelayd
from lab.wait import wait_for

FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
HOUR_S = 3600


class Clock:
    """The wall clock of those who run with ``environment``."""

    def __init__(self, place: Path) -> None:
        self._file = place / "clock"
        self.step(0)
        self.environment = {
            "LD_PRELOAD": str(FAKETIME),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",  # its older name
            "NO_FAKE_STAT": "1",  # files keep their true times
            "FAKE_UTIME": "0",
        }

    def step(self, seconds: int) -> None:
        """Set the clock to so many seconds after the true time."""
        beside = self._file.with_suffix(".new")
        beside.write_text(f"{seconds:+d}\n")
        beside.replace(self._file)


@pytest.fixture
def clock(place: Path) -> Clock:
    return Clock(place)


@pytest.fixture
def sender(clock: Clock) -> Iterator[Sender]:
    journald = Journald()
    journald.environment = clock.environment
    with journald, Sender() as sender:
        yield sender


@pytest.fixture
def daemon(sender: Sender, clock: Clock, place: Path) -> Iterator[Poprelayd]:
    with Poprelayd(place, environment=clock.environment) as running:
        yield running


def dump(daemon: Poprelayd) -> dict[str, int]:
    """Return the map as it is, whatever has expired."""
    return {k.decode(): v for k, v in daemon.popmap().read().items()}


def await_map(daemon: Poprelayd, addresses: set[str]) -> dict[str, int]:
    wait_for(lambda: set(dump(daemon)) == addresses, f"{addresses} in the map, and nothing else")
    return dump(daemon)


def test_a_step_forward_and_back_leaves_no_grant_too_far_ahead(
    daemon: Poprelayd, sender: Sender, clock: Clock
) -> None:
    now_s = time.time()
    sender.send(login_line("192.0.2.11"))
    await_map(daemon, {"192.0.2.11"})
    clock.step(HOUR_S)
    sender.send(login_line("192.0.2.12"))
    content = await_map(daemon, {"192.0.2.11", "192.0.2.12"})
    assert content["192.0.2.12"] > now_s + HOUR_S
    clock.step(0)
    content = await_map(daemon, {"192.0.2.11"})
    assert content["192.0.2.11"] <= time.time() + 900
    sender.send(login_line("192.0.2.13"))
    await_map(daemon, {"192.0.2.11", "192.0.2.13"})
    assert "the clock was set back" in daemon.log.read_text()


def test_a_step_back_while_it_was_down_is_noticed_at_the_start(
    daemon: Poprelayd, sender: Sender, clock: Clock
) -> None:
    sender.send(login_line("192.0.2.11"))
    await_map(daemon, {"192.0.2.11"})
    clock.step(HOUR_S)
    sender.send(login_line("192.0.2.12"))
    await_map(daemon, {"192.0.2.11", "192.0.2.12"})
    daemon.stop()
    clock.step(0)
    sender.send(login_line("192.0.2.13"))
    daemon.start()
    await_map(daemon, {"192.0.2.11", "192.0.2.13"})


def test_what_expired_by_a_clock_that_was_ahead_while_it_was_down_is_granted_again(
    daemon: Poprelayd, sender: Sender, clock: Clock
) -> None:
    for number in (11, 12):
        sender.send(login_line(f"192.0.2.{number}"))
    before = await_map(daemon, {"192.0.2.11", "192.0.2.12"})
    daemon.stop()
    clock.step(HOUR_S)
    daemon.run("expire")
    assert dump(daemon) == {}
    clock.step(0)
    daemon.run("expire")  # by the right clock, which nobody has to notice
    for _ in range(2):
        daemon.start()
        assert await_map(daemon, {"192.0.2.11", "192.0.2.12"}) == before
        daemon.stop()
    assert daemon.log.read_text().count("the clock was set back") == 1


def test_a_map_made_anew_later_believes_no_entry_of_the_clock_ahead(
    daemon: Poprelayd, sender: Sender, clock: Clock
) -> None:
    """When the true time reaches what a wrong clock wrote, that is no login of now."""
    clock.step(300)
    sender.send(login_line("192.0.2.12"))
    await_map(daemon, {"192.0.2.12"})
    clock.step(0)
    await_map(daemon, set())
    daemon.stop()
    daemon.map.unlink()
    sender.send(login_line("192.0.2.13"))
    daemon.start()
    await_map(daemon, {"192.0.2.13"})


def test_a_step_forward_ends_windows_and_goes_on(
    daemon: Poprelayd, sender: Sender, clock: Clock
) -> None:
    sender.send(login_line("192.0.2.11"))
    before = await_map(daemon, {"192.0.2.11"})
    clock.step(HOUR_S)
    sender.send(login_line("192.0.2.12"))
    content = await_map(daemon, {"192.0.2.11", "192.0.2.12"})
    assert content["192.0.2.11"] == before["192.0.2.11"]  # over by the new clock: sendmail refuses
    assert content["192.0.2.12"] >= before["192.0.2.11"] + HOUR_S - 900
