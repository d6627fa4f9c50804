"""The daemon on a live journald: readiness, latency's mechanism, signals, faults, kills."""

import fcntl
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from journalrelay.errors import DataError, NoInputError
from journalrelay.grant import fold, map_key, parse_address, parse_key, spell
from journalrelay.map.changes import Changes
from journalrelay.map.locks import take_daemon_lock
from journalrelay.map.popmap import PopMap
from journalrelay.patterns.popa3d import POPA3D
from lab.journald import Journald, Sender, login_line
from lab.poprelayd import NotReady, Poprelayd, journalrelay
from lab.wait import share_of_processor, wait_for
from tests.support import address


@pytest.fixture
def sender(journald: Journald) -> Iterator[Sender]:
    with Sender() as running:
        yield running


@pytest.fixture
def daemon(journald: Journald, place: Path) -> Iterator[Poprelayd]:
    with Poprelayd(place) as running:
        yield running


def await_granted(daemon: Poprelayd, *addresses: str) -> None:
    popmap = PopMap(daemon.map, "hash", careful=False)
    keys = tuple(key(text) for text in addresses)

    def all_in() -> bool:
        with suppress(NoInputError, DataError):  # removed or damaged, and not yet made anew
            return len(popmap.look_up(keys)) == len(keys)
        return False

    wait_for(all_in, f"{addresses[-1]} in the map")


def key(text: str) -> bytes:
    parsed = parse_address(text.encode())
    assert parsed
    return map_key(fold(parsed, 128))


def notified(daemon: Poprelayd, word: str) -> None:
    wait_for(lambda: any(line.startswith(word) for line in daemon.take_notified()), word)


def test_ready_comes_after_the_catch_up(journald: Journald, sender: Sender, place: Path) -> None:
    sender.send_many(login_line(address(n)) for n in range(300))
    journald.sync()
    daemon = Poprelayd(place)
    with daemon:
        assert len(daemon.granted()) == 300
    assert "READY=1" in daemon.notified


def test_a_login_is_granted_long_before_the_journal_would_say_so(
    daemon: Poprelayd, sender: Sender
) -> None:
    """journald's own notification comes 320 ms late in the median; the daemon does not wait."""
    sender.send(login_line("192.0.2.7"))
    await_granted(daemon, "192.0.2.7")
    assert daemon.run("check", "192.0.2.7").returncode == 0
    sender.send(login_line("2001:db8::9", service="imap", version="2.4", tls=True))
    await_granted(daemon, "2001:db8::9")


def test_status_and_watchdog_are_fed_by_the_loop(journald: Journald, place: Path) -> None:
    with Poprelayd(place, environment={"WATCHDOG_USEC": "400000"}) as daemon:
        for _ in range(3):
            notified(daemon, "WATCHDOG=1")
        assert any(x.startswith("STATUS=0 addresses may relay") for x in daemon.notified)
        daemon.process.send_signal(signal.SIGSTOP)
        while daemon.take_notified():
            pass
        assert daemon.take_notified(wait_s=1.0) == []  # a stalled loop is silent
        daemon.process.send_signal(signal.SIGCONT)
        notified(daemon, "WATCHDOG=1")


@pytest.mark.parametrize("kind", [fcntl.LOCK_EX, fcntl.LOCK_SH], ids=["ex", "sh"])
def test_a_lock_that_somebody_keeps_is_said_once_and_nothing_is_lost(
    journald: Journald, sender: Sender, place: Path, kind: int
) -> None:
    """Any local user can keep a shared lock on the map, which is for all to read. To end and be
    started again would not help, and say the same every ten seconds."""
    with Poprelayd(place, environment={"WATCHDOG_USEC": "400000"}) as daemon:
        with daemon.map.open("rb") as held:
            fcntl.flock(held, kind)
            sender.send(login_line("192.0.2.7"))
            wait_for(lambda: "locked by another" in daemon.log.read_text(), "the line about it")
            sender.send(login_line("192.0.2.8"))
            daemon.take_all_notified()
            notified(daemon, "WATCHDOG=1")  # it goes on
            assert daemon.process.poll() is None
            assert share_of_processor(daemon.process.pid) < 0.6  # it does not spin
        await_granted(daemon, "192.0.2.7", "192.0.2.8")
        wait_for(lambda: "is written" in daemon.log.read_text(), "the line that it is over")
        said = daemon.log.read_text()
        assert (said.count("locked by another"), said.count("is written")) == (1, 1)


