"""Where the memory of a box of 4 GB goes: three containers and two virtual machines on one node, and how much is left for others.

``make bench BENCH=node_4gb``. The box is a guest with Debian's stock kernel and 4 GB; its virtual machines are guests within it, all by
TCG, so that it takes minutes. The controller, the registry and this benchmark run in the box too, for want of another, and are told
apart; a distribution's own services come on top.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from eaves.kube.resource import Object
from eaves.testing import power
from eaves.testing.file_server import FileServer
from eaves.testing.guest.machine import Guest
from eaves.testing.guest_image import READY, want_guest_disk
from eaves.testing.system import NodeHost, want_app
from tests.bench.node_bench import Site, open_site
from tests.bench.results import Result
from tests.bench.vm_bench import load_pss_mib

BOX_MIB = 4096
LEFT_GOAL_MIB = 2048.0
"""Beside the apps at all that they may take: a K3s server and the operating system."""
CONTAINERS = 3
CONTAINER_MIB = 64
MACHINES = 2
MACHINE_MIB = 512
LIMIT_S = 900.0
BOX_LIMIT_S = 2400.0
REST_S = 60.0
"""Long enough for every report, metrics message and log upload to have been made."""
SCAFFOLD = "controller, registry and benchmark"
ROOT = Path(__file__).parents[2]


class Table(Struct, frozen=True):
    """MiB. ``rows``: proportional set size by what it is for; ``kernel``: what it keeps; ``available``: what it can give.

    ``promised``: what apps may take beyond what they have now.
    """

    rows: dict[str, float]
    kernel: float
    available: float
    promised: float

    @property
    def left(self) -> float:
        """What others can have when every app takes all that it may, on a box without the scaffold."""
        return self.available + self.rows.get(SCAFFOLD, 0.0) - self.promised


def measure_in_box() -> Table:
    want_guest_disk()
    with Guest(memory_mib=BOX_MIB) as guest:
        command = "TMPDIR=/var/tmp .venv/bin/python -m tests.bench.memory_bench /run/results/table.json"
        done = guest.run(command, cwd=ROOT, limit_s=BOX_LIMIT_S)
        if done.code != 0:
            raise RuntimeError(f"the benchmark failed in its box: {done.console[-4000:]}")
        return msgspec.json.decode((guest.results / "table.json").read_bytes(), type=Table)


def measure() -> Table:
    disk = want_guest_disk().read_bytes()
    image = f"guest.raw@sha256:{hashlib.sha256(disk).hexdigest()}"
    with open_site() as site, FileServer({"/guest.raw": disk}) as files:
        operator = site.controller.operator
        operator.create("datastores", want_files(files.url))
        for number in range(CONTAINERS):
            operator.create("apps", site.want_app(f"web-{number}"))
        for number in range(MACHINES):
            operator.create("apps", want_machine(site.node, f"vm-{number}", image))
        wait = site.node.daemon.wait
        wait("all apps to run", lambda: _count_running(site) == CONTAINERS + MACHINES, LIMIT_S)
        names = [f"vm-{number}" for number in range(MACHINES)]
        wait("the guests to be up", lambda: all(_is_up(site, name) for name in names), LIMIT_S)
        time.sleep(REST_S)
        return observe(site.node)


def want_files(url: str) -> Object:
    return {
        "apiVersion": "eaves.dev/v1alpha1",
        "kind": "Datastore",
        "metadata": {"name": "files"},
        "spec": {"type": "HTTP", "url": url},
    }


def want_machine(node: NodeHost, name: str, image: str) -> Object:
    return want_app(
        node,
        name,
        image,
        type="VirtualMachine",
        datastoreRef={"name": "files"},
        resources={"cpus": 1, "memory": f"{MACHINE_MIB}Mi"},
        vm={"firmware": "BIOS"},
        networks=[{"name": "default"}],
    )


def observe(node: NodeHost) -> Table:
    keepers = set(power.list_keepers(node.instance))
    own = _descendants(os.getpid()) - _descendants(node.daemon.pid)
    rows: dict[str, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        pid = int(folder.name)
        with contextlib.suppress(OSError, IndexError):
            row = SCAFFOLD if pid in own else _find_row(pid, node, keepers)
            rows[row] = rows.get(row, 0.0) + load_pss_mib(pid)
    memory = _load_memory()
    promised = CONTAINERS * CONTAINER_MIB - rows.get("containers", 0.0)
    promised += max(0.0, MACHINES * MACHINE_MIB - rows.get("QEMU", 0.0))
    kernel = BOX_MIB - memory["MemTotal"] + memory["SUnreclaim"] + memory["KernelStack"] + memory["PageTables"]
    return Table(rows, kernel, memory["MemAvailable"], promised)


def _load_memory() -> dict[str, float]:
    """/proc/meminfo in MiB."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
    return {words[0].rstrip(":"): int(words[1]) / 1024 for words in lines}


def _find_row(pid: int, node: NodeHost, keepers: set[int]) -> str:
    """What a process is on the node."""
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    name = words[0].rpartition("/")[2]
    if pid == node.daemon.pid:
        return "node daemon"
    if name.startswith("qemu-system-"):
        return "QEMU"
    if name == "dnsmasq":
        return "name servers"
    if pid in keepers:
        return "monitors of containers" if name == "conmon" else "monitors of machines"
    return "containers" if name == "busybox" else "other programs"


def _descendants(pid: int) -> set[int]:
    return {pid}.union(*(_descendants(child) for child in power.list_children(pid)))


def _count_running(site: Site) -> int:
    phases = [(app.get("status") or {}).get("phase") for app in site.controller.operator.find("apps")]
    return phases.count("Running")


def _is_up(site: Site, name: str) -> bool:
    return any(READY in line for line in site.controller.operator.logs(name))


def bench_node_4gb() -> Sequence[Result]:
    table = measure_in_box()
    rows = sorted(table.rows.items(), key=lambda row: -row[1])
    print("node_4gb: MiB")
    shown = [*rows, ("kernel", table.kernel), ("available", table.available), ("promised to apps", table.promised)]
    for name, size in shown:
        print(f"  {size:8.1f}  {name}")
    listed = ", ".join(f"{name} {size:.0f}" for name, size in shown)
    note = (
        f"of a guest of {BOX_MIB} MiB; {CONTAINERS} containers of {CONTAINER_MIB} and {MACHINES} machines of {MACHINE_MIB} MiB may take "
        f"{table.promised:.0f} more than they have; {listed}"
    )
    return [Result("node_4gb", table.left, "MiB left", "higher", (table.left,), LEFT_GOAL_MIB, note=note)]


BENCHMARKS: dict[str, Callable[[], Sequence[Result]]] = {"node_4gb": bench_node_4gb}

if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(msgspec.json.encode(measure()))
