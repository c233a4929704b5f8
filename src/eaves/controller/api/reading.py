"""Serves get and list of any resource from a :class:`~eaves.controller.api.backends.Backend`.

The bytes that were stored are the bytes that are sent: nothing is decoded unless the client wants a table, partial metadata or
YAML.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from eaves.controller.api.backends import Backend
from eaves.controller.api.continuation import Continuation, encode_continuation
from eaves.controller.api.forms import Form, JsonForm
from eaves.controller.api.http import Response
from eaves.controller.api.listed import Listed
from eaves.controller.api.listoptions import NAME, NAMESPACE, ListOptions, Selection, parse_version
from eaves.controller.api.routing import Query, Target
from eaves.kube import status
from eaves.store.abc import ObjectStore, StoredObject
from eaves.store.errors import CompactedError, FutureRevisionError

FUTURE_WAIT_S = 3.0
"""How long a read waits for a version that is not there yet, as a replica may be behind the one that wrote."""
SCAN_PAGE = 500
"""Objects looked at in one step when a selector must be evaluated here and the list is limited."""

THREAD_FROM = 200
"""Lists that must be decoded are rendered in a thread from this length on, so that others are answered meanwhile."""


class Reader:
    """Get and list."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def get(self, backend: Backend, target: Target, query: Query, form: Form) -> Response:
        """Raises ApiError 404, and 504 for a version of the future."""
        version = query.get("resourceVersion", "")
        if version:
            await self.reach(parse_version(version))
        stored = await backend.get(target.namespace, target.name)
        if stored is None:
            raise status.not_found(target.group, target.resource, target.name)
        return Response(form.render_object(stored), content_type=form.content_type)

    async def list(self, backend: Backend, namespace: str | None, options: ListOptions, form: Form) -> Response:
        """Raises ApiError 410 for a version that is gone, 504 for one of the future."""
        listed = await self.find(backend, namespace, options)
        if isinstance(form, JsonForm) or len(listed.items) < THREAD_FROM:
            body = form.render_list(listed)
        else:
            body = await asyncio.to_thread(form.render_list, listed)
        return Response(body, content_type=form.content_type)

    async def find(self, backend: Backend, namespace: str | None, options: ListOptions) -> Listed:
        """The objects that ``options`` ask for."""
        await self.reach(options.at_least)
        try:
            return await self._find(backend, namespace, options)
        except CompactedError as error:
            raise _expired(options) from error
        except FutureRevisionError as error:
            raise status.future_version(error.asked, error.current) from error

    async def reach(self, revision: int) -> None:
        """Wait until the store is at ``revision``. Raises ApiError 504 when it does not get there soon."""
        if revision and not await self._store.wait_for(revision, FUTURE_WAIT_S):
            raise status.future_version(revision, await self._store.revision())

    async def _find(self, backend: Backend, namespace: str | None, options: ListOptions) -> Listed:
        selection = options.selection
        equalities = selection.fields.equalities()
        name = equalities.get(NAME)
        namespace = equalities.get(NAMESPACE, namespace) if namespace is None else namespace
        single = namespace is not None or not backend.resource.namespaced
        if name is not None and single and options.revision is None and options.after is None:
            return await self._find_one(backend, namespace or "", name, selection)
        after = options.after.after if options.after is not None else None
        labels, fields = selection.labels.equalities() or None, selection.field_hints() or None
        found: list[StoredObject] = []
        revision = options.revision
        while True:
            step = options.limit if options.limit and selection.is_everything else SCAN_PAGE if options.limit else 0
            page = await backend.list(
                namespace, limit=step, after=after, revision=revision, labels=labels, fields=fields
            )
            if selection.is_everything:
                return _whole_page(page.items, page.revision, page.next_key, page.remaining)
            for index, item in enumerate(page.items):
                if not selection.matches(item):
                    continue
                found.append(item)
                if options.limit and len(found) == options.limit:
                    is_last = page.next_key is None and index == len(page.items) - 1
                    key = None if is_last else (item.key.namespace, item.key.name)
                    return _whole_page(found, page.revision, key, None)
            if page.next_key is None:
                return Listed(found, page.revision)
            after, revision = page.next_key, page.revision

    async def _find_one(self, backend: Backend, namespace: str, name: str, selection: Selection) -> Listed:
        # The revision is taken first: a watch from it then repeats a change at worst, and never misses one.
        revision = await self._store.revision()
        stored = await backend.get(namespace, name)
        if stored is None or not selection.matches(stored):
            return Listed((), revision)
        return Listed((stored,), max(revision, stored.revision))


def _expired(options: ListOptions) -> Exception:
    if options.after is None:
        return status.expired("The resourceVersion for the provided list is too old.")
    rest = Continuation(0, options.after.namespace, options.after.name)
    message = (
        "The provided continue parameter is too old to display a consistent list result. Start a new list without the "
        "continue parameter, or use the continue token of this answer to get the rest as it is now: objects that were "
        "created, modified or deleted since the first part may then be missing or repeated."
    )
    return status.expired(message, continue_token=encode_continuation(rest))


def _whole_page(
    items: Sequence[StoredObject], revision: int, next_key: tuple[str, str] | None, remaining: int | None
) -> Listed:
    if next_key is None:
        return Listed(items, revision)
    return Listed(items, revision, encode_continuation(Continuation(revision, *next_key)), remaining)
