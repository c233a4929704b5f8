"""A power cut for one node instance: whatever of it lives in memory goes at once, what is on its disk stays.

And what bears the instance's names on this machine, for tests that nothing is left.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from eaves.node.instance import Instance, is_bridge_name

_KEEPERS = ("conmon", "dnsmasq")
_MACHINES = ("qemu-system-", "swtpm", "python")


def cut_power(instance: Instance) -> None:
    """Containers, name servers, mounts, links, firewall and run-time files of ``instance``; its daemon is the caller's to kill."""
    # A monitor that sees its container die writes the exit down on disk; a power cut gives nobody that chance.
    keepers = list_keepers(instance)
    children = [child for pid in keepers for child in list_children(pid)]
    for pid in (*keepers, *children):
        _kill(pid)
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in reversed(mounts):
        if mount.startswith((f"{instance.data_dir}/", f"{instance.run_dir}/")):
            _run("umount", "--lazy", mount)
    _run("nft", "delete", "table", "inet", instance.table)
    for name in list_links(instance):
        _run("ip", "link", "delete", name)
    shutil.rmtree(instance.run_dir, ignore_errors=True)


def list_keepers(instance: Instance) -> list[int]:
    """Pids of container monitors, name servers, spanning trees and the processes of virtual machines of the instance."""
    marks = (str(instance.storage_dir), str(instance.dns_dir))
    folders = (f"{instance.apps_run_dir}/", f"{instance.trees_dir}/")
    found = []
    for pid in _all_pids():
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            name = words[0].rpartition("/")[2]
            is_machine = name.startswith(_MACHINES) and any(folder in word for word in words for folder in folders)
            if is_machine or (name in _KEEPERS and any(mark in word for word in words for mark in marks)):
                found.append(pid)
    return found


def list_children(parent: int) -> list[int]:
    found = []
    for pid in _all_pids():
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent:
                found.append(pid)
    return found


def list_links(instance: Instance) -> list[str]:
    """Bridges and host ends of app interfaces of the instance."""
    prefixes = (instance.bridge_prefix, instance.veth_prefix)
    return [link.name for link in Path("/sys/class/net").iterdir() if link.name.startswith(prefixes)]


def list_traces(instance: Instance) -> dict[str, list[str]]:
    """Everything on the machine that bears the instance's names or folders, by kind; all empty when nothing is left."""
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    folders = (str(instance.data_dir), str(instance.run_dir))
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    commands = []
    for pid in _all_pids():
        if pid != os.getpid():
            with contextlib.suppress(OSError):
                commands.append(Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " "))
    return {
        "links": list_links(instance),
        "tables": re.findall(rf"table inet {instance.table}\b", tables),
        "mounts": [mount for mount in mounts if mount.startswith(folders)],
        "processes": [command for command in commands if any(folder in command for folder in folders)],
        # Groups of other instances come and go meanwhile; a walk passes over them, a glob fails.
        "cgroups": [
            str(Path(folder, name))
            for folder, names, _ in os.walk("/sys/fs/cgroup")
            for name in names
            if name.startswith(instance.name)
        ],
    }


def list_netns_holders(inode: int) -> list[str]:
    """Where the network namespace of this number is mounted, and processes that are in it."""
    name = f"net:[{inode}]"
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    found = [words[4] for words in mounts if words[3] == name]
    for pid in _all_pids():
        with contextlib.suppress(OSError):
            if str(Path(f"/proc/{pid}/ns/net").readlink()) == name:
                found.append(f"/proc/{pid}")
    return found


def end_in_namespaces(instance: Instance) -> None:
    """Whatever a test started beside the apps of ``instance``, in their network namespaces."""
    for path in instance.netns_dir.iterdir():
        for holder in list_netns_holders(path.stat().st_ino):
            if holder.startswith("/proc/"):
                _kill(int(holder.removeprefix("/proc/")))


@contextlib.contextmanager
def holding_netns(inodes: Iterable[int]) -> Iterator[None]:
    """Keep these network namespaces, each with a process in it: the kernel gives the number of one that is gone to the next."""
    with contextlib.ExitStack() as stack:
        for inode in inodes:
            holder = next(found for found in list_netns_holders(inode) if found.startswith("/proc/"))
            stack.enter_context(Path(holder, "ns/net").open("rb"))
        yield


def load_forwarding() -> str:
    """``net.ipv4.ip_forward`` of the machine."""
    return Path("/proc/sys/net/ipv4/ip_forward").read_text(encoding="ascii").strip()


def has_bridges() -> bool:
    """Whether any instance has bridges on this machine, which need forwarding."""
    return any(is_bridge_name(link.name) for link in Path("/sys/class/net").iterdir())


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _run(*argv: str) -> None:
    """Best effort: what is not there is gone already."""
    subprocess.run(argv, check=False, capture_output=True)
