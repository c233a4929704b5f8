"""Looks at add-ons as often as is worth it: one asks the API for every object that it names, and most are ready for months."""

from __future__ import annotations

from collections.abc import Sequence

from eaves.node.clusters import addons
from eaves.node.clusters.kubeapi import KubeApi
from eaves.node.clusters.model import ClusterFolders
from eaves.node.desired.cluster_model import ClusterAddOn
from eaves.node.observed_cluster import AddOnState, AddOnStatus

SETTLED_S = 30.0
"""So long is taken for ready what was, while nothing else is asked for."""


class AddOnWatch:
    """Of one cluster; remembers what it saw last."""

    def __init__(self) -> None:
        self._cluster = ""
        self._seen: tuple[AddOnStatus, ...] = ()
        self._seen_at = 0.0

    async def look(
        self, api: KubeApi, folders: ClusterFolders, cluster_id: str, wanted: Sequence[ClusterAddOn], now: float
    ) -> tuple[AddOnStatus, ...]:
        """How they stand. ``now``: seconds of a clock that never jumps. Raises KubeApiError, OSError."""
        if self._cluster != cluster_id or now >= self._seen_at + SETTLED_S or not is_settled(self._seen, wanted):
            self._seen = tuple([await addons.observe(api, folders, add_on) for add_on in wanted])
            self._cluster, self._seen_at = cluster_id, now
        return self._seen


def is_settled(seen: Sequence[AddOnStatus], wanted: Sequence[ClusterAddOn]) -> bool:
    """All are ready, in the form that is wanted."""
    forms = [(status.name, status.digest) for status in seen if status.state is AddOnState.READY]
    return forms == [(add_on.name, add_on.digest) for add_on in wanted]
