"""No name that a client chooses says where he is, or that he has logged in."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journalrelay.patterns import REGISTRY, Daemon
from lab.hostile import LIE, Crowd, Ear
from lab.voices import VOICES, Client

EARS = {daemon.name: Ear(daemon) for daemon in REGISTRY}
CROWDS = {daemon.name: Crowd(daemon) for daemon in REGISTRY}
PLAIN = Client(b"192.0.2.7", b"bob", b"client.example.org")


def called(daemon: Daemon) -> str:
    return daemon.name


def test_every_daemon_has_its_voice() -> None:
    assert sorted(VOICES) == [daemon.name for daemon in REGISTRY]


@pytest.mark.parametrize("daemon", REGISTRY, ids=called)
def test_a_plain_client_is_heard(daemon: Daemon) -> None:
    """Else the other tests would prove nothing."""
    ear = EARS[daemon.name]
    for said in VOICES[daemon.name](PLAIN):
        assert ear.hear(said, PLAIN) == (bool(said.tells), ""), said


@pytest.mark.parametrize("daemon", REGISTRY, ids=called)
@settings(max_examples=150)
@given(random=st.randoms(use_true_random=False))
def test_only_the_daemons_own_address_is_read(daemon: Daemon, random: Random) -> None:
    who = CROWDS[daemon.name].client(random)
    for said in VOICES[daemon.name](who):
        assert not EARS[daemon.name].hear(said, who).wrong, (said, who)


@pytest.mark.parametrize("daemon", REGISTRY, ids=called)
@settings(max_examples=100)
@given(
    user=st.binary(max_size=200),
    host=st.from_regex(rb"[A-Za-z0-9.-]{1,255}", fullmatch=True),
    number=st.integers(2, 254),
)
def test_any_names_are_harmless(daemon: Daemon, user: bytes, host: bytes, number: int) -> None:
    who = Client(b"192.0.2.%d" % number, user, host)
    for said in VOICES[daemon.name](who):
        assert not EARS[daemon.name].hear(said, who).wrong, (said, who)


@pytest.mark.parametrize("daemon", REGISTRY, ids=called)
@settings(max_examples=50)
@given(random=st.randoms(use_true_random=False))
def test_no_other_sender_is_believed(daemon: Daemon, random: Random) -> None:
    for said in VOICES[daemon.name](PLAIN):
        assert EARS[daemon.name].fooled(said.line, random) == ""


def test_the_crowd_does_lie() -> None:
    """Each daemon's clients try every line of its own with the lie in it."""
    for daemon in REGISTRY:
        random = Random(1)
        users = {CROWDS[daemon.name].client(random).user for _ in range(2000)}
        assert sum(LIE in user for user in users) > 200, daemon.name
