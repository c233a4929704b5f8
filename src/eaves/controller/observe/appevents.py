"""What happened to an app between two of its messages, as events."""

from __future__ import annotations

from collections.abc import Iterator

from eaves.controller.observe.conditions import TRUE, Status, condition_status
from eaves.controller.observe.model import EventNote, EventType
from eaves.controller.observe.vms import noun_of
from eaves.kinds.app_status import AppPhase
from eaves.kube.resource import Object
from eaves.wire.pb.info import info_pb2
from eaves.wire.pb.info.info_pb2 import ZInfoApp


def app_events(app: Object, status: Status, info: ZInfoApp, old_phase: str) -> Iterator[EventNote]:
    """What happened since the last message, as far as it shows."""
    before = app.get("status") or {}
    phase = AppPhase(status["phase"])
    changed, noun = phase != old_phase, noun_of(app)
    image = (app.get("spec") or {}).get("image", "")
    if changed and phase is AppPhase.DOWNLOADING:
        yield EventNote(EventType.NORMAL, "Pulling", f'pulling image "{image}"')
    if condition_status(before, "ImageReady") != TRUE and condition_status(status, "ImageReady") == TRUE:
        digest = (status.get("image") or {}).get("digest", "")
        yield EventNote(EventType.NORMAL, "Pulled", f'image "{image}" is on the node{f" ({digest})" if digest else ""}')
    if phase is AppPhase.RUNNING and (changed or before.get("state") != status.get("state")):
        yield EventNote(EventType.NORMAL, "Started", f"{noun} started on node {status.get('nodeName')}")
    if phase is AppPhase.BACK_OFF and (changed or before.get("lastState") != status.get("lastState")):
        yield EventNote(EventType.WARNING, "BackOff", f"back-off before the next start: {status.get('message')}")
    if changed and phase is AppPhase.COMPLETED:
        yield EventNote(EventType.NORMAL, "Completed", f"{noun} ended with exit code 0")
    if changed and phase is AppPhase.HALTED and info.state == info_pb2.HALTED:
        yield EventNote(EventType.NORMAL, "Stopped", f"{noun} stopped as asked")
    if phase is AppPhase.FAILED and (changed or before.get("message") != status.get("message")):
        yield EventNote(EventType.WARNING, _end_reason(info) or "Failed", str(status.get("message")))
    elif _is_out_of_memory(info) and before.get("restarts", 0) != status.get("restarts", 0):
        yield EventNote(
            EventType.WARNING, "OOMKilled", f"{noun} used more than spec.resources.memory and was killed; raise it"
        )


def _end_reason(info: ZInfoApp) -> str:
    return "OOMKilled" if _is_out_of_memory(info) else ""


def _is_out_of_memory(info: ZInfoApp) -> bool:
    return "OOMKilled" in (info.eaves.reason, info.eaves.last_reason)
