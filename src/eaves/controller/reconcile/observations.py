"""Turns what is known of devices into the status of objects: messages, contact, attestation, compiled configs.

One queue of devices: whatever happened to a device, its objects are loaded once, all that is known is applied, and one commit writes
what changed in meaning. Messages come from the registry's durable inbox and are marked only after that commit, so a crash repeats
and never loses; repeating changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from msgspec import Struct

from eaves.controller.compile.model import ObjectKey
from eaves.controller.events import EventSink
from eaves.controller.nodes import NodeIndex
from eaves.controller.objects import Objects
from eaves.controller.observe.compiled import (
    observe_attestation,
    observe_compiled,
    observe_config_poll,
    observe_placement,
)
from eaves.controller.observe.contact import observe_contact, silence_limit_s
from eaves.controller.observe.health import Health, observe_health
from eaves.controller.observe.info import observe_info
from eaves.controller.observe.pressure import Pressure, observe_pressure
from eaves.controller.reconcile.configs import Outcome
from eaves.controller.reconcile.contact import ContactKeeper
from eaves.controller.reconcile.deviceview import DeviceView, load_view
from eaves.controller.workqueue import WorkQueue
from eaves.store.devices import DeviceRegistry, PendingInfo
from eaves.store.errors import ConflictError
from eaves.wire.identifiers import DeviceId
from eaves.wire.pb.info.info_pb2 import ZInfoMsg, ZInfoTypes

WORKERS = 16
BATCH = 500
_ATTEMPTS = 8
_ID_FIELDS = {"ainfo": "AppID", "niinfo": "networkID", "vinfo": "uuid", "cinfo": "uuid", "patchInfo": "id"}
"""A message that holds nothing but this tells that the thing is deleted."""


class Verdict(Struct, frozen=True):
    """How the device's last quote was judged."""

    is_good: bool
    message: str


