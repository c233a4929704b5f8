"""What a start makes, keeps and mends: access for the admin, the announcement for new devices."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml
from msgspec import Struct

from eaves.controller.firststart import (
    ANNOUNCEMENT,
    PUBLIC_NAMESPACE,
    want_admin_access,
    want_first_objects,
)
from eaves.controller.objects import Objects
from eaves.controller.tokens import encode_token_hash
from eaves.store.sqlite.credentials import SqliteCredentials
from eaves.store.sqlite.objects import SqliteStore


class Bench(Struct):
    objects: Objects
    credentials: SqliteCredentials
    path: Path

    def token(self) -> str:
        token: str = yaml.safe_load(self.path.read_text())["users"][0]["user"]["token"]
        return token

    async def is_known(self, token: str) -> bool:
        return await self.credentials.find_token(encode_token_hash(token)) is not None


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    store = await SqliteStore.open(tmp_path / "objects.db")
    yield Bench(Objects(store), SqliteCredentials(store), tmp_path / "admin.kubeconfig")
    await store.close()


async def test_the_announcement_follows_address_and_authority(bench: Bench) -> None:
    for server, root in (("a:1", b"one"), ("a:1", b"one"), ("b:2", b"one"), ("b:2", b"two")):
        await want_first_objects(bench.objects, server, root)
        announced = await bench.objects.get("ConfigMap", PUBLIC_NAMESPACE, ANNOUNCEMENT)
        assert announced is not None
        assert announced["data"] == {"server": server, "root-certificate.pem": root.decode()}


async def test_the_token_stays_while_the_address_changes(bench: Bench) -> None:
    await want_admin_access(bench.credentials, bench.path, "https://a:1", b"ca")
    token = bench.token()
    await want_admin_access(bench.credentials, bench.path, "https://b:2", None)
    assert bench.token() == token
    assert "https://b:2" in bench.path.read_text()
    assert stat.S_IMODE(bench.path.stat().st_mode) == 0o600
    assert len(await bench.credentials.list_tokens()) == 1


async def test_contexts_that_somebody_added_stay(bench: Bench) -> None:
    await want_admin_access(bench.credentials, bench.path, "https://a:1", b"ca")
    token = bench.token()
    config = yaml.safe_load(bench.path.read_text())
    config["clusters"].insert(0, {"name": "aaa", "cluster": {"server": "https://a:1/proxy"}})
    config["users"].insert(0, {"name": "aaa", "user": {"token": "other"}})
    config["contexts"].insert(0, {"name": "aaa", "context": {"cluster": "aaa", "user": "admin"}})
    config["current-context"] = "aaa"
    bench.path.write_text(yaml.safe_dump(config))
    await want_admin_access(bench.credentials, bench.path, "https://b:2", None)
    config = yaml.safe_load(bench.path.read_text())
    assert {entry["name"]: entry["user"]["token"] for entry in config["users"]} == {"admin": token, "aaa": "other"}
    assert [entry["name"] for entry in config["contexts"]] == ["eaves", "aaa"]
    assert config["current-context"] == "aaa"
    assert config["clusters"][0]["cluster"] == {"server": "https://b:2"}


@pytest.mark.parametrize("damage", ["removed", "emptied", "foreign"])
async def test_a_file_that_is_no_use_gets_a_new_token_and_the_old_one_ends(bench: Bench, damage: str) -> None:
    await want_admin_access(bench.credentials, bench.path, "https://a:1", None)
    old = bench.token()
    if damage == "removed":
        bench.path.unlink()
    else:
        bench.path.write_text("" if damage == "emptied" else bench.path.read_text().replace(old, "eaves_other"))
    await want_admin_access(bench.credentials, bench.path, "https://a:1", None)
    assert not await bench.is_known(old)
    assert await bench.is_known(bench.token())
