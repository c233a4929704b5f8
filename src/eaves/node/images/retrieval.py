"""One image's way here: datastores and their mirrors in order, each with its reason when it fails, blobs in parallel.

A mirror is asked first but never trusted: only for what is known by digest, which is checked. What a tag means is asked of the
datastores themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from msgspec import Struct

from eaves.kit.errors import EavesError
from eaves.node.desired.model import DesiredDatastore, DesiredImage
from eaves.node.images import access
from eaves.node.images.access import FetchOptions
from eaves.node.images.blobs import Blobs
from eaves.node.images.download.protocol import Answer
from eaves.node.images.errors import BudgetError, ImageError, join_failures
from eaves.node.images.fetching import Fetcher
from eaves.node.images.ways import Way

PARALLEL_BLOBS = 3
_UNREACHABLE = ("RegistryUnreachable", "DatastoreUnreachable")

T = TypeVar("T")


class Origin(Struct, frozen=True):
    """A datastore to ask, and by which way."""

    datastore: DesiredDatastore
    is_mirror: bool = False
    way: Way = Way()

    @property
    def name(self) -> str:
        return self.datastore.server.rpartition("://")[2]


class Wanted(Struct, frozen=True):
    """A blob to bring here. ``path``: of the blob at one origin."""

    digest: str
    size_bytes: int
    max_bytes: int
    path: Callable[[Origin], str]


class Show(Protocol):
    """Told how an image gets on."""

    def downloading(self, size_bytes: int, have_bytes: int, received_bytes: int) -> None:
        """``received_bytes`` came over the network since the last call. Raises BudgetError when no more may come."""


def plan_origins(image: DesiredImage, ways: Sequence[Way]) -> list[Origin]:
    """All ways to ``image`` in order: of each datastore first its mirrors, of each of those every way out."""
    found: list[Origin] = []
    for datastore in image.datastores:
        for store, is_mirror in (*((mirror, True) for mirror in datastore.mirrors), (datastore, False)):
            found += [Origin(store, is_mirror, way) for way in ways]
    return list(dict.fromkeys(found))


class Retrieval:
    """Use as an async context manager: what it brought is kept in the store while it is open."""

    def __init__(
        self, image: DesiredImage, origins: Sequence[Origin], blobs: Blobs, options: FetchOptions, show: Show
    ) -> None:
        self.element = f"image {image.name}"
        self._origins = list(origins)
        self._blobs = blobs
        self._options = options
        self._show = show
        self._needed: list[str] = []
        self._fetchers: dict[Origin, Fetcher] = {}
        self._have: dict[str, Answer] = {}

    async def __aenter__(self) -> Retrieval:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.disconnect()
        self._blobs.release(self._needed)

    async def need(self, names: Iterable[str]) -> None:
        """Keep these in the store until this is closed."""
        names = list(names)
        await self._blobs.need(names)
        self._needed += names

    async def disconnect(self) -> None:
        """End the helper processes; what they brought stays."""
        fetchers, self._fetchers = self._fetchers, {}
        for fetcher in fetchers.values():
            await fetcher.__aexit__(None, None, None)

    async def set_rate(self, bytes_per_s: int) -> None:
        """A new share of the node's rate."""
        for fetcher in self._fetchers.values():
            await fetcher.set_rate(bytes_per_s)

    async def ask(self, action: Callable[[Fetcher, Origin], Awaitable[T]], *, is_verified: bool) -> T:
        """``action`` with the first origin that can; mirrors take part only if ``is_verified``: by a digest known before."""
        failures: list[tuple[str, Exception]] = []
        main: Exception | None = None
        for origin in [origin for origin in self._origins if is_verified or not origin.is_mirror]:
            try:
                return await action(await self._fetcher(origin), origin)
            except BudgetError:
                raise
            except (EavesError, OSError) as error:
                failures.append((origin.name, error))
                main = error if main is None or not origin.is_mirror else main
                # Its threads may still be at work on the same files.
                await self._drop(origin)
                if origin.is_mirror or getattr(error, "code", "") in _UNREACHABLE:
                    self._put_last(origin)
        if main is None:
            raise ImageError("no datastore can be asked", element=self.element)
        raise join_failures(main, failures, self.element) from main

    async def fetch(self, wanted: Sequence[Wanted]) -> None:
        """Bring all of ``wanted`` into the store. Raises EngineError, OSError."""
        await self.need([blob.digest for blob in wanted])
        total = sum(blob.size_bytes for blob in wanted)
        missing = await asyncio.to_thread(self._list_missing, wanted)
        here = total - sum(blob.size_bytes for blob in missing)
        if missing:
            await self.ask(lambda fetcher, origin: self._fetch(fetcher, origin, missing, here, total), is_verified=True)

    def _list_missing(self, wanted: Sequence[Wanted]) -> list[Wanted]:
        return [blob for blob in wanted if not self._blobs.store.blob(blob.digest).exists()]

    async def _fetch(self, fetcher: Fetcher, origin: Origin, missing: Sequence[Wanted], here: int, total: int) -> None:
        slots = asyncio.Semaphore(PARALLEL_BLOBS)
        self._have.clear()

        async def bring(blob: Wanted) -> None:
            async with slots, self._blobs.alone(blob.digest):
                tell = self._teller(blob.digest, here, total)
                await fetcher.blob(
                    blob.path(origin),
                    blob.digest,
                    size_bytes=blob.size_bytes,
                    max_bytes=blob.max_bytes,
                    is_trusted=not origin.is_mirror,
                    tell=tell,
                )

        try:
            async with asyncio.TaskGroup() as group:
                for blob in missing:
                    group.create_task(bring(blob), name=f"blob {blob.digest}")
        except BaseExceptionGroup as failed:
            raise _first(failed) from failed

    def _teller(self, digest: str, here: int, total: int) -> Callable[[Answer], None]:
        received = 0

        def tell(answer: Answer) -> None:
            nonlocal received
            grown, received = answer.received - received, answer.received
            self._have[digest] = answer
            have = here + sum(known.have for known in self._have.values())
            self._show.downloading(total or answer.size, have, grown)

        return tell

    async def _fetcher(self, origin: Origin) -> Fetcher:
        if origin not in self._fetchers:
            setup = access.want_setup(
                origin.datastore, origin.way, self._blobs.store.folder, self._options, self.element
            )
            # Known before it starts: whoever cancels the start must find the process.
            self._fetchers[origin] = Fetcher(setup, self.element)
            await self._fetchers[origin].__aenter__()
        return self._fetchers[origin]

    async def _drop(self, origin: Origin) -> None:
        fetcher = self._fetchers.pop(origin, None)
        if fetcher is not None:
            await fetcher.__aexit__(None, None, None)

    def _put_last(self, origin: Origin) -> None:
        """For what is asked later: what did not answer now is not waited for first again."""
        with contextlib.suppress(ValueError):
            self._origins.remove(origin)
            self._origins.append(origin)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The failure that counts: the end of the budget before all others."""
    flat = list(_flatten(group))
    return next((error for error in flat if isinstance(error, BudgetError)), flat[0])


def _flatten(group: BaseExceptionGroup[BaseException]) -> Iterable[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _flatten(error)
        else:
            yield error
