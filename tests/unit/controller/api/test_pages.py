"""Discovery, OpenAPI, health and metrics pages: entity tags, hashes, forms."""

from __future__ import annotations

from pathlib import Path

import pytest

from eaves.kit.errors import EavesError
from eaves.kube import protowire, swagger_protobuf
from eaves.testing.asgi import AsgiClient
from eaves.testing.operator_api import ADMIN_TOKEN, open_api

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


@pytest.mark.parametrize("path", ["/api", "/apis"])
async def test_aggregated_discovery_is_tagged_and_answers_304(admin: AsgiClient, path: str) -> None:
    answer = await admin.call("GET", path, headers={"accept": AGGREGATED})
    assert answer.json()["kind"] == "APIGroupDiscoveryList"
    assert answer.headers["content-type"] == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    assert answer.headers["Vary"] == "Accept"
    tag = {"accept": AGGREGATED, "if-none-match": answer.headers["ETag"]}
    again = await admin.call("GET", path, headers=tag)
    assert (again.status, again.body) == (304, b"")


async def test_lists_of_old(admin: AsgiClient) -> None:
    assert (await admin.get("/api"))["versions"] == ["v1"]
    groups = {group["name"] for group in (await admin.get("/apis"))["groups"]}
    assert {"eaves.dev", "authentication.k8s.io", "coordination.k8s.io"} <= groups
    assert (await admin.get("/apis/eaves.dev"))["kind"] == "APIGroup"
    core = await admin.get("/api/v1")
    names = {resource["name"] for resource in core["resources"]}
    assert {"pods", "pods/log", "nodes", "namespaces/finalize"} <= names
    assert (await admin.get("/apis/eaves.dev/v1alpha1"))["groupVersion"] == "eaves.dev/v1alpha1"
    for path in ("/apis/none.dev", "/apis/eaves.dev/v9", "/api/v9"):
        assert (await admin.call("GET", path)).status == 404


async def test_openapi_v3_addresses_carry_hashes(admin: AsgiClient) -> None:
    index = await admin.get("/openapi/v3")
    address = index["paths"]["apis/eaves.dev/v1alpha1"]["serverRelativeURL"]
    answer = await admin.call("GET", address)
    assert "dev.eaves.v1alpha1.App" in answer.json()["components"]["schemas"]
    assert answer.headers["Cache-Control"] == "public, immutable"
    assert "cache-control" not in answer.headers, "a second header would forbid what this one allows"
    assert answer.headers["ETag"].strip('"') == address.partition("hash=")[2]
    old = await admin.call("GET", "/openapi/v3/apis/eaves.dev/v1alpha1?hash=OLD")
    assert (old.status, old.headers["Location"]) == (301, address)
    plain = await admin.call("GET", "/openapi/v3/apis/eaves.dev/v1alpha1")
    assert plain.status == 200
    assert (await admin.call("GET", "/openapi/v3/apis/none.dev/v1")).status == 404


async def test_openapi_v2(admin: AsgiClient) -> None:
    document = await admin.get("/openapi/v2")
    assert document["swagger"] == "2.0"


async def test_openapi_v2_in_protobuf_for_client_go(admin: AsgiClient) -> None:
    answer = await admin.call("GET", "/openapi/v2", headers={"accept": swagger_protobuf.MEDIA_TYPE})
    assert answer.headers["content-type"] == "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    assert next(protowire.decode_fields(answer.body)) == (1, b"2.0")
    tag = {"accept": swagger_protobuf.MEDIA_TYPE, "if-none-match": answer.headers["ETag"]}
    assert (await admin.call("GET", "/openapi/v2", headers=tag)).status == 304


async def test_root_lists_the_paths(admin: AsgiClient) -> None:
    assert "/apis/eaves.dev/v1alpha1" in (await admin.get("/"))["paths"]


async def test_pages_are_for_reading(admin: AsgiClient) -> None:
    assert (await admin.call("POST", "/version", {})).status == 405


async def test_readiness_tells_which_check_fails(tmp_path: Path) -> None:
    async def broken() -> None:
        raise EavesError("is not signed", element="certificate")

    async with open_api(tmp_path, checks={"certificates": broken}) as bench:
        client = AsgiClient(bench.api, ADMIN_TOKEN)
        answer = await client.call("GET", "/readyz")
        assert answer.status == 500
        assert answer.body.decode().splitlines() == [
            "[+]ping ok",
            "[+]store ok",
            "[-]certificates failed: certificate: is not signed",
            "readyz check failed",
        ]
        assert (await client.call("GET", "/livez")).body == b"ok"
        assert (await client.call("GET", "/readyz/store")).body == b"ok"
        assert (await client.call("GET", "/readyz?exclude=certificates")).body == b"ok"
        assert (await client.call("GET", "/readyz/none")).status == 404


async def test_metrics_count_requests_by_known_resources_only(admin: AsgiClient) -> None:
    await admin.get("/api/v1/nodes")
    await admin.call("GET", "/api/v1/made-up-name")
    text = (await admin.call("GET", "/metrics")).body.decode()
    assert 'eaves_api_requests_total{code="200",group="",resource="nodes",subresource="",verb="list"} 1.0' in text
    assert "made-up-name" not in text
