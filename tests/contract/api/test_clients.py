"""Other real clients: the official Python client with its watch, lightkube, and a WebSocket watch."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import kubernetes
import lightkube
import pytest
from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap, Namespace, Node, Pod, Secret
from lightkube.types import PatchType
from websockets.asyncio.client import connect

from eaves.testing.objects import make_edgenode, make_secret
from eaves.testing.operator_api import ADMIN_TOKEN, ServedApi

pytestmark = pytest.mark.contract

LightApp: Any = create_namespaced_resource("eaves.dev", "v1alpha1", "App", "apps")


official_client: Any = kubernetes
"""The official client is annotated in parts; its models and calls are looked at as a user without a type checker would."""


@pytest.fixture
def official(served: ServedApi) -> Iterator[Any]:
    client = official_client.config.new_client_from_config(str(served.kubeconfig))
    yield client
    client.close()


@pytest.fixture
def light(served: ServedApi) -> Iterator[lightkube.Client]:
    config = lightkube.KubeConfig.from_file(str(served.kubeconfig))
    client = lightkube.Client(config=config, namespace="default", field_manager="light")
    yield client
    client.close()


def app(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "eaves.dev/v1alpha1",
        "kind": "App",
        "metadata": {"name": name},
        "spec": {"nodeName": "n1", "image": "registry.example/web:1"},
    }


def test_the_official_client_reads_and_writes(official: Any) -> None:
    core = official_client.client.CoreV1Api(official)
    body = official_client.client.V1ConfigMap(metadata={"name": "official"}, data={"a": "b"})
    core.create_namespaced_config_map("default", body)
    assert core.read_namespaced_config_map("official", "default").data == {"a": "b"}
    core.patch_namespaced_config_map("official", "default", {"data": {"c": "d"}})
    listed = core.list_namespaced_config_map("default", limit=1, label_selector="x=y")
    assert listed.items == []
    custom = official_client.client.CustomObjectsApi(official)
    custom.create_namespaced_custom_object("eaves.dev", "v1alpha1", "default", "apps", app("official"))
    found = custom.get_namespaced_custom_object("eaves.dev", "v1alpha1", "default", "apps", "official")
    assert found["spec"]["nodeName"] == "n1"
    assert [
        pod.metadata.name for pod in core.list_namespaced_pod("default", field_selector="metadata.name=official").items
    ]
    core.delete_namespaced_config_map("official", "default")
    with pytest.raises(official_client.client.ApiException) as caught:
        core.read_namespaced_config_map("official", "default")
    assert caught.value.status == 404


def test_the_official_clients_watch_survives_its_timeouts(official: Any) -> None:
    core = official_client.client.CoreV1Api(official)
    listed = core.list_namespaced_config_map("default")
    watch = official_client.watch.Watch()
    stream = watch.stream(
        core.list_namespaced_config_map,
        "default",
        resource_version=listed.metadata.resource_version,
        timeout_seconds=1,
    )
    assert list(stream) == []
    writer = threading.Timer(0.2, core.create_namespaced_config_map, ("default", {"metadata": {"name": "watched"}}))
    writer.start()
    seen = []
    for event in watch.stream(core.list_namespaced_config_map, "default", timeout_seconds=20):
        seen.append(event["object"].metadata.name)
        if seen[-1] == "watched":
            watch.stop()
    writer.join()
    assert "watched" in seen


def test_the_dynamic_client_finds_the_kinds(official: Any, tmp_path: Any) -> None:
    dynamic = official_client.dynamic.DynamicClient(official, cache_file=str(tmp_path / "cache"))
    apps = dynamic.resources.get(api_version="eaves.dev/v1alpha1", kind="App")
    applied = apps.server_side_apply(body=app("dynamic"), namespace="default", field_manager="dynamic")
    assert applied.spec.image == "registry.example/web:1"
    assert apps.get(name="dynamic", namespace="default").metadata.name == "dynamic"


def test_lightkube_works_with_every_verb(light: lightkube.Client, served: ServedApi) -> None:
    served.call(served.bench.put(make_edgenode("light-node")))
    light.create(ConfigMap(metadata=ObjectMeta(name="light", labels={"l": "1"}), data={"a": "b"}))
    assert [each.metadata.name for each in light.list(ConfigMap, labels={"l": "1"}) if each.metadata] == ["light"]
    light.patch(ConfigMap, "light", {"data": {"c": "d"}}, patch_type=PatchType.STRATEGIC)
    assert light.get(ConfigMap, "light").data == {"a": "b", "c": "d"}
    light.apply(Secret(metadata=ObjectMeta(name="light"), stringData={"t": "v"}))
    assert light.get(Secret, "light").data == {"t": base64.b64encode(b"v").decode()}
    assert any(node.metadata and node.metadata.name == "light-node" for node in light.list(Node))
    light.create(LightApp(metadata=ObjectMeta(name="light"), spec={"nodeName": "light-node", "image": "a/b:1"}))
    pod = light.get(Pod, "light")
    assert pod.spec is not None
    assert pod.spec.nodeName == "light-node"
    light.delete(LightApp, "light")
    light.delete(ConfigMap, "light")
    with pytest.raises(ApiError):
        light.get(ConfigMap, "light")


def test_lightkubes_watch_resumes(light: lightkube.Client) -> None:
    space = "light-watch"
    light.create(Namespace(metadata=ObjectMeta(name=space)))
    light.create(Secret(metadata=ObjectMeta(name="first", namespace=space)))
    events = iter(light.watch(Secret, namespace=space, server_timeout=1))
    kind, first = next(events)
    assert (kind, first.metadata and first.metadata.name) == ("ADDED", "first")

    def write_later() -> None:
        # Longer than the watch lasts, so that the client must take up a second one where the first ended.
        time.sleep(1.5)
        light.create(Secret(metadata=ObjectMeta(name="second", namespace=space)))

    writer = threading.Thread(target=write_later)
    writer.start()
    kind, second = next(events)
    writer.join()
    assert (kind, second.metadata and second.metadata.name) == ("ADDED", "second")


async def test_a_watch_over_websocket(served: ServedApi) -> None:
    context = ssl.create_default_context(cafile=str(served.ca_file))
    address = served.server.replace("https", "wss")
    url = f"{address}/api/v1/namespaces/default/secrets?watch=1"
    token = base64.urlsafe_b64encode(ADMIN_TOKEN.encode()).rstrip(b"=").decode()
    protocols: Any = [f"base64url.bearer.authorization.k8s.io.{token}", "base64.binary.k8s.io"]
    async with connect(url, ssl=context, subprotocols=protocols) as socket:
        assert socket.subprotocol == "base64.binary.k8s.io"
        secret = make_secret("over-a-socket")
        await asyncio.to_thread(served.call, served.bench.put(secret))
        name = ""
        while name != "over-a-socket":
            event = json.loads(await socket.recv())
            name = event["object"]["metadata"]["name"]
    assert event["type"] == "ADDED"


def test_a_websocket_without_rights_is_refused(served: ServedApi) -> None:
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    context = ssl.create_default_context(cafile=str(served.ca_file))
    with httpx2.Client(verify=context) as client:
        answer = client.get(f"{served.server}/api/v1/secrets?watch=1", headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (403, "Forbidden")
