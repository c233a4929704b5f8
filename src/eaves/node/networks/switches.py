"""Carries out the steps for switches: their bridges, the host interfaces they take, VLANs. Called by ``apply``."""

from __future__ import annotations

import asyncio
from pathlib import Path

from eaves.kit import process
from eaves.node.networks import addressing, plan
from eaves.node.networks.errors import NetworkError
from eaves.node.networks.iproute import remove_link, run_batch
from eaves.node.networks.observe import LLDP_MASK

_SHUT = "locked on learning off flood off mcast_flood off bcast_flood off"
_OPEN = "locked off learning on flood on mcast_flood on bcast_flood on"


async def make_switch(step: plan.MakeSwitch) -> None:
    """Raises NetworkError."""
    switch = step.switch
    if not step.exists:
        await remove_link(switch.link)
    mac = addressing.derive_mac(switch.network_id, switch.link, "bridge")
    made = [] if step.exists else [f"link add {switch.link} type bridge"]
    await run_batch([*made, f"link set dev {switch.link} address {mac} mtu {switch.mtu}"])
    await asyncio.to_thread(_silence, switch.link)
    if switch.has_vlans or step.exists:
        await _set_filtering(switch.link, is_on=switch.has_vlans)
    await run_batch(
        [
            *(f"addr del {address} dev {switch.link}" for address in step.stale_addresses),
            # The kernel's own spanning tree is off: it is the one of 1998, and lets nobody else set a port's state. No delay before.
            f"link set dev {switch.link} type bridge stp_state 0",
            f"link set dev {switch.link} type bridge forward_delay 0"
            f" group_fwd_mask {LLDP_MASK if switch.forwards_lldp else 0:#x}",
            f"link set dev {switch.link} up",
            f"link set dev {switch.link} alias {switch.network_id}",
        ]
    )


async def take_port(step: plan.TakePort) -> None:
    """Raises NetworkError.

    A port of a switch with a spanning tree joins while it is down and shut, and the tree opens it: the kernel would open it at once.
    """
    name = step.port.interface
    flags = _SHUT if step.has_tree and step.is_new else _OPEN if step.is_locked else ""
    await run_batch(
        [
            *([f"link set dev {name} down"] if flags else []),
            f"link set dev {name} master {step.switch}",
            *([f"link set dev {name} type bridge_slave {flags}"] if flags else []),
            f"link set dev {name} up",
        ]
    )


async def release_port(interface: str, *, was_down: bool) -> None:
    """The interface may be gone meanwhile, a pulled USB adapter for one; that is no error."""
    down = f"link set dev {interface} down\n" if was_down else ""
    batch = f"link set dev {interface} nomaster\n{down}"
    await process.run(["ip", "-force", "-batch", "-"], stdin=batch.encode(), timeout_s=20, check=False)


async def set_vlans(step: plan.SetVlans) -> None:
    """Raises NetworkError."""
    lines = [f"vlan del dev {step.link} vid {_render_range(first, last)}" for first, last, _ in step.remove]
    lines += [
        f"vlan add dev {step.link} vid {_render_range(first, last)}{' pvid untagged' if untagged else ''}"
        for first, last, untagged in step.add
    ]
    batch = "".join(f"{line}\n" for line in lines)
    try:
        await process.run(["bridge", "-batch", "-"], stdin=batch.encode(), timeout_s=20)
    except process.ProcessError as error:
        raise NetworkError(f"the VLANs of {step.link} cannot be set", details=error.details) from error


async def _set_filtering(link: str, *, is_on: bool) -> None:
    try:
        await run_batch([f"link set dev {link} type bridge vlan_filtering {int(is_on)}"])
    except NetworkError as error:
        if not is_on:
            return  # A kernel without VLANs cannot turn off what it does not have.
        raise NetworkError(
            "this machine's kernel cannot keep the VLANs of a bridge apart",
            code="VlanUnsupported",
            details=error.details,
            resolution="use a kernel with CONFIG_BRIDGE_VLAN_FILTERING, as Debian's, or a switch without VLANs",
        ) from error


def _silence(link: str) -> None:
    """The node is no part of the network: it has no address there, not even a link-local one."""
    path = Path("/proc/sys/net/ipv6/conf") / link / "disable_ipv6"
    if path.exists():
        path.write_text("1")


def _render_range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
