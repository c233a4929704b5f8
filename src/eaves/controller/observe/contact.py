"""Whether a device is in contact, and whether it is ready: conditions Connected, Approved and Ready, and the phase.

Every other module of this package ends by calling :func:`conclude`, so that the summary always fits the parts.
"""

from __future__ import annotations

from eaves.controller.observe.conditions import (
    FALSE,
    TRUE,
    UNKNOWN,
    Fact,
    Status,
    condition_status,
    find_condition,
    plan_update,
    set_conditions,
    status_of,
)
from eaves.controller.observe.model import DeviceObjects, EventNote, EventType, StatusUpdate
from eaves.kinds.edgenode import EdgeNodePhase
from eaves.kinds.times import render_time
from eaves.kube.resource import Object

MISSED_POLLS = 3
"""A device polls at least once in each config interval; after this many intervals without a word it counts as out of contact."""

SHORTEST_SILENCE_S = 40.0
"""… but not before this time, whatever the interval."""

DEFAULT_CONFIG_INTERVAL_S = 60

_ONBOARDING_REASONS = frozenset({"AwaitingApproval", "AwaitingReport"})
"""Why a node that joins is not ready yet: a step on its way and no warning, unless it was ready before."""


def silence_limit_s(edgenode: Object) -> float:
    """Seconds after the last contact at which the device counts as out of contact."""
    text = edgenode.get("spec", {}).get("properties", {}).get("timer.config.interval", "")
    interval_s = int(text) if text.isdecimal() else DEFAULT_CONFIG_INTERVAL_S
    return max(SHORTEST_SILENCE_S, float(MISSED_POLLS * interval_s))


def observe_contact(objects: DeviceObjects, last_seen: float, now: float) -> list[StatusUpdate]:
    """What the time of the last contact (Unix seconds; 0 = never) says of the node and of the apps on it."""
    edgenode = objects.edgenode
    status = status_of(edgenode)
    is_late = now - last_seen > silence_limit_s(edgenode)
    if not last_seen:
        fact = Fact("Connected", UNKNOWN, "NeverSeen", "the device has not called yet")
    elif is_late:
        text = f"no word from the device since {render_time(last_seen)}; check its power and network"
        fact = Fact("Connected", FALSE, "ContactLost", text)
    else:
        fact = Fact("Connected", TRUE, "InContact", "the device calls")
    was = condition_status(status, "Connected")
    set_conditions(status, [fact], now)
    if last_seen and condition_status(status, "Connected") != was:
        status["lastSeen"] = render_time(last_seen)
    updates = [plan_update(edgenode, status, conclude(edgenode, status, now))]
    updates.extend(_observe_app(app, edgenode, fact, now) for app in objects.apps)
    return [update for update in updates if update is not None]


def _observe_app(app: Object, edgenode: Object, contact: Fact, now: float) -> StatusUpdate | None:
    """An app's Ready condition is unknown while its node is out of contact; its phase stays what was last heard."""
    name = edgenode["metadata"]["name"]
    status = status_of(app)
    if status.get("nodeName") != name or not find_condition(status.get("conditions") or [], "Ready"):
        return None
    set_conditions(status, [app_ready(status, is_connected=contact.status is TRUE)], now)
    return plan_update(app, status)


def app_ready(status: Status, *, is_connected: bool) -> Fact:
    """An app's Ready condition by its phase and its node's contact."""
    node = status.get("nodeName", "")
    if not is_connected:
        return Fact(
            "Ready",
            UNKNOWN,
            "NodeOutOfContact",
            f"node {node} is out of contact; the app was {status.get('phase', 'Unknown')}",
        )
    paused = (status.get("vm") or {}).get("pausedReason", "")
    if status.get("phase") == "Running" and paused:
        return Fact("Ready", FALSE, "Paused", f"the virtual machine is paused: {paused}")
    if status.get("phase") == "Running":
        return Fact("Ready", TRUE, "Running", "the app runs")
    return Fact("Ready", FALSE, str(status.get("phase") or "Pending"), str(status.get("message") or ""))


def conclude(edgenode: Object, status: Status, now: float) -> list[EventNote]:
    """Sets Approved, Ready, the phase and the generation they are of in a status that is being made; answers the events of a
    change of Ready."""
    approved = bool(edgenode.get("spec", {}).get("approved"))
    name = edgenode["metadata"]["name"]
    fact = (
        Fact("Approved", TRUE, "Approved", "an operator trusts the device")
        if approved
        else Fact("Approved", FALSE, "AwaitingApproval", f"approve the device with: kubectl eaves approve {name}")
    )
    was = condition_status(status, "Ready")
    ready = _ready(edgenode, status)
    set_conditions(status, [fact, ready], now)
    status["phase"] = str(_phase(edgenode, status))
    # kubectl wait believes no condition of an object whose generation is newer than this.
    status["observedGeneration"] = edgenode["metadata"].get("generation", 0)
    if ready.status == was or not was:
        return []
    if was != TRUE and ready.reason in _ONBOARDING_REASONS:
        return []
    if ready.status is TRUE:
        return [EventNote(EventType.NORMAL, "NodeReady", f"node {name} is ready")]
    return [EventNote(EventType.WARNING, "NodeNotReady", f"node {name} is not ready: {ready.message}")]


def _ready(edgenode: Object, status: Status) -> Fact:
    spec = edgenode.get("spec", {})
    connected = find_condition(status.get("conditions") or [], "Connected")
    if connected is None or connected.get("status") != TRUE:
        message = str(connected.get("message", "")) if connected else "the device has not called yet"
        return Fact("Ready", UNKNOWN, "NodeStatusUnknown", message)
    if not spec.get("approved"):
        return Fact(
            "Ready",
            FALSE,
            "AwaitingApproval",
            f"approve the device with: kubectl eaves approve {edgenode['metadata']['name']}",
        )
    if spec.get("maintenance"):
        return Fact("Ready", FALSE, "Maintenance", "apps are stopped while spec.maintenance is true")
    for kind in ("Attested", "Operational"):
        condition = find_condition(status.get("conditions") or [], kind)
        if condition is not None and condition.get("status") == FALSE:
            return Fact("Ready", FALSE, str(condition.get("reason", kind)), str(condition.get("message", "")))
    if "versions" not in status:
        return Fact("Ready", FALSE, "AwaitingReport", "the device has not reported its state yet")
    return Fact("Ready", TRUE, "NodeReady", "the node is in contact and runs what it is asked to")


def _phase(edgenode: Object, status: Status) -> EdgeNodePhase:
    spec = edgenode.get("spec", {})
    if not spec.get("approved"):
        return EdgeNodePhase.PENDING
    if spec.get("maintenance"):
        return EdgeNodePhase.MAINTENANCE
    if condition_status(status, "Ready") == TRUE:
        return EdgeNodePhase.READY
    return EdgeNodePhase.NOT_READY if "versions" in status else EdgeNodePhase.ONBOARDED
