"""Keeps the status of every K3sCluster up to date: gathers what decides, plans, writes, and comes back when time may change the plan.

Level-based: whatever happened, the cluster is planned anew from its object, its nodes and the newest words of its members. Nobody
else writes the status; a write that meets a change of the spec is planned again.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec import Struct

from eaves.controller.compile.model import ObjectKey, Problem
from eaves.controller.deletion import save_update
from eaves.controller.documents import decode_object
from eaves.controller.events import EventSink
from eaves.controller.nodes import NodeIndex
from eaves.controller.objects import Objects, decode_stored, key_of
from eaves.controller.observe.clusters import MemberReport, observe_cluster
from eaves.controller.reconcile.clusterindex import ClusterIndex
from eaves.controller.reconcile.clusters.facts import read_node, read_releases
from eaves.controller.reconcile.clusters.model import ClusterInputs, ClusterPlan, NodeFacts
from eaves.controller.reconcile.clusters.plan import plan
from eaves.controller.reconcile.clusters.tokens import ClusterTokens
from eaves.controller.watching import Snapshot, follow
from eaves.controller.workqueue import WorkQueue
from eaves.kinds import k3scluster
from eaves.kinds.k3scluster import FINALIZER, K3sCluster
from eaves.kinds.registry import BY_KIND
from eaves.kube.resource import Object
from eaves.kube.selectors import LabelSelector, parse_label_selector_object
from eaves.store.abc import ChangeType, StoredObject
from eaves.store.devices import DeviceRegistry
from eaves.store.errors import ConflictError
from eaves.wire.identifiers import DeviceId
from eaves.wire.pb.info.info_pb2 import ZInfoMsg, ZInfoTypes

REFERENCED = ("Secret", "Datastore", "K3sRelease")


class _Interest(Struct, frozen=True):
    """Which nodes a cluster looks at: those that it names and those that selectors match."""

    names: frozenset[str]
    selectors: tuple[LabelSelector, ...]


class ClusterReconciler:
    """Run :meth:`run` under the supervisor; the ``look_at`` methods are called from the loop when something happened to a device."""

    def __init__(
        self,
        objects: Objects,
        registry: DeviceRegistry,
        nodes: NodeIndex,
        tokens: ClusterTokens,
        events: EventSink,
        problems_of: Callable[[DeviceId], Sequence[Problem]],
        now: Callable[[], float],
    ) -> None:
        self._objects = objects
        self._registry = registry
        self._nodes = nodes
        self._tokens = tokens
        self._events = events
        self._problems_of = problems_of
        self._now = now
        self._index = ClusterIndex()
        self._facts: dict[str, NodeFacts] = {}
        self._interests: dict[ObjectKey, _Interest] = {}
        self._waiting: set[ObjectKey] = set()
        """Clusters that lack an object that they refer to."""
        self._reports: dict[DeviceId, Mapping[str, MemberReport]] = {}
        """Of each device that was asked about: its newest word by cluster."""
        self._heard = 0
        """Words of devices so far."""
        self._timers: dict[ObjectKey, asyncio.TimerHandle] = {}
        self._known = {"EdgeNode": asyncio.Event(), "K3sCluster": asyncio.Event()}
        self.queue: WorkQueue[ObjectKey] = WorkQueue("clusters", self._reconcile, workers=1)

    async def run(self) -> None:
        """Watch and plan until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow_clusters(), name="clusters: follow")
                group.create_task(self._follow_nodes(), name="clusters: follow nodes")
                for kind in REFERENCED:
                    group.create_task(self._follow_references(kind), name=f"clusters: follow {kind}")
                for known in self._known.values():
                    await known.wait()
                group.create_task(self.queue.run(), name="clusters: work")
        finally:
            for timer in self._timers.values():
                timer.cancel()
            self._timers.clear()

    def take_report(self, device_id: DeviceId) -> None:
        """The device said something of a cluster."""
        self._heard += 1
        self._reports.pop(device_id, None)
        self.look_at(device_id)

    def look_at(self, device_id: DeviceId) -> None:
        """A config was made for the device, with problems or without."""
        if (name := self._nodes.name_of(device_id)) is not None:
            for key in self._index.clusters_of(name):
                self.queue.add(key, is_urgent=True)

    # --- Watching ------------------------------------------------------------------------------------------------------------------

    async def _follow_clusters(self) -> None:
        async for news in follow(self._objects.store, k3scluster.RESOURCE.store_name):
            if isinstance(news, Snapshot):
                self._index.replace(news.objects)
                self._interests.clear()
                for stored in news.objects:
                    self._note_interest(stored)
                    self.queue.add(_key(stored))
                self._known["K3sCluster"].set()
                continue
            self._index.note(news)
            if news.type is ChangeType.DELETED:
                self._interests.pop(_key(news.object), None)
                self._waiting.discard(_key(news.object))
            else:
                self._note_interest(news.object)
            self.queue.add(_key(news.object), is_urgent=True)

    def _note_interest(self, stored: StoredObject) -> None:
        spec = decode_stored(stored).get("spec") or {}
        pools = [spec.get(field) or {} for field in ("servers", "agents")]
        names = {str(name) for pool in pools for name in pool.get("nodeNames") or ()}
        selectors = tuple(
            parse_label_selector_object(pool["selector"]) for pool in pools if pool.get("selector") is not None
        )
        self._interests[_key(stored)] = _Interest(frozenset(names), selectors)

    async def _follow_nodes(self) -> None:
        async for news in follow(self._objects.store, BY_KIND["EdgeNode"].store_name):
            if isinstance(news, Snapshot):
                found = (read_node(decode_stored(stored)) for stored in news.objects)
                self._facts = {node.name: node for node in found if node is not None}
                for key in self._interests:
                    self.queue.add(key)
                self._known["EdgeNode"].set()
                continue
            name = news.object.key.name
            old = self._facts.get(name)
            if news.type is ChangeType.DELETED:
                new = None
                self._facts.pop(name, None)
            elif (new := read_node(decode_stored(news.object))) is not None:
                self._facts[name] = new
            if old != new:
                self._look_at_interested(name, [node for node in (old, new) if node is not None])

    def _look_at_interested(self, name: str, states: Sequence[NodeFacts]) -> None:
        keys = set(self._index.clusters_of(name))
        for key, interest in self._interests.items():
            if name in interest.names or any(s.matches(node.labels) for s in interest.selectors for node in states):
                keys.add(key)
        for key in keys:
            self.queue.add(key, is_urgent=True)

    async def _follow_references(self, kind: str) -> None:
        async for news in follow(self._objects.store, BY_KIND[kind].store_name):
            spaces = None if isinstance(news, Snapshot) else {news.object.key.namespace}
            keys = self._interests if kind == "K3sRelease" else self._waiting
            for key in [key for key in keys if spaces is None or key.namespace in spaces]:
                self.queue.add(key)

    # --- Planning ------------------------------------------------------------------------------------------------------------------

    async def _reconcile(self, key: ObjectKey) -> None:
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()
        stored = await self._objects.store.get(key_of("K3sCluster", key.namespace, key.name))
        if stored is None:
            return
        obj = decode_object(stored)
        cluster = k3scluster.decode(obj)
        given = await self._load_given_token(cluster)
        outcome = plan(await self._gather(key, cluster, given))
        for generation in sorted(outcome.tokens):
            if generation or not cluster.spec.token_secret_ref or given:
                await self._tokens.want(cluster.metadata.uid, generation, given if not generation else "")
        if await self._write(stored, obj, outcome):
            await self._clean_up(cluster, outcome)
        else:
            self.queue.add(key, is_urgent=True)
        if outcome.look_again_s is not None:
            loop = asyncio.get_running_loop()
            self._timers[key] = loop.call_later(outcome.look_again_s + 0.05, self.queue.add, key)

    async def _gather(self, key: ObjectKey, cluster: K3sCluster, given: str) -> ClusterInputs:
        uid, namespace = cluster.metadata.uid, key.namespace
        obstacles = await self._find_obstacles(cluster, given)
        (self._waiting.add if obstacles else self._waiting.discard)(key)
        reports, problems = {}, {}
        for member in cluster.status.members:
            device_id = DeviceId(member.id)
            if (report := (await self._load_reports(device_id)).get(uid)) is not None:
                reports[member.id] = report
            told = [problem.message for problem in self._problems_of(device_id) if problem.uid == uid]
            if told:
                problems[member.node_name] = "; ".join(told)
        return ClusterInputs(
            cluster=cluster,
            nodes=self._facts,
            reports=reports,
            releases=read_releases(await self._objects.list("K3sRelease", namespace)),
            taken={name: found.name for name in self._facts for found in self._index.clusters_of(name) if found != key},
            obstacles=obstacles,
            problems=problems,
            now=self._now(),
        )

    async def _load_reports(self, device_id: DeviceId) -> Mapping[str, MemberReport]:
        known = self._reports.get(device_id)
        if known is None:
            heard, found = self._heard, {}
            for info in await self._registry.load_info(device_id, ZInfoTypes.ZiKubeCluster):
                message = ZInfoMsg.FromString(info.message.payload).cluster_info
                found[message.cluster_id] = msgspec.structs.replace(observe_cluster(message), seq=info.seq)
            known = found
            # What came while it was read must not be hidden by it.
            if heard == self._heard:
                self._reports[device_id] = found
        return known

    async def _load_given_token(self, cluster: K3sCluster) -> str:
        """The first token, where the spec brings one."""
        reference = cluster.spec.token_secret_ref
        if reference is None:
            return ""
        data = await self._load_secret(cluster, reference.name)
        return (data or {}).get("token", b"").decode(errors="replace").strip()

    async def _load_secret(self, cluster: K3sCluster, name: str) -> Mapping[str, bytes] | None:
        obj = await self._objects.get("Secret", cluster.metadata.namespace, name)
        return None if obj is None else {key: base64.b64decode(text) for key, text in (obj.get("data") or {}).items()}

    async def _find_obstacles(self, cluster: K3sCluster, given: str) -> list[str]:
        """References that lead nowhere."""
        spec, found = cluster.spec, []
        if spec.token_secret_ref is not None and not given and not await self._tokens.find(cluster.metadata.uid, 0):
            found.append(f"Secret {spec.token_secret_ref.name} with the key token does not exist; create it")
        if spec.datastore_secret_ref is not None:
            data = await self._load_secret(cluster, spec.datastore_secret_ref.name)
            if not (data or {}).get("endpoint"):
                found.append(f"Secret {spec.datastore_secret_ref.name} with the key endpoint does not exist; create it")
        if spec.backup is not None and spec.backup.datastore_ref is not None:
            name = spec.backup.datastore_ref.name
            store = await self._objects.get("Datastore", cluster.metadata.namespace, name)
            if store is None:
                found.append(f"Datastore {name} for backups does not exist; create it")
            elif (store.get("spec") or {}).get("type") != "S3":
                found.append(f"Datastore {name} for backups must be of type S3")
        return found

    # --- Writing -------------------------------------------------------------------------------------------------------------------

    async def _write(self, stored: StoredObject, obj: Object, outcome: ClusterPlan) -> bool:
        """Commit the new status, with the finalizer as it has to be; False when the object changed since it was read."""
        status = msgspec.to_builtins(outcome.status)
        meta = dict(obj["metadata"])
        finalizers = [name for name in meta.get("finalizers") or () if name != FINALIZER or outcome.is_held]
        if outcome.is_held and FINALIZER not in finalizers and not meta.get("deletionTimestamp"):
            finalizers.append(FINALIZER)
        if finalizers:
            meta["finalizers"] = finalizers
        else:
            meta.pop("finalizers", None)
        new = {**obj, "metadata": meta, "status": status}
        if new != obj:
            try:
                await save_update(self._objects.store, k3scluster.RESOURCE, stored, new)
            except ConflictError:
                return False
        for note in outcome.notes:
            await self._events.record(obj, note)
        return True

    async def _clean_up(self, cluster: K3sCluster, outcome: ClusterPlan) -> None:
        """Forget what nobody needs any more: words of members that left, tokens that were replaced."""
        uid = cluster.metadata.uid
        for member_id in sorted(outcome.forget):
            device_id = DeviceId(member_id)
            rows = await self._registry.load_info(device_id, ZInfoTypes.ZiKubeCluster)
            gone = [row.seq for row in rows if row.message.object_id == uid]
            if gone:
                await self._registry.mark_observed(gone, gone=gone)
            self._reports.pop(device_id, None)
        before, after = cluster.status.done.rotate_token, outcome.status.done.rotate_token
        if before != after:
            await self._tokens.remove(uid, before)
        if not outcome.is_held:
            for generation in {before, after, cluster.spec.operations.rotate_token}:
                await self._tokens.remove(uid, generation)


def _key(stored: StoredObject) -> ObjectKey:
    return ObjectKey("K3sCluster", stored.key.namespace, stored.key.name)
