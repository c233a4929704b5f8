"""A config while it is being made: parts by UUID, so that several users of one part add it once.

Compilers of single objects fill a draft of their own, which is merged into the node's when all of it went well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from eaves.controller.compile.errors import HeldBackError
from eaves.controller.compile.model import NodeCipher
from eaves.wire.pb.config.appconfig_pb2 import AppInstanceConfig
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.config.edge_node_cluster_pb2 import EdgeNodeCluster
from eaves.wire.pb.config.netinst_pb2 import NetworkInstanceConfig
from eaves.wire.pb.config.patch_envelope_pb2 import EvePatchEnvelope
from eaves.wire.pb.config.storage_pb2 import ContentTree, DatastoreConfig, Volume
from eaves.wire.pb.evecommon.acipherinfo_pb2 import CipherBlock, CipherContext, EncryptionBlock

T = TypeVar("T")


@dataclass
class Draft:
    """The parts of a config that workloads need."""

    apps: dict[str, AppInstanceConfig] = field(default_factory=dict)
    networks: dict[str, NetworkInstanceConfig] = field(default_factory=dict)
    volumes: dict[str, Volume] = field(default_factory=dict)
    trees: dict[str, ContentTree] = field(default_factory=dict)
    datastores: dict[str, DatastoreConfig] = field(default_factory=dict)
    patches: dict[str, EvePatchEnvelope] = field(default_factory=dict)
    contexts: dict[str, CipherContext] = field(default_factory=dict)
    cluster: EdgeNodeCluster | None = None

    def merge(self, other: Draft) -> None:
        """Takes over what this draft does not have yet."""
        _add(self.apps, other.apps)
        _add(self.networks, other.networks)
        _add(self.volumes, other.volumes)
        _add(self.trees, other.trees)
        _add(self.datastores, other.datastores)
        _add(self.patches, other.patches)
        _add(self.contexts, other.contexts)
        self.cluster = self.cluster or other.cluster

    def encrypt(self, cipher: NodeCipher | None, secrets: EncryptionBlock, user: str) -> CipherBlock:
        """The secrets for the device's eyes only. Raises :class:`HeldBackError` while the device has published no key."""
        return self.encrypt_bytes(cipher, secrets.SerializeToString(deterministic=True), user)

    def encrypt_bytes(self, cipher: NodeCipher | None, plain: bytes, user: str) -> CipherBlock:
        """The same for a field that holds something else than an EncryptionBlock."""
        if cipher is None:
            raise HeldBackError(
                "AwaitingDeviceKey",
                f"{user} holds secrets, and the node has not published its encryption certificate yet; it does so when it attests",
            )
        self.contexts.setdefault(cipher.context.contextId, cipher.context)
        return cipher.encrypt(plain)

    def fill(self, config: EdgeDevConfig) -> None:
        """Writes the parts into the config, each list sorted by UUID."""
        config.apps.extend(_by_id(self.apps))
        config.networkInstances.extend(_by_id(self.networks))
        config.volumes.extend(_by_id(self.volumes))
        config.contentInfo.extend(_by_id(self.trees))
        config.datastores.extend(_by_id(self.datastores))
        config.patchEnvelopes.extend(_by_id(self.patches))
        config.cipherContexts.extend(_by_id(self.contexts))
        if self.cluster is not None:
            config.cluster.CopyFrom(self.cluster)


def _add(mine: dict[str, T], theirs: dict[str, T]) -> None:
    for key, value in theirs.items():
        mine.setdefault(key, value)


def _by_id(parts: dict[str, T]) -> Iterable[T]:
    return (parts[key] for key in sorted(parts))
