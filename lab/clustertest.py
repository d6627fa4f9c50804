"""The cluster test: real hosts with links that are cut, and many model hosts.

    make cluster-test
    python3 -m lab.clustertest [--rounds N] [--seed N] [--package FILE]

Boots two POP hosts and two relay hosts, Debian 12 and 13 of each kind, with the package built from
the last commit on the relay hosts, and plays the steps of :mod:`lab.partition`. Each prints how
long it took and what was seen. Exit status 1 when one failed.
"""

import argparse
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.box import BoxError
from lab.cluster import Cluster
from lab.partition import Partition
from lab.stage import Unexpected
from lab.systemtest import build_package

HOSTS = {"pop1": 12, "pop2": 13, "relay1": 13, "relay2": 12}


def main(arguments: Sequence[str]) -> int:
    """Play the steps; return the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the boxes end with this process
    parser = argparse.ArgumentParser(prog="python3 -m lab.clustertest")
    parser.add_argument("--rounds", type=int, default=40, help="how many bad things happen")
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--package", type=Path, help="take this one, and build none")
    asked = parser.parse_args(arguments)
    began_s = time.monotonic()
    package = asked.package or build_package(HOSTS["relay2"])
    print(f"{time.monotonic() - began_s:6.1f} s  {package.name}", flush=True)
    with Cluster(HOSTS) as cluster:
        print(f"{time.monotonic() - began_s:6.1f} s  booted {HOSTS}", flush=True)
        partition = Partition(cluster, package, rounds=asked.rounds, seed=asked.seed)
        passed = all(play(step) for step in partition.steps())
        if not passed:
            report(cluster)
    print(f"done in {time.monotonic() - began_s:.0f} s: {'passed' if passed else 'FAILED'}")
    return 0 if passed else 1


def play(step: Callable[[], str]) -> bool:
    """Play a step, print what came of it and tell whether it passed."""
    began_s = time.monotonic()
    try:
        said, passed = step(), True
    except (Unexpected, BoxError, TimeoutError) as error:
        said, passed = str(error), False
    except Exception as error:
        said, passed = "".join(traceback.format_exception(error)), False
    first, *more = said.splitlines() or [""]
    word = "ok" if passed else "FAILED"
    print(f"{time.monotonic() - began_s:6.1f} s  {word:6} {step.__name__:14} {first}", flush=True)
    for line in more:
        print(f"{'':33}{line}", flush=True)
    return passed


def report(cluster: Cluster) -> None:
    """Print what may explain a failure."""
    for name, host in cluster.hosts.items():
        for command in (
            "journalctl -q --no-pager -n 40 -u poprelayd",
            "journalrelay status",
            "journalctl -q --no-pager -n 20 -u 'journal-*' -u nginx",
            "ls -la /var/log/journal/remote",
        ):
            done = host.attempt(command)
            print(f"--- {name}: {command}\n{done.stdout}{done.stderr}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
