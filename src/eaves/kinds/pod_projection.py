"""Makes the Pod of an App. Pure and total: an App that nobody has heard of yet gives a pending Pod."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from eaves.kinds.app_spec import CONTAINER_GRACE_S, DEFAULT_NETWORK, DEFAULT_VOLUME_SIZE, VM_GRACE_S, AppType
from eaves.kinds.columns import get
from eaves.kube.resource import Object

APP_LABEL = "eaves.dev/app"
"""Label of a Pod that names its App."""

CONTAINER_NAME = "app"
"""Name of the one container of a Pod."""

_PHASES = {
    "Pending": "Pending",
    "Downloading": "Pending",
    "Creating": "Pending",
    "Starting": "Pending",
    "Running": "Running",
    "BackOff": "Running",
    "Completed": "Succeeded",
    "Failed": "Failed",
    "Halted": "Succeeded",
    "Unknown": "Unknown",
}


def pod_uid(app_uid: str, restart_counter: int = 0) -> str:
    """A Pod has a UID of its own, since its App is its owner; each restart that was asked for makes another Pod.

    ``kubectl delete pod`` raises the counter and then waits for the Pod with the old UID to be gone.
    """
    incarnation = f"/{restart_counter}" if restart_counter else ""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"pod/{app_uid}{incarnation}"))


def project_pod(app: Object, edgenode: Object | None = None) -> Object:
    """The Pod of an App; ``edgenode`` is the node of ``spec.nodeName`` when it exists."""
    source = app["metadata"]
    metadata: Object = {
        "name": source["name"],
        "namespace": source["namespace"],
        "uid": pod_uid(source["uid"], get(app, ["spec", "restartCounter"], 0)),
        "resourceVersion": source.get("resourceVersion", ""),
        "creationTimestamp": source.get("creationTimestamp"),
        "labels": {**(source.get("labels") or {}), APP_LABEL: source["name"]},
        "ownerReferences": [
            {
                "apiVersion": app.get("apiVersion", "eaves.dev/v1alpha1"),
                "kind": "App",
                "name": source["name"],
                "uid": source["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
    for name in ("annotations", "deletionTimestamp", "deletionGracePeriodSeconds"):
        if source.get(name):
            metadata[name] = source[name]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": _spec(app),
        "status": _status(app, edgenode),
    }


def _spec(app: Object) -> Object:
    source = app.get("spec") or {}
    spec: Object = {
        "containers": [_container(source)],
        "restartPolicy": source.get("restartPolicy", "Always"),
        "terminationGracePeriodSeconds": _grace_period_s(source),
        "hostname": app["metadata"]["name"],
    }
    if source.get("nodeName"):
        spec["nodeName"] = source["nodeName"]
    volumes = [_volume(volume) for volume in source.get("volumes") or ()]
    if volumes:
        spec["volumes"] = volumes
    return spec


def _grace_period_s(source: Mapping[str, Any]) -> int:
    asked = source.get("terminationGracePeriodSeconds")
    if asked is not None:
        return int(asked)
    return VM_GRACE_S if source.get("type") == AppType.VIRTUAL_MACHINE else CONTAINER_GRACE_S


def _container(source: Mapping[str, Any]) -> Object:
    container: Object = {"name": CONTAINER_NAME, "image": source.get("image", ""), "imagePullPolicy": "IfNotPresent"}
    for name in ("command", "args", "workingDir", "env", "envFrom"):
        if source.get(name):
            container[name] = source[name]
    ports = [_port(port) for network in source.get("networks") or () for port in network.get("ports") or ()]
    if ports:
        container["ports"] = ports
    mounts = [
        {
            "name": volume["name"],
            "mountPath": volume["mountPath"],
            **({"readOnly": True} if volume.get("readOnly") else {}),
        }
        for volume in source.get("volumes") or ()
        if volume.get("mountPath")
    ]
    if mounts:
        container["volumeMounts"] = mounts
    if source.get("type") == AppType.VIRTUAL_MACHINE and (source.get("vm") or {}).get("serialConsole", True):
        # kubectl attach uses a terminal only where the container has one.
        container |= {"stdin": True, "tty": True}
    container["resources"] = {"limits": dict(_limits(source)), "requests": dict(_limits(source))}
    return container


def _limits(source: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    resources = source.get("resources") or {}
    if resources.get("cpus") is not None:
        yield "cpu", str(resources["cpus"])
    yield "memory", str(resources.get("memory", "256Mi"))


def _port(port: Mapping[str, Any]) -> Object:
    out: Object = {"containerPort": port["port"], "protocol": port.get("protocol", "TCP")}
    if port.get("name"):
        out["name"] = port["name"]
    if port.get("nodePort"):
        out["hostPort"] = port["nodePort"]
    return out


def _volume(volume: Mapping[str, Any]) -> Object:
    if volume.get("volumeName"):
        return {"name": volume["name"], "persistentVolumeClaim": {"claimName": volume["volumeName"]}}
    return {"name": volume["name"], "emptyDir": {"sizeLimit": str(volume.get("size", DEFAULT_VOLUME_SIZE))}}


def _status(app: Object, edgenode: Object | None) -> Object:
    source = app.get("status") or {}
    phase = _PHASES.get(source.get("phase", ""), "Pending")
    if phase == "Failed" and "terminated" not in (source.get("state") or {}):
        phase = "Pending"
    status: Object = {
        "phase": phase,
        "qosClass": "Guaranteed" if get(app, ["spec", "resources", "cpus"], None) is not None else "Burstable",
        "conditions": list(_conditions(app, source)),
        "containerStatuses": [_container_status(app, source)],
    }
    ready = _condition(source, "Ready")
    if ready.get("status") == "Unknown" and ready.get("reason") == "NodeOutOfContact":
        status |= {"reason": "NodeLost", "message": ready.get("message", "")}
    elif source.get("message"):
        status["message"] = source["message"]
    addresses = _addresses(source)
    if addresses:
        status |= {"podIP": addresses[0], "podIPs": [{"ip": address} for address in addresses]}
    host = next(
        (
            entry["address"]
            for entry in get(edgenode or {}, ["status", "addresses"], ())
            if entry.get("type") == "InternalIP"
        ),
        "",
    )
    if host:
        status |= {"hostIP": host, "hostIPs": [{"ip": host}]}
    if source.get("nodeName"):
        status["startTime"] = app["metadata"].get("creationTimestamp")
    return status


def _addresses(source: Mapping[str, Any]) -> list[str]:
    """Addresses of the default network first."""
    entries = sorted(
        source.get("addresses") or (),
        key=lambda entry: (entry.get("network") != DEFAULT_NETWORK, entry.get("network", "")),
    )
    return [address for entry in entries for address in entry.get("addresses") or ()]


def _condition(source: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    return next((condition for condition in source.get("conditions") or () if condition.get("type") == kind), {})


def _conditions(app: Object, source: Mapping[str, Any]) -> Iterator[Object]:
    created = app["metadata"].get("creationTimestamp")
    scheduled = _condition(source, "Scheduled")
    placed = bool(get(app, ["spec", "nodeName"]))
    yield {
        "type": "PodScheduled",
        "status": scheduled.get("status") or ("True" if placed else "False"),
        "reason": scheduled.get("reason") or ("" if placed else "Unschedulable"),
        "message": scheduled.get("message")
        or ("" if placed else "spec.nodeName of the App is empty; name an EdgeNode"),
        "lastTransitionTime": scheduled.get("lastTransitionTime") or created,
    }
    ready = _condition(source, "Ready")
    for kind in ("Ready", "ContainersReady"):
        yield {
            "type": kind,
            "status": ready.get("status") or "False",
            "reason": ready.get("reason", ""),
            "message": ready.get("message", ""),
            "lastTransitionTime": ready.get("lastTransitionTime") or created,
        }


def _container_status(app: Object, source: Mapping[str, Any]) -> Object:
    state = source.get("state") or {"waiting": {"reason": "ContainerCreating"}}
    is_ready = _condition(source, "Ready").get("status") == "True"
    image = get(app, ["spec", "image"])
    status: Object = {
        "name": CONTAINER_NAME,
        "image": image,
        "imageID": get(dict(source), ["image", "digest"]),
        "ready": is_ready,
        "started": "running" in state,
        "restartCount": source.get("restarts", 0),
        "state": state,
        "lastState": source.get("lastState") or {},
    }
    if source.get("containerID"):
        # A container with a kernel of its own is a machine too.
        is_machine = get(app, ["spec", "type"]) == AppType.VIRTUAL_MACHINE or source.get("vm")
        scheme = "qemu" if is_machine else "podman"
        status["containerID"] = f"{scheme}://{source['containerID']}"
    return status
