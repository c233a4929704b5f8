"""Who is to be a member: nodes by name or by selector, stable, in one cluster each, with an address of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Interface

import msgspec

from eaves.controller.reconcile.clusters import eve
from eaves.controller.reconcile.clusters.draft import BELONGING, Activity, Draft
from eaves.controller.reconcile.clusters.model import NodeFacts
from eaves.kinds.k3s_version import parse_k3s_version
from eaves.kinds.k3scluster_spec import MemberPool
from eaves.kinds.k3scluster_status import K3sMemberStatus, MemberRole
from eaves.kinds.k3scluster_status import MemberWish as Wish
from eaves.kinds.times import render_time
from eaves.kube.selectors import LabelSelector, parse_label_selector_object

LABEL_EDGENODE, LABEL_SITE = "eaves.dev/edgenode", "eaves.dev/site"
_LONGEST_LABEL = 63
_BUSY = ("Downloading", "Restoring", "Stopping", "Leaving")
"""States in which a server may hold no state for good reason."""


def want_roles(draft: Draft) -> dict[str, MemberRole]:
    """Node → role, of all that are to be members. Says what is missing."""
    servers = _choose(draft, draft.spec.servers, MemberRole.SERVER, ())
    agents = _choose(draft, draft.spec.agents, MemberRole.AGENT, servers)
    return {**dict.fromkeys(agents, MemberRole.AGENT), **dict.fromkeys(servers, MemberRole.SERVER)}


def _choose(draft: Draft, pool: MemberPool, role: MemberRole, others: Sequence[str]) -> list[str]:
    if pool.selector is None:
        return [name for name in pool.node_names if _is_usable(draft, name, role)]
    selector = parse_label_selector_object(msgspec.to_builtins(pool.selector))
    fitting = sorted(name for name, node in draft.inputs.nodes.items() if _fits(draft, node, role, selector, others))
    most = len(fitting) if pool.count is None else pool.count
    chosen = sorted(fitting, key=lambda name: _rank(draft, name, role))[:most]
    if pool.count is not None and len(chosen) < pool.count:
        draft.say(
            Activity.UPDATING if draft.initialized else Activity.WAITING,
            "NodesMissing",
            f"{pool.count} {role.lower()}s are wanted and {len(chosen)} nodes fit spec.{role.lower()}s.selector;"
            " label or approve more nodes",
        )
    return chosen


def _rank(draft: Draft, name: str, role: MemberRole) -> tuple[bool, bool, bool, bool, str]:
    """Members stay, the one that others join first; then nodes that can be reached, those that are no members at all first."""
    member = draft.members.get(name)
    is_member = member is not None and member.role is role and member.want in BELONGING
    is_other = member is not None and not is_member
    node = draft.inputs.nodes[name]
    return name != draft.first_server, not is_member, is_other, not node.is_connected, name


def _fits(draft: Draft, node: NodeFacts, role: MemberRole, selector: LabelSelector, others: Sequence[str]) -> bool:
    return (
        node.name not in others
        and node.name not in draft.spec.replace
        and node.name not in draft.inputs.taken
        and node.is_approved
        and not node.is_going
        and selector.matches(node.labels)
        and (node.name in draft.members or not node.runs_eve or eve.find_obstacle(draft, node, role) is None)
    )


def _is_usable(draft: Draft, name: str, role: MemberRole) -> bool:
    """Whether a node that is named can be a member; says why not. One that is a member already stays through a loss of approval."""
    activity = Activity.UPDATING if draft.initialized else Activity.WAITING
    node = draft.inputs.nodes.get(name)
    if node is None or node.is_going:
        draft.say(activity, "NodeMissing", f"{role.lower()} {name}: there is no EdgeNode of this name")
        return False
    if name in draft.inputs.taken:
        text = f"{role.lower()} {name}: the node is a member of K3sCluster {draft.inputs.taken[name]}; take it out there first"
        draft.say(activity, "NodeTaken", text)
        return False
    member = draft.members.get(name)
    if not node.is_approved and (member is None or member.id != node.id):
        text = f"{role.lower()} {name}: the node is not approved; approve it with: kubectl eaves approve {name}"
        draft.say(activity, "NodeNotApproved", text)
        return False
    if member is None and node.runs_eve and (found := eve.find_obstacle(draft, node, role)) is not None:
        draft.say(activity, *found)
        return False
    return True


def want_members(draft: Draft, roles: dict[str, MemberRole]) -> list[K3sMemberStatus]:
    """Enters those that are new, keeps addresses up to date; answers those that are to leave."""
    draft.roles = roles
    leaving = []
    for member in list(draft.members.values()):
        node = draft.node_of(member)
        is_wanted = node is not None and roles.get(member.node_name) is member.role
        # Who began to leave goes all the way: half of it is done on the cluster's side.
        has_begun = member.want in (Wish.REMOVED, Wish.LEFT)
        if not is_wanted or has_begun or has_lost_data(draft, member):
            leaving.append(member)
            draft.leaving.add(member.node_name)
        elif node is not None:
            _want_address(draft, draft.change(member, labels=_labels(node)), node)
    for name, role in sorted(roles.items()):
        if name not in draft.members:
            _enter(draft, draft.inputs.nodes[name], role)
    return leaving


def has_lost_data(draft: Draft, member: K3sMemberStatus) -> bool:
    """Whether a server of the cluster came back without the state that it held, such as with a new disk; says so when none has it."""
    is_asked = draft.spec.operations.restore is not None and draft.spec.operations.restore.counter > draft.done.restore
    if member.role is not MemberRole.SERVER or member.has_data or not member.joined or member.stopped or is_asked:
        return False
    if not draft.is_connected(member) or not member.state or member.state in _BUSY:
        return False
    if not [other for other in draft.holders() if other is not member]:
        text = f"server {member.node_name} came back without the cluster's state and no other server has it; restore a snapshot"
        draft.say(Activity.FAULT, "DataLost", text)
        return False
    return True


def _enter(draft: Draft, node: NodeFacts, role: MemberRole) -> None:
    member = K3sMemberStatus(
        node_name=node.name,
        id=node.id,
        role=role,
        runs_eve=node.runs_eve,
        stopped=True,
        member_since=render_time(draft.now),
        joined_after=draft.done,
        version="" if node.runs_eve else joining_version(draft, role),
        labels=_labels(node),
    )
    _want_address(draft, draft.change(member), node)


def _labels(node: NodeFacts) -> dict[str, str]:
    """What the Kubernetes Node of a member bears, so that the cluster's users find the box and its place."""
    labels = {LABEL_EDGENODE: node.name} if len(node.name) <= _LONGEST_LABEL else {}
    if site := node.labels.get(LABEL_SITE) or node.labels.get("site"):
        labels[LABEL_SITE] = site
    return labels


