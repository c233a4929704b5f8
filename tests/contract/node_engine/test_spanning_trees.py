"""Spanning trees on the kernel's bridges: rings with the kernel's own spanning tree of 1998 as a neighbour, cut cables, dead processes.

What a frame does is counted: one that goes round comes back.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eaves.kit import daemonizing
from eaves.node import pids
from eaves.node.networks import trees
from eaves.testing.namespaces import Namespace

pytestmark = pytest.mark.contract

LIMIT_S = 60.0
ETHERTYPE = 0x88B5
"""For local experiments (IEEE 802)."""


class Box:
    """A bridge in a network namespace with our spanning tree, and a station behind it."""

    def __init__(self, folder: Path, number: int, guarded: tuple[str, ...] = ()) -> None:
        self.folder = folder / f"box{number}"
        self.folder.mkdir()
        self.number = number
        self.guarded = guarded
        self.namespace = Namespace()
        self.station = Namespace()
        self.ports: list[str] = []
        self.namespace.batch(
            "link add sw type bridge forward_delay 0", f"link set sw address 02:00:00:00:00:0{number} up"
        )
        # As the node's own table does.
        drop = "iifname lan* ether daddr 01:80:c2:00:00:00 drop"
        self.namespace.run(
            "nft",
            f"add table bridge t; add chain bridge t c {{ type filter hook prerouting priority 0; }}; add rule bridge t c {drop}",
        )
        self.namespace.connect("app", self.station, "eth0")
        self.namespace.batch("link set app master sw")
        self.station.batch(f"addr add 10.66.0.{number}/24 dev eth0")

    def connect(self, other: Box | Namespace) -> str:
        """A cable; answers the name of its port here, down so far."""
        name = f"lan{len(self.ports)}"
        if isinstance(other, Box):
            far, there = f"lan{len(other.ports)}", other.namespace
            other.ports.append(far)
        else:
            far, there = f"to{self.number}{name}", other
        self.ports.append(name)
        self.namespace.connect(name, there, far)
        self.namespace.batch(f"link set {name} down", f"link set {name} master sw")
        there.batch(f"link set {far} down", f"link set {far} master {'sw' if isinstance(other, Box) else 'hub'}")
        return name

    def start(self) -> None:
        ports = {name: {"guard": name in self.guarded} for name in self.ports}
        config = {"bridge": "sw", "mac": f"02:00:00:00:00:0{self.number}", "ports": ports}
        (self.folder / "config.json").write_text(json.dumps(config))
        self.namespace.run(*daemonizing.want_argv(trees.PROGRAM, str(self.folder)))

    def kill(self) -> None:
        pid = self.pid
        if pid:
            os.kill(pid, signal.SIGKILL)
            asyncio.run(pids.wait_exit(pid))

    @property
    def pid(self) -> int:
        return pids.load_pid(self.folder / "pid", str(self.folder))

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "status.json").read_text())
        return found

    def roles(self) -> list[str]:
        return [self.status()["ports"][name]["role"] for name in self.ports]

    def is_locked(self, port: str) -> bool:
        return "locked on" in self.namespace.run("bridge", "-d", "link", "show", "dev", port)

    def reaches(self, number: int) -> bool:
        answer = self.station.run("busybox", "ping", "-c", "1", "-W", "1", f"10.66.0.{number}", check=False)
        return " 0% packet loss" in answer

    def close(self) -> None:
        self.kill()
        self.namespace.close()
        self.station.close()


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[tuple[Box, Box, Namespace]]:
    """Two of ours and the kernel's own in a ring, every cable of which is about to be plugged in."""
    one, two = Box(tmp_path, 1), Box(tmp_path, 2)
    with Namespace() as hub:
        hub.batch("link add hub type bridge stp_state 1 forward_delay 400 max_age 600 priority 4096", "link set hub up")
        one.connect(two)
        for box in (one, two):
            box.connect(hub)
            box.start()
        for box in (one, two):
            box.namespace.batch(*(f"link set {name} up" for name in box.ports))
        hub.batch("link set to1lan1 up", "link set to2lan1 up")
        yield one, two, hub
        one.close()
        two.close()


def wait(accept: Callable[[], bool], limit_s: float = LIMIT_S) -> float:
    """Answers the seconds that it took."""
    begin = time.monotonic()
    while not accept():
        if time.monotonic() - begin > limit_s:
            raise AssertionError("not reached")
        time.sleep(0.05)
    return time.monotonic() - begin


def check_broadcast(sender: Box, receiver: Box) -> None:
    """One frame arrives once. While ways are changing it may get lost; twice it may never come."""
    for _ in range(30):
        count = count_broadcast(sender, receiver)
        assert count < 2, "it goes round"
        if count:
            return
    raise AssertionError("nothing arrives")


def count_broadcast(sender: Box, receiver: Box) -> int:
    """How often one frame arrives."""
    with receiver.station.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as heard:
        heard.bind(("eth0", ETHERTYPE))
        heard.settimeout(1.0)
        with sender.station.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as speaker:
            speaker.bind(("eth0", 0))
            speaker.send(b"\xff" * 6 + b"\x02\0\0\0\0\x77" + ETHERTYPE.to_bytes(2) + bytes(46))
        count = 0
        while count < 100:
            try:
                heard.recv(2000)
            except TimeoutError:
                break
            count += 1
    return count


