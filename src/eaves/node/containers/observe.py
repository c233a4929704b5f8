"""podman's ``inspect`` → :class:`~eaves.node.containers.abc.Seen`; control groups → usage. Parsers are pure, readers block."""

from __future__ import annotations

import os
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from msgspec import Struct

from eaves.node import pids
from eaves.node.containers.abc import Seen, Usage, WorkloadState
from eaves.node.networks.addressing import derive_link
from eaves.node.observed import InterfaceStatus, InterfaceUsage

APP_LABEL = "eaves.app"
SPEC_LABEL = "eaves.spec"
INSTANCE_LABEL = "eaves.instance"

_CGROUP_ROOT = Path("/sys/fs/cgroup")
_RUNNING = ("running", "paused", "stopping")
_COUNTERS = ("rx_bytes", "tx_bytes", "rx_packets", "tx_packets", "rx_dropped", "tx_dropped")
_NEVER_RAN = ("created", "configured", "initialized", "unknown")


class Cgroups(Struct, frozen=True):
    """A container's control groups: ``memory`` and ``cpu`` folders, ``version`` 1 or 2."""

    version: int
    memory: str
    cpu: str


def parse_inspect(raw: dict[str, Any]) -> Seen | None:
    """None for a container that is not an app's."""
    labels = raw.get("Config", {}).get("Labels") or {}
    app_id = labels.get(APP_LABEL)
    if not app_id:
        return None
    state = raw.get("State", {})
    status = state.get("Status", "")
    if status in _RUNNING:
        kind = WorkloadState.RUNNING
    elif status in _NEVER_RAN:
        kind = WorkloadState.CREATED
    else:
        kind = WorkloadState.ENDED
    graph = (raw.get("GraphDriver") or {}).get("Data") or {}
    return Seen(
        app_id=app_id,
        workload_id=raw["Id"],
        state=kind,
        spec_digest=labels.get(SPEC_LABEL, ""),
        pid=int(state.get("Pid") or 0),
        exit_code=int(state.get("ExitCode") or 0),
        is_oom=bool(state.get("OOMKilled")),
        started_at=parse_time(state.get("StartedAt", "")),
        finished_at=parse_time(state.get("FinishedAt", "")),
        root_dir=graph.get("UpperDir", ""),
    )


def parse_time(text: str) -> float:
    """RFC 3339 with up to nine decimals → Unix seconds; Go's zero time and anything else → 0."""
    match = re.match(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(\.\d+)?\s*(Z|[+-]\d\d:?\d\d)", text)
    if match is None or text.startswith("0001"):
        return 0.0
    zone = "+00:00" if match.group(3) == "Z" else match.group(3)
    return datetime.fromisoformat(match.group(1) + zone).timestamp() + float(match.group(2) or 0)


def parse_cgroups(text: str) -> Cgroups | None:
    """``/proc/PID/cgroup`` → where the process's memory and cpu are counted."""
    paths: dict[str, str] = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            paths[controller] = path
    if "memory" in paths and "cpuacct" in paths:
        return Cgroups(
            1, str(_CGROUP_ROOT / "memory") + paths["memory"], str(_CGROUP_ROOT / "cpuacct") + paths["cpuacct"]
        )
    if "" in paths:
        return Cgroups(2, str(_CGROUP_ROOT) + paths[""], str(_CGROUP_ROOT) + paths[""])
    return None


def observe_cgroups(pid: int) -> Cgroups | None:
    try:
        return parse_cgroups(Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8"))
    except OSError:
        return None


def observe_usage(cgroups: Cgroups) -> Usage | None:
    """None when the groups have gone. Page cache that the kernel can drop at once is not counted."""
    memory, cpu = Path(cgroups.memory), Path(cgroups.cpu)
    try:
        if cgroups.version == 2:
            used = int((memory / "memory.current").read_text())
            idle = _read_key(memory / "memory.stat", "inactive_file")
            cpu_ns = _read_key(cpu / "cpu.stat", "usage_usec") * 1000
        else:
            used = int((memory / "memory.usage_in_bytes").read_text())
            idle = _read_key(memory / "memory.stat", "total_inactive_file")
            cpu_ns = int((cpu / "cpuacct.usage").read_text())
    except (OSError, ValueError):
        return None
    return Usage(cpu_ns, max(0, used - idle))


def observe_oom_kills(cgroups: Cgroups) -> int:
    """How often the kernel killed something for memory. Version 2 counts in the parent, which outlives the container."""
    try:
        if cgroups.version == 2:
            return _read_key(Path(cgroups.memory).parent / "memory.events", "oom_kill")
        return _read_key(Path(cgroups.memory) / "memory.oom_control", "oom_kill")
    except (OSError, ValueError):
        return 0


def observe_oom_messages(workload_id: str, started_at: float) -> int:
    """How often the kernel's log says that something in the workload was killed for memory since its start."""
    since_us = (time.monotonic() - max(0.0, time.time() - started_at)) * 1e6
    found = 0
    try:
        descriptor = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return 0
    try:
        while True:
            try:
                found += is_oom_message(os.read(descriptor, 8192), workload_id, since_us)
            except BrokenPipeError:
                # The oldest messages were overwritten while we read; go on with the next.
                continue
    except OSError:
        return found
    finally:
        os.close(descriptor)


def is_oom_message(raw: bytes, workload_id: str, since_us: float) -> bool:
    """Whether a record of ``/dev/kmsg`` (``PRIORITY,NUMBER,MICROSECONDS,…;TEXT``) tells of a kill in the workload."""
    head, _, text = raw.partition(b";")
    fields = head.split(b",")
    if not text.startswith(b"oom-kill:") or len(fields) < 3 or not fields[2].isdigit():
        return False
    return int(fields[2]) >= since_us and b"task_memcg=" in text and workload_id.encode() in text


def load_monitor_pid(path: Path, workload_id: str) -> int:
    """Pid of the container's monitor (conmon), 0 when it has gone."""
    return pids.load_pid(path, workload_id)


def _read_key(path: Path, key: str) -> int:
    for line in path.read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return int(value)
    return 0


def observe_interfaces(prefix: str, app_id: str, interfaces: tuple[InterfaceStatus, ...]) -> tuple[InterfaceUsage, ...]:
    """Counters of an app's interfaces, from the host's ends: what the host receives, the app has sent."""
    found = []
    for interface in interfaces:
        folder = Path("/sys/class/net") / derive_link(prefix, app_id, interface.name) / "statistics"
        try:
            count = {name: int((folder / name).read_text()) for name in _COUNTERS}
        except (OSError, ValueError):
            continue
        found.append(
            InterfaceUsage(
                name=interface.name,
                network_id=interface.network_id,
                rx_bytes=count["tx_bytes"],
                tx_bytes=count["rx_bytes"],
                rx_packets=count["tx_packets"],
                tx_packets=count["rx_packets"],
                rx_dropped=count["tx_dropped"],
                tx_dropped=count["rx_dropped"],
            )
        )
    return tuple(found)
