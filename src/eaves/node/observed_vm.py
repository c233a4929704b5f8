"""What the node sees of a virtual machine beyond what every app has: the part of ``observed.AppStatus`` that containers lack.

Never filled from desired state: what was not seen stays empty.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Accelerator(StrEnum):
    KVM = "KVM"
    TCG = "TCG"


class AgentState(StrEnum):
    """The QEMU guest agent: it answers, it never did, or there is no channel for it."""

    CONNECTED = "Connected"
    NOT_SEEN = "NotSeen"
    DISABLED = "Disabled"


class GuestInterface(Struct, frozen=True):
    """What the guest's agent tells of one interface; loopback is left out."""

    name: str
    mac: str = ""
    addresses: tuple[str, ...] = ()


class VmStatus(Struct, frozen=True):
    """A virtual machine that runs."""

    accelerator: Accelerator
    firmware: str = ""
    """BIOS or UEFI."""
    machine: str = ""
    has_vtpm: bool = False
    has_serial_console: bool = False
    """There is one to open."""
    has_vnc: bool = False
    """There is a screen to open."""
    agent: AgentState = AgentState.DISABLED
    guest_os: str = ""
    guest_hostname: str = ""
    guest_interfaces: tuple[GuestInterface, ...] = ()
    paused_reason: str = ""
    """Why it stands still while it should run, for people; empty = it does not."""
    note: str = ""
    """What the operator should know, such as why there is no KVM."""


class SnapshotState(StrEnum):
    WAITING = "Waiting"
    """For the app to stop for an update, or for its first start."""
    CREATING = "Creating"
    READY = "Ready"
    ROLLING_BACK = "RollingBack"
    DELETING = "Deleting"
    FAILED = "Failed"


class SnapshotStatus(Struct, frozen=True):
    """One snapshot of an app."""

    id: str
    state: SnapshotState
    created_at: float = 0.0
    """Unix seconds, 0 = not yet."""
    size_bytes: int = 0
    with_memory: bool = False
    is_immediate: bool = True
    """False: taken when the app stops for an update."""
    app_version: str = ""
    """Version of the app's config that the snapshot belongs to."""
    error: str = ""
    """Why it is not there, for people, with what to do next."""
    error_at: float = 0.0