def test_a_ring_with_the_kernels_own_spanning_tree_is_cut_once_and_mends_itself(
    ring: tuple[Box, Box, Namespace],
) -> None:
    one, two, _ = ring
    wait(lambda: one.reaches(2) and two.reaches(1))
    wait(lambda: sorted(one.roles() + two.roles()).count("Root") >= 1 and "Disabled" not in one.roles() + two.roles())
    check_broadcast(one, two)
    check_broadcast(two, one)
    for box in (one, two):
        wait(lambda box=box: not box.status()["ports"]["lan1"]["isRapid"])  # type: ignore[misc]  # bound at once
        assert box.status()["ports"]["lan0"]["isRapid"], "only the kernel's speaks the messages of 1998"
    one.namespace.batch("link set lan0 down")
    wait(lambda: one.reaches(2))
    check_broadcast(one, two)
    one.namespace.batch("link set lan0 up")
    wait(lambda: one.status()["ports"]["lan0"]["state"] == "Forwarding" or "Alternate" in one.roles() + two.roles())
    wait(lambda: one.reaches(2))
    check_broadcast(one, two)


def test_two_cables_between_two_boxes_change_over_in_a_second(tmp_path: Path) -> None:
    one, two = Box(tmp_path, 1), Box(tmp_path, 2)
    try:
        for _ in range(2):
            one.connect(two)
        for box in (one, two):
            box.start()
            box.namespace.batch(*(f"link set {name} up" for name in box.ports))
        wait(lambda: one.reaches(2))
        wait(lambda: two.roles() == ["Root", "Alternate"])
        assert one.roles() == ["Designated", "Designated"]
        assert two.is_locked("lan1")
        check_broadcast(one, two)
        changes = two.status()["changes"]
        one.namespace.batch("link set lan0 down")
        assert wait(lambda: one.reaches(2)) < 10
        wait(lambda: two.roles()[1] == "Root")
        assert two.status()["changes"] > changes, "addresses that were learnt by the former cable are forgotten"
        one.namespace.batch("link set lan0 up")
        wait(lambda: two.roles() == ["Root", "Alternate"])
        wait(lambda: one.reaches(2))
        check_broadcast(two, one)
    finally:
        one.close()
        two.close()


def test_a_port_that_is_shut_stays_so_when_its_process_dies_and_its_cable_is_plugged_anew(tmp_path: Path) -> None:
    one, two = Box(tmp_path, 1), Box(tmp_path, 2)
    try:
        for _ in range(2):
            one.connect(two)
        for box in (one, two):
            box.start()
            box.namespace.batch(*(f"link set {name} up" for name in box.ports))
        wait(lambda: two.roles() == ["Root", "Alternate"])
        wait(lambda: one.reaches(2))
        two.kill()
        two.namespace.batch("link set lan1 down", "link set lan1 up")
        wait(lambda: "state forwarding" in two.namespace.run("bridge", "link", "show", "dev", "lan1"))
        assert two.is_locked("lan1"), "the kernel has set its state, and lets nothing through all the same"
        check_broadcast(one, two)
        two.start()
        wait(lambda: two.roles() == ["Root", "Alternate"])
        wait(lambda: one.reaches(2))
        check_broadcast(one, two)
    finally:
        one.close()
        two.close()


def test_a_guarded_port_is_shut_by_a_bridge_until_it_is_plugged_anew(tmp_path: Path) -> None:
    one, two = Box(tmp_path, 1, guarded=("lan0",)), Box(tmp_path, 2)
    try:
        one.connect(two)
        one.connect(two)
        one.start()
        for box in (one, two):
            box.namespace.batch("link set lan0 up")
        wait(lambda: one.status()["ports"]["lan0"]["state"] == "Forwarding")
        two.start()
        wait(lambda: one.status()["ports"]["lan0"]["isShut"])
        assert one.is_locked("lan0")
        assert not one.reaches(2)
        one.kill()
        one.start()
        assert one.status()["ports"]["lan0"]["isShut"], "not opened because the process died"
        two.kill()
        two.namespace.batch("link set lan0 down")
        wait(lambda: not one.status()["ports"]["lan0"]["isShut"])
        two.namespace.batch("link set lan0 up")
        wait(lambda: one.status()["ports"]["lan0"]["state"] == "Forwarding")
    finally:
        one.close()
        two.close()


def test_ports_come_and_go_while_it_runs_and_it_stays_small(tmp_path: Path) -> None:
    box = Box(tmp_path, 1)
    with Namespace() as hub:
        hub.batch("link add hub type bridge", "link set hub up")
        try:
            box.connect(hub)
            box.start()
            box.connect(hub)
            ports = {name: {"guard": False} for name in box.ports}
            config = {"bridge": "sw", "mac": "02:00:00:00:00:01", "ports": ports}
            (box.folder / "config.json").write_text(json.dumps(config))
            os.kill(box.pid, signal.SIGHUP)
            wait(lambda: len(box.status()["ports"]) == 2)
            box.namespace.batch(*(f"link set {name} up" for name in box.ports))
            hub.batch("link set to1lan0 up", "link set to1lan1 up")
            wait(lambda: sorted(box.roles()) == ["Backup", "Designated"])
            box.namespace.batch("link delete lan0")
            wait(lambda: box.status()["ports"]["lan1"]["state"] == "Forwarding")
            memory = Path(f"/proc/{box.pid}/status").read_text()
            assert int(memory.split("VmRSS:")[1].split()[0]) < 16 << 10
        finally:
            box.close()
