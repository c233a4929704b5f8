"""What a device says of a virtual machine → ``status.vm`` and the conditions that only machines have.

Words of the guest come from a system that nobody vouches for: they are cut and cleaned before anybody's terminal sees them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from eaves.controller.observe.conditions import FALSE, TRUE, Fact, Status, compact
from eaves.kinds import app as app_kind
from eaves.kinds.app_spec import AppType, vm_of
from eaves.kinds.app_status import AppStatus, RootDiskStatus
from eaves.kinds.vm_rules import explain_small_root
from eaves.kube.quantity import parse_bytes, render_bytes
from eaves.kube.resource import Object
from eaves.wire.pb.eaves.extension_pb2 import VmInfo

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_TEXT_LIMIT = 256
_MOST_INTERFACES = 32
_MOST_ADDRESSES = 32


def is_machine(app: Object) -> bool:
    return (app.get("spec") or {}).get("type") == AppType.VIRTUAL_MACHINE


def noun_of(app: Object) -> str:
    """What people call the workload."""
    return "virtual machine" if is_machine(app) else "container"


def vm_status(info: VmInfo) -> dict[str, Any]:
    """``status.vm``; empty fields are left out."""
    return compact(
        accelerator=_clean(info.accelerator),
        firmware=_clean(info.firmware),
        machine=_clean(info.machine),
        vtpm=info.vtpm or None,
        serialConsole=info.serial_console or None,
        vnc=info.vnc or None,
        pausedReason=_clean(info.paused_reason),
        note=_clean(info.note),
        guest=compact(
            agent=_clean(info.guest_agent),
            os=_clean(info.guest_os),
            hostname=_clean(info.guest_hostname),
            interfaces=_interfaces(info),
        ),
    )


def _interfaces(info: VmInfo) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for interface in info.guest_interfaces[:_MOST_INTERFACES]:
        name = _clean(interface.name)
        if name:
            addresses = [_clean(address) for address in interface.addresses[:_MOST_ADDRESSES]]
            found.setdefault(
                name,
                compact(
                    name=name,
                    macAddress=_clean(interface.mac_address),
                    addresses=sorted(address for address in addresses if address),
                ),
            )
    return [found[name] for name in sorted(found)]


def vm_facts(info: VmInfo, *, is_running: bool) -> Iterator[Fact]:
    """AgentConnected, as far as there is a channel, and Paused."""
    if not is_running:
        return
    if info.guest_agent == "Connected":
        yield Fact("AgentConnected", TRUE, "Connected", "the guest's agent answers")
    elif info.guest_agent == "NotSeen":
        text = "the guest's agent has not answered; install qemu-guest-agent in the guest to see its addresses"
        yield Fact("AgentConnected", FALSE, "NotSeen", text)
    if info.paused_reason:
        yield Fact("Paused", TRUE, "Paused", _clean(info.paused_reason))
    else:
        yield Fact("Paused", FALSE, "Runs", "")


def root_disk_facts(app: Object, status: Status) -> Iterator[Fact]:
    """RootDiskSized, where a size is asked for and the node has told of the disk."""
    disk = status.get("rootDisk") or {}
    if disk.get("image") != (app.get("spec") or {}).get("image"):
        return
    try:
        spec = app_kind.decode(app).spec
    except msgspec.ValidationError:
        return
    asked = vm_of(spec).root_disk.size
    if asked is None:
        return
    told = AppStatus(root_disk=msgspec.convert(disk, RootDiskStatus))
    if text := explain_small_root(spec, told):
        yield Fact("RootDiskSized", FALSE, "ImageLarger", f"spec.vm.rootDisk.size: {text}")
    elif parse_bytes(disk["size"]) < parse_bytes(asked):
        yield Fact("RootDiskSized", FALSE, "NotGrown", f"the disk has {render_bytes(parse_bytes(disk['size']))} so far")
    else:
        yield Fact("RootDiskSized", TRUE, "AsAsked", "")


def _clean(text: str) -> str:
    return _CONTROL.sub("", text)[:_TEXT_LIMIT].strip()
