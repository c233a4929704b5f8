"""Machines for K3s on one host: each with a network stack and with its own of the places that K3s takes on a machine.

K3s, the real one too, keeps fixed places (``/run/k3s``, ``/var/lib/kubelet``, ``/etc/rancher``, …), so that two cannot run side by side.
A :class:`Machine` is a network namespace and a mount namespace in which those places are folders of the test's; what must outlive a power
cut is on disk, the rest goes with :meth:`Machine.cut_power`. The host's own sysctls that the kubelet sets are put back at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from eaves.node.clusters import cgroups
from eaves.node.instance import Instance
from eaves.testing import movable_clock
from eaves.testing.daemons import Daemon, run_program, wait_for

LASTING = (
    "/etc/rancher",
    "/var/lib/rancher",
    "/var/lib/kubelet",
    "/var/lib/cni",
    "/var/log/pods",
    "/var/log/containers",
    movable_clock.FOLDER,
)
FLEETING = ("/run/k3s", "/run/containerd", "/run/flannel", "/run/netns")
_SYSCTLS = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops")
_SYSCTLS_BEFORE = Path("/run/eaves-testing-sysctls.json")
_CGROUPS = Path("/sys/fs/cgroup")
_KILL_LIMIT_S = 30.0


class Lan:
    """A network that machines are plugged into: ``10.N.0.0/24`` of its own on a bridge in a namespace of its own."""

    def __init__(self) -> None:
        self._holder = _Holder(("--net",))
        self._number = 100 + secrets.randbelow(100)
        self._next = 11
        self._holder.run("ip", "link", "set", "lo", "up")
        self._holder.run("ip", "link", "add", "br0", "type", "bridge")
        self._holder.run("ip", "address", "add", f"10.{self._number}.0.1/24", "dev", "br0")
        self._holder.run("ip", "link", "set", "br0", "up")

    def plug(self, pid: int) -> str:
        """Give the namespace of ``pid`` an ``eth0`` on this network; answers its address."""
        address, port = f"10.{self._number}.0.{self._next}", f"p{self._next}"
        self._next += 1
        self._holder.run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        self._holder.run("ip", "link", "set", port, "master", "br0", "up")
        return address

    def gateway(self) -> str:
        return f"10.{self._number}.0.1"

    def set_port(self, address: str, *, is_up: bool) -> None:
        """Pull a machine's cable, or put it back."""
        self._holder.run("ip", "link", "set", f"p{address.rpartition('.')[2]}", "up" if is_up else "down")

    def close(self) -> None:
        self._holder.close()


class Machine:
    """One machine. ``folder`` keeps its disk; run things on it by :meth:`argv`, :meth:`run` and :meth:`daemon`."""

    def __init__(self, folder: Path, name: str, lan: Lan) -> None:
        self.name = name
        self.folder = folder / name
        self.cgroup = f"/eaves-test-{secrets.token_hex(4)}"
        """Parent of its pods' control groups: kubelets that share one would end each other's pods."""
        self._daemons: list[Daemon] = []
        self._made = [path for path in (*LASTING, *FLEETING) if not Path(path).exists()]
        _record_sysctls()
        # Slave: what other tests unmount must not stay mounted here.
        self._holder = _Holder(("--net", "--mount", "--propagation", "slave"))
        for path in (*LASTING, *FLEETING):
            self._place(path)
        _make_cgroups(self.cgroup)
        self.address = lan.plug(self._holder.pid)
        self._gateway = lan.gateway()
        self.run("ip", "link", "set", "lo", "up")
        self._configure()

    def add_clock(self) -> movable_clock.MovableClock:
        """A clock of the day of its own, for what is started from now on."""
        return movable_clock.MovableClock(self.path(movable_clock.FOLDER))

    @property
    def pid(self) -> int:
        """Of a process that does nothing but be there."""
        return self._holder.pid

    @property
    def prefix(self) -> list[str]:
        """Goes before a command that is to run on this machine."""
        return self._holder.prefix

    def run(self, *argv: str, check: bool = True, limit_s: float = 120.0) -> str:
        """What a command on this machine printed."""
        return run_program([*self.prefix, *argv], check=check, limit_s=limit_s)

    def daemon(self, name: str, argv: Sequence[str]) -> Daemon:
        made = Daemon(f"{self.name}-{name}", argv, self.folder / f"{name}.log", {}, prefix=self.prefix)
        self._daemons.append(made)
        return made

    def path(self, path: str) -> Path:
        """Where a file in one of K3s's places lies for the test."""
        for place in (*LASTING, *FLEETING):
            if path.startswith(place):
                return self._disk(place) / path[len(place) :].lstrip("/")
        return Path(path)

    def load_memory(self) -> dict[str, float]:
        """MiB (proportional set size, so that shared pages count once) of all that runs on it, by program."""
        found: dict[str, float] = {}
        for pid in sorted({*_pids_in_namespaces(self._holder), *_pids_in_cgroups(self.cgroup)}):
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
                name = words[1] if words[0].endswith("/kube") else words[0].rpartition("/")[2]
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
                found[name] = found.get(name, 0.0) + int(rollup.split("\nPss:")[1].split()[0]) / 1024
        return found

    def cut_power(self) -> None:
        """Everything that runs goes at once, with links, addresses, routes and firewall; the disk stays. The cable is plugged in anew."""
        self._kill_all()
        for path in FLEETING:
            disk = self._disk(path)
            self.run("sh", "-c", f"umount -R -l {path}; rm -rf {disk}/*; mount --bind {disk} {path}")
        for line in self.run("ip", "-o", "link").splitlines():
            name = line.split(": ")[1].partition("@")[0]
            if name not in ("lo", "eth0"):
                self.run("ip", "link", "delete", name, check=False)
        self.run("nft", "flush", "ruleset")
        self.run("ip", "link", "set", "eth0", "down")
        self.run("ip", "address", "flush", "dev", "eth0")
        self._configure()

    def close(self) -> None:
        """Leave nothing of it on the host."""
        if self._holder.is_closed:
            return
        for daemon in self._daemons:
            if daemon.is_running:
                daemon.kill()
        self._kill_all()
        self._holder.close()
        _remove_cgroups(self.cgroup)
        for path in self._made:
            with contextlib.suppress(OSError):
                Path(path).rmdir()
        _restore_sysctls()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _configure(self) -> None:
        self.run("ip", "address", "add", f"{self.address}/24", "dev", "eth0")
        self.run("ip", "link", "set", "eth0", "up")
        self.run("ip", "route", "add", "default", "via", self._gateway)

    def _place(self, path: str) -> None:
        disk = self._disk(path)
        disk.mkdir(parents=True)
        Path(path).mkdir(parents=True, exist_ok=True)
        self.run("mount", "--bind", str(disk), path)

    def _disk(self, path: str) -> Path:
        return self.folder / "disk" / path.strip("/").replace("/", "-")

    def _kill_all(self) -> None:
        """Processes in its network or mount namespace, and those in its control groups, which pods' are."""

        def kill() -> bool:
            found = [*_pids_in_namespaces(self._holder), *_pids_in_cgroups(self.cgroup)]
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not found

        wait_for(f"the processes of {self.name} to end", kill, _KILL_LIMIT_S)


