"""What a config says of ports, routes and probes. Part of the desired state; see :mod:`eaves.node.desired.model`."""

from __future__ import annotations

from msgspec import Struct


class DesiredPort(Struct, frozen=True):
    """A port of the node by the labels that networks use. ``cost`` 0 is free, 255 dearest.

    ``is_uplink``: one that the node itself may use to reach its controller.
    """

    label: str
    interface: str
    cost: int = 0
    shared_labels: tuple[str, ...] = ()
    is_uplink: bool = True


class Probe(Struct, frozen=True):
    """How to tell that a port leads to where it should. Nothing set = a link, an address and a gateway are enough.

    ``ping_max_cost``: gateways of dearer ports are not pinged. ``host``: an address or name that must answer, by TCP at ``port`` or,
    when that is 0, by ICMP.
    """

    ping_gateway: bool = False
    ping_max_cost: int = 0
    host: str = ""
    port: int = 0


class DesiredRoute(Struct, frozen=True):
    """A way for the packets of a network's apps: by a ``gateway``, or by the best port that bears ``port_label``."""

    destination: str
    """CIDR, host bits cleared."""
    gateway: str = ""
    port_label: str = ""
    probe: Probe = Probe()
    prefer_lower_cost: bool = True


class AccessPort(Struct, frozen=True):
    """A port of a switch that carries one VLAN untagged."""

    label: str
    vlan: int
