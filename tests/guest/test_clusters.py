"""A K3s cluster on a machine whose clock of the day goes wrong: a whole machine, since all that a kernel runs has one such clock."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from eaves.node.observed_cluster import ClusterState
from eaves.testing.cluster_member import ClusterMember
from eaves.testing.expired_certificates import list_ends
from eaves.testing.k3s import Release
from eaves.testing.k3s_machine import Lan, Machine
from eaves.wire.pb.eaves import cluster_pb2

pytestmark = pytest.mark.soak

DAY_S = 86400.0
AHEAD_S = 430 * DAY_S
"""Beyond the end of all certificates, which are good for a year."""
LIMIT_S = 900.0


@pytest.fixture
def node(releases: list[Release], disk: Path) -> Iterator[ClusterMember]:
    with contextlib.ExitStack() as stack:
        lan = Lan()
        stack.callback(lan.close)
        machine = Machine(disk, "till", lan)
        stack.callback(machine.close)
        found = ClusterMember(machine, releases[0])
        stack.callback(found.close)
        yield found


@pytest.fixture
def clock() -> Iterator[float]:
    """Unix seconds when the test began; afterwards the clock is right again."""
    began, began_monotonic = time.time(), time.monotonic()
    yield began
    time.clock_settime(time.CLOCK_REALTIME, began + time.monotonic() - began_monotonic)


def move_clock(seconds: float) -> None:
    time.clock_settime(time.CLOCK_REALTIME, time.time() + seconds)


def note(what: str) -> None:
    """Say how long things take, on the guest's console."""
    print(f"guest: {time.monotonic():.0f} s: {what}", flush=True)


@pytest.mark.timeout(3000)
def test_a_server_bears_a_clock_that_goes_months_ahead_and_comes_back(node: ClusterMember, clock: float) -> None:
    name = node.machine.name
    member = cluster_pb2.ClusterMember(id=name, name=name, address=node.machine.address, is_server=True, want="Ready")
    node.tell(is_leader=True, members=[member])
    node.start()
    authority = node.wait_state(ClusterState.READY, LIMIT_S).ca_hash
    note("ready")
    node.kubectl("create", "configmap", "kept", "--from-literal=a=b")
    data, pid = node.root / "data", node.k3s_pid()

    # While it runs: nobody would take its certificates any more, so K3s is started anew, once.
    move_clock(AHEAD_S)
    node.daemon.wait("another K3s", lambda: node.k3s_pid() not in (0, pid), LIMIT_S)
    note("restarted")
    status = node.wait_state(ClusterState.READY, LIMIT_S)
    note("ready again")
    assert status.ca_hash == authority
    assert status.certificates_expire_at > clock + AHEAD_S + 300 * DAY_S
    assert min(list_ends(data).values()) > clock + AHEAD_S + 300 * DAY_S
    assert "kept" in node.get("configmaps", "-o", "name")
    pid = node.k3s_pid()

    # And back: what was renewed meanwhile is good now too, and nothing is started anew.
    move_clock(-AHEAD_S)
    node.daemon.wait("the API", lambda: "of-now" in make_map(node, "of-now"), LIMIT_S)
    note("back")
    assert node.wait_state(ClusterState.READY, LIMIT_S).restarts == 0
    assert node.k3s_pid() == pid

    # While all is off: the clock of a board without a battery, or months on a shelf.
    node.daemon.kill()
    os.kill(pid, signal.SIGKILL)
    node.machine.cut_power()
    move_clock(3 * AHEAD_S)
    node.start()
    status = node.wait_state(ClusterState.READY, LIMIT_S)
    note("ready after months off")
    assert status.certificates_expire_at > clock + 3 * AHEAD_S + 300 * DAY_S
    assert {"kept", "of-now"} <= {one.removeprefix("configmap/") for one in node.get("cm", "-o", "name").split()}


def make_map(node: ClusterMember, name: str) -> str:
    """What ``kubectl`` lists then; empty while the API refuses it."""
    node.kubectl("create", "configmap", name, "--from-literal=a=b", check=False)
    return node.kubectl("get", "configmaps", "-o", "name", check=False)
