"""A node's part of its K3s cluster: EVE's fields, the extension of Eaves, the program and its images, the token under cipher.

What a member is to be was decided by the planner of clusters and stands in the K3sCluster's status; nothing is decided here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Interface
from typing import Any

from msgspec import Struct

from eaves.controller.compile.clusteraddons import want_add_ons
from eaves.controller.compile.clusterfiles import want_files
from eaves.controller.compile.datastores import want_datastores
from eaves.controller.compile.draft import Draft
from eaves.controller.compile.errors import HeldBackError, Omission
from eaves.controller.compile.lookup import Lookup
from eaves.controller.compile.model import NodeCipher, token_name
from eaves.controller.compile.uplinks import runs_eve
from eaves.kinds.datastore import DatastoreType
from eaves.kinds.edgenode import EdgeNode
from eaves.kinds.k3s_options import OPTIONS
from eaves.kinds.k3scluster import K3sCluster
from eaves.kinds.k3scluster_spec import ClusterDatastore, DeletionPolicy
from eaves.kinds.k3scluster_status import ClusterOrderCounters, K3sMemberStatus, MemberRole
from eaves.kinds.k3scluster_status import MemberWish as Wish
from eaves.kinds.times import parse_time
from eaves.kube.quantity import parse_bytes, parse_millis
from eaves.wire.pb.config.edge_node_cluster_pb2 import (
    CLUSTER_TYPE_K3S_BASE,
    HA_SCHEME_K3S_EMBEDDED,
    EdgeNodeCluster,
)
from eaves.wire.pb.eaves.cluster_pb2 import ClusterBackup, ClusterExtension, ClusterMember, ClusterOrders
from eaves.wire.pb.evecommon.acipherinfo_pb2 import EncryptionBlock

_DATASTORE_KEYS = {
    "endpoint": "datastore_endpoint",
    "ca.crt": "datastore_ca_pem",
    "tls.crt": "datastore_certificate_pem",
    "tls.key": "datastore_key_pem",
}


class ClusterFacts(Struct, frozen=True):
    """Of the node, and the tokens of its cluster by name."""

    node: EdgeNode
    cipher: NodeCipher | None
    tokens: Mapping[str, str]


def find_member(cluster: K3sCluster, node: EdgeNode) -> K3sMemberStatus | None:
    """The node's entry, if its config is to know the cluster. An EVE device cannot hold K3s back, so it hears of it when it may start."""
    for member in cluster.status.members:
        if member.node_name == node.metadata.name and member.id == node.metadata.uid and member.want is not Wish.LEFT:
            is_early = member.stopped and not member.joined and runs_eve(node)
            return None if is_early or not member.address else member
    return None


def want_cluster(
    cluster: K3sCluster, member: K3sMemberStatus, facts: ClusterFacts, lookup: Lookup
) -> tuple[Draft, list[Omission]]:
    """The parts that the member's config needs, and what had to be left out. Raises :class:`HeldBackError`."""
    first = next((entry for entry in cluster.status.members if entry.node_name == cluster.status.first_server), None)
    if first is None or not first.address:
        raise HeldBackError("NoFirstServer", "no server of the cluster can be joined yet")
    draft = Draft()
    servers = [entry for entry in _belonging(cluster) if entry.role is MemberRole.SERVER]
    is_embedded = cluster.spec.datastore is ClusterDatastore.EMBEDDED_ETCD
    config = EdgeNodeCluster(
        cluster_name=cluster.metadata.name,
        cluster_id=cluster.metadata.uid,
        cluster_interface=cluster.spec.cluster_interface or _port_of(facts.node, member.address),
        cluster_ip_prefix=str(IPv4Interface(member.address)),
        is_worker_node=member.role is MemberRole.AGENT,
        join_server_ip=_ip(first.address),
        cluster_type=CLUSTER_TYPE_K3S_BASE,
        # EVE starts K3s as a server on every member, and deletes the Nodes of servers that are not named here.
        master_node_uuids=sorted(entry.id for entry in _belonging(cluster) if entry in servers or entry.runs_eve),
    )
    if is_embedded and len(servers) > 1:
        config.ha_scheme = HA_SCHEME_K3S_EMBEDDED
    secrets = _want_secrets(cluster, member, facts, lookup)
    block = draft.encrypt(facts.cipher, secrets, f"K3sCluster {cluster.metadata.name}")
    config.encrypted_cluster_token.CopyFrom(block)
    omissions: list[Omission] = []
    if not runs_eve(facts.node):
        told = _want_extension(cluster, member, facts, draft, lookup)
        omissions = _want_next(cluster, member, facts, told, draft, lookup)
        config.eaves.CopyFrom(told)
    draft.cluster = config
    return draft, omissions


