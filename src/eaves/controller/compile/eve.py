"""What an EVE device needs to be told that an Eaves node finds out by itself: numbers of screens, order of interfaces, kinds of devices.

As pillar reads it (cmd/zedagent/parseconfig.go, hypervisor/kvm.go): a machine's screen is at port 5900 plus its number, zero when none
is given, so that a second machine could not start; and without enforced order, interfaces come in the order of the ids of their first
rules.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from ipaddress import ip_address

from eaves.controller.compile.errors import HeldBackError
from eaves.controller.compile.hardware import type_of
from eaves.kinds.app import App
from eaves.kinds.edgenode import EdgeNode
from eaves.kinds.hardwaremodel import HardwareModel
from eaves.wire.pb.config.appconfig_pb2 import AppInstanceConfig
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.config.netinst_pb2 import IPV4, NetworkInstanceConfig
from eaves.wire.pb.evecommon.devmodelcommon_pb2 import PhyIoType

_TOLD = 5
"""Apps of many that a message names."""
LAST_DISPLAY = 99
"""EVE opens ports 5900 to 5999."""


class Displays:
    """Numbers of screens: an app keeps the one of the config before, since another means a restart."""

    def __init__(self, previous: EdgeDevConfig | None) -> None:
        apps = previous.apps if previous is not None else ()
        self._kept = {
            app.uuidandversion.uuid: app.fixedresources.vncDisplay for app in apps if app.fixedresources.enable_vnc
        }
        self._taken = set(self._kept.values())
        self._used: set[int] = set()

    def take(self, app_id: str) -> int:
        """The app's number. Beyond a hundred screens numbers are shared."""
        number = self._kept.get(app_id)
        if number is None or number in self._used:
            number = int.from_bytes(hashlib.sha256(app_id.encode()).digest()[:4]) % LAST_DISPLAY + 1
            for _ in range(LAST_DISPLAY):
                if number not in self._taken and number not in self._used:
                    break
                number = number % LAST_DISPLAY + 1
        self._used.add(number)
        return number


def fit_network(instance: NetworkInstanceConfig) -> list[str]:
    """Takes out what makes EVE refuse a whole network: resolvers of another family than its subnet (it has no IPv6 on local networks), and
    probes of a host that is named, not addressed. Answers the names of those hosts, which operators are to be told.
    """
    if instance.ipType == IPV4:
        usable = [server for server in instance.ip.dns if ":" not in server]
        del instance.ip.dns[:]
        instance.ip.dns.extend(usable)
    named = []
    for route in instance.static_routes:
        host = route.probe.custom_probe.probe_endpoint.host
        if host and not _is_address(host):
            route.probe.ClearField("custom_probe")
            named.append(host)
    return named


def list_device_types(model: HardwareModel) -> dict[str, PhyIoType.ValueType]:
    """Group → kind of the devices in it."""
    return {device.group: type_of(device) for device in model.spec.devices if device.group}


def order_interfaces(config: AppInstanceConfig, device_types: Mapping[str, PhyIoType.ValueType]) -> None:
    """Networks as written, then devices."""
    for number, adapter in enumerate(config.adapters):
        adapter.type = device_types.get(adapter.name, adapter.type)
        adapter.interface_order = len(config.interfaces) + number
    if len(config.interfaces) + len(config.adapters) > 1:
        config.fixedresources.enforce_network_interface_order = True


def check_apps(node: EdgeNode, apps: Sequence[App]) -> None:
    """Raises :class:`HeldBackError` for an EVE device with apps that is to become a member.

    For clusters of this type EVE takes away what runs them and keeps their volumes: KubeVirt, CDI and Longhorn (kube-init's
    components/uninstall.go).
    """
    if apps:
        names = ", ".join(f"{app.metadata.namespace}/{app.metadata.name}" for app in apps[:_TOLD])
        more = f" and {len(apps) - _TOLD} more" if len(apps) > _TOLD else ""
        text = (
            f"node {node.metadata.name} runs EVE, which loses its Apps and their volumes when it becomes a member: {names}{more};"
            " take them off the node first"
        )
        raise HeldBackError("AppsWouldBeLost", text)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
