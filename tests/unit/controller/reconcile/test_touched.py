"""Which change compiles which node, and that a change during a compilation is not lost."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eaves.controller.compile.model import ObjectKey
from eaves.controller.objects import encode_document, key_of
from eaves.controller.reconcile.touched import TouchIndex, has_new_inputs
from eaves.kube.resource import Object
from eaves.store.abc import Change, ChangeType, StoredObject
from eaves.testing.objects import make_app, make_edgenode, make_secret

WEB, DB, NET = (
    ObjectKey("Secret", "default", "web"),
    ObjectKey("Secret", "default", "db"),
    ObjectKey("Network", "x", "n"),
)


def compile_with(index: TouchIndex, name: str, *keys: ObjectKey) -> bool:
    started = index.start()
    try:
        return index.finish(name, frozenset(keys), started)
    finally:
        index.end(started)


def test_a_change_names_the_nodes_that_looked_at_the_object() -> None:
    index = TouchIndex()
    compile_with(index, "one", WEB, NET)
    compile_with(index, "two", NET)
    assert index.note_change(WEB) == {"one"}
    assert index.note_change(NET) == {"one", "two"}
    assert index.note_change(DB) == set()
    compile_with(index, "one", DB)
    assert index.note_change(WEB) == set()
    index.drop("two")
    assert index.note_change(NET) == set()
    assert index.of("one") == {DB}


def test_a_change_while_compiling_asks_for_another_turn() -> None:
    index = TouchIndex()
    started = index.start()
    index.note_change(WEB)
    assert index.finish("one", frozenset({WEB}), started)
    index.end(started)
    assert not compile_with(index, "one", WEB)


def test_a_change_before_the_compilation_does_not() -> None:
    index = TouchIndex()
    other = index.start()
    index.note_change(WEB)
    assert not compile_with(index, "one", WEB)
    index.end(other)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sets(st.sampled_from([WEB, DB, NET])))))
def test_the_index_always_agrees_with_the_last_compilations(turns: list[tuple[str, set[ObjectKey]]]) -> None:
    index, model = TouchIndex(), dict[str, set[ObjectKey]]()
    for name, keys in turns:
        compile_with(index, name, *keys)
        model[name] = keys
    for key in (WEB, DB, NET):
        assert index.note_change(key) == {name for name, keys in model.items() if key in keys}


def stored(obj: Object, revision: int) -> StoredObject:
    meta = obj["metadata"]
    document = encode_document(obj)
    key = key_of(obj["kind"], meta.get("namespace", ""), meta["name"])
    return StoredObject(key, meta["uid"], revision, document.join(revision), document.labels, document.fields)


def change(old: Object, new: Object) -> Change:
    return Change(ChangeType.MODIFIED, stored(new, 2), stored(old, 1))


def with_meta(obj: Object, **meta: object) -> Object:
    return {**obj, "metadata": {**obj["metadata"], **meta}}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (make_app(), make_app(status={"phase": "Running"}), False),
        (make_app(), with_meta(make_app(), labels={"a": "b"}), False),
        (make_app(), with_meta(make_app(), generation=2), True),
        (make_app(), with_meta(make_app(), deletionTimestamp="2026-11-24T18:00:00Z"), True),
        (make_edgenode(), make_edgenode(status={"phase": "Ready"}), False),
        (make_edgenode(), make_edgenode(status={"ports": [{"name": "eth0"}]}), True),
        (make_edgenode(), make_edgenode(status={"versions": {"eve": "1"}}), True),
        (make_secret("s", a="1"), make_secret("s", a="2"), True),
    ],
)
def test_statuses_compile_nothing_but_for_what_a_node_reports(old: Object, new: Object, expected: bool) -> None:
    assert has_new_inputs(new["kind"], change(old, new)) is expected


def test_what_comes_or_goes_always_counts() -> None:
    app = stored(make_app(), 1)
    assert has_new_inputs("App", Change(ChangeType.ADDED, app, None))
    assert has_new_inputs("App", Change(ChangeType.DELETED, app, app))


def test_objects_of_foreign_shape_do_not_stop_the_watch() -> None:
    odd = make_app()
    odd["metadata"]["generation"] = None
    assert isinstance(msgspec.json.encode(odd), bytes)
    assert has_new_inputs("App", change(odd, make_app()))
