"""The cluster of a config: EVE's fields, and those of Eaves beside them.

A cluster with wrong fields counts as absent but **not as left**: what runs goes on running (:attr:`ClusterWish.is_refused`). Only a
config without a cluster makes a node leave.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from eaves.node.desired.cluster_model import (
    ClusterAddOn,
    ClusterBackup,
    ClusterDatastore,
    ClusterMember,
    ClusterOrders,
    DesiredCluster,
    ExternalDatastore,
    MemberWish,
)
from eaves.node.desired.draft import Draft, clean_name
from eaves.node.desired.errors import ObjectError
from eaves.node.desired.model import DesiredDatastore, ObjectKind
from eaves.node.desired.secret import Secret
from eaves.wire.identifiers import is_uuid
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.config.edge_node_cluster_pb2 import EdgeNodeCluster
from eaves.wire.pb.eaves.cluster_pb2 import ClusterExtension, ClusterSecrets
from eaves.wire.pb.evecommon.acipherinfo_pb2 import EncryptionBlock

OVERRIDE_ITEM = "k3s.config.override"
VERSION_ITEM = "k3s.version"
_NODE_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_FILE_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,200}[a-z0-9])?")
_VERSION = re.compile(r"v\d+\.\d+\.\d+[0-9A-Za-z.+-]{0,40}")
_PREFIX = re.compile(r"[A-Za-z0-9._/-]{0,512}")


class ClusterWish(Struct, frozen=True):
    """``is_refused``: the config asks for a cluster that cannot be understood; whatever runs is left as it is."""

    cluster: DesiredCluster | None = None
    is_refused: bool = False


def parse_cluster(
    config: EdgeDevConfig, items: Mapping[str, str], datastores: Mapping[str, DesiredDatastore], draft: Draft
) -> ClusterWish:
    """What ``config`` says about a cluster."""
    if not config.HasField("cluster"):
        return ClusterWish()
    cluster, name = config.cluster, clean_name(config.cluster.cluster_name)
    cluster_id = draft.take_id(ObjectKind.CLUSTER, cluster.cluster_id, name)
    if cluster_id is None:
        return ClusterWish(is_refused=True)
    fallback = config.eaves.node_name or config.device_name
    try:
        return ClusterWish(_Parser(cluster, cluster_id, items, draft).parse(fallback, datastores))
    except ObjectError as error:
        draft.add_error(ObjectKind.CLUSTER, cluster_id, name, error)
        return ClusterWish(is_refused=True)


class _Parser:
    def __init__(self, config: EdgeNodeCluster, cluster_id: str, items: Mapping[str, str], draft: Draft) -> None:
        self._config = config
        self._id = cluster_id
        self._items = items
        self._draft = draft
        self._name = clean_name(config.cluster_name)

    def parse(self, fallback_name: str, datastores: Mapping[str, DesiredDatastore]) -> DesiredCluster:
        """Raises ObjectError for a field without which nothing can be done."""
        config, extension = self._config, self._config.eaves
        address, prefix_length = _parse_prefix(config.cluster_ip_prefix)
        block = self._decrypt()
        secrets = block.eaves.cluster
        datastore = _parse_datastore(extension)
        if datastore is ClusterDatastore.EXTERNAL and not config.is_worker_node and not secrets.datastore_endpoint:
            raise ObjectError("the endpoint of its external datastore is missing", code="DatastoreMissing")
        return DesiredCluster(
            id=self._id,
            name=clean_name(extension.name) or self._name or self._id[:8],
            node_name=_parse_node_name(extension.node_name or fallback_name),
            is_server=not config.is_worker_node,
            interface_label=clean_name(config.cluster_interface),
            address=address,
            prefix_length=prefix_length,
            join_address=_parse_address(config.join_server_ip, "server to join"),
            token=Secret(block.cluster_token),
            datastore=datastore,
            external=_parse_external(secrets),
            former_token=Secret(secrets.former_token),
            namespace=clean_name(extension.namespace),
            version=self._parse_version(),
            binary_image_id=extension.binary_image_id.lower(),
            bundle_image_ids=tuple(image_id.lower() for image_id in extension.bundle_image_ids),
            next_version=self._parse_next_version(),
            next_binary_image_id=extension.next_binary_image_id.lower(),
            next_bundle_image_ids=tuple(image_id.lower() for image_id in extension.next_bundle_image_ids),
            options=self._parse_options(),
            override=self._parse_override(),
            disable=tuple(dict.fromkeys(clean_name(name) for name in extension.disable if name.strip())),
            api_address=_parse_address(extension.api_address, "API address") if extension.api_address else "",
            members=tuple(self._parse_members()),
            server_ids=tuple(server_id.lower() for server_id in config.master_node_uuids if is_uuid(server_id.lower())),
            is_leader=extension.is_leader and not config.is_worker_node,
            add_ons=tuple(self._parse_add_ons()),
            backup=self._parse_backup(datastores),
            orders=_parse_orders(extension),
            memory_reserved_bytes=extension.memory_reserved_bytes,
            cpu_reserved_millis=extension.cpu_reserved_millis,
            node_labels=dict(extension.node_labels),
            keep_data=extension.keep_data,
            is_initialized=extension.initialized,
            is_stopped=extension.stopped,
            member_since=extension.member_since,
            is_native=config.HasField("eaves"),
        )

    def _warn(self, code: str, message: str, resolution: str = "") -> None:
        self._draft.add(ObjectKind.CLUSTER, self._id, self._name, code, message, resolution)

    def _decrypt(self) -> EncryptionBlock:
        if not self._config.HasField("encrypted_cluster_token"):
            raise ObjectError("it has no token", code="TokenMissing")
        block = self._draft.decrypt(self._config.encrypted_cluster_token)
        if not block.cluster_token.strip() or any(character.isspace() for character in block.cluster_token):
            raise ObjectError("its token is empty or no single word", code="TokenMissing")
        return block

    def _parse_version(self) -> str:
        version = self._config.eaves.version or self._items.get(VERSION_ITEM, "").strip()
        if version and not _VERSION.fullmatch(version):
            raise ObjectError(
                f"{clean_name(version)!r} is no version of K3s",
                code="BadVersion",
                resolution="write it as v1.34.2+k3s1",
            )
        return version

    def _parse_next_version(self) -> str:
        """One that cannot be is told and fetched by nobody; what runs has nothing to do with it."""
        extension = self._config.eaves
        if not extension.next_version or not extension.next_binary_image_id:
            return ""
        if not _VERSION.fullmatch(extension.next_version):
            text = f"the version that comes next, {clean_name(extension.next_version)!r}, is no version of K3s"
            self._warn("BadVersion", text, "write it as v1.34.2+k3s1")
            return ""
        return extension.next_version

    def _parse_options(self) -> Mapping[str, Any]:
        raw = self._config.eaves.config
        if not raw:
            return {}
        try:
            value = json.loads(raw)
        except ValueError as error:
            raise ObjectError("its further options are no JSON", code="BadClusterOptions") from error
        if not isinstance(value, dict):
            raise ObjectError("its further options are no JSON object", code="BadClusterOptions")
        return value

    def _parse_override(self) -> str:
        """One that cannot be read is left out, as EVE does."""
        encoded = self._items.get(OVERRIDE_ITEM, "").strip()
        if not encoded:
            return ""
        try:
            return base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            self._warn("BadClusterOptions", f"{OVERRIDE_ITEM} is no base64 of a text and is left out")
            return ""

    def _parse_members(self) -> list[ClusterMember]:
        found = []
        for member in self._config.eaves.members:
            try:
                found.append(
                    ClusterMember(
                        id=member.id.lower(),
                        name=_parse_node_name(member.name),
                        address=_parse_address(member.address, f"member {clean_name(member.name)}"),
                        is_server=member.is_server,
                        want=MemberWish(member.want or MemberWish.READY),
                        version=clean_name(member.version),
                        labels=dict(member.labels),
                    )
                )
            except (ObjectError, ValueError) as error:
                self._warn("BadMember", f"member {clean_name(member.name)!r} is left out: {error}")
        return found

    def _parse_add_ons(self) -> list[ClusterAddOn]:
        found = []
        for add_on in self._config.eaves.add_ons:
            if _FILE_NAME.fullmatch(add_on.name):
                found.append(ClusterAddOn(add_on.name, add_on.digest, add_on.manifest))
            else:
                self._warn("BadAddOn", f"add-on {clean_name(add_on.name)!r} is left out: its name is no file name")
        return found

    def _parse_backup(self, datastores: Mapping[str, DesiredDatastore]) -> ClusterBackup:
        backup = self._config.eaves.backup
        store = datastores.get(backup.datastore_id.lower())
        if backup.datastore_id and store is None:
            self._warn(
                "DatastoreMissing",
                "the datastore of its backups is not usable, so snapshots stay on the server",
                "see the problems of datastores",
            )
        prefix = backup.prefix.strip("/")
        if not _PREFIX.fullmatch(prefix) or ".." in prefix.split("/"):
            self._warn("BadBackupPrefix", "the folder of its backups is no path and is left out")
            prefix = ""
        return ClusterBackup(backup.schedule.strip(), backup.keep, store, prefix)


def _parse_prefix(text: str) -> tuple[str, int]:
    try:
        interface = ipaddress.ip_interface(text.strip())
    except ValueError as error:
        raise ObjectError(
            f"{clean_name(text)!r} is no address with its prefix length",
            code="BadClusterAddress",
            resolution="write it as 10.17.0.11/24",
        ) from error
    if "/" not in text:
        raise ObjectError(
            f"the cluster address {clean_name(text)} has no prefix length",
            code="BadClusterAddress",
            resolution="write it as 10.17.0.11/24",
        )
    return str(interface.ip), interface.network.prefixlen


def _parse_address(text: str, what: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError as error:
        raise ObjectError(f"{what}: {clean_name(text)!r} is no IP address", code="BadClusterAddress") from error


def _parse_node_name(text: str) -> str:
    """K3s takes a host's name in small letters for the Node; so do we."""
    name = text.strip().lower()
    if not _NODE_NAME.fullmatch(name):
        raise ObjectError(f"{clean_name(text)!r} cannot be the name of a Kubernetes Node", code="BadNodeName")
    return name


def _parse_datastore(extension: ClusterExtension) -> ClusterDatastore:
    try:
        return ClusterDatastore(extension.datastore or ClusterDatastore.EMBEDDED_ETCD)
    except ValueError as error:
        raise ObjectError(
            f"datastore {clean_name(extension.datastore)!r} is not known", code="DatastoreUnknown"
        ) from error


def _parse_external(secrets: ClusterSecrets) -> ExternalDatastore:
    return ExternalDatastore(
        Secret(secrets.datastore_endpoint),
        secrets.datastore_ca_pem,
        secrets.datastore_certificate_pem,
        Secret(secrets.datastore_key_pem),
    )


def _parse_orders(extension: ClusterExtension) -> ClusterOrders:
    orders = extension.orders
    return ClusterOrders(
        orders.snapshot, orders.restore, orders.restore_snapshot, orders.rotate_certificates, orders.rotate_token
    )
