"""The same thing said again is one Event that counts."""

from __future__ import annotations

import asyncio
from pathlib import Path

from eaves.controller.events import NEW_EVENTS, EventRecorder
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


async def test_who_says_ever_new_things_about_an_object_is_cut_off_and_others_are_heard(tmp_path: Path) -> None:
    now_s = [1000.0]
    async with open_api(tmp_path) as bench:
        objects = Objects(bench.store)
        recorder = EventRecorder(objects, "eaves-controller", monotonic_s=lambda: now_s[0])
        for number in range(150):
            await recorder.record(make_edgenode(), EventNote(EventType.WARNING, "Rebooted", f"for the {number}. time"))
        assert len(await objects.list("Event")) == NEW_EVENTS.burst
        # What was said before still counts, other objects have their own allowance, and time brings more.
        await recorder.record(make_edgenode(), EventNote(EventType.WARNING, "Rebooted", "for the 3. time"))
        await recorder.record(make_app("web"), PULLED)
        now_s[0] += 31
        await recorder.record(make_edgenode(), EventNote(EventType.WARNING, "Rebooted", "at last"))
        events = {event["message"]: event["count"] for event in await objects.list("Event")}
        assert len(events) == NEW_EVENTS.burst + 2
        assert (events["for the 3. time"], events["at last"], events["pulled the image"]) == (2, 1, 1)
