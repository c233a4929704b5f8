"""Get and list: bytes as stored, versions, pages, selectors, tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from eaves.store.sqlite.objects import ObjectOptions, SqliteStore
from eaves.testing.asgi import Answer, AsgiClient
from eaves.testing.operator_api import ADMIN_TOKEN, ApiBench, open_api

APPS = "/apis/eaves.dev/v1alpha1/namespaces/default/apps"
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


def app(name: str, node: str = "n1", **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "eaves.dev/v1alpha1",
        "kind": "App",
        "metadata": {"name": name, "labels": labels},
        "spec": {"nodeName": node, "image": "registry.example/web:1"},
    }


async def create(client: AsgiClient, *objects: dict[str, Any]) -> list[dict[str, Any]]:
    created = []
    for obj in objects:
        answer = await client.call("POST", APPS, obj)
        assert answer.status == 201, answer.body.decode()
        created.append(answer.json())
    return created


def names(document: Any) -> list[str]:
    return [item["metadata"]["name"] for item in document["items"]]


async def refused(client: AsgiClient, path: str, **query: Any) -> Answer:
    answer = await client.call("GET", path, **query)
    assert answer.status >= 400
    return answer


async def test_get_gives_what_create_answered(admin: AsgiClient) -> None:
    (created,) = await create(admin, app("web"))
    assert await admin.get(f"{APPS}/web") == created
    assert created["metadata"]["resourceVersion"]
    assert created["metadata"]["generation"] == 1


async def test_get_of_a_missing_object_names_the_resource(admin: AsgiClient) -> None:
    answer = await refused(admin, f"{APPS}/web")
    assert answer.json()["message"] == 'apps.eaves.dev "web" not found'
    assert answer.json()["details"] == {"name": "web", "group": "eaves.dev", "kind": "apps"}


async def test_unknown_resources_are_plain_404(admin: AsgiClient) -> None:
    for path in ("/apis/eaves.dev/v1alpha1/widgets", "/apis/nope.dev/v1/apps", "/apis/eaves.dev/v9/apps", "/nowhere"):
        answer = await refused(admin, path)
        assert (answer.status, answer.body) == (404, b"404 page not found\n")
        assert answer.headers["content-type"].startswith("text/plain")


async def test_head_has_headers_and_no_body(admin: AsgiClient) -> None:
    await create(admin, app("web"))
    answer = await admin.call("HEAD", f"{APPS}/web")
    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.headers["content-length"]) > 100


async def test_items_of_custom_lists_carry_their_kind_and_those_of_core_lists_do_not(admin: AsgiClient) -> None:
    await create(admin, app("web"))
    await admin.call("POST", CONFIGMAPS, {"metadata": {"name": "c"}, "data": {"a": "b"}})
    apps, configmaps = await admin.get(APPS), await admin.get(CONFIGMAPS)
    assert apps["items"][0]["kind"] == "App"
    assert configmaps["kind"] == "ConfigMapList"
    assert "kind" not in configmaps["items"][0]


async def test_a_list_of_a_missing_namespace_is_empty(admin: AsgiClient) -> None:
    assert (await admin.get("/api/v1/namespaces/none/configmaps"))["items"] == []


async def test_pages_are_stable_under_writes(admin: AsgiClient) -> None:
    await create(admin, *(app(f"a{n}") for n in range(5)))
    first = await admin.get(APPS, limit=2)
    assert (names(first), first["metadata"]["remainingItemCount"]) == (["a0", "a1"], 3)
    await create(admin, app("a1b"), app("a9"))
    await admin.call("DELETE", f"{APPS}/a3")
    second = await admin.get(APPS, limit=2, **{"continue": first["metadata"]["continue"]})
    assert names(second) == ["a2", "a3"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    third = await admin.get(APPS, limit=2, **{"continue": second["metadata"]["continue"]})
    assert names(third) == ["a4"]
    assert third["metadata"]["continue"] == ""


async def test_pages_with_a_selector_are_full_and_count_nothing(admin: AsgiClient) -> None:
    await create(admin, *(app(f"a{n}", tier="even" if n % 2 == 0 else "odd") for n in range(6)))
    first = await admin.get(APPS, limit=2, labelSelector="tier!=odd")
    assert names(first) == ["a0", "a2"]
    assert "remainingItemCount" not in first["metadata"]
    rest = await admin.get(APPS, limit=2, labelSelector="tier!=odd", **{"continue": first["metadata"]["continue"]})
    assert names(rest) == ["a4"]
    assert rest["metadata"]["continue"] == ""


async def test_selectors_by_label_and_field(admin: AsgiClient) -> None:
    await create(admin, app("a", "n1", tier="web"), app("b", "n2", tier="db"), app("c", "n1", tier="db"))
    assert names(await admin.get(APPS, labelSelector="tier in (web, cache)")) == ["a"]
    assert names(await admin.get(APPS, labelSelector="tier=db,!beta")) == ["b", "c"]
    assert names(await admin.get(APPS, fieldSelector="spec.nodeName=n1")) == ["a", "c"]
    assert names(await admin.get(APPS, fieldSelector="spec.nodeName!=n1")) == ["b"]
    assert names(await admin.get(APPS, fieldSelector="metadata.name=c")) == ["c"]
    assert names(await admin.get(APPS, fieldSelector="metadata.name=c,spec.nodeName=n2")) == []
    everywhere = "/apis/eaves.dev/v1alpha1/apps"
    assert names(await admin.get(everywhere, fieldSelector="metadata.namespace=default,metadata.name=c")) == ["c"]
    assert names(await admin.get(everywhere, fieldSelector="metadata.name=b")) == ["b"]


async def test_a_field_that_is_not_selectable_is_refused(admin: AsgiClient) -> None:
    answer = await refused(admin, APPS, fieldSelector="spec.image=x")
    assert (answer.status, answer.json()["message"]) == (400, "field label not supported: spec.image")


async def test_exact_and_not_older_versions(admin: AsgiClient) -> None:
    await create(admin, app("a"))
    before = (await admin.get(APPS))["metadata"]["resourceVersion"]
    await create(admin, app("b"))
    exact = await admin.get(APPS, resourceVersion=before, resourceVersionMatch="Exact")
    assert (names(exact), exact["metadata"]["resourceVersion"]) == (["a"], before)
    assert names(await admin.get(APPS, resourceVersion=before)) == ["a", "b"]
    assert names(await admin.get(APPS, resourceVersion=before, limit=5)) == ["a"]
    assert names(await admin.get(APPS, resourceVersion=0, limit=1)) == ["a", "b"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"resourceVersionMatch": "Exact"}, 422),
        ({"resourceVersionMatch": "Exact", "resourceVersion": "0"}, 422),
        ({"resourceVersionMatch": "Sometimes", "resourceVersion": "1"}, 422),
        ({"resourceVersion": "x"}, 400),
        ({"continue": "x"}, 400),
        ({"limit": "x"}, 400),
        ({"labelSelector": "a in b"}, 400),
    ],
)
async def test_options_that_make_no_sense(admin: AsgiClient, query: dict[str, str], code: int) -> None:
    assert (await refused(admin, APPS, **query)).status == code


async def test_continue_with_a_version_is_refused_unless_it_is_zero(admin: AsgiClient) -> None:
    await create(admin, app("a"), app("b"))
    token = (await admin.get(APPS, limit=1))["metadata"]["continue"]
    assert (await refused(admin, APPS, limit=1, resourceVersion=3, **{"continue": token})).status == 400
    assert names(await admin.get(APPS, limit=1, resourceVersion=0, **{"continue": token})) == ["b"]


async def test_an_expired_continue_offers_the_inconsistent_rest(tmp_path: Path) -> None:
    async with open_api(tmp_path, options=ObjectOptions(history_revisions=5)) as bench:
        admin = AsgiClient(bench.api, ADMIN_TOKEN)
        await create(admin, app("a"), app("c"))
        token = (await admin.get(APPS, limit=1))["metadata"]["continue"]
        await create(admin, app("b"))
        assert isinstance(bench.store, SqliteStore)
        await bench.store.compact(await bench.store.revision())
        await create(admin, app("d"))
        await bench.store.compact(await bench.store.revision())
        answer = await refused(admin, APPS, limit=5, **{"continue": token})
        assert (answer.status, answer.json()["reason"]) == (410, "Expired")
        rest = await admin.get(APPS, limit=5, **{"continue": answer.json()["metadata"]["continue"]})
        assert names(rest) == ["b", "c", "d"]
        gone = await refused(admin, APPS, resourceVersion=2, resourceVersionMatch="Exact")
        assert gone.status == 410


async def test_a_version_of_the_future_is_a_timeout(bench: ApiBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eaves.controller.api.reading.FUTURE_WAIT_S", 0.05)
    admin = AsgiClient(bench.api, ADMIN_TOKEN)
    for path in (APPS, f"{APPS}/web"):
        answer = await refused(admin, path, resourceVersion=10**9)
        assert (answer.status, answer.headers["Retry-After"]) == (504, "1")
        assert answer.json()["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


async def test_tables_have_the_kinds_columns_and_partial_objects(admin: AsgiClient) -> None:
    await create(admin, app("web"))
    answer = await admin.call("GET", APPS, headers={"accept": TABLE})
    table = answer.json()
    assert table["kind"] == "Table"
    columns = [column["name"] for column in table["columnDefinitions"]]
    assert columns[:3] == ["Name", "Node", "Phase"]
    row = table["rows"][0]
    assert row["cells"][:2] == ["web", "n1"]
    assert row["object"]["kind"] == "PartialObjectMetadata"
    whole = await admin.call("GET", f"{APPS}/web", headers={"accept": TABLE}, includeObject="Object")
    assert whole.json()["rows"][0]["object"]["spec"]["nodeName"] == "n1"
    none = await admin.call("GET", APPS, headers={"accept": TABLE}, includeObject="None")
    assert none.json()["rows"][0]["object"] is None
    assert (await admin.call("GET", APPS, headers={"accept": TABLE}, includeObject="All")).status == 400


async def test_partial_metadata_lists(admin: AsgiClient) -> None:
    await create(admin, app("web", tier="x"))
    document = (await admin.call("GET", APPS, headers={"accept": PARTIAL_LIST})).json()
    assert document["kind"] == "PartialObjectMetadataList"
    assert document["items"][0]["metadata"]["labels"] == {"tier": "x"}
    assert "spec" not in document["items"][0]


async def test_yaml_answers(admin: AsgiClient) -> None:
    await create(admin, app("web"))
    answer = await admin.call("GET", f"{APPS}/web", headers={"accept": "application/yaml"})
    assert answer.headers["content-type"] == "application/yaml"
    assert yaml.safe_load(answer.body)["spec"]["nodeName"] == "n1"


async def test_an_answer_that_cannot_be_made_is_406(admin: AsgiClient) -> None:
    assert (await admin.call("GET", APPS, headers={"accept": "image/png"})).status == 406


async def test_large_answers_are_gzipped_when_asked(admin: AsgiClient) -> None:
    import gzip

    big = "x" * 150_000
    await admin.call("POST", CONFIGMAPS, {"metadata": {"name": "big"}, "data": {"a": big}})
    answer = await admin.call("GET", f"{CONFIGMAPS}/big", headers={"accept-encoding": "gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert len(answer.body) < 10_000
    assert big.encode() in gzip.decompress(answer.body)
    plain = await admin.call("GET", f"{CONFIGMAPS}/big")
    assert "content-encoding" not in plain.headers
