"""What the times of another host's entries say of its clock."""

import pytest

from journalrelay.remote.hostclock import Clock

SECOND = 1_000_000
MINUTE = 60 * SECOND
NOW = 1_795_000_000 * SECOND


def words(*entries: tuple[int, int]) -> list[str]:
    """Return what is thought of a clock after entries: when each came, and how late (s)."""
    clock = Clock(MINUTE)
    said: list[str] = []
    for at_s, late_s in entries:
        came_us = NOW + at_s * SECOND
        before = clock.word
        assert clock.see(came_us - late_s * SECOND, came_us) == (clock.word != before)
        said.append(clock.word)
    return said


def test_within_the_skew_a_clock_is_right() -> None:
    assert words((0, 0), (1, 60), (2, -60)) == ["right"] * 3


def test_a_clock_ahead_is_so_until_it_was_right_for_a_minute() -> None:
    said = words((0, -61), (1, 0), (30, -90), (31, 0), (89, 0), (90, 0), (91, 0))
    assert said == ["ahead"] * 5 + ["right"] * 2


def test_who_catches_up_has_a_right_clock() -> None:
    assert words((0, 7200), (40, 5000), (80, 2000), (120, 0)) == ["right"] * 4


def test_who_is_late_all_the_time_has_a_clock_that_is_behind() -> None:
    said = words((0, 7200), (30, 7200), (60, 7201), (90, 7200), (100, 0), (151, 0))
    assert said == ["right", "right", "behind", "behind", "behind", "right"]


@pytest.mark.parametrize("every_s", [1, 7])
def test_a_host_that_changes_its_mind_is_said_twice_a_minute_at_most(every_s: int) -> None:
    said = words(*((at, -100 if at % 2 else 0) for at in range(0, 600, every_s)))
    assert sum(one != other for one, other in zip(said, said[1:], strict=False)) <= 1
