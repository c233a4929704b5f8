"""Any sequence of operations gives what the model gives, also across reopening and compaction."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from eaves.store.abc import Check, Document, Key, Put, Remove, StoredObject, Write
from eaves.store.errors import CompactedError, ConflictError
from eaves.store.sqlite.objects import ObjectOptions
from eaves.testing.stores import ENGINES, CompactingStore, ModelStore, key_of, make_document, open_store, take_changes

RESOURCES = ("apps.eaves.dev", "nodes")

keys = st.builds(
    key_of, st.sampled_from(["a", "b", "c"]), st.sampled_from(["one", "two"]), st.sampled_from(list(RESOURCES))
)
maps = st.dictionaries(st.sampled_from(["app", "tier"]), st.sampled_from(["", "x", "y"]), max_size=2)
documents = st.builds(
    lambda text, uid, labels, fields: make_document(text, uid=uid, labels=labels, fields=fields),
    st.text("abc", max_size=3),
    st.sampled_from(["u1", "u2"]),
    maps,
    maps,
)
guesses = st.sampled_from(["any", "right", "wrong", "absent", "exists"])
operations = st.tuples(st.sampled_from(["put", "put", "put", "remove", "check"]), keys, documents, guesses)


def _outcome(commit: Callable[[], list[StoredObject]]) -> list[StoredObject] | tuple[Key, StoredObject | None]:
    """What was written, or the key and the object that stood in the way."""
    try:
        return commit()
    except ConflictError as error:
        return error.key, error.current


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="eaves-store-"))
        self.model = ModelStore()
        self.compacted = 0
        self.store: CompactingStore

    @initialize(engine=st.sampled_from(ENGINES))
    def open(self, engine: str) -> None:
        self.engine = engine
        self.store = self.runner.run(self._open())

    async def _open(self) -> CompactingStore:
        # A ring of three changes, so that most watches read history, some memory, some both.
        return await open_store(self.engine, self.folder, ObjectOptions(ring_changes=3))

    @rule(chosen=st.lists(operations, min_size=1, max_size=4))
    def commit(self, chosen: list[tuple[str, Key, Document, str]]) -> None:
        writes = [self._write(*operation) for operation in chosen]
        wanted = _outcome(lambda: self.model.commit(writes))
        assert _outcome(lambda: self.runner.run(self._commit(writes))) == wanted

    async def _commit(self, writes: list[Write]) -> list[StoredObject]:
        return list(await self.store.commit(writes))

    def _write(self, kind: str, key: Key, document: Document, guess: str) -> Write:
        current = self.model.current.get(key)
        revision = current.revision if current else 0
        expected = {"any": None, "right": revision, "wrong": revision + 1, "absent": 0, "exists": revision or 1}[guess]
        if kind == "check":
            return Check(key, -1 if expected is None else expected)
        return (Put if kind == "put" else Remove)(key, document, expected)

    @precondition(lambda self: self.model.revision > 1)
    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        horizon = data.draw(st.integers(0, self.model.revision - 1))
        self.runner.run(self.store.compact(horizon))
        self.compacted = max(self.compacted, horizon)

    @rule()
    def reopen(self) -> None:
        self.runner.run(self.store.close())
        self.store = self.runner.run(self._open())

    @rule(
        data=st.data(),
        resource=st.sampled_from(RESOURCES),
        namespace=st.sampled_from([None, "one"]),
        labels=maps,
        fields=maps,
        limit=st.integers(0, 3),
        is_current=st.booleans(),
    )
    def list_pages(
        self,
        data: st.DataObject,
        resource: str,
        namespace: str | None,
        labels: dict[str, str],
        fields: dict[str, str],
        limit: int,
        is_current: bool,
    ) -> None:
        revision = None if is_current else data.draw(st.integers(self.compacted, self.model.revision))
        found: list[StoredObject] = []
        after: tuple[str, str] | None = None
        for _ in range(20):
            page = self.runner.run(
                self.store.list(
                    resource, namespace, limit=limit, after=after, revision=revision, labels=labels, fields=fields
                )
            )
            found += page.items
            revision, after = page.revision, page.next_key
            if after is None:
                break
        assert revision is not None
        assert found == self.model.list_at(resource, revision, namespace, labels, fields)

    @rule(data=st.data(), resource=st.sampled_from(RESOURCES), namespace=st.sampled_from([None, "one"]))
    def watch(self, data: st.DataObject, resource: str, namespace: str | None) -> None:
        after = data.draw(st.integers(0, self.model.revision))
        wanted = self.model.changes_after(resource, after, namespace)
        if not wanted:
            return
        try:
            found = self.runner.run(take_changes(self.store.watch(resource, namespace, after=after), len(wanted)))
        except CompactedError:
            assert after < self.compacted
        else:
            assert found == wanted

    @invariant()
    def every_object_is_as_in_the_model(self) -> None:
        for key in (key_of("a", "one"), key_of("b", "two", "nodes")):
            assert self.runner.run(self.store.get(key)) == self.model.current.get(key)
        assert self.runner.run(self.store.revision()) == self.model.revision

    def teardown(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()
        shutil.rmtree(self.folder)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=100, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