def end_pods(instance: Instance) -> None:
    """Of a node's cluster: they are in namespaces of their own, and in control groups of the node rather than the machine's."""
    wait_for("the cluster's processes to end", lambda: cgroups.kill(instance.k3s_cgroup), _KILL_LIMIT_S)
    for path in (instance.k3s_cgroup, instance.cgroup):
        cgroups.remove(path)


class _Holder:
    """A process that does nothing but be in new namespaces."""

    def __init__(self, namespaces: Sequence[str]) -> None:
        self._process = subprocess.Popen(
            ["unshare", *namespaces, "sh", "-c", "echo in; exec sleep infinity"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"in\n"
        self._process.stdout.close()
        self.pid = self._process.pid
        flags = [f"--{name}" for name in ("net", "mount") if f"--{name}" in namespaces]
        self.prefix = ["nsenter", f"--target={self.pid}", *flags, "--"]

    def run(self, *argv: str) -> str:
        return run_program([*self.prefix, *argv])

    @property
    def is_closed(self) -> bool:
        return self._process.returncode is not None

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def _pids_in_namespaces(holder: _Holder) -> list[int]:
    own = {kind: str(Path(f"/proc/{holder.pid}/ns/{kind}").readlink()) for kind in ("net", "mnt")}
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != holder.pid:
            with contextlib.suppress(OSError):
                if any(str((entry / "ns" / kind).readlink()) == name for kind, name in own.items()):
                    found.append(int(entry.name))
    return found


def _hierarchies() -> list[Path]:
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS]
    return [top for top in sorted(_CGROUPS.iterdir()) if (top / "cgroup.procs").exists() and top.name != "unified"]


def _make_cgroups(path: str) -> None:
    for top in _hierarchies():
        folder = top / path.lstrip("/")
        folder.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (top / name).exists() and (folder / name).exists():
                (folder / name).write_text((top / name).read_text())


def _each_cgroup(path: str) -> Iterator[Path]:
    for top in _hierarchies():
        for folder, _, _ in os.walk(top / path.lstrip("/"), topdown=False):
            yield Path(folder)


def _pids_in_cgroups(path: str) -> list[int]:
    found: set[int] = set()
    for folder in _each_cgroup(path):
        with contextlib.suppress(OSError):
            found.update(int(line) for line in (folder / "cgroup.procs").read_text().split())
    return sorted(found)


def _remove_cgroups(path: str) -> None:
    end = time.monotonic() + _KILL_LIMIT_S
    while any(True for _ in _each_cgroup(path)) and time.monotonic() < end:
        for folder in _each_cgroup(path):
            with contextlib.suppress(OSError):
                folder.rmdir()
        time.sleep(0.05)


def _record_sysctls() -> None:
    """As they were before the first kubelet of this boot."""
    with contextlib.suppress(FileExistsError), _SYSCTLS_BEFORE.open("x") as file:
        json.dump({name: Path("/proc/sys", name).read_text().strip() for name in _SYSCTLS}, file)


def _restore_sysctls() -> None:
    with contextlib.suppress(OSError):
        for name, value in json.loads(_SYSCTLS_BEFORE.read_text()).items():
            Path("/proc/sys", name).write_text(value)
