"""Keeps ClusterRoles that are made of others: their rules are those of the roles that their selectors fit.

Level-based: any change of any ClusterRole has every aggregated one looked at; there are few of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from eaves.controller.documents import decode_object
from eaves.controller.objects import Objects
from eaves.controller.watching import Snapshot, follow
from eaves.controller.workqueue import WorkQueue
from eaves.kinds import rbac as kinds
from eaves.kube import rbac
from eaves.kube.resource import Object
from eaves.kube.selectors import parse_label_selector_object
from eaves.store.errors import ConflictError

_WORK = "roles"


def aggregate(role: Object, roles: Sequence[Object]) -> list[Object]:
    """The rules that ``role`` must have, by the names of the roles they come from. Pure."""
    selectors = [
        parse_label_selector_object(selector)
        for selector in (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or ()
    ]
    name = role["metadata"]["name"]
    parts = [
        other
        for other in sorted(roles, key=lambda other: str(other["metadata"]["name"]))
        if other["metadata"]["name"] != name
        and any(selector.matches(other["metadata"].get("labels") or {}) for selector in selectors)
    ]
    return rbac.merge_rules(part.get("rules") or () for part in parts)


class RoleAggregator:
    """Run :meth:`run` under the supervisor."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self.queue: WorkQueue[str] = WorkQueue("aggregated roles", self._reconcile, workers=1)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(), name="aggregated roles: follow")
            group.create_task(self.queue.run(), name="aggregated roles: work")

    async def _follow(self) -> None:
        async for news in follow(self._objects.store, kinds.CLUSTER_ROLE.store_name):
            if not isinstance(news, Snapshot) or news.objects:
                self.queue.add(_WORK)

    async def _reconcile(self, _work: str) -> None:
        page = await self._objects.store.list(kinds.CLUSTER_ROLE.store_name)
        roles = [decode_object(stored) for stored in page.items]
        for role in roles:
            if role.get("aggregationRule") is None or role["metadata"].get("deletionTimestamp"):
                continue
            rules = aggregate(role, roles)
            if rules != (role.get("rules") or []):
                try:
                    await self._objects.replace({**role, "rules": rules})
                except ConflictError:
                    # Its change brings the work back.
                    continue
