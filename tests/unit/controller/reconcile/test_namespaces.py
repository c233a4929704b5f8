"""What every namespace has: made in old ones too, again when it goes or is changed, and never behind a deletion."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct, field

from eaves.controller.objects import Objects, key_of
from eaves.controller.reconcile.namespaces import FIRST_NAMESPACES, NamespaceReconciler, want_namespaces
from eaves.store.abc import Check, ObjectStore, StoredObject, Write
from eaves.store.errors import ConflictError
from eaves.store.sqlite.objects import SqliteStore
from eaves.testing.asgi import AsgiClient
from eaves.testing.objects import make_object
from eaves.testing.operator_api import ADMIN_TOKEN, open_api

SPACES = "/api/v1/namespaces"
KINDS = ("ServiceAccount", "ConfigMap", "Network")


class Bench(Struct):
    """A reconciler over a store, and the authority that it is told."""

    objects: Objects
    authority: list[bytes] = field(default_factory=lambda: [b"one"])

    def make(self, store: ObjectStore | None = None) -> NamespaceReconciler:
        return NamespaceReconciler(Objects(store or self.objects.store), lambda: self.authority[0])

    async def add_spaces(self, *names: str) -> None:
        for name in names:
            await self.objects.create(make_object("Namespace", name, namespace="", status={"phase": "Active"}))

    async def contents(self, kind: str) -> set[tuple[str, str]]:
        return {(obj["metadata"]["namespace"], obj["metadata"]["name"]) for obj in await self.objects.list(kind)}

    async def bundle(self, space: str) -> Any:
        found = await self.objects.get("ConfigMap", space, "kube-root-ca.crt")
        return None if found is None else found["data"]["ca.crt"]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    store = await SqliteStore.open(tmp_path / "objects.db")
    yield Bench(Objects(store))
    await store.close()


@contextlib.asynccontextmanager
async def running(reconciler: NamespaceReconciler) -> AsyncIterator[None]:
    task = asyncio.create_task(reconciler.run())
    try:
        async with asyncio.timeout(60):
            yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(bench: Bench, wanted: Callable[[], Awaitable[bool]]) -> None:
    """Wait, change by change of the store, until ``wanted`` is true."""
    revision = await bench.objects.store.revision()
    while not await wanted():
        await bench.objects.store.wait_for(revision + 1, 60)
        revision = await bench.objects.store.revision()


async def is_filled(bench: Bench, spaces: Sequence[str]) -> bool:
    accounts, bundles = await bench.contents("ServiceAccount"), await bench.contents("ConfigMap")
    return {(name, "default") for name in spaces} <= accounts and {
        (name, "kube-root-ca.crt") for name in spaces
    } <= bundles


async def test_namespaces_of_an_older_store_get_what_every_one_has(bench: Bench) -> None:
    await want_namespaces(bench.objects)
    spaces = [*FIRST_NAMESPACES, *(f"old-{number}" for number in range(20))]
    await bench.add_spaces(*spaces[len(FIRST_NAMESPACES) :])
    async with running(bench.make()):
        await until(bench, lambda: is_filled(bench, spaces))
        assert await bench.bundle("kube-node-lease") == "one"
    networks = {space for space, _ in await bench.contents("Network")}
    assert networks == set(spaces) - {"kube-public", "kube-node-lease"}


async def test_a_start_that_finds_all_in_order_writes_nothing(bench: Bench) -> None:
    spaces = [f"s-{number}" for number in range(5)]
    await bench.add_spaces(*spaces)
    async with running(bench.make()):
        await until(bench, lambda: is_filled(bench, spaces))
    before = await bench.objects.store.revision()
    reconciler = bench.make()
    async with running(reconciler):
        # A namespace that is looked at now comes after those of the start.
        await bench.add_spaces("last")
        await until(bench, lambda: is_filled(bench, ["last"]))
        await reconciler.queue.wait_idle()
    changed = [
        (kind, obj["metadata"]["namespace"])
        for kind in KINDS
        for obj in await bench.objects.list(kind)
        if int(obj["metadata"]["resourceVersion"]) > before
    ]
    assert changed == [(kind, "last") for kind in KINDS]


async def test_all_that_a_namespace_lacks_is_one_commit_and_one_at_a_time(bench: Bench) -> None:
    spaces = [f"s-{number}" for number in range(10)]
    await bench.add_spaces(*spaces)
    store = Counting(bench.objects.store)
    async with running(bench.make(store)):
        await until(bench, lambda: is_filled(bench, spaces))
    assert [len(writes) for writes in store.commits] == [4] * len(spaces)
    assert all(isinstance(writes[0], Check) for writes in store.commits)
    assert store.most_at_once == 1


async def test_what_is_changed_comes_right_and_what_goes_comes_back(bench: Bench) -> None:
    await bench.add_spaces("shop")
    reconciler = bench.make()
    async with running(reconciler):
        await until(bench, lambda: is_filled(bench, ["shop"]))
        bundle = await bench.objects.get("ConfigMap", "shop", "kube-root-ca.crt")
        assert bundle is not None
        await bench.objects.replace({**bundle, "data": {"ca.crt": "forged"}})
        await until(bench, lambda: has_bundle(bench, "shop", "one"))
        bench.authority[0] = b"two"
        reconciler.want_all()
        await until(bench, lambda: has_bundle(bench, "shop", "two"))


async def has_bundle(bench: Bench, space: str, text: str) -> bool:
    return bool(await bench.bundle(space) == text)


async def test_nothing_slips_in_behind_a_deletion(bench: Bench) -> None:
    """The namespace begins to terminate between the look at it and the commit."""
    await bench.add_spaces("going")

    async def terminate() -> None:
        obj = await bench.objects.get("Namespace", "", "going")
        assert obj is not None
        obj["metadata"]["deletionTimestamp"] = "2026-11-24T18:00:00Z"
        # Somebody else holds it, so that it stays to be seen.
        obj["spec"] = {"finalizers": ["example.com/hold"]}
        await bench.objects.replace({**obj, "status": {"phase": "Terminating"}})

    store = Counting(bench.objects.store, terminate)
    reconciler = bench.make(store)
    async with running(reconciler):
        await store.was_asked.wait()
        await until(bench, lambda: is_terminating(bench, "going"))
        await reconciler.queue.wait_idle()
    assert store.refused == 1
    assert [await bench.contents(kind) for kind in KINDS] == [set(), set(), set()]


async def test_a_namespace_that_others_hold_is_left_alone_until_they_let_it_go(tmp_path: Path) -> None:
    async with asyncio.timeout(60), open_api(tmp_path, reconcilers=True) as bench:
        admin = AsgiClient(bench.api, ADMIN_TOKEN)
        created = (await admin.call("POST", SPACES, {"metadata": {"name": "x"}})).json()
        created["spec"]["finalizers"] = ["kubernetes", "example.com/hold"]
        held = await admin.call("PUT", f"{SPACES}/x/finalize", created)
        assert held.status == 200, held.body
        query = {"fieldSelector": "metadata.name=x", "resourceVersion": held.json()["metadata"]["resourceVersion"]}
        async with admin.open("GET", SPACES, None, watch="1", **query) as stream:
            assert (await admin.call("DELETE", f"{SPACES}/x")).status == 200
            events = [await stream.read_event() for _ in range(2)]
            waiting = events[-1]["object"]
            assert waiting["status"]["phase"] == "Terminating"
            assert waiting["spec"]["finalizers"] == ["example.com/hold"]
            waiting["spec"]["finalizers"] = []
            assert (await admin.call("PUT", f"{SPACES}/x/finalize", waiting)).status == 200
            assert (await stream.read_event())["type"] == "DELETED"


async def is_terminating(bench: Bench, name: str) -> bool:
    stored = await bench.objects.store.get(key_of("Namespace", "", name))
    return stored is not None and b"deletionTimestamp" in stored.value


@pytest.mark.parametrize(("collection", "name"), [("serviceaccounts", "default"), ("configmaps", "kube-root-ca.crt")])
async def test_who_deletes_one_by_the_api_gets_another(tmp_path: Path, collection: str, name: str) -> None:
    async with asyncio.timeout(60), open_api(tmp_path, reconcilers=True, authority_pem=b"one") as bench:
        admin = AsgiClient(bench.api, ADMIN_TOKEN)
        await admin.call("POST", SPACES, {"metadata": {"name": "x"}})
        path = f"{SPACES}/x/{collection}"
        async with admin.open("GET", path, watch="1") as stream:
            first = (await stream.read_event())["object"]
            assert first["metadata"]["name"] == name
            assert (await admin.call("DELETE", f"{path}/{name}")).status == 200
            assert (await stream.read_event())["type"] == "DELETED"
            again = await stream.read_event()
        assert again["type"] == "ADDED"
        assert again["object"]["metadata"]["name"] == name
        assert again["object"]["metadata"]["uid"] != first["metadata"]["uid"]


async def test_a_namespace_takes_its_account_and_bundle_along(tmp_path: Path) -> None:
    async with asyncio.timeout(60), open_api(tmp_path, reconcilers=True, authority_pem=b"one") as bench:
        admin = AsgiClient(bench.api, ADMIN_TOKEN)
        await admin.call("POST", SPACES, {"metadata": {"name": "x"}})
        async with admin.open("GET", f"{SPACES}/x/serviceaccounts", watch="1") as stream:
            await stream.read_event()
        listed = await admin.get(SPACES)
        query = {"fieldSelector": "metadata.name=x", "resourceVersion": listed["metadata"]["resourceVersion"]}
        async with admin.open("GET", SPACES, None, watch="1", **query) as stream:
            assert (await admin.call("DELETE", f"{SPACES}/x")).status == 200
            while (await stream.read_event())["type"] != "DELETED":
                pass
        # Of two namespaces that change, the one that changed later is looked at later: what is wrong would show by then.
        await admin.call("POST", SPACES, {"metadata": {"name": "y"}})
        async with admin.open("GET", f"{SPACES}/y/serviceaccounts", watch="1") as stream:
            await stream.read_event()
        for collection in ("serviceaccounts", "configmaps"):
            assert (await admin.get(f"{SPACES}/x/{collection}"))["items"] == []


class Counting:
    """A store that notes commits, and runs ``before`` once as a commit comes in."""

    def __init__(self, store: ObjectStore, before: Callable[[], Awaitable[None]] | None = None) -> None:
        self._store = store
        self._before = before
        self._running = 0
        self.commits: list[list[Write]] = []
        self.most_at_once = 0
        self.refused = 0
        self.was_asked = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def commit(self, writes: Sequence[Write]) -> Sequence[StoredObject]:
        self.commits.append(list(writes))
        self._running += 1
        self.most_at_once = max(self.most_at_once, self._running)
        before, self._before = self._before, None
        try:
            if before is not None:
                await before()
            return await self._store.commit(writes)
        except ConflictError:
            self.refused += 1
            raise
        finally:
            self._running -= 1
            self.was_asked.set()
