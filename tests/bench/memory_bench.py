"""Where the memory of a box of 4 GB goes: three containers and two virtual machines on one node, and how much is left for others.

``make bench BENCH=node_4gb`` as root. The daemon and all that it starts are in one memory control group with the limit of the box, so that
they get no more; a box's own kernel and operating system come on top. Needs control groups of version 1: with version 2 no process may be
in a group beside the apps'.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import Struct

from eaves.kube.resource import Object
from eaves.testing import power
from eaves.testing.file_server import FileServer
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
LIMIT_S = 240.0
REST_S = 30.0
"""Long enough for every report, metrics message and log upload to have been made."""
_GROUPS = Path("/sys/fs/cgroup/memory")
_MIB = 1 << 20


class Table(Struct, frozen=True):
    """MiB. ``rows``: proportional set size by what it is for; ``charged``: what the kernel counts, without page cache that it can drop.

    ``promised``: what apps may take beyond what they have now.
    """

    rows: dict[str, float]
    charged: float
    promised: float


@contextlib.contextmanager
def hold_in_box(node: NodeHost) -> Iterator[Path]:
    """Bound the node and all of its apps by the memory of a box; yields the control group."""
    if not (_GROUPS / "memory.usage_in_bytes").exists():
        raise RuntimeError("node_4gb needs control groups of version 1 (boot with systemd.unified_cgroup_hierarchy=0)")
    group = _GROUPS / node.instance.cgroup.lstrip("/")
    group.mkdir(exist_ok=True)
    (group / "memory.use_hierarchy").write_text("1")
    (group / "memory.limit_in_bytes").write_text(str(BOX_MIB * _MIB))
    daemon = group / "daemon"
    daemon.mkdir()
    own = _descendants(node.daemon.pid) | set(power.list_keepers(node.instance))
    for pid in own:
        with contextlib.suppress(ProcessLookupError):
            (daemon / "cgroup.procs").write_text(str(pid))
    try:
        yield group
    finally:
        for left in (daemon / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                (_GROUPS / "cgroup.procs").write_text(left)
        daemon.rmdir()


def measure() -> Table:
    disk = want_guest_disk().read_bytes()
    image = f"guest.raw@sha256:{hashlib.sha256(disk).hexdigest()}"
    with open_site() as site, FileServer({"/guest.raw": disk}) as files, hold_in_box(site.node) as group:
        operator = site.controller.operator
        operator.create("datastores", want_files(files.url))
        for number in range(CONTAINERS):
            operator.create("apps", site.want_app(f"web-{number}"))
        for number in range(MACHINES):
            operator.create("apps", want_machine(site.node, f"vm-{number}", image))
        site.node.daemon.wait("all apps to run", lambda: _count_running(site) == CONTAINERS + MACHINES, LIMIT_S)
        names = [f"vm-{number}" for number in range(MACHINES)]
        site.node.daemon.wait("the guests to be up", lambda: all(_is_up(site, name) for name in names), LIMIT_S)
        time.sleep(REST_S)
        return observe(site.node, group)


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


def observe(node: NodeHost, group: Path) -> Table:
    keepers = set(power.list_keepers(node.instance))
    rows: dict[str, float] = {}
    for tasks in group.rglob("cgroup.procs"):
        for pid in map(int, tasks.read_text().split()):
            with contextlib.suppress(OSError):
                row = _find_row(pid, node, keepers)
                rows[row] = rows.get(row, 0.0) + load_pss_mib(pid)
    counted = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    used = int((group / "memory.usage_in_bytes").read_text()) - int(counted["total_inactive_file"])
    promised = CONTAINERS * CONTAINER_MIB - rows.get("containers", 0.0)
    promised += max(0.0, MACHINES * MACHINE_MIB - rows.get("QEMU", 0.0))
    return Table(rows, used / _MIB, promised)


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
    table = measure()
    left = BOX_MIB - table.charged - table.promised
    rows = sorted(table.rows.items(), key=lambda row: -row[1])
    print("node_4gb: MiB")
    for name, size in [*rows, ("charged, page cache in use included", table.charged), ("promised", table.promised)]:
        print(f"  {size:8.1f}  {name}")
    listed = ", ".join(f"{name} {size:.0f}" for name, size in rows)
    note = (
        f"of {BOX_MIB} MiB, without the box's own system; {CONTAINERS} containers of {CONTAINER_MIB} and {MACHINES} machines of "
        f"{MACHINE_MIB} MiB may take {table.promised:.0f} more than they have; now {table.charged:.0f}, by process: {listed}"
    )
    return [Result("node_4gb", left, "MiB left", "higher", (left,), LEFT_GOAL_MIB, note=note)]


BENCHMARKS = {"node_4gb": bench_node_4gb}
