"""Whatever JSON stands where: the answer is a refusal or a success, never a fault of the server."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eaves.kinds.registry import PROJECTED, RESOURCES
from eaves.kube.resource import Resource
from eaves.testing.asgi import AsgiClient
from eaves.testing.operator_api import ADMIN_TOKEN, ApiBench, open_api

KINDS = [resource for resource in RESOURCES if resource.gvr not in PROJECTED]
PATCHES = ("application/merge-patch+json", "application/json-patch+json", "application/apply-patch+yaml")

scalars = st.one_of(st.none(), st.booleans(), st.integers(-5, 70000), st.text(max_size=8), st.just("a"))
_METADATA = (
    "name",
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
    "managedFields",
    "fieldsV1",
    "f:spec",
    "uid",
)
_SPEC = ("image", "networks", "ports", "env", "resources", "nodeName", "taints", "key", "effect", "data", "stringData")
names = st.sampled_from((*_METADATA, *_SPEC, "op", "path", "value", "a"))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(names, inner, max_size=4)),
    max_leaves=12,
)


class Runner:
    """One API on one loop for all examples."""

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._context = open_api(folder)
        self._bench: ApiBench = self._loop.run_until_complete(self._context.__aenter__())
        self._admin = AsgiClient(self._bench.api, ADMIN_TOKEN)

    def call(self, method: str, path: str, body: Any, **query: Any) -> int:
        return self._loop.run_until_complete(self._admin.call(method, path, body, **query)).status

    def close(self) -> None:
        self._loop.run_until_complete(self._context.__aexit__(None, None, None))
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(Path(folder))
        yield runner
        runner.close()


def path_of(resource: Resource) -> str:
    root = (
        f"/apis/{resource.gvr.group}/{resource.gvr.version}" if resource.gvr.group else f"/api/{resource.gvr.version}"
    )
    space = "/namespaces/default" if resource.namespaced else ""
    return f"{root}{space}/{resource.gvr.resource}"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    resource=st.sampled_from(KINDS),
    meta=values,
    rest=st.dictionaries(st.sampled_from(["spec", "status", "data"]), values),
)
def test_creates(runner: Runner, resource: Resource, meta: Any, rest: Any) -> None:
    body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": meta, **rest}
    assert runner.call("POST", path_of(resource), body, dryRun="All") < 500


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=values, kind=st.sampled_from(PATCHES), where=st.sampled_from(["", "metadata", "spec"]))
def test_patches(runner: Runner, body: Any, kind: str, where: str) -> None:
    app = {
        "apiVersion": "eaves.dev/v1alpha1",
        "kind": "App",
        "metadata": {"name": "web"},
        "spec": {"image": "registry.example/web:1"},
    }
    path = "/apis/eaves.dev/v1alpha1/namespaces/default/apps"
    assert runner.call("POST", path, app) in (201, 409)
    if where:
        body = {**app, where: body} if kind.startswith("application/apply") else {where: body}
    query = {"dryRun": "All", "fieldManager": "me"}
    assert runner.call("PATCH", f"{path}/web", body, content_type=kind, **query) < 500
    node = "/api/v1/nodes/n1"
    assert runner.call("PATCH", node, body, content_type=kind, **query) < 500


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=40), kind=st.sampled_from([*PATCHES, "application/json", "application/yaml", "x", ""]))
def test_bytes(runner: Runner, body: bytes, kind: str) -> None:
    path = "/api/v1/namespaces/default/configmaps"
    for method, where in (("POST", path), ("PUT", f"{path}/a"), ("PATCH", f"{path}/a"), ("DELETE", f"{path}/a")):
        assert runner.call(method, where, body, content_type=kind, fieldManager="me") < 500


@pytest.mark.parametrize("field", ["finalizers", "ownerReferences"])
@pytest.mark.parametrize("resource", KINDS, ids=lambda resource: resource.kind)
def test_nulls_in_lists_of_metadata_are_empty_values(runner: Runner, resource: Resource, field: str) -> None:
    body = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": "a", field: [None]}}
    assert runner.call("POST", path_of(resource), body, dryRun="All") in (403, 405, 422)


@pytest.mark.parametrize("field", ["finalizers", "ownerReferences"])
@pytest.mark.parametrize("kind", PATCHES)
def test_a_patch_with_a_null_in_a_list_of_metadata_is_refused(runner: Runner, kind: str, field: str) -> None:
    path = "/api/v1/namespaces/default/configmaps"
    whole = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "nulls"}}
    assert runner.call("POST", path, whole) in (201, 409)
    body: Any = {**whole, "metadata": {"name": "nulls", field: [None]}}
    if "json-patch" in kind:
        body = [{"op": "add", "path": f"/metadata/{field}", "value": [None]}]
    status = runner.call("PATCH", f"{path}/nulls", body, content_type=kind, dryRun="All", fieldManager="me")
    assert 400 <= status < 500


def test_deep_nesting(runner: Runner) -> None:
    deep: Any = {}
    for _ in range(900):
        deep = {"f:a": deep}
    body = {"metadata": {"name": "deep", "managedFields": [{"operation": "Update", "fieldsV1": deep}]}}
    assert runner.call("POST", "/api/v1/namespaces/default/configmaps", body) < 500
    raw = b'{"metadata":{"name":"deep"},"data":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001
    assert runner.call("POST", "/api/v1/namespaces/default/configmaps", raw) == 400