def test_sigterm_loses_nothing_and_says_stopping(daemon: Poprelayd, sender: Sender) -> None:
    sender.send_many(login_line(address(n)) for n in range(100))
    await_granted(daemon, address(99))
    sender.send(login_line("192.0.2.7"))
    assert daemon.stop() == 0
    notified(daemon, "STOPPING=1")
    daemon.start()
    await_granted(daemon, "192.0.2.7", *(address(n) for n in range(100)))


def test_reload_takes_the_new_configuration(daemon: Poprelayd, sender: Sender) -> None:
    daemon.config.write_text('[relay]\nwindow = "1h"\nnever = ["198.51.100.0/24"]\n')
    daemon.reload()
    assert any(line.startswith("RELOADING=1") for line in daemon.notified)
    assert any(line.startswith("MONOTONIC_USEC=") for line in daemon.notified)
    sender.send(login_line("198.51.100.7"))
    sender.send(login_line("192.0.2.7"))
    await_granted(daemon, "192.0.2.7")
    granted = daemon.granted()
    assert set(granted) == {"192.0.2.7"}
    assert granted["192.0.2.7"] > time.time() + 3000


def test_a_wrong_configuration_at_reload_changes_nothing(daemon: Poprelayd, sender: Sender) -> None:
    daemon.config.write_text('[relay]\nwindow = "soon"\n')
    daemon.reload()
    sender.send(login_line("192.0.2.7"))
    await_granted(daemon, "192.0.2.7")
    assert "'soon' is not a time span" in daemon.log.read_text()
    assert "'soon'" in daemon.run("status", "--json").stderr  # it is wrong for that command, too


def test_reload_can_move_to_another_map(daemon: Poprelayd, sender: Sender, place: Path) -> None:
    sender.send(login_line("192.0.2.7"))
    await_granted(daemon, "192.0.2.7")
    daemon.kill()
    inner = place / "inner"
    inner.mkdir()
    config = f'[map]\npath = "{inner}/a.db"\n'
    moved = Poprelayd(inner, config=config)
    moved._files = lambda verb: ["--state", str(inner)]  # type: ignore[method-assign]
    with moved:
        assert set(list_of(inner / "a.db")) == {"192.0.2.7"}
        moved.config.write_text(f'[map]\npath = "{inner}/b.db"\n')
        moved.reload()
        assert set(list_of(inner / "b.db")) == {"192.0.2.7"}
        freed = take_daemon_lock(inner / "a.db")
        assert freed is not None
        os.close(freed)


def list_of(path: Path) -> list[str]:
    return [spell(parse_key(k)) for k in PopMap(path, "hash").read()]


def test_a_second_daemon_on_the_same_map_is_refused(daemon: Poprelayd, place: Path) -> None:
    files = ["--map", str(daemon.map), "--state", str(place)]
    done = journalrelay("run", *files)
    assert done.returncode == os.EX_TEMPFAIL
    assert f"process {daemon.process.pid}" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_status_shows_the_daemon(daemon: Poprelayd, sender: Sender) -> None:
    sender.send(login_line("192.0.2.7"))
    sender.send(login_line("127.0.0.1"))
    await_granted(daemon, "192.0.2.7")

    def facts() -> dict[str, object] | None:
        told = json.loads(daemon.run("status", "--json").stdout)
        return told if told["verdicts"] == {"granted": 1, "refused": 1} else None

    told = wait_for(facts, "the report")
    assert (told["running"], told["pid"]) == (True, daemon.process.pid)
    assert (told["granted_now"], told["logins"]) == (1, {"dovecot": 2})
    assert told["refused"] == {"never granted": 1}
    assert daemon.run("status").returncode == 0
    daemon.stop()
    assert daemon.run("status").returncode == 1
    assert "not running" in daemon.run("status").stdout


def test_a_forgeable_server_is_said_once_when_it_is_read(journald: Journald, place: Path) -> None:
    with Poprelayd(place, config='[daemons]\nenable = ["dovecot", "courier"]\n') as daemon:
        wait_for(lambda: daemon.run("status", "--json").stdout, "the report")
        said = [line for line in daemon.log.read_text().splitlines() if "forged" in line]
        assert len(said) == 1
        assert "courier is read, and can be forged: a client that never logged in" in said[0]
        daemon.config.write_text("")
        daemon.reload()
        assert daemon.log.read_text().count("forged") == 1


# A wrapper: the daemon, for which everything is a lull.
IN_A_LULL = (
    *(sys.executable, "-c"),
    "import sys; from journalrelay import cli, daemon; "
    "daemon._LULL_S = -1.0; sys.exit(cli.main(sys.argv[4:]))",
)


