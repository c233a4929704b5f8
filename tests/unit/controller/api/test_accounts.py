"""Tokens of service accounts: asked for, used, bound, reviewed, and good for nothing once their account is gone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from eaves.testing.asgi import Answer, AsgiClient
from eaves.testing.operator_api import ADMIN_TOKEN, USER_TOKEN, ApiBench, open_api

ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
REVIEW = "/apis/authentication.k8s.io/v1/tokenreviews"
ISSUER = "https://kubernetes.default.svc"


class Clock:
    def __init__(self) -> None:
        self.now = 1_795_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def timed(tmp_path: Path, clock: Clock) -> AsyncIterator[ApiBench]:
    async with open_api(tmp_path, clock=clock) as bench:
        admin = AsgiClient(bench.api, ADMIN_TOKEN)
        made = await admin.call("POST", ACCOUNTS, {"metadata": {"name": "bot"}})
        assert made.status == 201, made.body
        yield bench


async def ask(bench: ApiBench, token: str = ADMIN_TOKEN, account: str = "bot", **spec: Any) -> Answer:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    return await AsgiClient(bench.api, token).call("POST", f"{ACCOUNTS}/{account}/token", body)


async def test_a_token_makes_its_caller_the_account(timed: ApiBench) -> None:
    answer = await ask(timed)
    assert answer.status == 201
    document = answer.json()
    assert document["spec"]["expirationSeconds"] == 3600
    assert document["spec"]["audiences"] == [ISSUER]
    bot = AsgiClient(timed.api, document["status"]["token"])
    info = (await bot.call("POST", WHO, {})).json()["status"]["userInfo"]
    assert info["username"] == "system:serviceaccount:default:bot"
    assert info["groups"] == ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"]
    assert info["extra"]["authentication.kubernetes.io/credential-id"][0].startswith("JTI=")
    assert (await bot.call("GET", "/api/v1/secrets")).status == 403


async def test_a_token_ends_with_its_time_and_its_account(timed: ApiBench, clock: Clock) -> None:
    tokens = [(await ask(timed, expirationSeconds=600)).json()["status"]["token"] for _ in range(2)]
    first, second = (AsgiClient(timed.api, token) for token in tokens)
    assert (await first.call("POST", WHO, {})).status == 201
    clock.now += 601
    assert (await first.call("POST", WHO, {})).status == 401
    fresh = AsgiClient(timed.api, (await ask(timed)).json()["status"]["token"])
    assert (await fresh.call("POST", WHO, {})).status == 201
    admin = AsgiClient(timed.api, ADMIN_TOKEN)
    await admin.call("DELETE", f"{ACCOUNTS}/bot")
    await admin.call("POST", ACCOUNTS, {"metadata": {"name": "bot"}})
    clock.now += 11
    assert (await fresh.call("POST", WHO, {})).status == 401
    assert (await second.call("POST", WHO, {})).status == 401


async def test_a_token_for_others_is_none_here(timed: ApiBench) -> None:
    token = (await ask(timed, audiences=["vault"])).json()["status"]["token"]
    assert (await AsgiClient(timed.api, token).call("POST", WHO, {})).status == 401
    admin = AsgiClient(timed.api, ADMIN_TOKEN)
    found = (await admin.call("POST", REVIEW, {"spec": {"token": token, "audiences": ["vault", "x"]}})).json()["status"]
    assert (found["authenticated"], found["audiences"]) == (True, ["vault"])
    assert found["user"]["username"] == "system:serviceaccount:default:bot"
    found = (await admin.call("POST", REVIEW, {"spec": {"token": token}})).json()["status"]
    assert ("authenticated" in found, found["user"]) == (False, {})


async def test_reviews_know_other_tokens_and_tell_none(timed: ApiBench) -> None:
    admin = AsgiClient(timed.api, ADMIN_TOKEN)
    answer = await admin.call("POST", REVIEW, {"spec": {"token": USER_TOKEN}})
    assert answer.json()["status"]["user"]["username"] == "jane"
    assert USER_TOKEN not in answer.body.decode()
    wrong = (await admin.call("POST", REVIEW, {"spec": {"token": "wrong"}})).json()["status"]
    assert wrong == {"user": {}, "error": "invalid bearer token"}
    assert (await admin.call("POST", REVIEW, {"spec": {}})).status == 400
    assert (await AsgiClient(timed.api, USER_TOKEN).call("POST", REVIEW, {"spec": {"token": "x"}})).status == 403


async def test_a_bound_token_ends_with_what_it_is_bound_to(timed: ApiBench, clock: Clock) -> None:
    admin = AsgiClient(timed.api, ADMIN_TOKEN)
    await admin.call("POST", "/api/v1/namespaces/default/secrets", {"metadata": {"name": "s"}})
    reference = {"kind": "Secret", "apiVersion": "v1", "name": "s"}
    bound = AsgiClient(timed.api, (await ask(timed, boundObjectRef=reference)).json()["status"]["token"])
    info = (await bound.call("POST", WHO, {})).json()["status"]["userInfo"]
    assert info["extra"]["authentication.kubernetes.io/secret-name"] == ["s"]
    await admin.call("DELETE", "/api/v1/namespaces/default/secrets/s")
    clock.now += 11
    assert (await bound.call("POST", WHO, {})).status == 401
    assert (await ask(timed, boundObjectRef=reference)).status == 404
    assert (await ask(timed, boundObjectRef={**reference, "kind": "App"})).status == 400


async def test_what_cannot_be_asked_for(timed: ApiBench) -> None:
    assert (await ask(timed, account="nobody")).status == 404
    short = await ask(timed, expirationSeconds=60)
    assert short.status == 422
    assert "may not specify a duration less than 10 minutes" in short.json()["message"]
    assert (await ask(timed, expirationSeconds=1 << 40)).status == 422
    long = (await ask(timed, expirationSeconds=1 << 31)).json()
    assert long["spec"]["expirationSeconds"] == 365 * 24 * 3600
    assert (await ask(timed, USER_TOKEN)).status == 403


async def test_others_can_verify_tokens(timed: ApiBench) -> None:
    token = (await ask(timed)).json()["status"]["token"]
    bot = AsgiClient(timed.api, token)
    document = await bot.get("/.well-known/openid-configuration")
    assert document["issuer"] == ISSUER
    assert document["jwks_uri"] == f"{ISSUER}/openid/v1/jwks"
    (key,) = (await bot.get("/openid/v1/jwks"))["keys"]
    assert key["alg"] == "ES256"
    assert (await AsgiClient(timed.api).call("GET", "/openid/v1/jwks")).status == 403
