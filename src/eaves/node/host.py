"""What this machine offers to the engine, and the private configuration of the tools that the engine runs on it.

Debian-like hosts differ: cgroup v1 or v2, with or without systemd, with or without the right to raise limits. The engine looks
once at start and writes podman's configuration accordingly into its own folder; the host's own podman, its storage and its
settings are never read or changed.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import shutil
from pathlib import Path

from msgspec import Struct

from eaves.kit import files, process
from eaves.node.errors import HostError
from eaves.node.instance import Instance

PACKAGES = {
    "conmon": "conmon",
    "dnsmasq": "dnsmasq-base",
    "ip": "iproute2",
    "nft": "nftables",
    "nsenter": "util-linux",
    "podman": "podman",
    "unshare": "util-linux",
}
"""Programs that the engine runs → Debian package that brings them."""

OLDEST_PODMAN = (4, 3)
_CAP_SYS_RESOURCE = 24
_NETAVARK = ("/usr/lib/podman/netavark", "/usr/libexec/podman/netavark", "/usr/local/libexec/podman/netavark")


class Host(Struct, frozen=True):
    """``runtime`` is crun or runc; ``has_systemd`` means PID 1 is systemd and answers on its bus."""

    podman_version: tuple[int, ...]
    runtime: str
    cgroup_version: int
    has_systemd: bool
    can_raise_limits: bool
    has_netavark: bool
    open_files_limit: int
    processes_limit: int

    @property
    def cgroup_manager(self) -> str:
        return "systemd" if self.has_systemd and self.cgroup_version == 2 else "cgroupfs"


async def observe_host() -> Host:
    """Look at the machine. Raises HostError that names everything missing and how to get it."""
    process_error = await asyncio.to_thread(_check_programs)
    if process_error is not None:
        raise process_error
    version = await process.run(["podman", "--version"])
    return await asyncio.to_thread(_observe, parse_podman_version(version.text))


async def save_host_files(instance: Instance, host: Host) -> None:
    """Write the private configuration of podman and its libraries."""
    texts = {
        "containers.conf": render_containers_conf(instance, host),
        "storage.conf": render_storage_conf(instance),
        "registries.conf": "unqualified-search-registries = []\n",
        "policy.json": json.dumps({"default": [{"type": "insecureAcceptAnything"}]}) + "\n",
    }
    for name, text in texts.items():
        await asyncio.to_thread(_save_changed, instance.host_dir / name, text.encode())


def _save_changed(path: Path, data: bytes) -> None:
    """A restart on a full disk must not fail for want of space for what is there already."""
    if files.load_file(path) != data:
        files.save_file(path, data)


def render_containers_conf(instance: Instance, host: Host) -> str:
    """podman's ``containers.conf``. Locks are files because shared-memory locks would be shared with the host's own podman."""
    containers = ["http_proxy = false", "log_size_max = -1"]
    if not host.can_raise_limits:
        files_limit, processes_limit = host.open_files_limit, host.processes_limit
        soft_files, soft_processes = min(1024, files_limit), min(1024, processes_limit)
        limits = f'"nofile={soft_files}:{files_limit}", "nproc={soft_processes}:{processes_limit}"'
        containers.append(f"default_ulimits = [{limits}]")
    engine = {
        "runtime": host.runtime,
        "cgroup_manager": host.cgroup_manager,
        "events_logger": "none",
        "lock_type": "file",
        "tmp_dir": str(instance.podman_run_dir / "libpod"),
        "static_dir": str(instance.storage_dir / "libpod"),
        "volume_path": str(instance.storage_dir / "volumes"),
        "image_copy_tmp_dir": str(instance.scratch_dir),
    }
    network = {
        "network_backend": "netavark" if host.has_netavark or host.podman_version >= (5,) else "cni",
        "network_config_dir": str(instance.host_dir / "networks"),
    }
    lines = ["[containers]", *containers, "[engine]", *_render_table(engine), "[network]", *_render_table(network)]
    return "\n".join(lines) + "\n"


def render_storage_conf(instance: Instance) -> str:
    storage = {
        "driver": "overlay",
        "graphroot": str(instance.storage_dir),
        "runroot": str(instance.podman_run_dir / "storage"),
    }
    return "\n".join(["[storage]", *_render_table(storage)]) + "\n"


def parse_podman_version(text: str) -> tuple[int, ...]:
    """``podman version 4.3.1`` → (4, 3, 1). Raises HostError for a podman that is too old or says something else."""
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    if match is None:
        raise HostError(f"podman does not tell its version: {text.strip()!r}", element="podman")
    version = tuple(int(part) for part in match.groups(default="0"))
    if version < OLDEST_PODMAN:
        raise HostError(
            f"podman {match.group()} is too old, 4.3 or newer is needed",
            element="podman",
            resolution="use Debian 12 or newer",
        )
    return version


def _check_programs() -> HostError | None:
    missing = {name: package for name, package in PACKAGES.items() if shutil.which(name) is None}
    if shutil.which("crun") is None and shutil.which("runc") is None:
        missing["runc"] = "runc"
    if not missing:
        return None
    packages = " ".join(sorted(set(missing.values())))
    return HostError(
        f"missing programs: {', '.join(sorted(missing))}",
        code="ProgramMissing",
        element="node",
        resolution=f"apt-get install --no-install-recommends {packages}",
    )


def _observe(podman_version: tuple[int, ...]) -> Host:
    if os.geteuid() != 0:
        raise HostError("a node needs root", element="node", resolution="start it with sudo")
    cgroup_version = 2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1
    # crun of Debian 12 refuses cgroup v1; on v2 it is the smaller and faster of the two.
    order = ("crun", "runc") if cgroup_version == 2 else ("runc", "crun")
    return Host(
        podman_version=podman_version,
        runtime=next(name for name in order if shutil.which(name)),
        cgroup_version=cgroup_version,
        has_systemd=_is_systemd(),
        can_raise_limits=_has_capability(_CAP_SYS_RESOURCE),
        has_netavark=any(Path(path).exists() for path in _NETAVARK),
        open_files_limit=_bound_limit(resource.RLIMIT_NOFILE, 1 << 20),
        # podman lowers its own hard limit to about this, and what it starts cannot raise it again.
        processes_limit=_bound_limit(resource.RLIMIT_NPROC, 1 << 15),
    )


def _is_systemd() -> bool:
    return Path("/run/systemd/system").is_dir() and Path("/run/dbus/system_bus_socket").exists()


def _has_capability(number: int) -> bool:
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    match = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return match is not None and bool(int(match.group(1), 16) >> number & 1)


def _bound_limit(kind: int, most: int) -> int:
    hard = resource.getrlimit(kind)[1]
    return most if hard == resource.RLIM_INFINITY else min(hard, most)


def _render_table(values: dict[str, str]) -> list[str]:
    # JSON strings are TOML basic strings for the characters that paths hold.
    return [f"{name} = {json.dumps(value)}" for name, value in values.items()]
