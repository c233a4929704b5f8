"""Serves group metrics.k8s.io: NodeMetrics and PodMetrics, computed from the newest metrics of the devices.

A node or pod without figures (nothing arrived lately, or the app has only started) is left out, as the Kubernetes metrics server does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import NoReturn

from eaves.controller.api.backends import YIELD_EVERY, Backend
from eaves.controller.api.views import store_view
from eaves.controller.documents import decode_object, key_of
from eaves.controller.observe.metrics import summarise_metrics
from eaves.controller.observe.usage import Sample, measure_app, measure_node
from eaves.kinds import edgenode, usage
from eaves.kube.resource import Object, Resource
from eaves.store.abc import Change, ObjectStore, Page, Progress, StoredObject
from eaves.store.telemetry import RecordKind, Telemetry
from eaves.wire.pb.metrics.metrics_pb2 import ZMetricMsg

SAMPLES = 3
"""One more than a difference needs: two may be too near to each other."""
_NANOS = 10**9


class Samples:
    """The newest metrics of devices, read once each while one request is served."""

    def __init__(self, store: ObjectStore, telemetry: Telemetry) -> None:
        self._store = store
        self._telemetry = telemetry
        self._by_device: dict[str, Sequence[Sample]] = {}
        self._devices: dict[str, str] = {}

    async def of_device(self, device_id: str) -> Sequence[Sample]:
        """Oldest first."""
        if device_id not in self._by_device:
            records = await self._telemetry.list_records(RecordKind.METRICS, device_id, limit=SAMPLES)
            self._by_device[device_id] = [
                Sample(record.received_ns / _NANOS, summarise_metrics(ZMetricMsg.FromString(record.payload)))
                for record in records
            ]
        return self._by_device[device_id]

    async def of_node(self, name: str) -> Sequence[Sample]:
        """Empty for a node that there is not."""
        if name not in self._devices:
            found = await self._store.get(key_of(edgenode.RESOURCE, "", name)) if name else None
            self._devices[name] = found.uid if found is not None else ""
        device_id = self._devices[name]
        return await self.of_device(device_id) if device_id else ()


Measure = Callable[[StoredObject, Object, Samples], Awaitable[Object | None]]
"""Computes the metrics of one object, given stored and decoded; None = there are no figures."""


class UsageView:
    """A :class:`~eaves.controller.api.backends.Backend` of objects that are there as long as there are figures."""

    def __init__(
        self,
        resource: Resource,
        objects: Backend,
        measure: Measure,
        make_samples: Callable[[], Samples],
    ) -> None:
        self.resource = resource
        self._objects = objects
        self._measure = measure
        self._make_samples = make_samples

    async def get(self, namespace: str, name: str) -> StoredObject | None:
        stored = await self._objects.get(namespace, name)
        return None if stored is None else await self._project(stored, self._make_samples())

    async def list(
        self,
        namespace: str | None,
        *,
        limit: int = 0,
        after: tuple[str, str] | None = None,
        revision: int | None = None,
        labels: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> Page:
        page = await self._objects.list(
            namespace, limit=limit, after=after, revision=revision, labels=labels, fields=fields
        )
        samples, items = self._make_samples(), []
        for index, stored in enumerate(page.items):
            if (item := await self._project(stored, samples)) is not None:
                items.append(item)
            if index % YIELD_EVERY == YIELD_EVERY - 1:
                await asyncio.sleep(0)
        return Page(items, page.revision, page.next_key, page.remaining)

    def watch(self, namespace: str | None, *, after: int, progress: bool = False) -> AsyncIterator[Change | Progress]:
        return _refuse_watch()

    async def _project(self, stored: StoredObject, samples: Samples) -> StoredObject | None:
        obj = await self._measure(stored, decode_object(stored), samples)
        return None if obj is None else store_view(self.resource, obj, stored)


def make_node_usage(
    nodes: Backend, store: ObjectStore, telemetry: Telemetry, clock: Callable[[], float] = time.time
) -> UsageView:
    """``metrics.k8s.io nodes``, from the view of nodes."""

    async def measure(stored: StoredObject, node: Object, samples: Samples) -> Object | None:
        figures = measure_node(await samples.of_device(stored.uid), clock())
        return None if figures is None else usage.project_node_metrics(node, figures)

    return UsageView(usage.NODE_RESOURCE, nodes, measure, lambda: Samples(store, telemetry))


def make_pod_usage(
    pods: Backend, store: ObjectStore, telemetry: Telemetry, clock: Callable[[], float] = time.time
) -> UsageView:
    """``metrics.k8s.io pods``, from the view of pods; those that run."""

    async def measure(_stored: StoredObject, pod: Object, samples: Samples) -> Object | None:
        if (pod.get("status") or {}).get("phase") != "Running":
            return None
        app_id = pod["metadata"]["ownerReferences"][0]["uid"]
        node_name = (pod.get("spec") or {}).get("nodeName", "")
        figures = measure_app(await samples.of_node(node_name), app_id, clock())
        return None if figures is None else usage.project_pod_metrics(pod, figures)

    return UsageView(usage.POD_RESOURCE, pods, measure, lambda: Samples(store, telemetry))


def _refuse_watch() -> NoReturn:
    raise NotImplementedError("the kinds of metrics.k8s.io do not have the verb watch")