def test_in_a_lull_logins_count_and_the_place_is_kept_at_the_end(
    journald: Journald, sender: Sender, place: Path
) -> None:
    daemon = Poprelayd(place, wrapper=IN_A_LULL)
    with daemon:
        for number in range(3):
            sender.send(login_line(address(number)))
            await_granted(daemon, address(number))
        daemon.stop()
        kept = json.loads((place / "journal.cursor").read_text())
    assert kept["cursor"] == journald.entries("SYSLOG_IDENTIFIER=dovecot")[-1]["__CURSOR"]


def test_a_report_that_somebody_removed_is_written_again(daemon: Poprelayd) -> None:
    report = daemon.place / "status.json"
    wait_for(report.exists, "the report")
    report.unlink()
    wait_for(report.exists, "the report, again")


def test_the_servers_of_this_host_are_found_as_they_come(journald: Journald, place: Path) -> None:
    program = Path(POPA3D.programs[1])
    assert not program.exists()
    with Poprelayd(place, config='[daemons]\nenable = ["popa3d"]\n') as daemon:
        wait_for(lambda: (place / "status.json").exists(), "the report")
        assert "servers here: none found" in daemon.log.read_text()
        assert "servers    none found" in daemon.run("status").stdout
        program.touch()
        try:
            wait_for(lambda: json.loads(daemon.run("status", "--json").stdout)["daemons"], "popa3d")
            assert "servers    popa3d" in daemon.run("status").stdout
        finally:
            program.unlink()


def test_grant_and_revoke_beside_the_daemon_hold_through_a_rebuild(
    daemon: Poprelayd, sender: Sender
) -> None:
    sender.send(login_line("192.0.2.7"))
    sender.send(login_line("192.0.2.8"))
    await_granted(daemon, "192.0.2.7", "192.0.2.8")
    assert daemon.run("grant", "192.0.2.50", "--for", "1h").returncode == 0
    assert daemon.run("revoke", "192.0.2.7").returncode == 0
    assert set(daemon.granted()) == {"192.0.2.8", "192.0.2.50"}
    daemon.map.unlink()
    await_granted(daemon, "192.0.2.8", "192.0.2.50")
    assert set(daemon.granted()) == {"192.0.2.8", "192.0.2.50"}
    sender.send(login_line("192.0.2.7"))
    await_granted(daemon, "192.0.2.7")
    assert daemon.run("revoke", "--all").returncode == 0
    assert daemon.granted() == {}
    daemon.stop()
    daemon.map.unlink()
    daemon.start()
    assert daemon.granted() == {}


def test_a_corrupt_map_found_at_start_is_put_aside_and_made_anew(
    daemon: Poprelayd, sender: Sender
) -> None:
    sender.send(login_line("192.0.2.7"))
    await_granted(daemon, "192.0.2.7")
    before = daemon.granted()
    daemon.stop()
    whole = daemon.map.read_bytes()
    daemon.map.write_bytes(whole[:8192] + os.urandom(len(whole) - 8192))
    daemon.start()
    assert daemon.granted() == before
    assert (daemon.place / "popip.db.damaged").exists()
    assert "popip.db.damaged" in daemon.log.read_text()


def test_a_map_of_the_other_type_is_made_anew(daemon: Poprelayd, sender: Sender) -> None:
    sender.send(login_line("192.0.2.7"))
    await_granted(daemon, "192.0.2.7")
    before = daemon.granted()
    daemon.stop()
    daemon.config.write_text('[map]\ntype = "btree"\n')
    daemon.start()
    assert daemon.granted() == before
    sender.send(login_line("192.0.2.8"))
    wait_for(lambda: "192.0.2.8" in daemon.granted(), "a grant in the btree")


def test_a_place_from_the_future_does_not_stop_it(daemon: Poprelayd, sender: Sender) -> None:
    sender.send(login_line("192.0.2.7"))
    await_granted(daemon, "192.0.2.7")
    daemon.stop()
    kept = daemon.place / "journal.cursor"
    text = kept.read_text()
    ahead = text.replace('"time_us": 1', '"time_us": 9')
    assert ahead != text
    kept.write_text(ahead)
    daemon.map.unlink()
    sender.send(login_line("192.0.2.8"))
    daemon.start()
    assert set(daemon.granted()) == {"192.0.2.7", "192.0.2.8"}


@pytest.mark.parametrize("content", ["", "garbage", '{"format": 99}', "[]"])
def test_a_garbage_place_does_not_stop_it(daemon: Poprelayd, sender: Sender, content: str) -> None:
    sender.send(login_line("192.0.2.7"))
    await_granted(daemon, "192.0.2.7")
    daemon.stop()
    (daemon.place / "journal.cursor").write_text(content)
    sender.send(login_line("192.0.2.8"))
    daemon.start()
    assert set(daemon.granted()) == {"192.0.2.7", "192.0.2.8"}
    assert "journal.cursor" in daemon.log.read_text()


