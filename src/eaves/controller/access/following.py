"""Keeps the :class:`AccessIndex` current by watching roles and bindings. Run by the supervisor."""

from __future__ import annotations

import asyncio

from eaves.controller.access.index import AccessIndex
from eaves.controller.documents import decode_object
from eaves.controller.watching import Snapshot, follow
from eaves.kinds import rbac
from eaves.kube.resource import Resource
from eaves.store.abc import ChangeType, ObjectStore

READY_TIMEOUT_S = 5.0
"""How long a request waits for the index right after the start."""


class AccessFollower:
    """Run :meth:`run`; whoever asks the index waits for it by :meth:`wait_ready` once."""

    def __init__(self, store: ObjectStore) -> None:
        self.index = AccessIndex()
        self._store = store
        self._unread = {resource.store_name for resource in rbac.RESOURCES}
        self._ready = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for resource in rbac.RESOURCES:
                group.create_task(self._follow(resource), name=f"access: {resource.gvr.resource}")

    @property
    def is_ready(self) -> bool:
        """Whether every role and binding has been read once."""
        return self._ready.is_set()

    async def wait_ready(self) -> bool:
        """False when it takes too long."""
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await self._ready.wait()
        except TimeoutError:
            return False
        return True

    async def _follow(self, resource: Resource) -> None:
        name = resource.store_name
        async for news in follow(self._store, name):
            if isinstance(news, Snapshot):
                self.index.replace(name, (decode_object(stored) for stored in news.objects))
                self._unread.discard(name)
                if not self._unread:
                    self._ready.set()
            elif news.type is ChangeType.DELETED:
                self.index.drop(name, (news.object.key.namespace, news.object.key.name))
            else:
                self.index.put(name, decode_object(news.object))