def _belonging(cluster: K3sCluster) -> list[K3sMemberStatus]:
    return [member for member in cluster.status.members if member.want in (Wish.READY, Wish.DRAINED)]


def _port_of(node: EdgeNode, address: str) -> str:
    """The uplink that has the address, else the first for management."""
    ports = sorted(
        node.status.ports,
        key=lambda port: (_ip(address) not in port.addresses, not port.management, port.cost, port.name),
    )
    uplinks = sorted(node.spec.uplinks, key=lambda uplink: (not uplink.management, uplink.cost, uplink.name))
    return next((port.name for port in ports), next((uplink.name for uplink in uplinks), ""))


def _ip(address: str) -> str:
    return str(IPv4Interface(address).ip)


# --- Secrets -----------------------------------------------------------------------------------------------------------------------


def _want_secrets(cluster: K3sCluster, member: K3sMemberStatus, facts: ClusterFacts, lookup: Lookup) -> EncryptionBlock:
    generation = token_generation(cluster, member)
    token = _token(cluster, generation, facts)
    if member.checks_authority and cluster.status.ca_hash:
        # K3s' secure form of a token: whom it joins must have this authority.
        token = f"K10{cluster.status.ca_hash}::server:{token}"
    block = EncryptionBlock(cluster_token=token)
    if _tells_cluster(cluster, member) and not runs_eve(facts.node):
        block.eaves.cluster.former_token = _token(cluster, cluster.status.done.rotate_token, facts)
    if cluster.spec.datastore_secret_ref is not None and member.role is MemberRole.SERVER:
        _fill_datastore(cluster, cluster.spec.datastore_secret_ref.name, block, lookup)
    return block


def _tells_cluster(cluster: K3sCluster, member: K3sMemberStatus) -> bool:
    """Whether the member is the one that makes the new token known: the first that was ordered to, until it has done so."""
    wanted = member.ordered.rotate_token
    servers = [entry for entry in cluster.status.members if entry.role is MemberRole.SERVER]
    is_known = any(max(entry.done.rotate_token, entry.joined_after.rotate_token) >= wanted for entry in servers)
    return member.role is MemberRole.SERVER and wanted > cluster.status.done.rotate_token and not is_known


def token_generation(cluster: K3sCluster, member: K3sMemberStatus) -> int:
    """Which of the cluster's tokens the member gets: the one of its last order; who joins, the one that the cluster knows."""
    status = cluster.status
    if member.joined:
        return max(member.ordered.rotate_token, member.joined_after.rotate_token)
    told = (entry.done.rotate_token for entry in status.members if entry.role is MemberRole.SERVER)
    return max(status.done.rotate_token, *told, 0)


def _token(cluster: K3sCluster, generation: int, facts: ClusterFacts) -> str:
    token = facts.tokens.get(token_name(cluster.metadata.uid, generation))
    if token is None:
        raise HeldBackError(
            "TokenMissing", f"the join token of K3sCluster {cluster.metadata.name} has not been made yet"
        )
    return token


def _fill_datastore(cluster: K3sCluster, name: str, block: EncryptionBlock, lookup: Lookup) -> None:
    data = lookup.secret_data(cluster.metadata.namespace, name)
    if data is None or not data.get("endpoint"):
        text = f"the External datastore needs Secret {name} with the key endpoint, which does not exist; create it"
        raise HeldBackError("SecretNotFound", text)
    try:
        for key, field in _DATASTORE_KEYS.items():
            setattr(block.eaves.cluster, field, data.get(key, b"").decode())
    except UnicodeDecodeError as error:
        raise HeldBackError("SecretUnreadable", f"Secret {name} holds a value that is no text") from error


# --- The extension -----------------------------------------------------------------------------------------------------------------


def _want_extension(
    cluster: K3sCluster, member: K3sMemberStatus, facts: ClusterFacts, draft: Draft, lookup: Lookup
) -> ClusterExtension:
    spec, status, meta = cluster.spec, cluster.status, cluster.metadata
    is_server = member.role is MemberRole.SERVER
    is_leader = is_server and member.node_name == status.leader
    told = ClusterExtension(
        name=meta.name,
        namespace=meta.namespace,
        version=member.version,
        datastore=spec.datastore,
        config=_want_options(spec.config, is_server=is_server),
        disable=sorted(spec.disable) if is_server else [],
        api_address=spec.api_address,
        members=[_want_member(entry) for entry in _listed(cluster, member)],
        is_leader=is_leader,
        add_ons=want_add_ons(cluster) if is_server else [],
        orders=_want_orders(cluster, member),
        node_name=member.node_name,
        memory_reserved_bytes=parse_bytes(spec.resources.memory),
        cpu_reserved_millis=parse_millis(spec.resources.cpus),
        node_labels=member.labels,
        keep_data=spec.deletion_policy is DeletionPolicy.KEEP_DATA,
        initialized=status.initialized,
        stopped=member.stopped,
        member_since=int(parse_time(member.member_since)) if member.member_since else 0,
    )
    files = want_files(cluster, member.version, facts.node, facts.cipher, draft, lookup)
    told.binary_image_id = files.binary_id
    told.bundle_image_ids.extend(files.bundle_ids)
    if spec.backup is not None and (is_leader or told.orders.restore):
        _want_backup(cluster, told, draft, lookup, facts)
    return told