def test_a_vacuumed_place_loses_no_login_that_the_journal_has(
    daemon: Poprelayd, sender: Sender, journald: Journald
) -> None:
    sender.send(login_line("192.0.2.7"))
    await_granted(daemon, "192.0.2.7")
    daemon.stop()
    journald.rotate()
    sender.send(login_line("192.0.2.8"))
    journald.sync()
    journald.vacuum("--vacuum-files=1")
    journald.rotate()
    sender.send(login_line("192.0.2.9"))
    daemon.start()
    await_granted(daemon, "192.0.2.7", "192.0.2.9", "192.0.2.8")


def test_journald_rotated_restarted_and_killed_under_load_loses_nothing(
    daemon: Poprelayd, sender: Sender, journald: Journald
) -> None:
    """What is vacuumed has been read before: no reader has what the journal has no more."""
    total, sent = 3000, [0]
    done = threading.Event()

    def log() -> None:
        for start in range(0, total, 50):
            sender.send_many(login_line(address(n)) for n in range(start, start + 50))
            sent.append(start + 50)
        done.set()

    def vacuum() -> None:
        if sent[-1]:
            await_granted(daemon, *(address(n) for n in range(sent[-1])))
        journald.vacuum()

    thread = threading.Thread(target=log)
    thread.start()
    disturbances = 0
    while not done.is_set() or disturbances < 6:
        (journald.rotate, journald.restart, vacuum)[disturbances % 3]()
        disturbances += 1
    thread.join()
    await_granted(daemon, *(address(n) for n in range(total)))


def test_kill_9_at_random_moments_loses_nothing(daemon: Poprelayd, sender: Sender) -> None:
    rng = random.Random(7)
    total, kills = 0, 0
    for _ in range(12):
        batch = [address(n) for n in range(total, total + 200)]
        total += 200
        thread = threading.Thread(target=sender.send_many, args=([login_line(a) for a in batch],))
        thread.start()
        threading.Event().wait(rng.random() / 10)  # any moment: nothing determines it
        daemon.kill()
        kills += 1
        thread.join()
        daemon.start()
    await_granted(daemon, *(address(n) for n in range(total)))
    assert len(daemon.granted()) == total
    assert kills == 12


def test_live_and_replay_give_the_same_map(daemon: Poprelayd, sender: Sender) -> None:
    sender.send_many(login_line(address(n % 700)) for n in range(2000))
    await_granted(daemon, address(699))
    sender.send(login_line(address(5000)))
    await_granted(daemon, address(5000))
    live = daemon.granted()
    daemon.stop()
    daemon.map.unlink()
    assert daemon.run("replay", "--since", "-10min").returncode == 0
    assert daemon.granted() == live
    assert daemon.run("replay", "--all").returncode == 0
    assert daemon.granted() == live


def test_expire_beside_the_running_daemon_takes_only_what_is_over(
    daemon: Poprelayd, sender: Sender
) -> None:
    now_s = int(time.time())
    changes = Changes()
    for number in range(3000):
        changes.grant(key(address(number)), now_s - 1)
    popmap = PopMap(daemon.map, "hash")
    popmap.commit(changes, now_s - 900)
    thread = threading.Thread(
        target=sender.send_many, args=([login_line(address(n)) for n in range(2000, 3500)],)
    )
    thread.start()
    while thread.is_alive():
        assert daemon.run("expire").returncode == 0
    thread.join()
    await_granted(daemon, *(address(n) for n in range(2000, 3500)))
    assert daemon.run("expire").returncode == 0
    assert set(popmap.read()) == {key(address(n)) for n in range(2000, 3500)}


def test_what_a_local_user_logs_is_not_believed(daemon: Poprelayd, journald: Journald) -> None:
    forgeries = [
        {"uid": 1234},
        {"uid": 1234, "unit": "user@1234.service"},
        {"exe": "/usr/bin/logger"},
        {"transport": "journal"},
        {"unit": "cron.service"},
        {"identifier": "imapd"},
    ]
    for number, forgery in enumerate(forgeries):
        with Sender(**forgery) as forger:  # type: ignore[arg-type]
            forger.send(login_line(f"203.0.113.{number + 1}"))
            journald.sync()  # who is gone before journald looks has no trusted fields at all
    with Sender() as genuine:
        genuine.send(login_line("192.0.2.7"))
        await_granted(daemon, "192.0.2.7")
    assert set(daemon.granted()) == {"192.0.2.7"}


