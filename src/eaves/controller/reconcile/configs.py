"""Keeps the config of every device up to date: watches all kinds that go into one, compiles what a change touches.

Level-based. Each compilation tells which objects it looked at, found or missing; a change of one of these compiles the node again,
as does anything that newly names the node. What was compiled is kept in the store, so that after a restart devices are answered at once
while everything is compiled again behind. A config that comes out the same keeps its bytes, its hash and its time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from eaves.controller.compile.encode import config_hash, encode_config
from eaves.controller.compile.model import CompiledConfig, ObjectKey, Problem
from eaves.controller.compile.node import compile_node
from eaves.controller.devicecerts import Encryptor
from eaves.controller.epoch import StoreEpoch, content_of, parse_stamp, stamp_hash
from eaves.controller.gateway.config import ConfigShelf, ServedConfig
from eaves.controller.gateway.notify import NotifyHub
from eaves.controller.identity import Identity
from eaves.controller.nodes import NodeIndex
from eaves.controller.objects import Objects
from eaves.controller.reconcile.clusterindex import ClusterIndex
from eaves.controller.reconcile.inputs import BY_NAME, FindToken, InputCache, Surroundings, load_inputs
from eaves.controller.reconcile.touched import TouchIndex, apps_of_patch, has_new_inputs
from eaves.controller.watching import Snapshot, follow
from eaves.controller.workqueue import WorkQueue
from eaves.kinds.registry import BY_KIND
from eaves.kube.resource import Object
from eaves.store.abc import Change
from eaves.store.credentials import SettingStore
from eaves.store.devices import DeviceRecord, DeviceRegistry
from eaves.wire.identifiers import DeviceId
from eaves.wire.pb.config.devconfig_pb2 import ConfigResponse, EdgeDevConfig

log = logging.getLogger(__name__)

_OWNERS = {"AppSnapshot": ("App", "spec.appName"), "VolumeSnapshot": ("Volume", "spec.volumeName")}
"""What each snapshot is of."""
INPUT_KINDS = (
    "EdgeNode",
    "App",
    "Network",
    "Volume",
    "Datastore",
    "Secret",
    "ConfigMap",
    "AppSnapshot",
    "HardwareModel",
    "PatchEnvelope",
    "VolumeSnapshot",
    "K3sCluster",
    "K3sRelease",
)
WORKERS = 16
"""Compilation itself is one after the other; several at a time share the commits of their results."""
URGENT_NODES = 16
"""A change of so few nodes is somebody's who waits; it goes before fleet-wide changes and the start's compilation of everything."""
_MAX_PASSES = 4
"""Objects named by objects that are named: datastore → secret is the deepest."""


class Outcome(Struct, frozen=True):
    """What the last compilation of a device's config gave."""

    hash: str
    problems: Sequence[Problem]


class _KeptConfig(Struct, frozen=True):
    """A compiled config in the store."""

    hash: str
    config: bytes
    """EdgeDevConfig without its time."""
    made_s: int
    """Its ``config_timestamp``."""


_encode_kept = msgspec.msgpack.Encoder().encode
_decode_kept = msgspec.msgpack.Decoder(_KeptConfig).decode


