"""Decides when which message goes out: info on every change of an object, device info also at intervals, metrics at random ones.

Level-based: the reporter compares what is observed and refused now with what it last queued, so a missed change or a restart heals
by itself. It is the only writer of the event queue.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Collection
from typing import Protocol

from msgspec.structs import replace

from eaves.node.desired.model import ObjectKind
from eaves.node.link import pace
from eaves.node.link.calls import LINK_ERRORS, Controller
from eaves.node.link.queues import EventQueue
from eaves.node.observed import (
    ALIVE,
    AppState,
    AppStatus,
    ImageStatus,
    Observations,
    list_statuses,
)
from eaves.node.observed_patches import PatchStatus
from eaves.node.orders import Orders
from eaves.node.report import facts, metadata, metrics
from eaves.node.report.blobs import BlobReports, want_blob_infos, want_blob_reports
from eaves.node.report.device import DeviceView, want_device_info, want_hardware_info
from eaves.node.report.metrics import MetricsView
from eaves.node.report.subjects import STRUCTS, Key, Subject, want_gist, want_info, want_removal, want_subjects
from eaves.node.report.told import Told, list_departed
from eaves.wire.paths import Endpoint
from eaves.wire.pb.info.info_pb2 import ZInfoMsg

log = logging.getLogger(__name__)

GATHER_S = 0.05
"""Changes that come together go out together."""
DEVICE_GATHER_S = 0.3
HEALTH_RETRY_S = 120.0
FRESH_METRICS_S = 15.0
"""Metrics go out so long after the daemon or an app has started: a rate needs two samples, and people look at what is new."""
FRESH_LIMIT_S = 300
"""A node that is to send metrics more rarely than this sends none in between: it is on a metered link."""


class Survey(Protocol):
    """Gathers the facts of one message; :class:`eaves.node.report.survey.Surveyor` does."""

    async def view_device(self) -> DeviceView: ...

    async def view_metrics(self) -> MetricsView: ...


class Reporter:
    """Runs the four rhythms; ``bootstrap`` supervises one service for each."""

    def __init__(
        self,
        controller: Controller,
        observations: Observations,
        orders: Orders,
        queue: EventQueue,
        surveyor: Survey,
        told: Told | None = None,
    ) -> None:
        self._controller = controller
        self._observations = observations
        self._orders = orders
        self._queue = queue
        self._surveyor = surveyor
        self._queued: dict[Key, Subject] = {}
        self._told = told or Told()
        self._leaving: set[Key] = set()
        """Gone, and the controller does not know yet: a daemon that dies now leaves it to the next to tell."""
        self._told_data: dict[tuple[str, str], bytes] = {}
        self._told_patches: dict[str, PatchStatus] = {}
        self._told_blobs: BlobReports = {}
        self._changed = asyncio.Event()
        self._device_due = asyncio.Event()
        self._has_sent_hardware = False
        self._epoch: int | None = None
        self._metrics_due = asyncio.Event()
        self._metrics_interval_s = 0
        self._announced_interval_s = 0
        self._has_living = False
        self._running: frozenset[tuple[str, float]] = frozenset()
        self._fresh_metrics: asyncio.TimerHandle | None = None

    def note_config(self) -> None:
        """A config was carried out: problems, timers or the epoch may be others."""
        desired = self._orders.desired
        if desired is not None and desired.controller_epoch != self._epoch:
            if self._epoch is not None:
                self.tell_all()
            self._epoch = desired.controller_epoch
        if self._orders.timers.metric_interval_s != self._metrics_interval_s:
            self._metrics_due.set()
        self._changed.set()
        self._device_due.set()

    def tell_all(self) -> None:
        """Queue everything again: the controller, or what it calls this node, is another one."""
        self._queued.clear()
        self._told_data.clear()
        self._told_patches.clear()
        self._told_blobs = {}
        self._has_sent_hardware = False
        self._changed.set()
        self._device_due.set()

    def note_device(self) -> None:
        """Something that only the device info tells has changed."""
        self._device_due.set()

    async def run_changes(self) -> None:
        """Queue a message for each object that changed, for ever."""
        version = -1
        await self._told.load()
        while True:
            version = await self._wait_change(version)
            await asyncio.sleep(GATHER_S)
            version = self._observations.version
            self.queue_changes()
            await self._told.save()

    async def run_device(self) -> None:
        """Queue device info at start, on request, and at intervals, for ever."""
        while True:
            await self.queue_device()
            interval_s = self._orders.timers.deviceinfo_interval_s
            if await pace.sleep_or_wake(pace.pick_delay_s(interval_s, 0.8, 1.2), self._device_due):
                await asyncio.sleep(DEVICE_GATHER_S)
                self._device_due.clear()

    async def run_metrics(self) -> None:
        """Send metrics at random intervals and when apps have started, for ever; one that fails is not repeated."""
        self._want_fresh_metrics()
        while True:
            self._metrics_due.clear()
            interval_s = self._metrics_interval_s = self._orders.timers.metric_interval_s
            try:
                await self._send_metrics(interval_s)
                self._announced_interval_s = interval_s
            except LINK_ERRORS as error:
                log.info("metrics did not arrive: error=%s", error)
            # Until a longer silence was announced, the former interval is what the controller counts on.
            known = self._announced_interval_s or interval_s
            await pace.sleep_or_wake(pace.pick_delay_s(min(interval_s, known)), self._metrics_due)

    async def run_health(self) -> None:
        """Send memory error counts at start and then twice a day, for ever."""
        while True:
            delay_s = pace.pick_delay_s(self._orders.timers.hardwarehealth_interval_s)
            try:
                eccs = await asyncio.to_thread(facts.load_eccs)
                message = metrics.want_health(self._device_id, eccs, time.time())
                reply = await self._controller.post(Endpoint.HARDWARE_HEALTH, message.SerializeToString())
                delay_s = delay_s if reply.is_success else HEALTH_RETRY_S
            except LINK_ERRORS as error:
                log.info("hardware health did not arrive: error=%s", error)
                delay_s = HEALTH_RETRY_S
            await asyncio.sleep(delay_s)

    def queue_changes(self) -> None:
        """Compare and queue."""
        self._observations.take_removed()
        now = time.time()
        wanted = self._want_subjects()
        app_keys_before = {key for key in self._queued if key[0] is ObjectKind.APP}
        for key, subject in wanted.items():
            gist = want_gist(subject)
            if self._queued.get(key) != gist:
                self._queued[key] = gist
                self._put(key, want_info(self._device_id, key, subject, now))
        gone = [key for key in self._queued if key not in wanted]
        for key in (*gone, *self._list_departed(wanted)):
            self._queued.pop(key, None)
            self._leaving.add(key)
            self._put(key, want_removal(self._device_id, key, now), functools.partial(self._note_left, key))
        self._leaving.difference_update(wanted)
        self._told.keys.update(wanted)
        self._queue_blobs(now)
        self._queue_metadata(now)
        self._note_running()
        # Whether anything runs decides when the node is ready for its power to go.
        has_living = any(status.state in ALIVE for status in list_statuses(self._observations, AppStatus))
        if app_keys_before != {key for key in wanted if key[0] is ObjectKind.APP} or has_living != self._has_living:
            self._has_living = has_living
            self._device_due.set()

    def _list_departed(self, wanted: Collection[Key]) -> list[Key]:
        """What was told by a former daemon and left the config before this one started, once it is known to be gone from here too."""
        if not self._observations.has_inventory:
            return []
        unseen = {key for key in self._told.keys if self._observations.is_expected(STRUCTS[key[0]], key[1])}
        return list_departed(
            self._told.keys.difference(wanted, self._queued, self._leaving, unseen), self._orders.desired
        )

    def _queue_blobs(self, now: float) -> None:
        wanted = want_blob_reports(list_statuses(self._observations, ImageStatus))
        for image_id, message in want_blob_infos(self._device_id, self._told_blobs, wanted, now).items():
            self._queue.put(f"blobs/{image_id}", message.SerializeToString())
        self._told_blobs = wanted

    def _queue_metadata(self, now: float) -> None:
        """What apps posted, and patch envelopes."""
        data = dict(self._observations.app_data)
        for (app_id, kind), content in data.items():
            if self._told_data.get((app_id, kind)) != content:
                message = metadata.want_app_data_info(self._device_id, app_id, kind, content, now)
                self._queue.put(f"{kind}/{app_id}", message.SerializeToString())
        self._told_data = data
        patches = {status.id: status for status in self._observations.patches}
        for patch_id, status in patches.items():
            if self._told_patches.get(patch_id) != status:
                message = metadata.want_patch_info(self._device_id, status, now)
                self._queue.put(f"patch/{patch_id}", message.SerializeToString())
        for patch_id in self._told_patches.keys() - patches.keys():
            message = metadata.want_removed_patch_info(self._device_id, patch_id, now)
            self._queue.put(f"patch/{patch_id}", message.SerializeToString())
        self._told_patches = patches

    async def queue_device(self) -> None:
        """Queue device info, and the inventory if it is due."""
        view = await self._surveyor.view_device()
        now = time.time()
        self._queue.put("device", want_device_info(self._device_id, view, now).SerializeToString())
        if not self._has_sent_hardware:
            self._has_sent_hardware = True
            self._queue.put("hardware", want_hardware_info(self._device_id, view, now).SerializeToString())

    @property
    def _device_id(self) -> str:
        assert self._controller.device_id is not None
        return self._controller.device_id

    def _note_running(self) -> None:
        running = frozenset(
            (status.id, status.current.started_at)
            for status in list_statuses(self._observations, AppStatus)
            if status.current is not None and status.state is AppState.RUNNING
        )
        if running - self._running:
            self._want_fresh_metrics()
        self._running = running

    def _want_fresh_metrics(self) -> None:
        """Metrics in a while, besides those at intervals; an app that is started again and again changes nothing."""
        if self._fresh_metrics is not None or self._orders.timers.metric_interval_s > FRESH_LIMIT_S:
            return
        self._fresh_metrics = asyncio.get_running_loop().call_later(FRESH_METRICS_S, self._send_fresh_metrics)

    def _send_fresh_metrics(self) -> None:
        self._fresh_metrics = None
        self._metrics_due.set()

    async def _wait_change(self, version: int) -> int:
        """Until the board or the config's problems change."""
        board = asyncio.ensure_future(self._observations.changed(version))
        config = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait([board, config], return_when=asyncio.FIRST_COMPLETED)
        finally:
            board.cancel()
            config.cancel()
        self._changed.clear()
        return self._observations.version

    async def _send_metrics(self, interval_s: int) -> None:
        view = await self._surveyor.view_metrics()
        message = metrics.want_metrics(self._device_id, replace(view, interval_s=interval_s), time.time())
        await self._controller.post(Endpoint.METRICS, message.SerializeToString())

    def _put(self, key: Key, message: ZInfoMsg, settled: Callable[[], None] | None = None) -> None:
        self._queue.put(f"{key[0].value}/{key[1]}", message.SerializeToString(), settled=settled)

    def _note_left(self, key: Key) -> None:
        """The controller knows that it is gone."""
        if key in self._leaving:
            self._leaving.discard(key)
            self._told.keys.discard(key)
            self._changed.set()

    def _want_subjects(self) -> dict[Key, Subject]:
        statuses = (status for struct in STRUCTS.values() for status in self._observations.each(struct))
        return want_subjects(self._orders.desired, self._orders.problems, statuses)
