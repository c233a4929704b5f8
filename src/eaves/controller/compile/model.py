"""What compilation takes and gives: plain values, no store, no clock.

The config reconciler gathers :class:`NodeInputs` for one device and gets :class:`CompiledConfig`. Objects are decoded
JSON as the store keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from msgspec import Struct, field

from eaves.kube.resource import Object
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.evecommon.acipherinfo_pb2 import CipherBlock, CipherContext

DEFAULT_CONFIG_ITEMS: Mapping[str, str] = {"newlog.allow.fastupload": "true"}
"""Device properties sent unless the EdgeNode says otherwise."""


class NodeCipher(Struct, frozen=True):
    """How to encrypt to one device: its context, and a function of the plaintext that fills the block.

    ``encrypt`` must give equal blocks for equal plaintext (see ``eaves.wire.cipher.derive_iv``), so that compiling
    again changes nothing. It sets ``cipherContextId`` to ``context.contextId``.
    """

    context: CipherContext
    encrypt: Callable[[bytes], CipherBlock]


class NodeInputs(Struct, frozen=True, kw_only=True):
    """Everything that one device's config depends on.

    ``apps`` are those with ``spec.nodeName`` of this node, ``volumes`` likewise; ``networks``, ``datastores``,
    ``secrets`` and ``configmaps`` those of the namespaces of these apps (more does no harm). ``cipher`` is None until
    the device has published its ECDH certificate. ``previous`` is the last config made for this device: an app that
    cannot be compiled now keeps what it had there, so that deleting a Secret never stops a running app.
    """

    edgenode: Object
    apps: Sequence[Object] = ()
    networks: Sequence[Object] = ()
    volumes: Sequence[Object] = ()
    datastores: Sequence[Object] = ()
    snapshots: Sequence[Object] = ()
    """AppSnapshots of the namespaces of virtual machines."""
    hardware_models: Sequence[Object] = ()
    patches: Sequence[Object] = ()
    """PatchEnvelopes of the namespaces of apps."""
    volume_snapshots: Sequence[Object] = ()
    """VolumeSnapshots of the namespaces of ``volumes``."""
    clusters: Sequence[Object] = ()
    """K3sClusters whose status names this node."""
    releases: Sequence[Object] = ()
    """K3sReleases of the namespaces of ``clusters``."""
    cluster_tokens: Mapping[str, str] = field(default_factory=dict)
    """Join tokens of ``clusters`` by :func:`token_name`."""
    secrets: Sequence[Object] = ()
    configmaps: Sequence[Object] = ()
    controller_certs_hash: str = ""
    """Opaque text that changes with the controller's certificates (``controllercert_confighash``)."""
    cipher: NodeCipher | None = None
    default_items: Mapping[str, str] = field(default_factory=lambda: DEFAULT_CONFIG_ITEMS)
    previous: EdgeDevConfig | None = None
    controller_epoch: int = 0
    """Another number asks the device for everything anew."""


def token_name(cluster_id: str, generation: int) -> str:
    """Names one of a cluster's join tokens: the first is generation 0, each change makes another."""
    return f"{cluster_id}/{generation}"


class ObjectKey(NamedTuple):
    """Names an object: Kind, namespace (empty for cluster-wide kinds), name."""

    kind: str
    namespace: str
    name: str


class Effect(StrEnum):
    """What a problem means for the object."""

    OMITTED = "Omitted"
    """The config does not have it."""
    KEPT = "Kept"
    """The config has the version that it had before."""
    PARTIAL = "Partial"
    """The config has it, without the part that the message names."""


class Problem(Struct, frozen=True, order=True):
    """Why an object is not, or not fully, in the config. ``reason`` is a CamelCase word for conditions and events."""

    kind: str
    namespace: str
    name: str
    reason: str
    message: str
    uid: str = ""
    effect: Effect = Effect.OMITTED


class CompiledConfig(Struct, frozen=True):
    """The config of one device."""

    config: EdgeDevConfig
    problems: tuple[Problem, ...]
    touched: frozenset[ObjectKey]
    """Every object that the config depends on, found or missing: a change of any of them asks for compiling again."""

    @property
    def hash(self) -> str:
        from eaves.controller.compile.encode import config_hash

        return config_hash(self.config)
