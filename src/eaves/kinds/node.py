"""v1 Node: a view of an EdgeNode, so that ``kubectl get nodes``, ``describe``, ``label``, ``taint`` and ``cordon`` work.

Nothing is stored: :func:`project_node` makes the Node, :func:`unproject_node` carries what an operator may change back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Struct, field

from eaves.kinds.columns import at, get
from eaves.kinds.edgenode import check_taints
from eaves.kinds.fields import NodeAddress, Quantity, Taint, Time, about, merging
from eaves.kinds.serving import core_resource, text_at
from eaves.kinds.times import render_time
from eaves.kube.errors import FieldError
from eaves.kube.resource import ALL_VERBS, Column, Object, Subresource, Verb
from eaves.kube.tables import age_column, name_column

ROLE_LABEL = "node-role.kubernetes.io/"
UNSCHEDULABLE_TAINT = "node.kubernetes.io/unschedulable"
_NATIVE_CONDITIONS = ("MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable", "Ready")


class NodeSpec(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What the node is asked to be."""

    pod_cidr: Annotated[str, about("Not used.")] = field(name="podCIDR", default="")
    provider_id: Annotated[str, about("The device, as eaves://UUID.")] = field(name="providerID", default="")
    unschedulable: Annotated[bool, about("No new app is placed here.")] = False
    taints: Annotated[list[Taint], about("Keep workloads away that do not tolerate them.")] = []


