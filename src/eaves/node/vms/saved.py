"""What is kept of a machine that is to go on later: the files in one folder, and whether this node can go on from them. Pure.

``memory`` is QEMU's migration stream: memory, processors, devices, TPM and firmware variables. ``machine.json`` says what it is the
state of. Firmware variables and TPM lie beside it once more, for a start without the memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from msgspec import Struct

from eaves.node.vms.model import VmHost, VmSpec

MEMORY = "memory"
MACHINE = "machine.json"
NVRAM = "nvram.qcow2"
TPM = "tpm"
SUSPENDED = "suspended"
"""Folder of a suspended machine, beside its root disk like those of snapshots; no snapshot has such an id."""
RESUME = "resume.json"
"""Name of the file, among what outlives reboots, that says that the machine's next start goes on from somewhere."""
WAITING = ("-S", "-incoming", "defer")
"""QEMU starts without running, and waits to be told what to load."""


class DiskMark(Struct, frozen=True):
    """A disk's file as it was left: nobody has written to it since while it is the same."""

    size_bytes: int
    mtime_ns: int


class SavedMachine(Struct, frozen=True):
    """``argv`` is how the machine was started, with a machine type that later versions of QEMU make in the same way.

    ``disks``: those that must be as they were left, by path; empty where they go back to a snapshot of the same moment.
    """

    digest: str
    argv: tuple[str, ...]
    qemu_version: tuple[int, ...]
    accelerator: str
    disks: Mapping[str, DiskMark] = {}


class Origin(StrEnum):
    SNAPSHOT = "Snapshot"
    SUSPENSION = "Suspension"


class Resume(Struct, frozen=True):
    """An order to go on from ``folder`` at the next start, once. ``root`` is the root disk's identity, as in the spec."""

    folder: str
    origin: Origin
    root: str


def want_argv(running: Sequence[str], machine: str) -> tuple[str, ...]:
    """How to start the machine that was started by ``running`` and is of type ``machine`` (as QEMU names it, with its version)."""
    argv = list(running)
    if tuple(argv[-len(WAITING) :]) == WAITING:
        del argv[-len(WAITING) :]
    place = argv.index("-machine") + 1
    _, comma, rest = argv[place].partition(",")
    argv[place] = f"{machine}{comma}{rest}"
    return tuple(argv)


def parse_machine(type_name: str) -> str:
    """``pc-q35-7.2-machine`` → ``pc-q35-7.2``."""
    return type_name.removesuffix("-machine")


def find_obstacle(saved: SavedMachine, spec: VmSpec, host: VmHost, disks: Mapping[str, DiskMark]) -> str:
    """Why the machine cannot go on from there, for people; empty when it can be tried. ``disks``: as they are now."""
    if saved.digest != spec.digest:
        return "the app was changed since, and memory fits the same machine alone"
    if saved.accelerator != host.accelerator:
        return f"it ran with {saved.accelerator} then, and this node has {host.accelerator} now"
    if saved.qemu_version > host.qemu_version:
        then, now = (".".join(map(str, version)) for version in (saved.qemu_version, host.qemu_version))
        return f"it was saved by QEMU {then}, and this node has {now} now"
    if saved.argv[:1] != (host.qemu,):
        return "QEMU is another program now"
    if changed := next((path for path, mark in saved.disks.items() if disks.get(path) != mark), None):
        return f"its disk {changed.rpartition('/')[2]} was changed since"
    return ""
