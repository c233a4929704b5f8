"""Builders of operator API objects for tests: complete, as the store keeps them, with fixed UIDs made from kind and name."""

from __future__ import annotations

import base64
import uuid
from typing import Any

from eaves.kube.resource import Object

CREATED = "2026-11-24T18:00:00Z"
DEVICE_ID = "11111111-2222-4333-8444-555555555555"


def uid_of(kind: str, name: str, namespace: str = "default") -> str:
    """The UID that these builders give."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{kind}/{namespace}/{name}"))


def make_object(
    kind: str,
    name: str,
    spec: Any = None,
    *,
    namespace: str = "default",
    api_version: str = "eaves.dev/v1alpha1",
    **rest: Any,
) -> Object:
    """Any object; ``rest`` are further top-level fields, ``metadata`` among them is merged."""
    metadata = {
        "name": name,
        "uid": uid_of(kind, name, namespace),
        "generation": 1,
        "creationTimestamp": CREATED,
        "resourceVersion": "1",
    }
    if namespace:
        metadata["namespace"] = namespace
    metadata |= rest.pop("metadata", {})
    obj: Object = {"apiVersion": api_version, "kind": kind, "metadata": metadata, **rest}
    if spec is not None:
        obj["spec"] = spec
    return obj


def make_edgenode(
    name: str = "store-17", *, approved: bool = True, status: Object | None = None, **spec: Any
) -> Object:
    obj = make_object("EdgeNode", name, {"approved": approved, **spec}, namespace="", metadata={"uid": DEVICE_ID})
    return obj if status is None else {**obj, "status": status}


def make_app(
    name: str = "web",
    *,
    namespace: str = "default",
    metadata: Object | None = None,
    status: Object | None = None,
    **spec: Any,
) -> Object:
    wanted = {"nodeName": "store-17", "image": "registry.example/shop/web:1.4", **spec}
    obj = make_object("App", name, wanted, namespace=namespace, metadata=metadata or {})
    return obj if status is None else {**obj, "status": status}


def make_network(name: str = "default", *, namespace: str = "default", **spec: Any) -> Object:
    return make_object("Network", name, {"subnet": "10.160.1.0/24", **spec}, namespace=namespace)


def make_patch(name: str = "settings", *, namespace: str = "default", **spec: Any) -> Object:
    """A PatchEnvelope with one file, for the app web."""
    wanted = {"apps": ["web"], "files": [{"name": "app.yaml", "content": "a: 1"}], **spec}
    return make_object("PatchEnvelope", name, wanted, namespace=namespace)


def make_volume(name: str = "data", *, namespace: str = "default", **spec: Any) -> Object:
    return make_object("Volume", name, {"nodeName": "store-17", "size": "1Gi", **spec}, namespace=namespace)


def make_volume_snapshot(name: str = "daily", *, namespace: str = "default", **spec: Any) -> Object:
    metadata = spec.pop("metadata", {})
    made = make_object("VolumeSnapshot", name, {"volumeName": "data", **spec}, namespace=namespace)
    made["metadata"].update(metadata)
    return made


def make_datastore(name: str = "registry", *, namespace: str = "default", **spec: Any) -> Object:
    return make_object("Datastore", name, {"url": "registry.example", **spec}, namespace=namespace)


def make_secret(name: str, *, namespace: str = "default", kind: str = "Opaque", **data: str | bytes) -> Object:
    encoded = {
        key: base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()
        for key, value in data.items()
    }
    return make_object("Secret", name, namespace=namespace, api_version="v1", data=encoded, type=kind)


def make_configmap(name: str, *, namespace: str = "default", **data: str) -> Object:
    return make_object("ConfigMap", name, namespace=namespace, api_version="v1", data=dict(data))


def make_vm(name: str = "plc", *, metadata: Object | None = None, status: Object | None = None, **spec: Any) -> Object:
    """An App of type VirtualMachine."""
    wanted = {"type": "VirtualMachine", "image": "registry.example/disks/plc:1", **spec}
    return make_app(name, metadata=metadata, status=status, **wanted)


def make_snapshot(
    name: str = "before", *, metadata: Object | None = None, status: Object | None = None, **spec: Any
) -> Object:
    obj = make_object("AppSnapshot", name, {"appName": "plc", **spec}, metadata=metadata or {})
    return obj if status is None else {**obj, "status": status}
