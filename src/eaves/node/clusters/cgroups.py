"""The cluster's control groups: one parent with K3s in ``service`` beside the kubelet's ``kubepods``. Blocking.

The parent is what the cluster's memory and CPU time are counted by and what is kept for it against apps; the kubelet gets it by
``cgroup-root`` and expects it in every hierarchy.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from eaves.node.workloads import cgroups
from eaves.node.workloads.abc import Usage
from eaves.node.workloads.cgroups import Cgroups

log = logging.getLogger(__name__)

ROOT = Path("/sys/fs/cgroup")
SERVICE = "service"
_V1_OTHERS = frozenset(("unified",))
_DEFAULT_WEIGHT, _DEFAULT_SHARES = 100, 1024


def make(path: str, memory_bytes: int, cpu_millis: int) -> list[str]:
    """Folders whose ``cgroup.procs`` K3s shall be written to, with this much kept for the cluster; empty = not possible here."""
    below = path.lstrip("/")
    try:
        if (ROOT / "cgroup.controllers").exists():
            return [str(_make_unified(below, memory_bytes, cpu_millis))]
        return [str(_make_split(top, below, memory_bytes, cpu_millis)) for top in _hierarchies()]
    except OSError as error:
        log.warning("K3s runs without a control group of its own: path=%s error=%s", path, error)
        return []


def is_possible() -> bool:
    """Whether groups can be made here in every hierarchy that the kubelet asks for."""
    if (ROOT / "cgroup.controllers").exists():
        return os.access(ROOT, os.W_OK)
    tops = _hierarchies()
    return bool(tops) and all(os.access(top, os.W_OK) for top in tops)


def observe_usage(path: str) -> Usage | None:
    """What K3s and all its pods use together; None = there is no group."""
    below = path.lstrip("/")
    if (ROOT / "cgroup.controllers").exists():
        found = Cgroups(2, str(ROOT / below), str(ROOT / below))
    else:
        found = Cgroups(1, str(ROOT / "memory" / below), str(ROOT / "cpuacct" / below))
    return cgroups.observe_usage(found)


def list_pids(path: str) -> set[int]:
    """Every process of the cluster that its groups know: K3s, containerd, shims, pods."""
    found: set[int] = set()
    for folder in _each_folder(path):
        with contextlib.suppress(OSError):
            found.update(int(line) for line in (folder / "cgroup.procs").read_text(encoding="ascii").split())
    return found - {0}


def kill(path: str) -> bool:
    """Kill what is in the groups now; answers whether nothing is left."""
    pids = list_pids(path)
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return not pids


def remove(path: str) -> None:
    """Groups that still hold processes stay."""
    for folder in _each_folder(path):
        with contextlib.suppress(OSError):
            folder.rmdir()
    if not (ROOT / path.lstrip("/")).exists():
        for above in Path(path.lstrip("/")).parents[:-1]:
            _set(ROOT / above / "memory.low", 0)


def _each_folder(path: str) -> Iterator[Path]:
    """The group and those below it in every hierarchy, the innermost first."""
    tops = [ROOT] if (ROOT / "cgroup.controllers").exists() else _hierarchies()
    for top in tops:
        base = top / path.lstrip("/")
        if base.is_dir():
            for folder, _, _ in os.walk(base, topdown=False):
                yield Path(folder)


def _hierarchies() -> list[Path]:
    """Of version 1, systemd's own among them, which the kubelet asks for too; names that link to a shared one are left out."""
    if not ROOT.is_dir():
        return []
    tops = sorted(top for top in ROOT.iterdir() if top.is_dir() and not top.is_symlink() and top.name not in _V1_OTHERS)
    return [top for top in tops if (top / "cgroup.procs").exists()]


def _make_unified(below: str, memory_bytes: int, cpu_millis: int) -> Path:
    folder = ROOT
    for part in Path(below).parts:
        _hand_down(folder)
        folder /= part
        folder.mkdir(exist_ok=True)
        # The kernel keeps no more for a group than for those above it.
        _set(folder / "memory.low", max(memory_bytes, _load_low(folder)))
    _hand_down(folder)
    _set(folder / "cpu.weight", _want_weight(cpu_millis, _DEFAULT_WEIGHT))
    service = folder / SERVICE
    service.mkdir(exist_ok=True)
    # Nor for its own members, unless they ask or the hierarchy is mounted with memory_recursiveprot.
    for group in (folder, service):
        _set(group / "memory.low", memory_bytes)
    return service


def _load_low(folder: Path) -> int:
    """0 when nothing is kept for the group, or the hierarchy has no such controller."""
    with contextlib.suppress(OSError, ValueError):
        return int((folder / "memory.low").read_text(encoding="ascii"))
    return 0


def _hand_down(folder: Path) -> None:
    """Controllers are handed down a level at a time, each by itself: one that is not allowed stops no other."""
    for name in (folder / "cgroup.controllers").read_text(encoding="ascii").split():
        _set(folder / "cgroup.subtree_control", f"+{name}")


def _make_split(top: Path, below: str, memory_bytes: int, cpu_millis: int) -> Path:
    folder = top
    for part in (*Path(below).parts, SERVICE):
        parent, folder = folder, folder / part
        folder.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            # A new group of this controller is empty and takes no process.
            if (folder / name).exists() and not (folder / name).read_text(encoding="ascii").strip():
                _set(folder / name, (parent / name).read_text(encoding="ascii").strip())
    if memory_bytes:
        _set(folder.parent / "memory.soft_limit_in_bytes", memory_bytes)
    _set(folder.parent / "cpu.shares", _want_weight(cpu_millis, _DEFAULT_SHARES))
    return folder


def _want_weight(cpu_millis: int, default: int) -> int:
    """In proportion to the share of one CPU: 1000 thousandths weigh as much as any group by default."""
    return min(10_000, max(2, cpu_millis * default // 1000)) if cpu_millis else default


def _set(path: Path, value: object) -> None:
    with contextlib.suppress(OSError):
        if path.exists():
            path.write_text(str(value))
