"""Members that run EVE: what they tell, what they need, and what of a K3sCluster they do not heed.

EVE's Kubernetes flavour brings its own K3s and reads ``EdgeNodeCluster`` alone (pkg/pillar/cmd/zedagent/parseconfig.go,
pkg/kube/kube-init). No device tells of itself: its members elect one that tells of all Nodes (cmd/zedkube/kubestatscollect.go), and what
a former one said stays behind. A device cordons itself and deletes its Node when its config knows no cluster any more (cmd/zedkube), and
the one that tells deletes the Nodes of servers that ``master_node_uuids`` does not name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Interface, IPv4Network

import msgspec

from eaves.controller.observe.clusters import MemberReport, MemberView
from eaves.controller.observe.conditions import FALSE, TRUE, Fact
from eaves.controller.reconcile.clusters.draft import Draft
from eaves.controller.reconcile.clusters.model import NodeFacts
from eaves.kinds.k3s_version import K3sVersion, parse_k3s_version
from eaves.kinds.k3scluster_spec import ClusterDatastore, ClusterResources, DeletionPolicy
from eaves.kinds.k3scluster_status import K3sMemberStatus, MemberRole, MemberWish

_FLAVOURS_WITHOUT = frozenset({"kvm", "xen", "acrn", "mini"})
_TOLD = 5
"""Members of many that a message names."""


# --- What they tell ----------------------------------------------------------------------------------------------------------------


def recognize(member: K3sMemberStatus, node: NodeFacts | None) -> K3sMemberStatus:
    """The entry with what the device runs; of one that is gone what it ran."""
    if node is None or node.runs_eve == member.runs_eve:
        return member
    if not node.runs_eve:
        return msgspec.structs.replace(member, runs_eve=False)
    return msgspec.structs.replace(member, runs_eve=True, version="", version_since=None, next_version="", state="")


def drop_stale(members: Iterable[K3sMemberStatus], reports: Mapping[str, MemberReport]) -> dict[str, MemberReport]:
    """The reports without those of EVE devices that were elected to tell earlier, and those that see no cluster yet."""
    eves = {member.id for member in members if member.runs_eve}
    seeing = [device_id for device_id in eves & reports.keys() if reports[device_id].api_ready]
    newest = max(seeing, key=lambda device_id: (reports[device_id].seq, device_id), default="")
    return {device_id: report for device_id, report in reports.items() if device_id not in eves or device_id == newest}


def tell_of(draft: Draft, member: K3sMemberStatus, view: MemberView | None, *, is_told: bool) -> K3sMemberStatus:
    """The entry as others see the device. ``is_told``: somebody tells of members; else those in contact stay as they were."""
    is_connected, is_server = draft.is_connected(member), member.role is MemberRole.SERVER
    has_left = member.want is MemberWish.LEFT
    seen = view.ready if view is not None else member.ready and is_connected and not is_told
    ready = seen and not has_left and (member.joined or not member.stopped)
    joined = member.joined or ready
    problem = draft.inputs.problems.get(member.node_name, "")
    waiting = "" if joined or member.stopped else "EVE tells nothing of a member before it has joined"
    return msgspec.structs.replace(
        member,
        state="Left" if has_left else "",
        message=problem or draft.explain_contact(member) or (view.message if view else "") or waiting,
        running_version=((view.version if view else "") or member.running_version) if not has_left else "",
        ready=ready,
        joined=joined,
        api_ready=is_server and is_connected and ready,
        has_data=is_server and joined,
        drained=member.want is MemberWish.DRAINED and view is not None and view.drained,
        etcd_healthy=False,
        etcd_members=0,
        fetched_version="",
        fetch_message="",
        order_message="",
    )


# --- What they need ----------------------------------------------------------------------------------------------------------------


def find_obstacle(draft: Draft, node: NodeFacts, role: MemberRole) -> tuple[str, str] | None:
    """Why the device can be no member of this cluster: reason and text."""
    flavour = _FLAVOURS_WITHOUT & set(node.eve_version.split("-"))
    if flavour:
        text = f"node {node.name} runs EVE {node.eve_version}, and flavour {min(flavour)} has no K3s; give it one of flavour k"
        return "EVEWithoutKubernetes", text
    if draft.spec.datastore is not ClusterDatastore.EMBEDDED_ETCD and role is MemberRole.SERVER:
        text = (
            f"server {node.name} runs EVE, which keeps the cluster's state in embedded etcd; with spec.datastore"
            f" {draft.spec.datastore} it can be an agent at most"
        )
        return "DatastoreUnsupported", text
    return None


def explain_address(node: NodeFacts, address: str) -> str:
    """Why the device must not get the address; empty when it may.

    EVE takes every address in the network of the cluster's one out of those by which it reaches its controller (dpcmanager/dns.go).
    """
    network = IPv4Interface(address).network
    used = [text for port in sorted(node.management) for text in node.addresses.get(port, ())]
    inside = next((text for text in used if _is_in(text, network)), "")
    if not inside:
        return ""
    return (
        f"node {node.name} runs EVE, which would lose its way to the controller if the cluster had {network}: its address"
        f" {inside} for management is in it; give it one of another network in spec.addresses"
    )


def _is_in(text: str, network: IPv4Network) -> bool:
    """``text`` is what a device told."""
    try:
        return IPv4Interface(text).ip in network
    except ValueError:
        return False


def explain_skew(draft: Draft, role: MemberRole) -> str:
    """Why a member of Eaves may not have the spec's version beside the servers that run EVE and bring theirs; empty when it may."""
    target = parse_k3s_version(draft.spec.version)
    for server in draft.servers():
        version = parse_k3s_version(server.running_version) if server.runs_eve else None
        if version is None or target is None:
            continue
        text = f"server {server.node_name} runs EVE with K3s {version}"
        if role is MemberRole.AGENT and _minor(target) > _minor(version):
            return f"{text}, and an agent may not be newer than a server; set spec.version to one of v{version.major}.{version.minor}"
        if role is MemberRole.SERVER and abs(_minor(target)[1] - _minor(version)[1]) > 1:
            return f"{text}, and servers may be one minor version apart; set spec.version to one near it, or update that EVE"
    return ""