def _want_options(config: Mapping[str, Any], *, is_server: bool) -> bytes:
    options = dict(config)
    if is_server:
        options.setdefault("secrets-encryption", True)
    else:
        options = {name: value for name, value in options.items() if OPTIONS[name.removesuffix("+")].of_agents}
    return json.dumps(options, sort_keys=True, separators=(",", ":")).encode() if options else b""


def _listed(cluster: K3sCluster, member: K3sMemberStatus) -> Sequence[K3sMemberStatus]:
    """Servers hear of everybody, agents of the servers and themselves."""
    listed = [
        entry for entry in cluster.status.members if entry.want is not Wish.LEFT and (entry.address or entry.joined)
    ]
    if member.role is MemberRole.AGENT:
        listed = [entry for entry in listed if entry.role is MemberRole.SERVER or entry is member]
    return sorted(listed, key=lambda entry: entry.id)


def _want_member(entry: K3sMemberStatus) -> ClusterMember:
    return ClusterMember(
        id=entry.id,
        name=entry.node_name,
        address=_ip(entry.address) if entry.address else "",
        is_server=entry.role is MemberRole.SERVER,
        want=entry.want,
        version=entry.version,
        labels=entry.labels,
    )


def wire_orders(member: K3sMemberStatus) -> ClusterOrderCounters:
    """The orders of a member without those from before it joined."""
    after, given = member.joined_after, member.ordered
    return ClusterOrderCounters(
        snapshot=given.snapshot if given.snapshot > after.snapshot else 0,
        restore=given.restore if given.restore > after.restore else 0,
        rotate_certificates=given.rotate_certificates if given.rotate_certificates > after.rotate_certificates else 0,
        rotate_token=given.rotate_token if given.rotate_token > after.rotate_token else 0,
    )


def _want_orders(cluster: K3sCluster, member: K3sMemberStatus) -> ClusterOrders:
    orders, restore = wire_orders(member), cluster.spec.operations.restore
    is_current = restore is not None and restore.counter == orders.restore
    return ClusterOrders(
        snapshot=orders.snapshot,
        restore=orders.restore,
        restore_snapshot=restore.snapshot if restore is not None and is_current else "",
        rotate_certificates=orders.rotate_certificates,
        rotate_token=orders.rotate_token,
    )


def _want_next(
    cluster: K3sCluster,
    member: K3sMemberStatus,
    facts: ClusterFacts,
    told: ClusterExtension,
    draft: Draft,
    lookup: Lookup,
) -> list[Omission]:
    """What the member is to fetch beforehand. When it cannot be had, that is told, and what runs has nothing to do with it."""
    if member.next_version in ("", member.version):
        return []
    ahead = Draft()
    try:
        files = want_files(cluster, member.next_version, facts.node, facts.cipher, ahead, lookup)
    except HeldBackError as error:
        return [Omission(error.reason, f"{member.next_version} cannot be fetched beforehand: {error.message}")]
    draft.merge(ahead)
    told.next_version = member.next_version
    told.next_binary_image_id = files.binary_id
    told.next_bundle_image_ids.extend(files.bundle_ids)
    return []


def _want_backup(
    cluster: K3sCluster, told: ClusterExtension, draft: Draft, lookup: Lookup, facts: ClusterFacts
) -> None:
    backup, meta = cluster.spec.backup, cluster.metadata
    assert backup is not None
    prefix = backup.path.strip("/") or f"{meta.namespace}/{meta.name}"
    told.backup.CopyFrom(ClusterBackup(schedule=backup.schedule, keep=backup.keep, prefix=prefix))
    if backup.datastore_ref is None:
        return
    store = lookup.datastore(meta.namespace, backup.datastore_ref.name)
    if store.spec.type is not DatastoreType.S3:
        text = f"Datastore {store.metadata.name} is of type {store.spec.type}; snapshots are shipped to type S3"
        raise HeldBackError("DatastoreTypeUnsupported", text)
    want_datastores(store, draft, lookup, facts.cipher, with_mirrors=False)
    told.backup.datastore_id = store.metadata.uid
