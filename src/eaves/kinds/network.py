"""Network: a network instance that apps attach to, made on each node where one of them runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Struct

from eaves.kinds import rules
from eaves.kinds.columns import at, count
from eaves.kinds.fields import Conditions, about, keyed
from eaves.kinds.metadata import ObjectMeta
from eaves.kinds.network_rules import check_spec
from eaves.kinds.network_spec import NetworkSpec
from eaves.kinds.network_spec import NetworkType as NetworkType
from eaves.kinds.serving import eaves_resource
from eaves.kube.errors import FieldError
from eaves.kube.resource import Column, Object


class SpanningTreePort(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A port of a switch in its spanning tree."""

    name: Annotated[str, about("Label of the port.")]
    role: Annotated[str, about("Root, Designated, Alternate, Backup or Disabled.")] = ""
    state: Annotated[str, about("Discarding, Learning or Forwarding.")] = ""


class SpanningTree(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What keeps a switch of several ports without loops (RSTP)."""

    root_bridge: Annotated[str, about("Identifier of the root: priority and hardware address.")] = ""
    is_root: Annotated[bool, about("The node is the root itself.")] = False
    topology_changes: Annotated[int, about("How often the addresses learnt at a port were forgotten.")] = 0
    ports: Annotated[list[SpanningTreePort], keyed("name", description="Its ports.")] = []


class NetworkOnNode(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """The network on one node."""

    node_name: Annotated[str, about("The node.")]
    state: Annotated[str, about("Pending, Online or Error.")] = ""
    bridge: Annotated[str, about("Linux bridge.")] = ""
    ports: Annotated[list[str], about("Ports in use: the chosen uplink, or the ports of a switch.")] = []
    routes: Annotated[list[str], about("Routes in use, as: destination via gateway by port.")] = []
    addresses: Annotated[int, about("How many app interfaces have an address.")] = 0
    message: Annotated[str, about("What is wrong.")] = ""
    spanning_tree: Annotated[SpanningTree | None, about("Of a switch of several ports.")] = None


class NetworkStatus(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Where the network is up."""

    conditions: Conditions = []
    nodes: Annotated[list[NetworkOnNode], keyed("nodeName", description="State on each node that uses it.")] = []
    observed_generation: Annotated[int, about("Generation of the spec that was seen.")] = 0


class Network(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """A network for apps."""

    api_version: Annotated[str, about("Version of the schema of this object.")] = ""
    kind: Annotated[str, about("Kind of this object.")] = ""
    metadata: ObjectMeta = ObjectMeta()
    spec: NetworkSpec = NetworkSpec()
    status: NetworkStatus = NetworkStatus()


def decode(obj: Object) -> Network:
    """Typed view of a stored object. Raises ``msgspec.ValidationError`` when it does not fit the schema."""
    return msgspec.convert(obj, Network)


def check_network(new: Object, old: Object | None) -> Sequence[FieldError]:
    """Every fault of a Network, and of a change of one."""
    spec = msgspec.convert(new.get("spec") or {}, NetworkSpec)
    faults = [*rules.check_own_name(new), *check_spec(spec)]
    if old is not None:
        before = msgspec.convert(old.get("spec") or {}, NetworkSpec)
        faults.extend(rules.check_immutable("spec.type", str(spec.type), str(before.type)))
    return faults


RESOURCE = eaves_resource(
    Network,
    "networks",
    namespaced=True,
    short_names=("net",),
    columns=(
        Column("Type", "string", at("spec.type"), "Local or Switch."),
        Column("Subnet", "string", at("spec.subnet"), "IPv4 subnet."),
        Column("Uplink", "string", at("spec.uplink.label", "uplink"), "Way to the world."),
        Column("Nodes", "integer", count("status.nodes"), "Nodes that use it."),
    ),
    validate=check_network,
)
