"""App info → App.status and events.

An Eaves node tells exit codes, reasons and restarts in our extension; of an EVE device only the state and errors are
known, and the rest is concluded from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from eaves.controller.observe.appevents import app_events
from eaves.controller.observe.conditions import (
    FALSE,
    TRUE,
    Fact,
    Status,
    assign,
    compact,
    condition_status,
    forget_conditions,
    plan_update,
    set_conditions,
    status_of,
)
from eaves.controller.observe.contact import app_ready
from eaves.controller.observe.model import DeviceObjects, StatusUpdate
from eaves.controller.observe.pieces import digest_of, generation_of, hindrances_of, time_of
from eaves.controller.observe.snapshots import observe_snapshots, snapshots_of
from eaves.controller.observe.vms import is_machine, noun_of, root_disk_facts, vm_facts, vm_status
from eaves.kinds.app_status import AppPhase
from eaves.kube.resource import Object
from eaves.wire.pb.info import info_pb2
from eaves.wire.pb.info.info_pb2 import ZInfoApp, ZSwState

_PHASES: dict[ZSwState.ValueType, AppPhase] = {
    info_pb2.INITIAL: AppPhase.PENDING,
    info_pb2.PENDING: AppPhase.PENDING,
    info_pb2.SCHEDULING: AppPhase.PENDING,
    info_pb2.RESOLVING_TAG: AppPhase.DOWNLOADING,
    info_pb2.RESOLVED_TAG: AppPhase.DOWNLOADING,
    info_pb2.DOWNLOAD_STARTED: AppPhase.DOWNLOADING,
    info_pb2.DOWNLOADED: AppPhase.DOWNLOADING,
    info_pb2.DELIVERED: AppPhase.DOWNLOADING,
    info_pb2.VERIFYING: AppPhase.DOWNLOADING,
    info_pb2.VERIFIED: AppPhase.DOWNLOADING,
    info_pb2.LOADING: AppPhase.DOWNLOADING,
    info_pb2.LOADED: AppPhase.CREATING,
    info_pb2.CREATING_VOLUME: AppPhase.CREATING,
    info_pb2.CREATED_VOLUME: AppPhase.CREATING,
    info_pb2.AWAITNETWORKINSTANCE: AppPhase.CREATING,
    info_pb2.INSTALLED: AppPhase.CREATING,
    info_pb2.BOOTING: AppPhase.STARTING,
    info_pb2.START_DELAYED: AppPhase.STARTING,
    info_pb2.RUNNING: AppPhase.RUNNING,
    info_pb2.HALTING: AppPhase.HALTED,
    info_pb2.HALTED: AppPhase.HALTED,
    info_pb2.RESTARTING: AppPhase.STARTING,
    info_pb2.PURGING: AppPhase.CREATING,
    info_pb2.ERROR: AppPhase.FAILED,
}

_WITH_IMAGE = frozenset(
    {AppPhase.CREATING, AppPhase.STARTING, AppPhase.RUNNING, AppPhase.BACK_OFF, AppPhase.COMPLETED, AppPhase.HALTED}
)
_TEXTS = {
    AppPhase.PENDING: "waits for its turn on the node",
    AppPhase.DOWNLOADING: "the image is being downloaded",
    AppPhase.CREATING: "volumes and networks are being made",
    AppPhase.STARTING: "the {noun} is being started",
    AppPhase.RUNNING: "",
    AppPhase.HALTED: "stopped, since spec.running is false",
}
_ENDED = "has ended; raise spec.restartCounter to start it again"
"""Of an app of an EVE device, which says no more."""


def observe_app(objects: DeviceObjects, info: ZInfoApp, now: float) -> list[StatusUpdate]:
    """What the device says of one app. Words about an app that is placed elsewhere meanwhile are dropped."""
    app = find_app(objects, info.AppID)
    if app is None:
        return []
    status = status_of(app)
    if info.state == info_pb2.INVALID and not info.appVersion and not info.AppName:
        return _observe_gone(app, status, now)
    phase = _phase(app, info)
    old_phase = str(status.get("phase") or "")
    message = _message(app, info, phase)
    assign(
        status,
        phase=str(phase),
        message=message,
        waitingFor=info.eaves.waiting_for,
        nodeName=objects.edgenode["metadata"]["name"],
        addresses=_addresses(info),
        ports=ports_of(app),
        image=_image(app, status, info, phase),
        containerID=info.eaves.container_id,
        restarts=info.eaves.restarts if info.HasField("eaves") else status.get("restarts", 0),
        state=_state(info, phase, message),
        lastState=_last_state(info),
        vm=vm_status(info.eaves.vm) if phase is AppPhase.RUNNING and info.eaves.HasField("vm") else {},
        snapshots=_held_snapshots(objects, app, info),
        observedGeneration=generation_of(info.appVersion) or status.get("observedGeneration", 0),
    )
    facts = [*_image_fact(status, info, phase, message), app_ready(status, is_connected=True)]
    if is_machine(app):
        facts.extend(vm_facts(info.eaves.vm, is_running=phase is AppPhase.RUNNING))
        facts.extend(root_disk_facts(app, status))
        forget_conditions(status, {"AgentConnected", "Paused", "RootDiskSized"} - {fact.type for fact in facts})
    set_conditions(status, facts, now)
    update = plan_update(app, status, list(app_events(app, status, info, old_phase)))
    snapshots = observe_snapshots(objects, app, info, now)
    return snapshots if update is None else [update, *snapshots]


def _held_snapshots(objects: DeviceObjects, app: Object, info: ZInfoApp) -> list[str]:
    """Names of the snapshots that can be gone back to."""
    held = {snapshot.id for snapshot in info.snapshots if snapshot.create_time.seconds > 0}
    return sorted(obj["metadata"]["name"] for obj in snapshots_of(app, objects) if obj["metadata"]["uid"] in held)


def find_app(objects: DeviceObjects, app_id: str) -> Object | None:
    """The App of this id, if it is placed on this device."""
    node_name = objects.edgenode["metadata"]["name"]
    for app in objects.apps:
        if app["metadata"]["uid"] == app_id:
            return app if (app.get("spec") or {}).get("nodeName") == node_name else None
    return None


def _observe_gone(app: Object, status: Status, now: float) -> list[StatusUpdate]:
    """The device has removed the app; when it is wanted it comes back with the next config."""
    for name in ("addresses", "ports", "containerID", "waitingFor", "vm", "snapshots", "rootDisk"):
        status.pop(name, None)
    text = "the node does not have the app"
    assign(
        status, phase=str(AppPhase.PENDING), message=text, state={"waiting": {"reason": "NotOnNode", "message": text}}
    )
    forget_conditions(status, {"RootDiskSized"})
    set_conditions(status, [app_ready(status, is_connected=True)], now)
    update = plan_update(app, status)
    return [] if update is None else [update]


def _phase(app: Object, info: ZInfoApp) -> AppPhase:
    phase = _PHASES.get(info.state, AppPhase.UNKNOWN)
    if info.state == info_pb2.INSTALLED and not (app.get("spec") or {}).get("running", True):
        # All is there, and it shall not run.
        return AppPhase.HALTED
    extension = info.eaves
    if (
        info.HasField("eaves")
        and extension.next_start_at.seconds
        and phase in (AppPhase.STARTING, AppPhase.HALTED, AppPhase.FAILED)
    ):
        is_delay = info.state == info_pb2.START_DELAYED
        return AppPhase.STARTING if is_delay else AppPhase.BACK_OFF
    if phase is AppPhase.HALTED and (app.get("spec") or {}).get("running", True) and extension.finished_at.seconds:
        return AppPhase.COMPLETED if extension.exit_code == 0 else AppPhase.FAILED
    if phase is AppPhase.HALTED and (app.get("spec") or {}).get("running", True) and hindrances_of(info.appErr):
        # EVE leaves an app in HALTING whose task or machine has crashed.
        return AppPhase.FAILED
    return phase


def _message(app: Object, info: ZInfoApp, phase: AppPhase) -> str:
    faults = hindrances_of(info.appErr) or info.eaves.message
    ended = _end_text(info)
    if phase is AppPhase.BACK_OFF:
        return "; ".join(text for text in (ended, faults, f"next start at {time_of(info.eaves.next_start_at)}") if text)
    if phase in (AppPhase.COMPLETED, AppPhase.FAILED):
        return faults or ended or ("the device says only that it failed" if phase is AppPhase.FAILED else "")
    if phase is AppPhase.RUNNING and info.eaves.waiting_for:
        return f"runs as before and waits for {info.eaves.waiting_for}"
    if faults:
        return faults
    if info.eaves.waiting_for:
        return f"waits for {info.eaves.waiting_for}"
    if info.state == info_pb2.HALTING:
        return "is being stopped"
    if phase is AppPhase.RUNNING and info.eaves.vm.paused_reason:
        return f"is paused: {info.eaves.vm.paused_reason}"
    if phase is AppPhase.HALTED and (app.get("spec") or {}).get("running", True) and not info.HasField("eaves"):
        return _ENDED
    return _TEXTS.get(phase, "").format(noun=noun_of(app))


def _end_text(info: ZInfoApp) -> str:
    """How the current run ended, or the one before when a new one is about to start."""
    extension = info.eaves
    if extension.finished_at.seconds:
        return f"ended with exit code {extension.exit_code}{f' ({extension.reason})' if extension.reason else ''}"
    if extension.last_finished_at.seconds:
        return f"ended with exit code {extension.last_exit_code}{f' ({extension.last_reason})' if extension.last_reason else ''}"
    return ""


def _addresses(info: ZInfoApp) -> list[dict[str, Any]]:
    found = [
        compact(network=network.devName, addresses=sorted(network.IPAddrs), macAddress=network.macAddr)
        for network in info.network
        if network.devName
    ]
    return sorted(found, key=lambda entry: str(entry["network"]))


def ports_of(app: Object) -> list[str]:
    """Ports of the node that lead to the app, as ``8080->80/tcp``."""
    ports = [port for network in (app.get("spec") or {}).get("networks") or () for port in network.get("ports") or ()]
    mapped = [
        (port["nodePort"], port["port"], str(port.get("protocol", "TCP")).lower())
        for port in ports
        if port.get("nodePort")
    ]
    return [f"{node_port}->{port}/{protocol}" for node_port, port, protocol in sorted(mapped)]


def _image(app: Object, status: Status, info: ZInfoApp, phase: AppPhase) -> dict[str, Any]:
    reference = str((app.get("spec") or {}).get("image", ""))
    old: dict[str, Any] = status.get("image") or {}
    if phase is AppPhase.RUNNING and _waits_for_image(info):
        # What is asked for is not what runs.
        return old
    known = old.get("digest", "") if old.get("reference") == reference else ""
    return compact(reference=reference, digest=digest_of(info.eaves.image_digest) or known)


def _state(info: ZInfoApp, phase: AppPhase, message: str) -> dict[str, Any]:
    extension = info.eaves
    if phase is AppPhase.RUNNING:
        return {"running": compact(startedAt=time_of(extension.started_at) or time_of(info.bootTime))}
    if extension.finished_at.seconds and phase in (AppPhase.COMPLETED, AppPhase.FAILED, AppPhase.HALTED):
        return {
            "terminated": compact(
                exitCode=extension.exit_code,
                reason=extension.reason or ("Completed" if extension.exit_code == 0 else "Error"),
                message=extension.message,
                startedAt=time_of(extension.started_at),
                finishedAt=time_of(extension.finished_at),
            )
        }
    return {"waiting": compact(reason=_waiting_reason(info, phase), message=message)}


def _waiting_reason(info: ZInfoApp, phase: AppPhase) -> str:
    """The words that Kubernetes users know."""
    has_fault = bool(hindrances_of(info.appErr))
    if phase is AppPhase.BACK_OFF:
        ran = info.eaves.finished_at.seconds or info.eaves.last_finished_at.seconds
        return "CrashLoopBackOff" if ran else info.eaves.reason or "BackOff"
    if phase is AppPhase.DOWNLOADING and has_fault:
        return "ErrImagePull"
    if phase is AppPhase.FAILED:
        return info.eaves.reason or "Error"
    return {AppPhase.PENDING: "Pending", AppPhase.DOWNLOADING: "Pulling", AppPhase.HALTED: "Halted"}.get(
        phase, "ContainerCreating"
    )


def _last_state(info: ZInfoApp) -> dict[str, Any]:
    extension = info.eaves
    if not extension.last_finished_at.seconds:
        return {}
    return {
        "terminated": compact(
            exitCode=extension.last_exit_code,
            reason=extension.last_reason or ("Completed" if extension.last_exit_code == 0 else "Error"),
            startedAt=time_of(extension.last_started_at),
            finishedAt=time_of(extension.last_finished_at),
        )
    }


def _waits_for_image(info: ZInfoApp) -> bool:
    return info.eaves.waiting_for.startswith("image ")


def _image_fact(status: Status, info: ZInfoApp, phase: AppPhase, message: str) -> Iterator[Fact]:
    """ImageReady as far as the app's phase tells; content tree messages tell more.

    An app may run, or be started again, with its former image while it waits for another.
    """
    if phase is AppPhase.DOWNLOADING or _waits_for_image(info):
        yield Fact("ImageReady", FALSE, "ErrImagePull" if hindrances_of(info.appErr) else "Downloading", message)
    elif phase in _WITH_IMAGE:
        yield Fact("ImageReady", TRUE, "Loaded", "the image is on the node")
    elif not condition_status(status, "ImageReady"):
        yield Fact("ImageReady", FALSE, "Waiting", message)
