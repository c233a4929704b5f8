"""Serves watches: the state first when asked for, then every change that the selectors let through, bookmarks, an end.

A change is one object shared by all watchers and its bytes are rendered once for each form, so a write costs little however many
look on. A watcher that falls behind what the store keeps gets an ERROR event with 410 and lists again, as client-go does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator

from eaves.controller.api.backends import Backend, at_revision
from eaves.controller.api.forms import Form, render_error_event
from eaves.controller.api.listoptions import ListOptions, Selection, WatchOptions
from eaves.controller.api.reading import Reader
from eaves.kube import status
from eaves.kube.errors import ApiError
from eaves.store.abc import Change, ChangeType, ObjectStore, Progress
from eaves.store.errors import CompactedError

BOOKMARK_INTERVAL_S = 30.0
DEFAULT_TIMEOUT_S = 3600.0
"""A watch that asked for no time limit ends after this long, so that clients spread over replicas again."""
_BATCH_BYTES = 256 * 1024


class Watcher:
    """Watches of any resource."""

    def __init__(self, store: ObjectStore, reader: Reader, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._reader = reader
        self._clock = clock

    async def watch(
        self, backend: Backend, namespace: str | None, options: WatchOptions, form: Form
    ) -> AsyncIterator[bytes]:
        """Lines of events. What can be refused is refused here (ApiError), before the answer has begun."""
        if options.at_least:
            await self._reader.reach(options.at_least)
        return self._run(backend, namespace, options, form)

    async def _run(
        self, backend: Backend, namespace: str | None, options: WatchOptions, form: Form
    ) -> AsyncGenerator[bytes, None]:
        deadline_at = asyncio.get_running_loop().time() + (options.timeout_s or DEFAULT_TIMEOUT_S)
        try:
            after = options.after
            if after is None and options.only_new:
                after = await self._store.revision()
            elif after is None:
                everything = ListOptions(options.selection, 0, None, None, 0)
                listed = await self._reader.find(backend, namespace, everything)
                for batch in _batches(form.render_event(ChangeType.ADDED, item) for item in listed.items):
                    yield batch
                after = listed.revision
                if options.initial_events_bookmark:
                    yield form.render_bookmark(after, is_initial_end=True)
            async for line in self._follow(backend, namespace, options, form, after, deadline_at):
                yield line
        except CompactedError as error:
            yield render_error_event(status.expired(error.message))
        except ApiError as error:
            yield render_error_event(error)

    async def _follow(
        self,
        backend: Backend,
        namespace: str | None,
        options: WatchOptions,
        form: Form,
        after: int,
        deadline_at: float,
    ) -> AsyncGenerator[bytes, None]:
        selection, seen = options.selection, after
        next_bookmark = self._clock() + BOOKMARK_INTERVAL_S
        events = backend.watch(namespace, after=after, progress=options.bookmarks)
        deadline = _Deadline(deadline_at)
        try:
            while (event := await deadline.next(events)) is not None:
                seen = event.revision
                line = None if isinstance(event, Progress) else render_change(selection, event, form)
                if line is not None:
                    yield line
                elif options.bookmarks and self._clock() >= next_bookmark:
                    next_bookmark = self._clock() + BOOKMARK_INTERVAL_S
                    yield form.render_bookmark(seen)
        finally:
            deadline.close()
            await _close(events)
        if options.bookmarks:
            yield form.render_bookmark(seen)


def render_change(selection: Selection, change: Change, form: Form) -> bytes | None:
    """The event of a change as this selection sees it; None when it does not concern it."""
    new, old = change.object, change.previous
    if selection.is_everything:
        return form.render_event(change.type, new)
    if change.type is ChangeType.ADDED:
        return form.render_event(ChangeType.ADDED, new) if selection.matches(new) else None
    was_selected = selection.matches(old if old is not None else new)
    if change.type is ChangeType.DELETED:
        return form.render_event(ChangeType.DELETED, new) if was_selected else None
    if selection.matches(new):
        return form.render_event(ChangeType.MODIFIED if was_selected else ChangeType.ADDED, new)
    if was_selected and old is not None:
        return form.render_event(ChangeType.DELETED, at_revision(old, new.revision))
    return None


class _Deadline:
    """Bounds a wait that is taken up again and again by one timer; a timeout around each event would cost more than the event."""

    def __init__(self, at: float) -> None:
        self._timer = asyncio.get_running_loop().call_at(at, self._expire)
        self._task = asyncio.current_task()
        self._is_waiting = False
        self._is_over = False

    async def next(self, events: AsyncIterator[Change | Progress]) -> Change | Progress | None:
        """The next event, None when the time is over or there are no more. Called by the task that made the deadline."""
        if self._is_over:
            return None
        self._is_waiting = True
        try:
            return await anext(events, None)
        except asyncio.CancelledError:
            if self._is_over and self._task is not None and not self._task.uncancel():
                return None
            raise
        finally:
            self._is_waiting = False

    def close(self) -> None:
        self._timer.cancel()

    def _expire(self) -> None:
        self._is_over = True
        if self._is_waiting and self._task is not None:
            self._task.cancel()


async def _close(events: AsyncIterator[Change | Progress]) -> None:
    if isinstance(events, AsyncGenerator):
        await events.aclose()


def _batches(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines in larger chunks: a send a line would cost more than the lines."""
    batch: list[bytes] = []
    size = 0
    for line in lines:
        batch.append(line)
        size += len(line)
        if size >= _BATCH_BYTES:
            yield b"".join(batch)
            batch, size = [], 0
    if batch:
        yield b"".join(batch)
