"""Keeps what the device has of an app that cannot be compiled at the moment.

Deleting a Secret, or breaking a Network, must not stop an app that runs: as a Pod does, it goes on with what it was
started with, and its object says what is wrong. The app is taken from the config made last, with everything that it
refers to there.
"""

from __future__ import annotations

from collections.abc import Iterator

from eaves.controller.compile.draft import Draft
from eaves.wire.pb.config.appconfig_pb2 import AppInstanceConfig
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.config.edge_node_cluster_pb2 import EdgeNodeCluster
from eaves.wire.pb.eaves.cluster_pb2 import ClusterExtension


class Previous:
    """The config made last, by UUID."""

    def __init__(self, config: EdgeDevConfig) -> None:
        self._apps = {app.uuidandversion.uuid: app for app in config.apps}
        self._networks = {network.uuidandversion.uuid: network for network in config.networkInstances}
        self._volumes = {volume.uuid: volume for volume in config.volumes}
        self._trees = {tree.uuid: tree for tree in config.contentInfo}
        self._datastores = {datastore.id: datastore for datastore in config.datastores}
        self._contexts = {context.contextId: context for context in config.cipherContexts}
        self._cluster = config.cluster if config.HasField("cluster") else None

    def keep_app(self, app_id: str, *, activate: bool) -> Draft | None:
        """The app as it was, running or stopped as it is asked to be now; None when the config had none that is complete."""
        old = self._apps.get(app_id)
        if old is None:
            return None
        app = AppInstanceConfig()
        app.CopyFrom(old)
        app.activate = activate
        draft = Draft(apps={app_id: app})
        try:
            self._follow(app, draft)
        except KeyError:
            return None
        return draft

    def keep_cluster(self) -> Draft | None:
        """The cluster as it was: a device takes K3s away when its config names no cluster any more."""
        if self._cluster is None:
            return None
        cluster = EdgeNodeCluster()
        cluster.CopyFrom(self._cluster)
        draft = Draft(cluster=cluster)
        told = cluster.eaves
        try:
            if cluster.HasField("encrypted_cluster_token"):
                self._follow_context(cluster.encrypted_cluster_token.cipherContextId, draft)
            for tree_id in _list_trees(told):
                self._follow_tree(tree_id, draft)
            if told.backup.datastore_id:
                self._follow_datastore(told.backup.datastore_id, draft)
        except KeyError:
            return Draft(cluster=cluster)
        return draft

    def _follow(self, app: AppInstanceConfig, draft: Draft) -> None:
        """Adds what the app refers to. Raises ``KeyError`` when a part is not there."""
        for interface in app.interfaces:
            draft.networks[interface.networkId] = self._networks[interface.networkId]
        for reference in app.volumeRefList:
            self._follow_volume(reference.uuid, draft)
        if app.HasField("cipherData"):
            self._follow_context(app.cipherData.cipherContextId, draft)

    def _follow_volume(self, volume_id: str, draft: Draft) -> None:
        volume = self._volumes[volume_id]
        draft.volumes[volume_id] = volume
        if volume.origin.downloadContentTreeID:
            self._follow_tree(volume.origin.downloadContentTreeID, draft)

    def _follow_tree(self, tree_id: str, draft: Draft) -> None:
        tree = self._trees[tree_id]
        draft.trees[tree_id] = tree
        for datastore_id in tree.ds_ids_list:
            self._follow_datastore(datastore_id, draft)

    def _follow_datastore(self, datastore_id: str, draft: Draft) -> None:
        datastore = self._datastores[datastore_id]
        draft.datastores[datastore_id] = datastore
        if datastore.HasField("cipherData"):
            self._follow_context(datastore.cipherData.cipherContextId, draft)
        for mirror_id in datastore.eaves.mirror_ids:
            self._follow_datastore(mirror_id, draft)

    def _follow_context(self, context_id: str, draft: Draft) -> None:
        draft.contexts[context_id] = self._contexts[context_id]


def _list_trees(told: ClusterExtension) -> Iterator[str]:
    """Of what the cluster's member runs with, and of what it fetches to run with next."""
    yield from filter(None, (told.binary_image_id, *told.bundle_image_ids))
    yield from filter(None, (told.next_binary_image_id, *told.next_bundle_image_ids))
