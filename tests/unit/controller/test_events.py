"""The same thing said again is one Event that counts."""

from __future__ import annotations

import asyncio
from pathlib import Path

from eaves.controller.events import EventRecorder
from eaves.controller.objects import Objects
from eaves.controller.observe.model import EventNote, EventType
from eaves.testing.objects import make_app, make_edgenode
from eaves.testing.operator_api import open_api

PULLED = EventNote(EventType.NORMAL, "Pulled", "pulled the image")


async def test_repetitions_are_counted(tmp_path: Path) -> None:
    clock = [1_795_550_400.0]
    async with open_api(tmp_path) as bench:
        objects = Objects(bench.store)
        recorder = EventRecorder(objects, "eaves-controller", lambda: clock[0])
        await recorder.record(make_app("web"), PULLED)
        clock[0] += 60
        await EventRecorder(objects, "eaves-controller", lambda: clock[0]).record(make_app("web"), PULLED)
        await recorder.record(make_app("web"), EventNote(EventType.WARNING, "BackOff", "exited with 1"))
        events = await objects.list("Event", "default")
        by_reason = {event["reason"]: event for event in events}
        assert (by_reason["Pulled"]["count"], by_reason["BackOff"]["count"]) == (2, 1)
        assert by_reason["Pulled"]["firstTimestamp"] == "2026-11-24T20:00:00Z"
        assert by_reason["Pulled"]["lastTimestamp"] == "2026-11-24T20:01:00Z"
        assert by_reason["Pulled"]["involvedObject"]["name"] == "web"


async def test_at_the_same_moment_none_is_lost(tmp_path: Path) -> None:
    async with open_api(tmp_path) as bench:
        objects = Objects(bench.store)
        recorder = EventRecorder(objects, "eaves-controller")
        await asyncio.gather(*(recorder.record(make_app("web"), PULLED) for _ in range(4)))
        (event,) = await objects.list("Event")
        assert event["count"] == 4


async def test_events_of_cluster_wide_objects_are_in_default_and_those_of_lost_namespaces_nowhere(
    tmp_path: Path,
) -> None:
    async with open_api(tmp_path) as bench:
        objects = Objects(bench.store)
        recorder = EventRecorder(objects, "eaves-controller")
        await recorder.record(make_edgenode(), PULLED)
        await recorder.record(make_app("web", namespace="gone"), PULLED)
        assert [event["metadata"]["namespace"] for event in await objects.list("Event")] == ["default"]