class ConfigReconciler:
    """Run :meth:`run` under the supervisor. ``report`` hears of each device whose outcome is to be looked at, and whether it is new."""

    def __init__(
        self,
        objects: Objects,
        registry: DeviceRegistry,
        settings: SettingStore,
        nodes: NodeIndex,
        identity: Identity,
        hub: NotifyHub,
        now: Callable[[], float],
        report: Callable[[DeviceId, bool], None],
        unplaced: Callable[[ObjectKey], None],
        max_configs: int,
        epoch: StoreEpoch,
        tokens: FindToken | None = None,
    ) -> None:
        self._objects = objects
        self._registry = registry
        self._settings = settings
        self._nodes = nodes
        self._identity = identity
        self._hub = hub
        self._now = now
        self._report = report
        self._unplaced = unplaced
        self._epoch = epoch
        self._latest_s: dict[DeviceId, int] = {}
        """Times of configs that devices had from a store that is no more."""
        self._tokens = tokens
        self._cache = InputCache(objects)
        self._clusters = ClusterIndex()
        self._clusters_known = asyncio.Event()
        """Until then no config is made: one without its cluster would make a node take K3s away."""
        self._encryptor = Encryptor()
        self._touched = TouchIndex()
        self._missing = {""}
        """Names that apps give and no EdgeNode has; a change of such an app concerns that app alone."""
        self._outcomes: dict[DeviceId, Outcome] = {}
        self._awaited: dict[DeviceId, asyncio.Future[ServedConfig | None]] = {}
        self.shelf = ConfigShelf(self._load, lambda payload: identity.current.signer.seal(payload), max_configs)
        self.queue: WorkQueue[str] = WorkQueue("configs", self._reconcile, workers=WORKERS)
        nodes.call_when_gone(self._forget)

    def outcome(self, device_id: DeviceId) -> Outcome | None:
        return self._outcomes.get(device_id)

    def want(self, device_id: DeviceId, *, is_urgent: bool = False) -> None:
        """Look at this device's config again: its certificates changed, for example."""
        if (name := self._nodes.name_of(device_id)) is not None:
            self.queue.add(name, is_urgent=is_urgent)

    def want_all(self) -> None:
        """Look at every config again: the controller's own certificates changed."""
        for device_id in self._nodes.ids():
            self.want(device_id)

    async def note_poll(self, device_id: DeviceId, known_hash: str, current_hash: str) -> bool:
        """Whether the device had a later config than there is: the store was put back to an earlier state.

        Every device is then asked for everything, and this one's config is made anew, later than what it had: it takes no older one.
        """
        secret = self._identity.current.iv_secret
        known_s = parse_stamp(known_hash, device_id, secret)
        if known_s <= parse_stamp(current_hash, device_id, secret):
            return False
        self._latest_s[device_id] = max(known_s, self._latest_s.get(device_id, 0))
        kept = await self._load_kept(device_id)
        before = await self._epoch.want()
        record = await self._registry.find(device_id)
        # Otherwise the epoch was raised since that config was made, and the next is on its way.
        if kept is None or EdgeDevConfig.FromString(kept.config).controller_epoch == _epoch_of(before, record):
            log.warning(
                "a device had a later config than the store knows; everything is asked for: device=%s", device_id
            )
            await self._epoch.renew()
            self.want_all()
        self.want(device_id, is_urgent=True)
        return True

    async def remove_kept(self, device_id: DeviceId) -> None:
        """Forget the config of a device that is gone."""
        if await self._settings.load_setting(_setting_name(device_id)):
            await self._settings.save_setting(_setting_name(device_id), b"")

    async def run(self) -> None:
        """Watch and compile until cancelled."""
        await self._nodes.wait_ready()
        async with asyncio.TaskGroup() as group:
            for kind in INPUT_KINDS:
                group.create_task(self._follow(kind), name=f"configs-{kind}")
            await self._clusters_known.wait()
            group.create_task(self.queue.run(), name="configs-queue")

    async def _follow(self, kind: str) -> None:
        is_first = True
        async for news in follow(self._objects.store, BY_KIND[kind].store_name):
            if kind == "K3sCluster" and isinstance(news, Snapshot):
                self._clusters.replace(news.objects)
                self._clusters_known.set()
            if isinstance(news, Change):
                self._note_change(kind, news)
            elif kind == "EdgeNode":
                for stored in news.objects:
                    self.queue.add(stored.key.name)
            elif not is_first or kind == "App":
                self._note_snapshot(kind, news)
            is_first = False

    def _note_snapshot(self, kind: str, snapshot: Snapshot) -> None:
        """At the start every node is compiled anyway; later a snapshot means that changes were lost."""
        self._cache.clear()
        for name in {stored.fields.get("spec.nodeName", "") for stored in snapshot.objects} if kind == "App" else ():
            self.queue.add(name)
        self.want_all()

    def _note_change(self, kind: str, change: Change) -> None:
        key = ObjectKey(kind, change.object.key.namespace, change.object.key.name)
        if kind in BY_NAME or kind not in ("EdgeNode", "App", "Volume"):
            self._cache.forget(key)
        if kind == "K3sCluster":
            # Which change of a status is one of a config, the index knows.
            touched, members = self._touched.note_change(key), self._clusters.note(change)
            if members:
                self._add_all(touched | members)
            return
        if not has_new_inputs(kind, change):
            return
        names = self._touched.note_change(key)
        for stored in (change.object, change.previous):
            if kind in _OWNERS and stored is not None:
                # A config looks at the snapshots of an app or a volume wherever it looks at that.
                owner, field = _OWNERS[kind]
                names |= self._touched.note_change(ObjectKey(owner, key.namespace, stored.fields.get(field, "")))
            if kind == "PatchEnvelope" and stored is not None:
                for name in apps_of_patch(stored):
                    names |= self._touched.note_change(ObjectKey("App", key.namespace, name))
        if kind == "EdgeNode":
            names.add(key.name)
            self._missing.discard(key.name)
        for stored in (change.object, change.previous):
            if stored is not None and "spec.nodeName" in stored.fields:
                names.add(stored.fields["spec.nodeName"])
        if kind == "App" and names & self._missing:
            self._unplaced(key)
            names -= self._missing
        if kind == "K3sRelease":
            names |= self._clusters.nodes_in(key.namespace)
        self._add_all(names)

    def _add_all(self, names: set[str]) -> None:
        for name in names:
            self.queue.add(name, is_urgent=len(names) <= URGENT_NODES)

    async def _reconcile(self, name: str) -> None:
        """Bring the config of one node up to date."""
        started = self._touched.start()
        try:
            edgenode = await self._objects.get("EdgeNode", "", name) if name else None
            if edgenode is None:
                self._touched.drop(name)
                await self._note_missing(name)
                return
            self._missing.discard(name)
            compiled = await self._compile(edgenode)
            if self._touched.finish(name, compiled.touched, started):
                # Something that was looked at changed meanwhile.
                self.queue.add(name)
        finally:
            self._touched.end(started)

    async def _note_missing(self, name: str) -> None:
        """There is no EdgeNode of this name; each app that names it is to say so."""
        self._missing.add(name)
        page = await self._objects.store.list(BY_KIND["App"].store_name, fields={"spec.nodeName": name})
        for stored in page.items:
            self._unplaced(ObjectKey("App", stored.key.namespace, stored.key.name))
        if name and not page.items:
            self._missing.discard(name)

    async def _compile(self, edgenode: Object) -> CompiledConfig:
        device_id = DeviceId(edgenode["metadata"]["uid"])
        kept = await self._load_kept(device_id)
        record = await self._registry.find(device_id)
        credentials = self._identity.current
        around = Surroundings(
            credentials.certs_hash,
            self._encryptor.want_cipher(credentials, device_id, record.certs if record is not None else ()),
            EdgeDevConfig.FromString(kept.config) if kept is not None else None,
            self._clusters.clusters_of(edgenode["metadata"]["name"]),
            self._tokens,
            _epoch_of(await self._epoch.want(), record),
        )
        named = {key for key in self._touched.of(edgenode["metadata"]["name"]) if key.kind in BY_NAME}
        for _ in range(_MAX_PASSES):
            inputs = await load_inputs(self._objects, self._cache, edgenode, named, around)
            compiled = compile_node(inputs)
            asked = {key for key in compiled.touched if key.kind in BY_NAME}
            if asked <= named:
                break
            named = asked
        await self._take(device_id, compiled, kept)
        return compiled

    async def _take(self, device_id: DeviceId, compiled: CompiledConfig, kept: _KeptConfig | None) -> None:
        """Serve the config, keep it, and tell its device and the status."""
        content = config_hash(compiled.config)
        latest_s = self._latest_s.get(device_id, 0)
        is_new = kept is None or content_of(kept.hash) != content or kept.made_s <= latest_s
        if is_new:
            # The device ignores a config that is older than the one it has.
            made_s = max(int(self._now()), latest_s + 1)
            if kept is not None:
                made_s = max(made_s, kept.made_s + 1)
            stamped = stamp_hash(content, made_s, device_id, self._identity.current.iv_secret)
            kept = _KeptConfig(stamped, encode_config(compiled.config), made_s)
        assert kept is not None
        served = _serve(kept)
        self.shelf.put(device_id, served)
        if (awaited := self._awaited.pop(device_id, None)) is not None and not awaited.done():
            awaited.set_result(served)
        if is_new:
            self._hub.tell_config(device_id, kept.hash)
            await self._settings.save_setting(_setting_name(device_id), _encode_kept(kept))
        outcome = Outcome(kept.hash, compiled.problems)
        if self._outcomes.get(device_id) != outcome or is_new:
            self._outcomes[device_id] = outcome
        self._report(device_id, is_new)

    async def _load(self, device_id: DeviceId) -> ServedConfig | None:
        """For the shelf: what was kept, else what is compiled next."""
        kept = await self._load_kept(device_id)
        if kept is not None:
            return _serve(kept)
        if device_id not in self._nodes:
            return None
        awaited = self._awaited.get(device_id)
        if awaited is None or awaited.done():
            awaited = self._awaited[device_id] = asyncio.get_running_loop().create_future()
        self.want(device_id, is_urgent=True)
        return await asyncio.shield(awaited)

    async def _load_kept(self, device_id: DeviceId) -> _KeptConfig | None:
        data = await self._settings.load_setting(_setting_name(device_id))
        return _decode_kept(data) if data else None

    def _forget(self, device_id: DeviceId, name: str) -> None:
        self.shelf.drop(device_id)
        self._outcomes.pop(device_id, None)
        self._latest_s.pop(device_id, None)
        if (awaited := self._awaited.pop(device_id, None)) is not None and not awaited.done():
            awaited.set_result(None)
        self.queue.add(name)


def _epoch_of(epoch: int, record: DeviceRecord | None) -> int:
    """Of one device: one that is registered anew, since the store no longer knew it, is to tell everything too."""
    return epoch + (record.created_ns // 10**9 if record is not None else 0)


def _serve(kept: _KeptConfig) -> ServedConfig:
    config = EdgeDevConfig.FromString(kept.config)
    config.config_timestamp.seconds = kept.made_s
    payload = ConfigResponse(config=config, configHash=kept.hash).SerializeToString(deterministic=True)
    return ServedConfig(kept.hash, payload, frozenset(app.uuidandversion.uuid for app in config.apps))


def _setting_name(device_id: DeviceId) -> str:
    return f"config/{device_id}"
