"""What is known of a virtual machine: the Structs of ``status.vm`` of an App."""

from __future__ import annotations

from typing import Annotated

from msgspec import Struct

from eaves.kinds.fields import about, keyed


class GuestInterface(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What the guest's agent tells of one interface."""

    name: Annotated[str, about("Name in the guest.")]
    mac_address: Annotated[str, about("Hardware address.")] = ""
    addresses: Annotated[list[str], about("IP addresses.")] = []


class GuestStatus(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What the QEMU guest agent tells; the guest's own words."""

    agent: Annotated[str, about("Connected, NotSeen or Disabled.")] = ""
    os: Annotated[str, about("Operating system.")] = ""
    hostname: Annotated[str, about("Host name.")] = ""
    interfaces: Annotated[list[GuestInterface], keyed("name", description="Network interfaces.")] = []


class VmStatus(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """The machine as it runs."""

    accelerator: Annotated[str, about("KVM, or TCG where the node cannot virtualise: many times slower.")] = ""
    firmware: Annotated[str, about("UEFI or BIOS.")] = ""
    machine: Annotated[str, about("QEMU machine type.")] = ""
    vtpm: Annotated[bool, about("Whether it has a TPM.")] = False
    serial_console: Annotated[bool, about("Whether kubectl eaves console opens one.")] = False
    vnc: Annotated[bool, about("Whether kubectl eaves vnc shows its screen.")] = False
    paused_reason: Annotated[str, about("Why it stands still while it should run.")] = ""
    note: Annotated[str, about("What the operator should know.")] = ""
    guest: Annotated[GuestStatus | None, about("What the guest tells.")] = None