class NodeCondition(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """One aspect of the node's state."""

    type: Annotated[str, about("What it is about.")]
    status: Annotated[str, about("True, False or Unknown.")]
    last_heartbeat_time: Annotated[Time | None, about("When it was last heard.")] = None
    last_transition_time: Annotated[Time | None, about("When status last changed.")] = None
    reason: Annotated[str, about("Why, as one word.")] = ""
    message: Annotated[str, about("Why, for people.")] = ""


class DaemonEndpoint(Struct, frozen=True, kw_only=True):
    """A port of a daemon."""

    Port: Annotated[int, about("Port number; 0 = the controller reaches the node by the node's own connection.")] = 0


class DaemonEndpoints(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Ports of the node's daemons."""

    kubelet_endpoint: Annotated[DaemonEndpoint | None, about("Not used.")] = None


class NodeSystemInfo(Struct, frozen=True, rename="camel", kw_only=True):
    """What hardware and software the node is."""

    machine_id: Annotated[str, about("UUID of the device.")] = field(name="machineID")
    system_uuid: Annotated[str, about("UUID of the device.")] = field(name="systemUUID")
    boot_id: Annotated[str, about("Changes with each boot.")] = field(name="bootID")
    kernel_version: Annotated[str, about("Kernel release.")]
    os_image: Annotated[str, about("Operating system.")]
    container_runtime_version: Annotated[str, about("Container engine.")]
    kubelet_version: Annotated[str, about("Version of the node's daemon.")]
    kube_proxy_version: Annotated[str, about("Not used.")]
    operating_system: Annotated[str, about("linux.")]
    architecture: Annotated[str, about("amd64, arm64 …")]


class NodeStatus(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """What is known of the node."""

    capacity: Annotated[dict[str, Quantity], about("What it has.")] = {}
    allocatable: Annotated[dict[str, Quantity], about("What apps may use.")] = {}
    phase: Annotated[str, about("Not used.")] = ""
    conditions: Annotated[list[NodeCondition], merging("type", "Aspects of its state.")] = []
    addresses: Annotated[list[NodeAddress], merging("type", "Names and addresses.")] = []
    daemon_endpoints: Annotated[DaemonEndpoints | None, about("Ports of its daemons.")] = None
    node_info: Annotated[NodeSystemInfo | None, about("What hardware and software it is.")] = None


class Node(Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    """Node is a view of an EdgeNode: labels, annotations, taints and unschedulable can be changed here, all else there."""

    spec: Annotated[NodeSpec, about("What it is asked to be.")] = NodeSpec()
    status: Annotated[NodeStatus, about("What is known of it.")] = NodeStatus()


def _own_labels(edgenode: Object) -> dict[str, str]:
    """Labels that every node has by what it is."""
    architecture = get(edgenode, ["status", "inventory", "architecture"])
    labels = {
        "kubernetes.io/hostname": edgenode["metadata"]["name"],
        "kubernetes.io/os": "linux",
        f"{ROLE_LABEL}edge": "",
    }
    if architecture:
        labels["kubernetes.io/arch"] = architecture
    return labels


def project_node(edgenode: Object, now: float) -> Object:
    """The Node of an EdgeNode. ``now`` (Unix seconds) is the heartbeat of a node in contact."""
    source = edgenode["metadata"]
    metadata: Object = {
        "name": source["name"],
        "uid": source["uid"],
        "resourceVersion": source.get("resourceVersion", ""),
        "creationTimestamp": source.get("creationTimestamp"),
        "labels": {**(source.get("labels") or {}), **_own_labels(edgenode)},
    }
    for name in ("annotations", "deletionTimestamp", "deletionGracePeriodSeconds", "finalizers"):
        if source.get(name):
            metadata[name] = source[name]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": metadata,
        "spec": _project_spec(edgenode),
        "status": _project_status(edgenode, now),
    }


def _project_spec(edgenode: Object) -> Object:
    source = edgenode.get("spec") or {}
    spec: Object = {"providerID": f"eaves://{edgenode['metadata']['uid']}"}
    taints = list(source.get("taints") or [])
    if source.get("unschedulable"):
        spec["unschedulable"] = True
        taints.append({"key": UNSCHEDULABLE_TAINT, "effect": "NoSchedule"})
    if taints:
        spec["taints"] = taints
    return spec


def _project_status(edgenode: Object, now: float) -> Object:
    source = edgenode.get("status") or {}
    versions, inventory = source.get("versions") or {}, source.get("inventory") or {}
    uid = edgenode["metadata"]["uid"]
    version = versions.get("daemon") or versions.get("eve") or ""
    status: Object = {
        "conditions": _project_conditions(source, now),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
        "nodeInfo": {
            "machineID": uid,
            "systemUUID": uid,
            "bootID": source.get("bootTime") or "",
            "kernelVersion": versions.get("kernel", ""),
            "osImage": versions.get("os", ""),
            "containerRuntimeVersion": versions.get("containerRuntime", ""),
            "kubeletVersion": f"v{version}" if version[:1].isdigit() else version,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": inventory.get("architecture", ""),
        },
    }
    for name in ("capacity", "allocatable"):
        if source.get(name):
            status[name] = {
                ("ephemeral-storage" if key == "storage" else key): str(value) for key, value in source[name].items()
            }
    if source.get("addresses"):
        status["addresses"] = source["addresses"]
    return status


def _project_conditions(status: Mapping[str, Any], now: float) -> list[Object]:
    """The conditions that Kubernetes knows first, Ready last of them, then the others."""
    given = {condition["type"]: condition for condition in status.get("conditions") or []}
    is_connected = given.get("Connected", {}).get("status") == "True"
    heartbeat = render_time(now) if is_connected else status.get("lastSeen")
    names = [name for name in _NATIVE_CONDITIONS if name in given] + [
        name for name in given if name not in _NATIVE_CONDITIONS
    ]
    conditions = []
    for name in names:
        condition = {
            key: given[name][key]
            for key in ("type", "status", "reason", "message", "lastTransitionTime")
            if key in given[name]
        }
        if heartbeat:
            condition["lastHeartbeatTime"] = heartbeat
        conditions.append(condition)
    return conditions


def unproject_node(node: Object, edgenode: Object) -> Object:
    """The EdgeNode after a write of its Node: labels, annotations, taints and unschedulable are taken over, the rest is the device's.

    Labels that every node has by what it is, and the taint of a cordoned node, come back by themselves and are not
    stored.
    """
    own = _own_labels(edgenode)
    labels = {key: value for key, value in (node["metadata"].get("labels") or {}).items() if key not in own}
    spec = dict(edgenode.get("spec") or {})
    wanted = node.get("spec") or {}
    taints = [taint for taint in wanted.get("taints") or [] if taint.get("key") != UNSCHEDULABLE_TAINT]
    metadata = dict(edgenode["metadata"])
    _put(metadata, "labels", labels)
    _put(metadata, "annotations", node["metadata"].get("annotations") or {})
    _put(spec, "taints", taints)
    if bool(spec.get("unschedulable")) != bool(wanted.get("unschedulable")):
        _put(spec, "unschedulable", bool(wanted.get("unschedulable")))
    return {**edgenode, "metadata": metadata, "spec": spec}


def _put(target: Object, name: str, value: Any) -> None:
    """Sets a field, or takes it away when it is empty."""
    if value:
        target[name] = value
    else:
        target.pop(name, None)


def check_node(new: Object, _old: Object | None) -> Sequence[FieldError]:
    """Taints are what can be wrong in a write of a Node."""
    taints = msgspec.convert((new.get("spec") or {}).get("taints") or [], list[Taint])
    return list(check_taints("spec.taints", taints))


def _status(obj: Object, _now: float) -> str:
    conditions = {condition.get("type"): condition for condition in get(obj, ["status", "conditions"], ())}
    texts = [
        "Unknown"
        if "Ready" not in conditions
        else "Ready"
        if conditions["Ready"].get("status") == "True"
        else "NotReady"
    ]
    if get(obj, ["spec", "unschedulable"], False):
        texts.append("SchedulingDisabled")
    return ",".join(texts)


def _roles(obj: Object, _now: float) -> str:
    labels = get(obj, ["metadata", "labels"], {})
    roles = sorted(key.removeprefix(ROLE_LABEL) for key in labels if key.startswith(ROLE_LABEL))
    return ",".join(role for role in roles if role) or "<none>"


def _address(kind: str) -> Any:
    def value(obj: Object, _now: float) -> str:
        addresses = get(obj, ["status", "addresses"], ())
        return next((entry.get("address", "") for entry in addresses if entry.get("type") == kind), "<none>")

    return value


def _info(name: str) -> Any:
    def value(obj: Object, _now: float) -> str:
        return str(get(obj, ["status", "nodeInfo", name])) or "<unknown>"

    return value


RESOURCE = core_resource(
    Node,
    "nodes",
    namespaced=False,
    short_names=("no",),
    verbs=ALL_VERBS - {Verb.CREATE, Verb.DELETE_COLLECTION},
    subresources=(Subresource("status", frozenset({"get"})),),
    columns=(
        name_column(),
        Column("Status", "string", _status, "The status of the node"),
        Column("Roles", "string", _roles, "The roles of the node"),
        age_column(),
        Column("Version", "string", at("status.nodeInfo.kubeletVersion"), "Version of the node's daemon."),
        Column("Internal-IP", "string", _address("InternalIP"), "Address of the node.", priority=1),
        Column(
            "External-IP", "string", _address("ExternalIP"), "Address of the node as seen from outside.", priority=1
        ),
        Column("OS-Image", "string", _info("osImage"), "Operating system.", priority=1),
        Column("Kernel-Version", "string", _info("kernelVersion"), "Kernel release.", priority=1),
        Column("Container-Runtime", "string", _info("containerRuntimeVersion"), "Container engine.", priority=1),
    ),
    selectable_fields={"spec.unschedulable": text_at("spec", "unschedulable")},
    validate=check_node,
    has_status=True,
)
