"""Compiles the config of one device from the objects that concern it.

Called by the config reconciler whenever one of them changes. Pure: the same inputs give the same bytes, in whatever
order they come.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from eaves.controller.compile.acls import AceIds
from eaves.controller.compile.apps import Claims, NodeFacts, want_app
from eaves.controller.compile.clusters import ClusterFacts, find_member, want_cluster
from eaves.controller.compile.draft import Draft
from eaves.controller.compile.errors import HeldBackError, Omission
from eaves.controller.compile.eve import Displays, check_apps, fit_network, list_device_types
from eaves.controller.compile.eve_storage import EveStorage
from eaves.controller.compile.keep import Previous
from eaves.controller.compile.lookup import Lookup
from eaves.controller.compile.model import CompiledConfig, Effect, NodeInputs, ObjectKey, Problem
from eaves.controller.compile.networks import UsedNetworks
from eaves.controller.compile.patches import want_patch
from eaves.controller.compile.port_networks import PortSecrets
from eaves.controller.compile.uplinks import copy_ports, fill_uplinks, list_contexts, runs_eve
from eaves.controller.compile.volume_objects import VolumeFacts, want_volume
from eaves.controller.compile.volumes import want_data
from eaves.kinds import app as app_kind
from eaves.kinds import edgenode as edgenode_kind
from eaves.kinds import k3scluster as k3scluster_kind
from eaves.kinds import patchenvelope as patch_kind
from eaves.kinds import volume as volume_kind
from eaves.kinds.app import App
from eaves.kinds.edgenode import EdgeNode
from eaves.kinds.k3scluster import K3sCluster
from eaves.kinds.metadata import ObjectMeta
from eaves.kinds.patchenvelope import PatchEnvelope
from eaves.kube.resource import Object
from eaves.wire.pb.config.devcommon_pb2 import ConfigItem, DeviceOpsCmd, UUIDandVersion
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.evecommon.devmodelcommon_pb2 import PhyIoType


def compile_node(inputs: NodeInputs) -> CompiledConfig:
    """The config of the device of ``inputs.edgenode``. Never fails for a fault of one object: that becomes a problem."""
    return _Compilation(inputs).run()


class _Compilation:
    """One run: collects parts in a draft, and problems beside them."""

    def __init__(self, inputs: NodeInputs) -> None:
        self._inputs = inputs
        self._lookup = Lookup(inputs)
        self._draft = Draft()
        self._problems: list[Problem] = []
        self._node = self._decode_node()

    def run(self) -> CompiledConfig:
        node = self._node
        apps = self._decode_apps()
        self._compile_cluster(apps)
        if node.spec.approved:
            self._compile_apps(apps)
        else:
            self._keep_blank_volumes(apps)
        self._compile_patches(apps)
        self._compile_volumes()
        config = _baseline(node, self._inputs)
        self._fill_ports(config)
        self._draft.fill(config)
        touched = {
            ObjectKey("EdgeNode", "", node.metadata.name),
            *(ObjectKey("App", app.metadata.namespace, app.metadata.name) for app in apps),
            *self._lookup.touched,
        }
        return CompiledConfig(config=config, problems=tuple(sorted(set(self._problems))), touched=frozenset(touched))

    def _fill_ports(self, config: EdgeDevConfig) -> None:
        """A device whose model or secrets cannot be read keeps the ports that it had, lest it loses them."""
        name, draft = self._node.spec.model, Draft()
        try:
            model = self._lookup.hardware_model(name) if name else None
            fill_uplinks(self._node, config, model, PortSecrets(self._lookup, draft, self._inputs.cipher))
        except HeldBackError as error:
            self._problem("EdgeNode", self._node.metadata, error.reason, error.message, Effect.PARTIAL)
            previous = self._inputs.previous
            if previous is not None:
                copy_ports(previous, config)
                draft = Draft(contexts=list_contexts(previous))
        self._draft.merge(draft)

    def _decode_node(self) -> EdgeNode:
        try:
            return edgenode_kind.decode(self._inputs.edgenode)
        except msgspec.ValidationError as error:
            meta = msgspec.convert(self._inputs.edgenode["metadata"], ObjectMeta)
            self._problem("EdgeNode", meta, "Unreadable", f"the object cannot be read: {error}")
            return EdgeNode(metadata=meta)

    def _decode_apps(self) -> list[App]:
        """Apps that are to be there, oldest first: of two that want the same port the older gets it."""
        apps = []
        for obj in self._inputs.apps:
            if obj["metadata"].get("deletionTimestamp") or not _is_on(obj, self._node):
                continue
            try:
                apps.append(app_kind.decode(obj))
            except msgspec.ValidationError as error:
                meta = msgspec.convert(obj["metadata"], ObjectMeta)
                self._problem("App", meta, "Unreadable", f"the object cannot be read: {error}")
        return sorted(apps, key=lambda app: (app.metadata.creation_timestamp or "", app.metadata.uid))

    def _compile_apps(self, apps: list[App]) -> None:
        facts = NodeFacts(
            name=self._node.metadata.name,
            cipher=self._inputs.cipher,
            runs_eve=runs_eve(self._node),
            maintenance=self._node.spec.maintenance,
            displays=Displays(self._inputs.previous),
            device_types=self._list_device_types(),
        )
        networks = UsedNetworks(apps, self._lookup)
        previous = Previous(self._inputs.previous) if self._inputs.previous is not None else None
        claims, ids, storage = Claims(), AceIds(), EveStorage(self._inputs.previous)
        for app in apps:
            try:
                claims.check(app)
                draft, omissions = want_app(app, facts, networks, ids, self._lookup)
            except HeldBackError as error:
                kept = self._keep_app(app, previous) if error.may_keep else None
                effect = Effect.KEPT if kept is not None else Effect.OMITTED
                self._problem("App", app.metadata, error.reason, error.message, effect)
                if kept is None:
                    want_data(app, self._draft)
                    continue
                draft, omissions = kept, []
            if facts.runs_eve:
                omissions = [*omissions, *_fit_networks(draft), *storage.fit_app(draft, app.metadata.uid)]
            claims.take(app, draft.apps[app.metadata.uid])
            self._draft.merge(draft)
            for omission in omissions:
                self._problem("App", app.metadata, omission.reason, omission.message, Effect.PARTIAL)

    def _list_device_types(self) -> dict[str, PhyIoType.ValueType]:
        """Empty when the model cannot be had, which is told where the ports are made."""
        try:
            return (
                list_device_types(self._lookup.hardware_model(self._node.spec.model)) if self._node.spec.model else {}
            )
        except HeldBackError:
            return {}

    def _keep_app(self, app: App, previous: Previous | None) -> Draft | None:
        activate = app.spec.running and not self._node.spec.maintenance
        return previous.keep_app(app.metadata.uid, activate=activate) if previous is not None else None

    def _keep_blank_volumes(self, apps: list[App]) -> None:
        """Apps of a node that is not approved do not run there, yet it does not throw their data away."""
        for app in apps:
            want_data(app, self._draft)

    def _compile_cluster(self, apps: list[App]) -> None:
        """The node's cluster. What it has stays while something is amiss, approval included: without it the node takes K3s away."""
        for obj in sorted(self._inputs.clusters, key=lambda obj: str(obj["metadata"].get("creationTimestamp", ""))):
            meta = msgspec.convert(obj["metadata"], ObjectMeta)
            self._lookup.touched.add(ObjectKey("K3sCluster", meta.namespace, meta.name))
            try:
                self._want_cluster(k3scluster_kind.decode(obj), apps)
            except msgspec.ValidationError as error:
                self._keep_cluster(meta, "Unreadable", f"the object cannot be read: {error}")
            except HeldBackError as error:
                self._keep_cluster(meta, error.reason, error.message)

    def _want_cluster(self, cluster: K3sCluster, apps: list[App]) -> None:
        node = self._node
        member = find_member(cluster, node)
        if member is None:
            return
        if self._draft.cluster is not None:
            raise HeldBackError("NodeTaken", f"node {node.metadata.name} is a member of another cluster")
        if not node.spec.approved:
            raise HeldBackError("NodeNotApproved", f"node {node.metadata.name} is not approved")
        previous = self._inputs.previous
        is_known = previous is not None and previous.cluster.cluster_id == cluster.metadata.uid
        if runs_eve(node) and not (is_known or member.joined):
            check_apps(node, apps)
        facts = ClusterFacts(node, self._inputs.cipher, self._inputs.cluster_tokens)
        parts, omissions = want_cluster(cluster, member, facts, self._lookup)
        self._draft.merge(parts)
        for omission in omissions:
            self._problem("K3sCluster", cluster.metadata, omission.reason, omission.message, Effect.PARTIAL)

    def _keep_cluster(self, meta: ObjectMeta, reason: str, message: str) -> None:
        previous = self._inputs.previous
        kept = Previous(previous).keep_cluster() if previous is not None else None
        is_its_own = kept is not None and kept.cluster is not None and kept.cluster.cluster_id == meta.uid
        if kept is not None and is_its_own:
            self._draft.merge(kept)
        self._problem("K3sCluster", meta, reason, message, Effect.KEPT if is_its_own else Effect.OMITTED)

    def _compile_patches(self, apps: list[App]) -> None:
        ids: dict[str, dict[str, str]] = {}
        for app in apps:
            if app.metadata.uid in self._draft.apps or not self._node.spec.approved:
                ids.setdefault(app.metadata.namespace, {})[app.metadata.name] = app.metadata.uid
        for obj in self._inputs.patches:
            meta = msgspec.convert(obj["metadata"], ObjectMeta)
            if meta.deletion_timestamp or meta.namespace not in ids:
                continue
            try:
                envelope = patch_kind.decode(obj)
                self._check_approved(envelope, ids[meta.namespace])
                want_patch(
                    envelope,
                    ids[meta.namespace],
                    self._node.metadata.name,
                    self._draft,
                    self._lookup,
                    self._inputs.cipher,
                )
            except msgspec.ValidationError as error:
                self._problem("PatchEnvelope", meta, "Unreadable", f"the object cannot be read: {error}")
            except HeldBackError as error:
                self._problem("PatchEnvelope", meta, error.reason, error.message)

    def _check_approved(self, envelope: PatchEnvelope, app_ids: Mapping[str, str]) -> None:
        """Raises HeldBackError for an envelope that waits for the node's approval, as the apps that it names do."""
        if not self._node.spec.approved and any(name in app_ids for name in envelope.spec.apps):
            raise HeldBackError("NodeNotApproved", f"node {self._node.metadata.name} is not approved")

    def _compile_volumes(self) -> None:
        node, storage = self._node, EveStorage(self._inputs.previous)
        for obj in sorted(self._inputs.volumes, key=lambda obj: str(obj["metadata"]["uid"])):
            meta = msgspec.convert(obj["metadata"], ObjectMeta)
            if meta.deletion_timestamp or not _is_on(obj, node):
                continue
            self._lookup.touched.add(ObjectKey("Volume", meta.namespace, meta.name))
            try:
                volume = volume_kind.decode(obj)
                facts = VolumeFacts(
                    cipher=self._inputs.cipher, with_sources=node.spec.approved, runs_eve=runs_eve(node)
                )
                for fault in want_volume(volume, self._draft, self._lookup, facts):
                    self._problem("Volume", meta, fault.reason, fault.message, Effect.KEPT)
                for omission in storage.fit_volume(self._draft, meta.uid) if facts.runs_eve else ():
                    self._problem("Volume", meta, omission.reason, omission.message, Effect.PARTIAL)
            except msgspec.ValidationError as error:
                self._keep_volume(meta.uid)
                self._problem("Volume", meta, "Unreadable", f"the object cannot be read: {error}", Effect.KEPT)

    def _keep_volume(self, volume_id: str) -> None:
        """Leave it as the last config had it: a volume that is in no config is deleted."""
        previous = self._inputs.previous.volumes if self._inputs.previous is not None else ()
        self._draft.volumes.update({volume.uuid: volume for volume in previous if volume.uuid == volume_id})

    def _problem(self, kind: str, meta: ObjectMeta, reason: str, message: str, effect: Effect = Effect.OMITTED) -> None:
        self._problems.append(Problem(kind, meta.namespace, meta.name, reason, message, meta.uid, effect))