def joining_version(draft: Draft, role: MemberRole) -> str:
    """What a new member gets: a server the newest that a server has, an agent the oldest that one runs, the spec's while there are none."""
    servers = [member for member in draft.started() if member.role is MemberRole.SERVER and member.version]
    if not servers:
        return draft.spec.version
    if role is MemberRole.SERVER:
        return max((member.version for member in servers), key=_order)
    return min((_running(member) for member in servers), key=_order)


def _running(member: K3sMemberStatus) -> str:
    return member.running_version if parse_k3s_version(member.running_version) is not None else member.version


def _order(text: str) -> tuple[int, ...]:
    return tuple(parse_k3s_version(text) or ())


def _want_address(draft: Draft, member: K3sMemberStatus, node: NodeFacts) -> None:
    """The address on the cluster interface. A server's stays once it started: etcd knows its members by their addresses."""
    given = next((entry.address for entry in draft.spec.addresses if entry.node_name == member.node_name), "")
    found = [given] if given else _reported(draft, member, node)
    if not node.has_told and not member.address:
        # An EVE device starts with whatever config it gets, and may need another address.
        found = []
    if member.address and (member.address in found or _ip(member.address) in map(_ip, found)):
        return
    activity = Activity.UPDATING if draft.initialized else Activity.WAITING
    if node.runs_eve and found and (fault := eve.explain_address(node, found[0])):
        draft.say(activity, "AddressNeeded", fault)
        return
    if not found:
        if not member.address:
            where = f"uplink {draft.spec.cluster_interface}" if draft.spec.cluster_interface else "an uplink"
            what = f"reported no IPv4 address of {where}" if node.has_told else "not told yet what it runs"
            text = f"node {node.name} has {what}; it does so within minutes of its first contact"
            draft.say(activity, "AddressMissing", text)
        return
    if member.address and not member.stopped and member.role is MemberRole.SERVER:
        text = (
            f"server {node.name} is known as {_ip(member.address)} and reports {', '.join(map(_ip, found))}; give it its address back,"
            " or replace it"
        )
        draft.say(Activity.FAULT, "AddressChanged", text)
        return
    draft.change(member, address=found[0])


def _reported(draft: Draft, member: K3sMemberStatus, node: NodeFacts) -> list[str]:
    """Addresses of the interface that nobody else has; the servers' shared one may be on it too."""
    name = draft.spec.cluster_interface
    ports: Iterable[str] = [name] if name else node.addresses
    others = {_ip(other.address) for other in draft.members.values() if other is not member and other.address}
    taken = {draft.spec.api_address, *others}
    for port in ports:
        usable = [
            text for text in node.addresses.get(port, ()) if _ip(text) not in taken and _is_usable_address(_ip(text))
        ]
        if usable:
            return usable
    return []


def _is_usable_address(text: str) -> bool:
    try:
        address = IPv4Address(text)
    except ValueError:
        return False
    return not (address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified)


def _ip(text: str) -> str:
    """The address without its prefix length."""
    return str(IPv4Interface(text).ip) if text else ""
