"""Who gets in: tokens by hash, anonymous to health and version only, refusals in kube's sentences."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from eaves.controller.tokens import encode_token_hash
from eaves.store.credentials import TokenRecord
from eaves.store.sqlite.credentials import SqliteCredentials
from eaves.store.sqlite.objects import SqliteStore
from eaves.testing.asgi import AsgiClient
from eaves.testing.operator_api import ADMIN_TOKEN, USER_TOKEN, ApiBench, open_api


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/version"])
async def test_anonymous_sees_health_and_version(bench: ApiBench, path: str) -> None:
    answer = await AsgiClient(bench.api).call("GET", path)
    assert answer.status == 200


@pytest.mark.parametrize("path", ["/api", "/apis", "/openapi/v3", "/metrics", "/", "/nowhere", "/readyz/ping"])
async def test_anonymous_sees_no_other_page(bench: ApiBench, path: str) -> None:
    answer = await AsgiClient(bench.api).call("GET", path)
    assert answer.status == 403
    assert answer.json()["message"] == f'forbidden: User "system:anonymous" cannot get path "{path}"'


async def test_anonymous_is_refused_objects_in_the_known_sentence(bench: ApiBench) -> None:
    answer = await AsgiClient(bench.api).call("GET", "/apis/eaves.dev/v1alpha1/namespaces/default/apps/web")
    assert (answer.status, answer.json()["reason"]) == (403, "Forbidden")
    assert answer.json()["message"] == (
        'apps.eaves.dev "web" is forbidden: User "system:anonymous" cannot get resource "apps" in API group "eaves.dev" '
        'in the namespace "default"'
    )
    answer = await AsgiClient(bench.api).call("GET", "/api/v1/nodes")
    assert answer.json()["message"].endswith('cannot list resource "nodes" in API group "" at the cluster scope')


async def test_a_bad_token_is_401_and_other_schemes_are_anonymous(bench: ApiBench) -> None:
    answer = await AsgiClient(bench.api, "wrong").call("GET", "/version")
    assert (answer.status, answer.json()["reason"]) == (401, "Unauthorized")
    basic = {"authorization": "Basic " + base64.b64encode(b"a:b").decode()}
    assert (await AsgiClient(bench.api).call("GET", "/version", headers=basic)).status == 200
    assert (await AsgiClient(bench.api).call("GET", "/version", headers={"authorization": "Bearer "})).status == 200


async def test_a_known_user_looks_around_and_asks_about_himself_only(bench: ApiBench) -> None:
    user = AsgiClient(bench.api, USER_TOKEN)
    assert (await user.call("GET", "/apis")).status == 200
    assert (await user.call("GET", "/api/v1/secrets")).status == 403
    answer = await user.call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
    assert answer.status == 201
    info = answer.json()["status"]["userInfo"]
    assert info == {"username": "jane", "groups": ["staff", "system:authenticated"]}


async def test_access_reviews_ask_the_same_rules(bench: ApiBench) -> None:
    question = {"spec": {"resourceAttributes": {"verb": "get", "resource": "secrets", "namespace": "default"}}}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    assert (await AsgiClient(bench.api, ADMIN_TOKEN).call("POST", path, question)).json()["status"]["allowed"] is True
    assert (await AsgiClient(bench.api, USER_TOKEN).call("POST", path, question)).json()["status"]["allowed"] is False
    page = {"spec": {"nonResourceAttributes": {"verb": "get", "path": "/apis"}}}
    assert (await AsgiClient(bench.api, USER_TOKEN).call("POST", path, page)).json()["status"]["allowed"] is True
    assert (await AsgiClient(bench.api, USER_TOKEN).call("POST", path, {"spec": {}})).status == 422


async def test_rules_reviews_tell_an_administrator_everything(admin: AsgiClient) -> None:
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    answer = await admin.call("POST", path, {"spec": {"namespace": "default"}})
    rules = answer.json()["status"]
    assert {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]} in rules["resourceRules"]
    assert {"verbs": ["*"], "nonResourceURLs": ["*"]} in rules["nonResourceRules"]


async def test_an_expired_token_is_no_token(tmp_path: Path) -> None:
    clock = [1000.0]
    async with open_api(tmp_path, clock=lambda: clock[0]) as bench:
        assert isinstance(bench.store, SqliteStore)
        record = TokenRecord(encode_token_hash("short"), "ann", ("system:masters",), 1005.0, 0.0)
        await SqliteCredentials(bench.store).save_token(record)
        client = AsgiClient(bench.api, "short")
        assert (await client.call("GET", "/api/v1/nodes")).status == 200
        clock[0] = 1006.0
        assert (await client.call("GET", "/api/v1/nodes")).status == 401


async def test_a_revoked_token_works_for_a_moment_only(tmp_path: Path) -> None:
    clock = [1000.0]
    async with open_api(tmp_path, clock=lambda: clock[0]) as bench:
        client = AsgiClient(bench.api, ADMIN_TOKEN)
        assert (await client.call("GET", "/api/v1/nodes")).status == 200
        assert isinstance(bench.store, SqliteStore)
        await SqliteCredentials(bench.store).remove_token(encode_token_hash(ADMIN_TOKEN))
        clock[0] += 11
        assert (await client.call("GET", "/api/v1/nodes")).status == 401