def _is_on(obj: Object, node: EdgeNode) -> bool:
    spec = obj.get("spec")
    return isinstance(spec, dict) and spec.get("nodeName") == node.metadata.name


def _fit_networks(draft: Draft) -> Iterator[Omission]:
    hosts = sorted({host for instance in draft.networks.values() for host in fit_network(instance)})
    if hosts:
        text = f"an EVE device probes addresses only, so that {', '.join(hosts)} is not; write the address of the host"
        yield Omission("UnknownToEve", text)


def _baseline(node: EdgeNode, inputs: NodeInputs) -> EdgeDevConfig:
    """What every device gets, approved or not."""
    config = EdgeDevConfig(
        id=UUIDandVersion(uuid=node.metadata.uid, version=str(node.metadata.generation)),
        device_name=node.metadata.name,
        controllercert_confighash=inputs.controller_certs_hash,
        controller_epoch=inputs.controller_epoch,
        maintenance_mode=node.spec.maintenance,
        # Sent from the start: a device only records the first counter it ever sees and acts on the next.
        reboot=DeviceOpsCmd(counter=node.spec.reboot_counter, desiredState=True),
        shutdown=DeviceOpsCmd(counter=node.spec.shutdown_counter, desiredState=True),
    )
    config.eaves.node_name = node.metadata.name
    items = {**inputs.default_items, **node.spec.properties}
    if runs_eve(node):
        # EVE reports every property that it does not know as an error.
        items = {key: value for key, value in items.items() if not key.startswith("eaves.")}
    config.configItems.extend(ConfigItem(key=key, value=items[key]) for key in sorted(items))
    return config
