"""Leaves a cluster: removes all that K3s made on this host, and nothing else.

In the order of ``k3s-killall.sh`` and ``k3s-uninstall.sh``: processes, mounts, namespaces, links, firewall, routes, groups, folders. Each
step may find its work done already, so a removal that was cut off is taken up again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

from eaves.kit import process
from eaves.kit.errors import EavesError
from eaves.node.clusters import addresses, cgroups, traces
from eaves.node.clusters.errors import ClusterError
from eaves.node.clusters.model import ClusterFolders, ClusterRecord, HostBefore
from eaves.node.instance import Instance
from eaves.node.mounts import remove_mounts

log = logging.getLogger(__name__)

KILL_LIMIT_S = 30.0
_LOOK_EVERY_S = 0.1
_IPTABLES = ("iptables", "ip6tables")
_CNI = Path("/var/lib/cni")
_SUBNET = Path("/run/flannel/subnet.env")
_SYSCTL = Path("/proc/sys")


async def observe_before() -> HostBefore:
    """What this host has of its own, before K3s runs here for the first time."""
    chains = []
    for program in _IPTABLES:
        chains += [f"{program} {chain}" for chain in traces.list_chains(await _save_rules(program, ""))]
    links = await addresses.observe_interfaces()
    paths, empty, sysctls = await asyncio.to_thread(_observe_files)
    return HostBefore(paths, empty, tuple(link for link in traces.LINKS if link in links), tuple(chains), sysctls)


async def remove_traces(instance: Instance, folders: ClusterFolders, record: ClusterRecord) -> None:
    """Raises ClusterError when a process does not end, OSError."""
    before = record.before or HostBefore(paths=traces.PATHS, links=traces.LINKS)
    network = await asyncio.to_thread(_load_flannel_network)
    await _kill_all(instance, folders)
    own_paths = [path for path in traces.PATHS if path not in before.paths]
    await remove_mounts((folders.root, folders.run, *map(Path, own_paths)))
    for point in await asyncio.to_thread(_load_layer_mounts, folders):
        await process.run(["umount", "--lazy", point], timeout_s=20, check=False)
    await _remove_namespaces()
    for link in traces.LINKS:
        if link not in before.links:
            await process.run(["ip", "link", "delete", link], timeout_s=20, check=False)
    if record.is_installed:
        for program in _IPTABLES:
            await _clean_rules(program, before, _want_tools(folders))
    if network:
        await process.run(["ip", "route", "flush", "root", network], timeout_s=20, check=False)
    if record.address:
        await addresses.remove_address(record.interface, record.address)
    await asyncio.to_thread(_remove_files, instance, folders, record, own_paths)
    await asyncio.to_thread(_restore_sysctls, before)


async def _kill_all(instance: Instance, folders: ClusterFolders) -> None:
    deadline = asyncio.get_running_loop().time() + KILL_LIMIT_S
    while True:
        is_empty = await asyncio.to_thread(cgroups.kill, instance.k3s_cgroup)
        strays = await asyncio.to_thread(_kill_strays, instance, folders)
        if is_empty and not strays:
            break
        if asyncio.get_running_loop().time() > deadline:
            raise ClusterError(
                "processes of the cluster do not end, so its files cannot be removed",
                code="LeaveIncomplete",
                resolution="it is tried again; a process that hangs in the kernel needs a reboot of the node",
            )
        await asyncio.sleep(_LOOK_EVERY_S)
    await asyncio.to_thread(cgroups.remove, instance.k3s_cgroup)


def _kill_strays(instance: Instance, folders: ClusterFolders) -> list[int]:
    """Shims, monitors, and what outlived its group; answers who was still there."""
    found = list(_each_own_process(instance, folders))
    for pid in found:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return found


def _each_own_process(instance: Instance, folders: ClusterFolders) -> Iterator[int]:
    own = os.getpid()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == own:
            continue
        with contextlib.suppress(OSError, IndexError):
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            executable = str((entry / "exe").readlink())
            state = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
            is_own = traces.is_own_process(executable, command, folders.root, folders.run)
            if state not in ("Z", "X") and (is_own or executable.startswith(f"{instance.k3s_dir}/bin/")):
                yield int(entry.name)


async def _remove_namespaces() -> None:
    records = await asyncio.to_thread(_load_cni_records)
    for path in traces.list_namespaces(records):
        await process.run(["umount", "--lazy", path], timeout_s=20, check=False)
        await asyncio.to_thread(Path(path).unlink, missing_ok=True)


async def _clean_rules(program: str, before: HostBefore, tools: str) -> None:
    saved = await _save_rules(program, tools)
    kept = [chain.partition(" ")[2] for chain in before.chains if chain.startswith(f"{program} ")]
    cleanup = traces.render_cleanup(saved, kept)
    if not cleanup:
        return
    try:
        argv = [f"{program}-restore", "--noflush"]
        await process.run(argv, stdin=cleanup.encode(), timeout_s=60, env=_want_env(tools))
    except EavesError as error:
        log.warning("firewall rules of K3s are still there: program=%s error=%s", program, error)


async def _save_rules(program: str, tools: str) -> str:
    """Empty where the host has no such program, so nobody made rules with it."""
    try:
        return (await process.run([f"{program}-save"], timeout_s=60, check=False, env=_want_env(tools))).text
    except process.ProgramMissingError:
        return ""


def _want_tools(folders: ClusterFolders) -> str:
    """K3s brings iptables with it for hosts that have none."""
    return str(folders.data / "data" / "current" / "bin" / "aux")


def _want_env(tools: str) -> dict[str, str]:
    path = os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
    return {"PATH": f"{path}:{tools}" if tools else path}


def _observe_files() -> tuple[tuple[str, ...], tuple[str, ...], dict[str, str]]:
    there = [path for path in traces.PATHS if Path(path).exists()]
    empty = tuple(path for path in there if Path(path).is_dir() and not any(Path(path).iterdir()))
    return tuple(path for path in there if path not in empty), empty, _load_sysctls()


def _load_sysctls() -> dict[str, str]:
    found = {}
    for name in traces.SYSCTLS:
        with contextlib.suppress(OSError):
            found[name] = (_SYSCTL / name.replace(".", "/")).read_text(encoding="ascii").strip()
    return found


def _restore_sysctls(before: HostBefore) -> None:
    for name, value in traces.list_changed(before.sysctls, _load_sysctls()).items():
        with contextlib.suppress(OSError):
            (_SYSCTL / name.replace(".", "/")).write_text(value, encoding="ascii")


def _load_cni_records() -> list[str]:
    folder = _CNI / "results"
    paths = folder.glob(f"{traces.CNI_NETWORK}-*") if folder.is_dir() else ()
    return [path.read_text(encoding="utf-8", errors="replace") for path in paths]


def _load_layer_mounts(folders: ClusterFolders) -> list[str]:
    """Roots of containers, wherever they are mounted: their layers are in the cluster's folder."""
    return traces.list_layer_mounts(Path("/proc/self/mountinfo").read_text(encoding="utf-8"), folders.root)


