"""A HardwareModel from the devices that a node reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from eaves.cli.kubectl import Kubectl
from eaves.kit.errors import EavesError

EXAMPLES = """Examples:

\b
  kubectl eaves model-from-node store-17 > box.yaml
  kubectl eaves model-from-node store-17 --name acme-box-2 | kubectl apply -f -
  kubectl patch edgenode store-17 --type merge -p '{"spec":{"model":"acme-box-2"}}'
"""

_PORTS = ("Ethernet", "WiFi", "Cellular")
_PREFIXES = {
    "Ethernet": "eth",
    "WiFi": "wlan",
    "Cellular": "wwan",
    "USBController": "usb",
    "USBDevice": "usb-device",
    "Serial": "com",
    "CAN": "can",
    "Audio": "audio",
    "Display": "display",
    "NVMe": "nvme",
    "SATA": "sata",
    "Other": "device",
}
_KNOWN_BY = ("pciAddress", "usbAddress", "serialDevice", "interface")


def load_model(kubectl: Kubectl, node: str, name: str) -> str:
    """The model as YAML. Raises EavesError when the node has not told its devices."""
    found = kubectl.get("edgenode", node)
    status = found.get("status", {})
    devices = status.get("devices", [])
    if not devices:
        raise EavesError(
            f"edgenode/{node} has not reported its devices",
            resolution=f"wait for its first report: kubectl wait --for=condition=Ready edgenode/{node}",
        )
    return render_model(name or f"{node}-model", status.get("inventory", {}), devices, find_uplinks(status))


def find_uplinks(status: Mapping[str, Any]) -> frozenset[str]:
    """Interfaces by which the node reaches the controller: they stay with it."""
    return frozenset(port.get("interface", "") for port in status.get("ports", []) if port.get("management"))


def render_model(
    name: str, inventory: Mapping[str, Any], devices: Sequence[Mapping[str, Any]], uplinks: frozenset[str]
) -> str:
    """Names count by type in the order of addresses; what shares an IOMMU group shares an assignment group."""
    spec: dict[str, Any] = {key: inventory[key] for key in ("manufacturer", "product") if inventory.get(key)}
    spec["devices"] = list(_name_devices(sorted(devices, key=_address), uplinks))
    model = {"apiVersion": "eaves.dev/v1alpha1", "kind": "HardwareModel", "metadata": {"name": name}, "spec": spec}
    return yaml.safe_dump(model, sort_keys=False)


def _name_devices(devices: Sequence[Mapping[str, Any]], uplinks: frozenset[str]) -> Iterator[dict[str, Any]]:
    sharing = Counter(device.get("iommuGroup", "") for device in devices)
    numbers: Counter[str] = Counter()
    for device in devices:
        kind = str(device["type"])
        prefix = _PREFIXES.get(kind, "device")
        # Serial lines and USB devices count from 1, as they are printed on boxes; ports from 0, as Linux counts.
        first = 0 if kind in (*_PORTS, "CAN") else 1
        name = f"{prefix}{numbers[prefix] + first}"
        numbers[prefix] += 1
        entry: dict[str, Any] = {"name": name, "type": kind}
        if device.get("interface") in uplinks:
            entry["usage"] = "ManagementAndApps"
        else:
            iommu = device.get("iommuGroup", "")
            entry["group"] = f"iommu{iommu}" if iommu and sharing[iommu] > 1 else name
        entry |= {key: device[key] for key in _KNOWN_BY if device.get(key)}
        yield entry


def _address(device: Mapping[str, Any]) -> tuple[int, str]:
    for rank, key in enumerate(_KNOWN_BY):
        if device.get(key):
            return rank, str(device[key])
    return len(_KNOWN_BY), ""
