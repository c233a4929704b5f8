"""Network instance info → the node's entry in Network.status."""

from __future__ import annotations

from eaves.controller.observe.conditions import (
    FALSE,
    TRUE,
    Fact,
    Status,
    compact,
    plan_update,
    set_conditions,
    status_of,
)
from eaves.controller.observe.model import DeviceObjects, EventNote, EventType, StatusUpdate
from eaves.controller.observe.pieces import hindrances_of
from eaves.wire.pb.info import info_pb2
from eaves.wire.pb.info.info_pb2 import ZInfoNetworkInstance

_STATES = {
    info_pb2.ZNETINST_STATE_ONLINE: "Online",
    info_pb2.ZNETINST_STATE_ERROR: "Error",
    info_pb2.ZNETINST_STATE_INIT: "Pending",
}


def observe_network(objects: DeviceObjects, info: ZInfoNetworkInstance, now: float) -> list[StatusUpdate]:
    """The network on one node; the last word about one that is gone takes the node's entry away."""
    network = next((network for network in objects.networks if network["metadata"]["uid"] == info.networkID), None)
    if network is None:
        return []
    node_name = objects.edgenode["metadata"]["name"]
    status = status_of(network)
    others = [entry for entry in status.get("nodes") or () if entry.get("nodeName") != node_name]
    old: Status = next((entry for entry in status.get("nodes") or () if entry.get("nodeName") == node_name), {})
    events: list[EventNote] = []
    is_gone = not info.displayname and not info.networkVersion and not info.activated and not info.networkErr
    if not is_gone:
        fault = hindrances_of(info.networkErr)
        state = "Error" if fault and info.state != info_pb2.ZNETINST_STATE_ONLINE else _state(info)
        others.append(
            compact(
                nodeName=node_name,
                state=state,
                bridge=info.bridgeName,
                ports=sorted(info.ports),
                routes=sorted(
                    " ".join(
                        filter(
                            None,
                            (
                                route.destination_network,
                                f"via {route.gateway}" if route.gateway else "",
                                f"by {route.port}" if route.port else "",
                            ),
                        )
                    )
                    for route in info.ip_routes
                ),
                addresses=len(info.ipAssignments),
                message=fault,
                spanningTree=_observe_tree(info) if info.eaves.ports else None,
            )
        )
        if fault and old.get("message") != fault:
            events.append(EventNote(EventType.WARNING, "NetworkFailed", f"on node {node_name}: {fault}"))
    status["nodes"] = sorted(others, key=lambda entry: str(entry["nodeName"]))
    status["observedGeneration"] = network["metadata"].get("generation", 0)
    set_conditions(status, [_ready(status)], now)
    update = plan_update(network, status, events)
    return [] if update is None else [update]


def _observe_tree(info: ZInfoNetworkInstance) -> Status:
    tree = info.eaves
    ports = {port.name: compact(name=port.name, role=port.role, state=port.state) for port in tree.ports if port.name}
    return compact(
        rootBridge=tree.root_bridge,
        isRoot=tree.is_root,
        topologyChanges=tree.topology_changes,
        ports=[ports[name] for name in sorted(ports)],
    )


def _state(info: ZInfoNetworkInstance) -> str:
    if info.state in _STATES:
        return _STATES[info.state]
    return "Online" if info.activated else "Pending"


def _ready(status: Status) -> Fact:
    """Ready when every node that uses the network has it."""
    failed = [entry for entry in status["nodes"] if entry.get("state") != "Online"]
    if failed:
        names = ", ".join(str(entry["nodeName"]) for entry in failed)
        cause = next((f": {entry['message']}" for entry in failed if entry.get("message")), "")
        return Fact("Ready", FALSE, "NotOnline", f"not online on {names}{cause}")
    return Fact("Ready", TRUE, "Online", "" if status["nodes"] else "no node uses it at the moment")
