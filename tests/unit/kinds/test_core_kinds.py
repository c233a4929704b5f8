"""Namespace, Secret, ConfigMap, Event, Lease."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from eaves.kinds import configmap, event, lease, namespace, secret
from eaves.kube.schema import validate_schema
from eaves.testing.objects import make_configmap, make_edgenode, make_object, make_secret


def paths(faults: Any) -> list[str]:
    return [fault.path for fault in faults]


def test_string_data_becomes_data_and_wins() -> None:
    obj = make_secret("s", a="old", b="kept")
    obj["stringData"] = {"a": "new ☃"}
    secret.RESOURCE.default(obj)
    assert "stringData" not in obj
    assert {key: base64.b64decode(value).decode() for key, value in obj["data"].items()} == {"a": "new ☃", "b": "kept"}


def test_values_of_a_secret_are_never_repeated_in_faults() -> None:
    obj = make_secret("s")
    obj["data"] = {"a": "hunter2!"}
    faults = secret.RESOURCE.validate(obj, None)
    assert paths(faults) == ["data[a]"]
    assert "hunter2" not in repr(faults)


@pytest.mark.parametrize(
    ("kind", "data", "expected"),
    [
        ("Opaque", {}, []),
        ("kubernetes.io/tls", {"tls.crt": "x"}, ["data[tls.key]"]),
        ("kubernetes.io/basic-auth", {}, ["data[username]", "data[password]"]),
        ("kubernetes.io/basic-auth", {"password": "x"}, []),
        ("kubernetes.io/dockerconfigjson", {".dockerconfigjson": "[]"}, ["data[.dockerconfigjson]"]),
        ("kubernetes.io/dockerconfigjson", {".dockerconfigjson": '{"auths": {}}'}, []),
        ("Opaque", {"a b": "x"}, ["data[a b]"]),
        ("Opaque", {"a": "x" * (1024 * 1024 + 1)}, ["data"]),
    ],
)
def test_faults_of_secrets(kind: str, data: dict[str, str], expected: list[str]) -> None:
    assert paths(secret.RESOURCE.validate(make_secret("s", kind=kind, **data), None)) == expected


def test_type_and_immutable_data_cannot_change() -> None:
    old = {**make_secret("s", a="1"), "immutable": True}
    assert paths(secret.RESOURCE.validate({**old, "type": "x"}, old)) == ["type"]
    assert paths(secret.RESOURCE.validate({**make_secret("s", a="2"), "immutable": True}, old)) == ["data"]
    assert paths(secret.RESOURCE.validate(make_secret("s", a="1"), old)) == ["immutable"]


def test_faults_of_configmaps() -> None:
    both = {**make_configmap("c", a="1"), "binaryData": {"a": "eA==", "b": "%"}}
    assert paths(configmap.RESOURCE.validate(both, None)) == ["data[a]", "binaryData[b]"]
    frozen = {**make_configmap("c", a="1"), "immutable": True}
    assert paths(configmap.RESOURCE.validate({**make_configmap("c", a="2"), "immutable": True}, frozen)) == ["data"]


def test_a_namespace_gets_its_label_finalizer_and_phase() -> None:
    obj: dict[str, Any] = {"metadata": {"name": "shop", "labels": {"a": "b"}}}
    namespace.RESOURCE.default(obj)
    assert obj["metadata"]["labels"] == {"a": "b", "kubernetes.io/metadata.name": "shop"}
    assert obj["spec"] == {"finalizers": ["kubernetes"]}
    assert obj["status"] == {"phase": "Active"}


def make_event(**fields: Any) -> dict[str, Any]:
    involved = {"kind": "App", "namespace": "default", "name": "web", "uid": "u"}
    return make_object(
        "Event", "web.1", api_version="v1", **{"involvedObject": involved, "reason": "Started", **fields}
    )


def test_an_event_prints_what_kubectl_shows() -> None:
    obj = make_event(
        type="Normal",
        message="container started\n",
        lastTimestamp="2026-11-24T18:00:00Z",
        count=3,
        source={"component": "eaves"},
    )
    now = 1795543200.0 + 65
    cells = {column.name: column.value(obj, now) for column in event.RESOURCE.columns}
    assert cells["Last Seen"] == "65s"
    assert cells["Object"] == "app/web"
    assert cells["Message"] == "container started"
    assert cells["Count"] == 3
    assert cells["Source"] == "eaves"
    assert event.RESOURCE.selectable_fields["involvedObject.name"](obj) == "web"
    assert event.RESOURCE.selectable_fields["source"](obj) == "eaves"


def test_an_event_is_in_the_namespace_of_its_object() -> None:
    assert paths(event.RESOURCE.validate(make_event(), None)) == []
    elsewhere = {"kind": "App", "namespace": "shop", "name": "web"}
    assert paths(event.RESOURCE.validate(make_event(involvedObject=elsewhere), None)) == ["involvedObject.namespace"]
    assert paths(event.RESOURCE.validate(make_event(involvedObject={"kind": "EdgeNode", "name": "a"}), None)) == []


def test_a_lease_shows_the_last_contact() -> None:
    obj = lease.project_lease(make_edgenode(), 1795543200.5)
    assert list(validate_schema(lease.RESOURCE.schema, obj)) == []
    assert obj["metadata"]["namespace"] == "kube-node-lease"
    assert obj["spec"] == {
        "holderIdentity": "store-17",
        "leaseDurationSeconds": 40,
        "renewTime": "2026-11-24T18:00:00.000000Z",
    }
    assert "renewTime" not in lease.project_lease(make_edgenode(), 0)["spec"]
