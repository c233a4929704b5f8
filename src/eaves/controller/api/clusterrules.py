"""What a K3sCluster clashes with: nodes that another cluster has, an API address outside the subnet of its members."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Address, IPv4Interface

from eaves.kinds.k3scluster import named_nodes
from eaves.kube.errors import CauseType, FieldError
from eaves.kube.resource import Object


def find_taken_nodes(new: Object, others: Sequence[Object]) -> Iterator[FieldError]:
    """Nodes that the spec names and another cluster names or has. A node is a member of one cluster at most."""
    taken: dict[str, str] = {}
    for other in others:
        name = f"{other['metadata']['namespace']}/{other['metadata']['name']}"
        members = (str(member.get("nodeName", "")) for member in (other.get("status") or {}).get("members") or ())
        for node in (*named_nodes(other.get("spec") or {}), *members):
            taken.setdefault(node, name)
    for node, path in named_nodes(new["spec"]).items():
        if (owner := taken.get(node)) is not None:
            detail = f"the node is a member of K3sCluster {owner}, and a node has one cluster; take it out there first"
            yield FieldError(path, CauseType.INVALID, detail, node)


def find_address_faults(new: Object, nodes: Mapping[str, Object]) -> Iterator[FieldError]:
    """The shared address against the static addresses of the named nodes' interfaces; what comes by DHCP is judged by the node."""
    text = new["spec"].get("apiAddress")
    if not text:
        return
    interface = new["spec"].get("clusterInterface")
    found = [address for node in nodes.values() for address in _static_addresses(node, interface)]
    address = IPv4Address(text)
    if any(address == entry.ip for entry in found):
        yield FieldError(
            "spec.apiAddress", CauseType.INVALID, "is the address of a member; take one that nobody has", text
        )
    elif found and not any(address in entry.network for entry in found):
        shown = ", ".join(sorted({str(entry.network) for entry in found}))
        detail = f"must be in the subnet of the members' interfaces ({shown})"
        yield FieldError("spec.apiAddress", CauseType.INVALID, detail, text)


def _static_addresses(node: Object, interface: str | None) -> Iterator[IPv4Interface]:
    for uplink in (node.get("spec") or {}).get("uplinks") or ():
        if not interface or uplink.get("name") == interface:
            for text in uplink.get("addresses") or ():
                yield IPv4Interface(text)