def _minor(version: K3sVersion) -> tuple[int, int]:
    return version.major, version.minor


# --- What they do not heed ---------------------------------------------------------------------------------------------------------


def judge_support(draft: Draft) -> Fact:
    """Whether every member heeds all of the spec."""
    eves = [member for member in (*draft.servers(), *draft.agents()) if member.runs_eve]
    if not eves:
        return Fact("SpecSupported", TRUE, "AllSupported", "every member heeds all of the spec")
    names = [
        f"{member.node_name}{f' ({member.running_version})' if member.running_version else ''}"
        for member in eves[:_TOLD]
    ]
    more = f" and {len(eves) - _TOLD} more" if len(eves) > _TOLD else ""
    fields = ", ".join(_list_unheeded(draft, eves))
    text = f"{', '.join(names)}{more} bring K3s with EVE, for which these have no effect: {fields}"
    return Fact("SpecSupported", FALSE, "EVEMembers", text)


def _list_unheeded(draft: Draft, eves: list[K3sMemberStatus]) -> Iterator[str]:
    spec, done = draft.spec, draft.done
    has_other_server = any(not server.runs_eve for server in draft.servers())
    is_server = any(member.role is MemberRole.SERVER for member in eves)
    yield "spec.version"
    if any(member.role is MemberRole.AGENT for member in eves):
        yield "spec.agents (EVE starts every member as a server)"
    if spec.config:
        yield "spec.config"
    if spec.disable and is_server:
        yield "spec.disable"
    if spec.api_address and is_server:
        yield "spec.apiAddress"
    if spec.resources != ClusterResources():
        yield "spec.resources"
    if spec.deletion_policy is not DeletionPolicy.DELETE_DATA:
        yield "spec.deletionPolicy"
    if spec.add_ons and not has_other_server:
        yield "spec.addOns"
    if spec.backup is not None and not has_other_server:
        yield "spec.backup"
    orders = spec.operations
    if orders.snapshot > done.snapshot and not has_other_server:
        yield "spec.operations.snapshot"
    if orders.rotate_certificates:
        yield "spec.operations.rotateCertificates"
    if orders.rotate_token > done.rotate_token:
        yield "spec.operations.rotateToken (of the whole cluster)"
    if orders.restore is not None and orders.restore.counter > done.restore:
        yield "spec.operations.restore (of the whole cluster)"
