"""Any story of logins, hands, crashes, clocks and rotations leaves the map that the model has.

That the stories reach what can go wrong is shown by ``python3 -m lab.mutants``.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import settings

from lab import room
from lab.mutants import mutants
from tests.stories import CLIENTS, HARMS, Stories
from tests.test_relay import key

KINDS = ("hash", "btree")

TestStories = Stories.TestCase
TestStories.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


@contextmanager
def story(kind: str = "hash") -> Iterator[Stories]:
    """Begin one that goes on as the test says."""
    told = Stories()
    told.begin(kind)
    try:
        yield told
    finally:
        told.teardown()


def test_a_revocation_that_a_clock_ahead_stamped_takes_no_later_grant_out() -> None:
    with story() as told:
        told.step_the_clock(1, revoked=True, running=False, more=False)
        told.be_stopped_for_long(CLIENTS, revoked=False)
        told.be_stopped_for_long(range(1, 2), revoked=False)
        told.be_stopped_for_long(range(1), revoked=False)
        told.follow()
        told.be_stopped_for_long(CLIENTS, revoked=False)
        told.be_stopped_for_long(range(2, 3), revoked=False)
        told.follow()
        assert key(1) in told.live()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", HARMS)
@pytest.mark.parametrize("then", ["", "expire", "grant", "revoke", "replay"])
@pytest.mark.parametrize("running", [True, False])
def test_who_comes_first_to_a_strangers_map_does_not_vouch_for_it(
    kind: str, how: str, then: str, running: bool
) -> None:
    with story(kind) as told:
        told.pass_time(60)
        told.log_in([1])
        told.follow()
        told.meddle(3, running, how, then)
        told.follow()


@pytest.mark.parametrize("kind", KINDS)
def test_a_start_alone_makes_a_strangers_map_anew(kind: str) -> None:
    """Before the daemon looks after it for the first time."""
    for how in HARMS:
        with story(kind) as told:
            told.meddle(3, running=False, how=how, then="")
            told.start()
            assert told.live() == told.model.live(told.now_us), how


@pytest.mark.parametrize("kind", KINDS)
def test_a_walk_finds_all_again_for_a_map_that_a_grant_made(kind: str) -> None:
    with story(kind) as told:
        told.log_in([1])
        told.follow()
        told.meddle(3, running=False, how="removed", then="grant")
        told.replay(running=False)
        told.follow()


@pytest.mark.parametrize("kind", KINDS)
def test_a_strangers_map_is_noticed_at_the_next_commit(kind: str) -> None:
    """Before the daemon looks after it."""
    for how in HARMS:
        with story(kind) as told:
            told.meddle(3, running=True, how=how, then="")
            told.log_in([1])
            told.follow_a_part(3, saved=True)
            assert told.live() == told.model.live(told.now_us), how


@pytest.mark.parametrize("apart", [True, False])
def test_a_shorter_grant_shortens_none(apart: bool) -> None:
    with story() as told:
        told.grant(1, 120, killed=True)
        if apart:  # in a batch of its own
            told.follow()
        told.log_in([1])
        told.follow()


@pytest.mark.parametrize("numbers", [range(1, 2), CLIENTS])
def test_a_revocation_ends_what_was_before_it_whenever_that_is_read(numbers: range) -> None:
    with story() as told:
        told.revoke(numbers, killed=True, login=True)  # both in one batch
        told.follow()
        told.log_in([1])  # at its instant
        told.follow()
        told.log_in([1], late_s=60)
        told.follow()
        told.pass_time(1)
        told.log_in([1])
        told.follow()
        assert key(1) in told.live()


@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize("killed", [True, False])
def test_what_a_commit_was_to_write_is_written_later(fails: bool, killed: bool) -> None:
    with story() as told:
        told.log_in([1])
        told.cut_a_commit_short(0, fails)
        if killed:
            told.crash(rebooted=False)
        told.follow()


def test_a_walk_finds_what_was_done_by_hand_long_ago() -> None:
    with story() as told:
        told.be_stopped_for_long(CLIENTS, revoked=False)
        told.replay(running=False)
        told.follow()


def test_a_map_that_is_made_anew_has_all_that_still_counts() -> None:
    with story() as told:
        told.pass_time(800)
        told.meddle(3, running=True, how="removed", then="")
        told.follow()
        assert key(0) in told.live()


def test_what_a_clock_ahead_stamped_counts_at_no_time() -> None:
    with story() as told:
        told.log_in([1], future=True)
        told.follow()
        told.step_the_clock(2, revoked=False, running=True, more=False)
        told.follow()
        told.pass_time(4000)  # past what it was stamped with
        told.meddle(3, running=True, how="removed", then="")
        told.follow()
        assert not told.live()


@pytest.mark.parametrize("killed", [True, False])
def test_what_a_rebuild_has_read_is_read_again_when_it_fails(killed: bool) -> None:
    with story() as told:
        told.log_in([1])
        told.cut_a_rebuild_short(done=False, fails=True)
        if killed:
            told.crash(rebooted=False)
        told.follow()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("running", [True, False])
def test_a_clock_that_was_ahead_leaves_nothing_behind(kind: str, running: bool) -> None:
    with story(kind) as told:
        told.step_the_clock(1, revoked=False, running=running, more=False)
        told.follow()
        told.read_by_a_clock_ahead(1, running)
        told.follow()
        told.be_stopped_while_the_clock_is_ahead()
        told.follow()


@pytest.mark.parametrize("kind", KINDS)
def test_expire_takes_out_what_is_over_and_nothing_else(kind: str) -> None:
    with story(kind) as told:
        told.pass_time(500, timer=True)
        told.log_in([0, 1])
        told.follow()
        told.pass_time(500, timer=True)  # the first one's first window is over
        told.follow()
        told.pass_time(390, timer=True)
        told.follow()
        assert len(told.live()) == 2
        told.pass_time(20, timer=True)
        assert not told.live()


def test_every_mutant_changes_the_road() -> None:
    for mutant in mutants():
        text = (room.CHECKOUT / "journalrelay" / mutant.file).read_text()
        assert mutant.put_into(text) != text
