"""The controller's own doings → status: a config was compiled, taken, an app was placed, a device attested."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from eaves.controller.compile.model import Effect, Problem
from eaves.controller.observe.conditions import (
    FALSE,
    TRUE,
    UNKNOWN,
    Fact,
    Status,
    assign,
    condition_status,
    find_condition,
    plan_update,
    set_conditions,
    status_of,
)
from eaves.controller.observe.contact import app_ready, conclude
from eaves.controller.observe.model import DeviceObjects, EventNote, EventType, StatusUpdate
from eaves.controller.observe.node import config_facts
from eaves.controller.observe.patches import observe_wanted_patches
from eaves.controller.observe.snapshots import observe_wanted_snapshots
from eaves.controller.observe.volume_snapshots import observe_wanted_volume_snapshots
from eaves.kinds.app_status import AppPhase
from eaves.kinds.times import render_time
from eaves.kube.resource import Object


def observe_compiled(
    objects: DeviceObjects, config_hash: str, problems: Sequence[Problem], now: float
) -> list[StatusUpdate]:
    """A config was made for the device: its hash, and for each app and volume whether it is in it.

    ``config_hash`` and ``problems`` are those of the :class:`CompiledConfig`.
    """
    status = status_of(objects.edgenode)
    status["config"] = {**(status.get("config") or {}), "wanted": config_hash}
    set_conditions(status, config_facts(status), now)
    node_problems = [problem for problem in problems if problem.kind == "EdgeNode"]
    updates = [
        plan_update(
            objects.edgenode,
            status,
            [*_notes(objects.edgenode, node_problems), *conclude(objects.edgenode, status, now)],
        )
    ]
    for obj in (*objects.apps, *objects.volumes):
        meta = obj["metadata"]
        if (
            not meta.get("deletionTimestamp")
            and (obj.get("spec") or {}).get("nodeName") == objects.edgenode["metadata"]["name"]
        ):
            updates.append(_observe_object(obj, [p for p in problems if p.uid == meta["uid"]], objects, now))
            if obj["kind"] == "App":
                updates.extend(observe_wanted_snapshots(objects, obj, now))
            else:
                updates.extend(observe_wanted_volume_snapshots(objects, obj, now))
    updates.extend(observe_wanted_patches(objects, problems))
    return [update for update in updates if update is not None]


def _observe_object(
    obj: Object, problems: Sequence[Problem], objects: DeviceObjects, now: float
) -> StatusUpdate | None:
    status = status_of(obj)
    node_name = objects.edgenode["metadata"]["name"]
    is_approved = bool((objects.edgenode.get("spec") or {}).get("approved"))
    blocking = [problem for problem in problems if problem.effect is not Effect.PARTIAL]
    if blocking:
        fact = Fact("Configured", FALSE, blocking[0].reason, "; ".join(problem.message for problem in blocking))
    elif not is_approved:
        text = f"node {node_name} is not approved; approve it with: kubectl eaves approve {node_name}"
        fact = Fact("Configured", FALSE, "NodeNotApproved", text)
    else:
        partial = "; ".join(problem.message for problem in problems)
        fact = Fact("Configured", TRUE, "InConfig", partial or f"part of the config of node {node_name}")
    facts = [fact]
    if obj["kind"] == "App":
        facts.append(Fact("Scheduled", TRUE, "Placed", f"on node {node_name}"))
        if status.get("nodeName", node_name) != node_name:
            _forget_former_node(status)
        _explain_app(status, fact, is_kept=any(problem.effect is Effect.KEPT for problem in blocking))
    else:
        # An app's generation comes back from the device; of a volume it tells none, and may have no reason to tell anything.
        status["observedGeneration"] = obj["metadata"].get("generation", 0)
    # Notes compare with the object as it was, so they come before its conditions are set anew.
    notes = list(_notes(obj, problems))
    set_conditions(status, facts, now)
    if obj["kind"] == "App" and not find_condition(status["conditions"], "Ready"):
        set_conditions(status, [app_ready(status, is_connected=True)], now)
    return plan_update(obj, status, notes)


def _forget_former_node(status: Status) -> None:
    """The app was moved: what its former node said of it is not true of the new one."""
    former = (
        "nodeName",
        "phase",
        "message",
        "waitingFor",
        "addresses",
        "ports",
        "containerID",
        "state",
        "lastState",
        "restarts",
        "vm",
        "snapshots",
    )
    for name in former:
        status.pop(name, None)
    moved = ("ImageReady", "Ready", "AgentConnected", "Paused")
    status["conditions"] = [
        condition for condition in status.get("conditions") or () if condition.get("type") not in moved
    ]


def _explain_app(status: Status, fact: Fact, *, is_kept: bool) -> None:
    """An app that is not in the config says why where people look first; one that is says that it is on its way."""
    phase = status.get("phase")
    if fact.status is FALSE and not is_kept:
        waiting = {"waiting": {"reason": fact.reason, "message": fact.message}}
        assign(status, phase=str(AppPhase.PENDING), message=fact.message, state=waiting)
    elif fact.status is TRUE and (
        not phase or (condition_status(status, "Configured") == FALSE and phase == AppPhase.PENDING)
    ):
        text = "waits for the node to take its config"
        assign(
            status, phase=str(AppPhase.PENDING), message=text, state={"waiting": {"reason": "Pending", "message": text}}
        )


def _notes(obj: Object, problems: Sequence[Problem]) -> Iterator[EventNote]:
    """An event for each problem that the object does not tell already."""
    told = " ".join(
        str(condition.get("message", "")) for condition in (obj.get("status") or {}).get("conditions") or ()
    )
    for problem in problems:
        if problem.message not in told:
            kept = "; the version on the node stays" if problem.effect is Effect.KEPT else ""
            yield EventNote(EventType.WARNING, problem.reason, f"{problem.message}{kept}")


def observe_config_poll(edgenode: Object, config_hash: str, now: float) -> StatusUpdate | None:
    """The device polled and named the config that it has. EVE tells by nothing else which one it works by.

    An Eaves node tells what it applied in its device info, which is better: its polls are passed over.
    """
    status = status_of(edgenode)
    if (status.get("versions") or {}).get("daemon") or not config_hash:
        return None
    config = status.get("config") or {}
    if config.get("applied") == config_hash:
        return None
    status["config"] = {**config, "applied": config_hash, "appliedTime": render_time(now)}
    set_conditions(status, config_facts(status), now)
    return plan_update(edgenode, status, conclude(edgenode, status, now))


def observe_attestation(edgenode: Object, *, is_good: bool | None, message: str, now: float) -> StatusUpdate | None:
    """The verdict on the device's quote: good, bad, or (None) not given since it booted."""
    status = status_of(edgenode)
    was = condition_status(status, "Attested")
    if is_good is None:
        fact = Fact("Attested", UNKNOWN, "AwaitingQuote", message or "the device has not attested since it booted")
    elif is_good:
        fact = Fact("Attested", TRUE, "Attested", message)
    else:
        fact = Fact("Attested", FALSE, "AttestationFailed", message)
    set_conditions(status, [fact], now)
    events = conclude(edgenode, status, now)
    if is_good is False and was != FALSE:
        events.append(EventNote(EventType.WARNING, "AttestationFailed", message))
    return plan_update(edgenode, status, events)


def observe_placement(app: Object, edgenode: Object | None, now: float) -> StatusUpdate | None:
    """An app whose node does not exist, or that names none; call it for apps that no device's config can have."""
    if edgenode is not None:
        return None
    name = (app.get("spec") or {}).get("nodeName", "")
    if name:
        fact = Fact(
            "Scheduled", FALSE, "NodeNotFound", f"EdgeNode {name} does not exist; it appears when the device registers"
        )
    else:
        fact = Fact("Scheduled", FALSE, "NoNode", "spec.nodeName is empty; name an EdgeNode")
    status = status_of(app)
    waiting = {"waiting": {"reason": fact.reason, "message": fact.message}}
    assign(status, phase=str(AppPhase.PENDING), message=fact.message, state=waiting)
    set_conditions(status, [fact, app_ready(status, is_connected=True)], now)
    return plan_update(app, status)
