"""What K3s's controllers do beside Kubernetes': servers' nodes bear their roles; what belonged to a deleted node goes.

A member of etcd is removed when its Node is deleted or asks for it by an annotation; with a deleted Node goes the password by which a
node of that name is known.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

from tests.k3s import log
from tests.k3s.api import Api, ApiError, Object
from tests.k3s.datastore import Datastore
from tests.k3s.etcd import EtcdError
from tests.k3s.supervisor import name_password_secret

_POLL_S = 2.0
_MEMBER = "etcd.k3s.cattle.io/node-name"
_ADDRESS = "etcd.k3s.cattle.io/node-address"
_REMOVE = "etcd.k3s.cattle.io/remove"
_REMOVED = "etcd.k3s.cattle.io/removed-node-name"


class Housekeeper:
    def __init__(self, api: Api, store: Datastore, node_name: str, address: str) -> None:
        self._api = api
        self._store = store
        self._node_name = node_name
        self._address = address
        self._known: dict[str, str] = {}
        """Member of etcd by the Node that was seen with it."""

    def follow(self, is_stopping: Callable[[], bool]) -> None:
        while not is_stopping():
            try:
                nodes = {node["metadata"]["name"]: node for node in self._api.items("/api/v1/nodes")}
                self._mark(nodes.get(self._node_name))
                self._remove(nodes)
                self._forget(nodes)
            except (ApiError, EtcdError, subprocess.SubprocessError) as error:
                if not is_stopping():
                    log.warn(f"housekeeping: {error}")
            time.sleep(_POLL_S)

    def _mark(self, node: Object | None) -> None:
        if node is None:
            return
        labels = {"node-role.kubernetes.io/control-plane": "true"}
        annotations = {"k3s.io/hostname": self._node_name, "k3s.io/internal-ip": self._address}
        if self._store.has_etcd:
            labels["node-role.kubernetes.io/etcd"] = "true"
            annotations |= {_MEMBER: self._store.etcd.name, _ADDRESS: self._address}
        metadata = node["metadata"]
        if (
            labels.items() <= (metadata.get("labels") or {}).items()
            and annotations.items() <= (metadata.get("annotations") or {}).items()
        ):
            return
        self._api.merge(
            f"/api/v1/nodes/{self._node_name}", {"metadata": {"labels": labels, "annotations": annotations}}
        )

    def _remove(self, nodes: dict[str, Object]) -> None:
        """Members whose Nodes ask for it."""
        for name, node in nodes.items():
            asked = node["metadata"].get("annotations") or {}
            member_name = asked.get(_MEMBER, "")
            if not member_name or name == self._node_name or not self._store.has_etcd:
                continue
            annotations: dict[str, str | None] = {}
            if _REMOVED in asked:
                if asked[_REMOVED] != member_name:
                    # It has joined again, as another member.
                    annotations = {_REMOVED: None, _REMOVE: "false"}
            elif asked.get(_REMOVE, "").lower() == "true":
                self._remove_member(member_name)
                annotations = {_REMOVED: member_name, _MEMBER: None, _ADDRESS: None}
            if annotations:
                self._api.merge(f"/api/v1/nodes/{name}", {"metadata": {"annotations": annotations}})

    def _remove_member(self, member_name: str) -> None:
        for member in self._store.etcd.members():
            if member.get("name") == member_name:
                log.info(f"Removing etcd member {member_name}")
                self._store.etcd.remove(member)

    def _forget(self, nodes: dict[str, Object]) -> None:
        for name, node in nodes.items():
            self._known[name] = (node["metadata"].get("annotations") or {}).get(_MEMBER, "")
        for name in [known for known in self._known if known not in nodes]:
            member_name = self._known[name]
            if member_name and self._store.has_etcd and name != self._node_name:
                self._remove_member(member_name)
            self._api.delete(name_password_secret(name))
            del self._known[name]