def _load_flannel_network() -> str:
    try:
        return traces.parse_flannel_network(_SUBNET.read_text(encoding="utf-8"))
    except OSError:
        return ""


def _remove_files(instance: Instance, folders: ClusterFolders, record: ClusterRecord, own_paths: list[str]) -> None:
    for folder in (folders.run, instance.k3s_dir / "bin"):
        shutil.rmtree(folder, ignore_errors=True)
    if str(_CNI) not in own_paths:
        shutil.rmtree(_CNI / "networks" / traces.CNI_NETWORK, ignore_errors=True)
        for path in (_CNI / "results").glob(f"{traces.CNI_NETWORK}-*") if (_CNI / "results").is_dir() else ():
            path.unlink(missing_ok=True)
    if record.is_installed:
        before = record.before or HostBefore()
        for path in map(Path, own_paths):
            _empty_folder(path)
            if str(path) not in before.empty:
                _remove_empty(path)
    if not record.keep_data and folders.root != instance.k3s_dir:
        shutil.rmtree(folders.root, ignore_errors=True)
        if folders.root.exists():
            raise ClusterError(
                "the cluster's folder cannot be removed", element=str(folders.root), code="LeaveIncomplete"
            )


def _empty_folder(path: Path) -> None:
    """Folders that hold those of several programs are left to :func:`_remove_empty`."""
    if not path.is_dir() or path.name == "rancher":
        return
    for entry in path.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def _remove_empty(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.rmdir()