class DeviceObserver:
    """Run :meth:`run` under the supervisor; the other methods are called by gateway and reconcilers from the loop."""

    def __init__(
        self,
        objects: Objects,
        registry: DeviceRegistry,
        nodes: NodeIndex,
        events: EventSink,
        contact: ContactKeeper,
        compiled: Callable[[DeviceId], Outcome | None],
        now: Callable[[], float],
        take_cluster_report: Callable[[DeviceId], None] = lambda _device: None,
    ) -> None:
        self._take_cluster_report = take_cluster_report
        self._objects = objects
        self._registry = registry
        self._nodes = nodes
        self._events = events
        self._contact = contact
        self._compiled = compiled
        self._now = now
        self._inbox: dict[DeviceId, list[PendingInfo]] = {}
        self._dispatched = 0
        self._arrived = asyncio.Event()
        self._verdicts: dict[DeviceId, Verdict] = {}
        self._polled: dict[DeviceId, str] = {}
        self._pressures: dict[DeviceId, Pressure] = {}
        self._health: dict[DeviceId, Health] = {}
        self.queue: WorkQueue[DeviceId] = WorkQueue("devices", self._observe, workers=WORKERS)
        self.placements: WorkQueue[ObjectKey] = WorkQueue("placements", self._observe_unplaced, workers=1)
        nodes.call_when_gone(self._forget)

    def wake(self) -> None:
        """The inbox has something."""
        self._arrived.set()

    def look_at(self, device_id: DeviceId, is_urgent: bool = True) -> None:
        """Something about the device changed."""
        self.queue.add(device_id, is_urgent=is_urgent)

    def take_verdict(self, device_id: DeviceId, is_good: bool, message: str) -> None:
        """The device's quote was judged."""
        verdict = Verdict(is_good, message)
        if self._verdicts.get(device_id) != verdict:
            self._verdicts[device_id] = verdict
            self.queue.add(device_id, is_urgent=True)

    def take_poll(self, device_id: DeviceId, config_hash: str) -> None:
        """The device polled and named the config that it has."""
        if config_hash and self._polled.get(device_id) != config_hash:
            self._polled[device_id] = config_hash
            self.queue.add(device_id)

    def take_pressure(self, device_id: DeviceId, pressure: Pressure) -> None:
        """The device told how much of its storage and memory is in use."""
        if self._pressures.get(device_id) != pressure:
            self._pressures[device_id] = pressure
            self.queue.add(device_id)

    def take_health(self, device_id: DeviceId, health: Health) -> None:
        """The device told what of its hardware fails."""
        if self._health.get(device_id) != health:
            self._health[device_id] = health
            self.queue.add(device_id)

    def take_unplaced(self, app: ObjectKey) -> None:
        """The app names no EdgeNode that exists; it is to say so."""
        self.placements.add(app)

    async def run(self) -> None:
        await self._nodes.wait_ready()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._dispatch(), name="observations-inbox")
            group.create_task(self.queue.run(), name="observations-queue")
            group.create_task(self.placements.run(), name="observations-placements")

    async def _dispatch(self) -> None:
        """Hand pending messages to their devices; at the start those that an earlier process left."""
        while True:
            self._arrived.clear()
            while pending := await self._registry.pending(BATCH, after=self._dispatched):
                self._dispatched = pending[-1].seq
                for info in pending:
                    device_id = DeviceId(info.message.device_id)
                    self._inbox.setdefault(device_id, []).append(info)
                    if info.message.ztype == ZInfoTypes.ZiKubeCluster:
                        self._take_cluster_report(device_id)
                    self.queue.add(device_id, is_urgent=True)
            await self._arrived.wait()

    async def _observe(self, device_id: DeviceId) -> None:
        infos = self._inbox.pop(device_id, [])
        try:
            if (name := self._nodes.name_of(device_id)) is not None:
                await self._write(device_id, name, infos)
        except BaseException:
            if infos:
                self._inbox[device_id] = [*infos, *self._inbox.get(device_id, [])]
            raise
        if infos:
            gone = [info.seq for info in infos if is_deletion(ZInfoMsg.FromString(info.message.payload))]
            await self._registry.mark_observed([info.seq for info in infos], gone=gone)

    async def _write(self, device_id: DeviceId, name: str, infos: Sequence[PendingInfo]) -> None:
        for attempt in range(_ATTEMPTS):
            view = await load_view(self._objects, name)
            if view is None:
                return
            self._apply(view, device_id, infos)
            try:
                await view.write(self._objects, self._events)
            except ConflictError:
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                return

    def _apply(self, view: DeviceView, device_id: DeviceId, infos: Sequence[PendingInfo]) -> None:
        now = self._now()
        self._contact.limit(device_id, silence_limit_s(view.current.edgenode))
        if (compiled := self._compiled(device_id)) is not None:
            view.apply(observe_compiled(view.current, compiled.hash, compiled.problems, now))
        if (verdict := self._verdicts.get(device_id)) is not None:
            edgenode = view.current.edgenode
            view.apply([observe_attestation(edgenode, is_good=verdict.is_good, message=verdict.message, now=now)])
        if (polled := self._polled.get(device_id)) is not None:
            view.apply([observe_config_poll(view.current.edgenode, polled, now)])
        for info in infos:
            view.apply(observe_info(ZInfoMsg.FromString(info.message.payload), view.current, now))
        if (pressure := self._pressures.get(device_id)) is not None:
            view.apply([observe_pressure(view.current.edgenode, pressure, now)])
        if (health := self._health.get(device_id)) is not None:
            view.apply([observe_health(view.current.edgenode, health, now)])
        view.apply(observe_contact(view.current, self._last_seen(device_id, view, now), now))

    def _last_seen(self, device_id: DeviceId, view: DeviceView, now: float) -> float:
        """The last contact in a form that makes the wall clock agree with who is in contact."""
        if self._contact.is_in_contact(device_id):
            return now
        seen_s = self._contact.last_seen_s(device_id)
        return seen_s and min(seen_s, now - silence_limit_s(view.current.edgenode) - 1)

    async def _observe_unplaced(self, key: ObjectKey) -> None:
        app = await self._objects.get("App", key.namespace, key.name)
        if app is None:
            return
        node_name = (app.get("spec") or {}).get("nodeName", "")
        edgenode = await self._objects.get("EdgeNode", "", node_name) if node_name else None
        update = observe_placement(app, edgenode, self._now())
        if update is None:
            return
        if update.status is not None:
            await self._objects.replace({**app, "status": dict(update.status)})
        for note in update.events:
            await self._events.record(app, note)

    def _forget(self, device_id: DeviceId, _name: str) -> None:
        self._inbox.pop(device_id, None)
        self._verdicts.pop(device_id, None)
        self._polled.pop(device_id, None)
        self._pressures.pop(device_id, None)
        self._health.pop(device_id, None)


def is_deletion(message: ZInfoMsg) -> bool:
    """Whether a message tells that its thing is no more."""
    content = message.WhichOneof("InfoContent")
    if content is None or (field := _ID_FIELDS.get(content)) is None:
        return False
    told = getattr(message, content)
    return [descriptor.name for descriptor, _ in told.ListFields()] == [field]
