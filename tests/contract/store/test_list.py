"""Lists: order, pages, selectors, older revisions."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from eaves.store.abc import ObjectStore, Page, Put, Remove
from eaves.store.errors import FutureRevisionError, StoreUnavailableError
from eaves.testing.stores import key_of, make_document, open_store

APPS = "apps.eaves.dev"


def names_of(page: Page) -> list[str]:
    return [f"{item.key.namespace}/{item.key.name}" for item in page.items]


async def put(store: ObjectStore, name: str, namespace: str = "default", **labels: str) -> int:
    document = make_document(labels=labels, fields={"metadata.even": str(len(name) % 2 == 0)})
    return (await store.commit([Put(key_of(name, namespace), document, None)]))[0].revision


async def test_a_list_is_in_key_order_and_of_one_resource(store: ObjectStore) -> None:
    for name, namespace in (("b", "two"), ("a", "two"), ("c", "one")):
        await put(store, name, namespace)
    await store.commit([Put(key_of("z", "one", "volumes.eaves.dev"), make_document(), 0)])
    page = await store.list(APPS)
    assert names_of(page) == ["one/c", "two/a", "two/b"]
    assert page.revision == await store.revision()
    assert page.next_key is None
    assert names_of(await store.list(APPS, "two")) == ["two/a", "two/b"]
    assert names_of(await store.list(APPS, "three")) == []


async def test_an_empty_store_lists_nothing_at_revision_zero(store: ObjectStore) -> None:
    assert await store.list(APPS) == Page([], 0, None)


@pytest.mark.parametrize("namespace", [None, "default"])
async def test_pages_stay_at_the_revision_of_the_first(store: ObjectStore, namespace: str | None) -> None:
    for number in range(7):
        await put(store, f"a{number}")
    page = await store.list(APPS, namespace, limit=3)
    assert (page.next_key, page.remaining) == (("default", "a2"), 4)
    # From here on the store changes: one goes, one comes, one is replaced.
    await store.commit([Remove(key_of("a4"), make_document(), None)])
    await put(store, "a35")
    replaced = await put(store, "a6")
    seen, remaining = names_of(page), []
    values = {item.key.name: item.revision for item in page.items}
    while page.next_key is not None:
        page = await store.list(APPS, namespace, limit=3, after=page.next_key, revision=page.revision)
        seen += names_of(page)
        remaining.append(page.remaining)
        values |= {item.key.name: item.revision for item in page.items}
    assert seen == [f"default/a{number}" for number in range(7)]
    assert remaining == [1, None]
    assert values["a6"] < replaced


async def test_the_last_page_when_it_is_exactly_full_has_no_next(store: ObjectStore) -> None:
    for number in range(4):
        await put(store, f"a{number}")
    page = await store.list(APPS, limit=2, after=("default", "a1"))
    assert names_of(page) == ["default/a2", "default/a3"]
    assert page.next_key is None
    assert names_of(await store.list(APPS, "default", after=("aaa", "zzz"))) == [f"default/a{n}" for n in range(4)]


async def test_labels_and_fields_select_by_equality(store: ObjectStore) -> None:
    await put(store, "a", app="web", tier="front")
    await put(store, "bb", app="web", tier="back")
    await put(store, "cc", app="db", tier="back")
    await put(store, "d")
    assert names_of(await store.list(APPS, labels={"app": "web"})) == ["default/a", "default/bb"]
    assert names_of(await store.list(APPS, labels={"app": "web", "tier": "back"})) == ["default/bb"]
    assert names_of(await store.list(APPS, labels={"app": ""})) == []
    assert names_of(await store.list(APPS, fields={"metadata.even": "True"})) == ["default/bb", "default/cc"]
    selected = await store.list(APPS, "default", labels={"tier": "back"}, fields={"metadata.even": "True"}, limit=1)
    assert names_of(selected) == ["default/bb"]
    assert selected.next_key == ("default", "bb")
    assert names_of(await store.list(APPS, labels={"tier": "back"}, after=selected.next_key)) == ["default/cc"]


async def test_a_changed_label_moves_the_object_between_selections(store: ObjectStore) -> None:
    before = await put(store, "a", app="web")
    await put(store, "a", app="db")
    assert names_of(await store.list(APPS, labels={"app": "web"})) == []
    assert names_of(await store.list(APPS, labels={"app": "db"})) == ["default/a"]
    assert names_of(await store.list(APPS, labels={"app": "web"}, revision=before)) == ["default/a"]
    await store.commit([Remove(key_of("a"), make_document(), None)])
    assert names_of(await store.list(APPS, labels={"app": "db"})) == []


async def test_label_terms_may_hold_any_character(store: ObjectStore) -> None:
    term, value = "app.kubernetes.io/na\"me'", 'a"b\\c'
    before = (await store.commit([Put(key_of("a"), make_document(labels={term: value}), 0)]))[0].revision
    await put(store, "b")
    assert names_of(await store.list(APPS, labels={term: value})) == ["default/a"]
    assert names_of(await store.list(APPS, labels={term: value}, revision=before)) == ["default/a"]


async def test_a_revision_that_is_not_there_yet_is_refused(store: ObjectStore) -> None:
    current = await put(store, "a")
    assert names_of(await store.list(APPS, revision=current)) == ["default/a"]
    with pytest.raises(FutureRevisionError) as caught:
        await store.list(APPS, revision=current + 1)
    assert caught.value.current == current


async def test_a_long_list_is_of_one_moment_though_the_store_changes_meanwhile(store: ObjectStore) -> None:
    await store.commit([Put(key_of(f"a{number:04d}"), make_document(), 0) for number in range(2000)])
    listing = asyncio.create_task(store.list(APPS))
    await asyncio.sleep(0)
    for number in range(1995, 2000):
        await store.commit([Remove(key_of(f"a{number:04d}"), make_document(), None)])
    page = await listing
    assert len(page.items) in (2000, 2000 - (page.revision - 2000))
    assert max(item.revision for item in page.items) <= page.revision


async def test_an_abandoned_list_leaves_the_store_usable(store: ObjectStore) -> None:
    await store.commit([Put(key_of(f"a{number:04d}"), make_document(), 0) for number in range(2000)])
    pinned = await store.revision()
    await put(store, "b")
    for revision in (None, pinned):
        listing = asyncio.create_task(store.list(APPS, revision=revision))
        await asyncio.sleep(0)
        listing.cancel()
        await asyncio.wait([listing])
        assert listing.cancelled()
    assert len((await store.list(APPS, revision=pinned)).items) == 2000
    assert len((await store.list(APPS)).items) == 2001


async def test_a_list_that_runs_when_the_store_closes_ends(engine: str, tmp_path: Path) -> None:
    store = await open_store(engine, tmp_path)
    await store.commit([Put(key_of(f"a{number:04d}"), make_document(), 0) for number in range(2000)])
    listing = asyncio.create_task(store.list(APPS))
    await asyncio.sleep(0)
    await store.close()
    assert len((await listing).items) == 2000
    with pytest.raises(StoreUnavailableError):
        await store.list(APPS)
    with pytest.raises(StoreUnavailableError):
        await store.get(key_of("a0001"))