def test_it_tells_of_grants_without_hearing_itself(
    daemon: Poprelayd, sender: Sender, journald: Journald
) -> None:
    sender.send(login_line("192.0.2.7", user="x\u202e'evil"))
    await_granted(daemon, "192.0.2.7")
    for _ in range(5):
        sender.send(login_line("192.0.2.7"))
    sender.send(login_line("192.0.2.8"))
    await_granted(daemon, "192.0.2.8")
    told = wait_for(
        lambda: (
            [x for x in daemon.log.read_text().splitlines() if "192.0.2.8" in x]
            and daemon.log.read_text()
        ),
        "the line about the grant",
    )
    assert told.count("granted 192.0.2.7") == 1  # a renewal is no event
    assert "\u202e" not in told
    assert r"\u202e" in told


def test_a_daemon_without_a_journal_says_so(place: Path) -> None:
    daemon = Poprelayd(place, "--namespace", "nonesuch")
    with pytest.raises(NotReady, match="journald running"), daemon:
        pass
    assert daemon.process.wait(5) == os.EX_UNAVAILABLE


def test_a_map_replaced_under_load_is_noticed_at_once(
    daemon: Poprelayd, sender: Sender, place: Path
) -> None:
    sender.send_many(login_line(address(n)) for n in range(10))
    await_granted(daemon, *(address(n) for n in range(10)))
    other = PopMap(place / "other.db", "hash")
    other.replace({})
    os.rename(other.path, daemon.map)
    sender.send(login_line(address(10)))
    await_granted(daemon, *(address(n) for n in range(11)))
    wait_for(lambda: "removed or replaced" in daemon.log.read_text(), "the line about it")


def test_a_replay_of_the_past_takes_no_later_grant_away(
    daemon: Poprelayd, sender: Sender, journald: Journald
) -> None:
    sender.send(login_line("192.0.2.7"))
    await_granted(daemon, "192.0.2.7")
    assert daemon.run("revoke", "192.0.2.7").returncode == 0
    journald.sync()  # its two sockets are read in no order: the login after it must be later
    journald.rotate()
    sender.send(login_line("192.0.2.7"))
    await_granted(daemon, "192.0.2.7")
    daemon.stop()
    archived = next(journald.directory.glob("system@*.journal"))
    assert daemon.run("replay", "--all", "--file", str(archived)).returncode == 0
    assert set(daemon.granted()) == {"192.0.2.7"}


def test_a_replay_into_another_map_does_not_move_this_ones_place(
    daemon: Poprelayd, sender: Sender, place: Path
) -> None:
    sender.send(login_line("192.0.2.7"))
    await_granted(daemon, "192.0.2.7")
    daemon.stop()
    sender.send(login_line("192.0.2.8"))
    inner = place / "inner"
    inner.mkdir()
    done = journalrelay("replay", "--map", str(inner / "other.db"), "--state", str(place))
    assert done.returncode == 0
    daemon.start()
    assert set(daemon.granted()) == {"192.0.2.7", "192.0.2.8"}


def test_revoking_a_64_takes_an_address_that_was_not_seen_yet(
    daemon: Poprelayd, sender: Sender
) -> None:
    daemon.process.send_signal(signal.SIGSTOP)
    sender.send(login_line("2001:db8:1:2::9", service="imap"))
    assert daemon.run("revoke", "2001:db8:1:2::/64").returncode == 0
    daemon.process.send_signal(signal.SIGCONT)
    sender.send(login_line("192.0.2.7"))
    await_granted(daemon, "192.0.2.7")
    assert set(daemon.granted()) == {"192.0.2.7"}


def test_a_map_with_something_behind_its_end_is_made_anew_while_running(
    daemon: Poprelayd, sender: Sender
) -> None:
    sender.send(login_line("192.0.2.7"))
    await_granted(daemon, "192.0.2.7")
    with daemon.map.open("ab") as file:
        file.write(b"x")
    sender.send(login_line("192.0.2.8"))
    wait_for(lambda: (daemon.place / "popip.db.damaged").exists(), "the damaged map put aside")
    await_granted(daemon, "192.0.2.7", "192.0.2.8")
    assert daemon.process.poll() is None


def test_a_removed_map_in_whose_place_grant_made_one_is_noticed(
    daemon: Poprelayd, sender: Sender
) -> None:
    sender.send(login_line("192.0.2.7"))
    await_granted(daemon, "192.0.2.7")
    daemon.map.unlink()
    assert daemon.run("grant", "192.0.2.50").returncode == 0
    await_granted(daemon, "192.0.2.7", "192.0.2.50")
