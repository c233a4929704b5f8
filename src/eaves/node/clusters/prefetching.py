"""The version that comes next, got ready while the present one runs: an upgrade drains nobody who could not start it at once.

Images are fetched and checked by :mod:`eaves.node.images` like any other; here the program is brought to its place and tried. Owned by
:class:`.service.Clusters`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from msgspec import Struct
from msgspec.structs import replace

from eaves.kit.errors import EavesError
from eaves.node.clusters.preparing import Preparer
from eaves.node.desired.cluster_model import DesiredCluster
from eaves.node.observed import ImageStatus, Observations


class Fetched(Struct, frozen=True):
    """``version``: the next one once it could be started; empty = not yet, and ``message`` says why."""

    version: str = ""
    message: str = ""


class Prefetcher:
    """``explain``: content trees -> what is wrong with one of them, if anything is."""

    def __init__(self, preparer: Preparer, explain: Callable[[Iterable[str]], str]) -> None:
        self._preparer = preparer
        self._explain = explain
        self._former: str | None = None
        self.fetched = Fetched()

    async def take_turn(self, cluster: DesiredCluster, running: str) -> None:
        """Look, and bring what is here to its place. ``running``: the program of now. Never raises for what the next one lacks."""
        if not cluster.next_version:
            if self._former != "":
                # One that is not to come any more leaves nothing behind.
                await asyncio.to_thread(self._preparer.remove_others, running)
            self._former, self.fetched = "", Fetched()
            return
        self._former = cluster.next_version
        coming = as_next(cluster)
        try:
            wanted = self._preparer.find_program(coming)
            if wanted.missing:
                message = self._explain(coming.image_ids) or f"waits for {wanted.missing[0]}"
                self.fetched = Fetched("", message)
                return
            await self._preparer.place(coming, wanted)
        except (EavesError, OSError) as error:
            message = error.message if isinstance(error, EavesError) else str(error)
            self.fetched = Fetched("", message)
        else:
            self.fetched = Fetched(cluster.next_version)


def as_next(cluster: DesiredCluster) -> DesiredCluster:
    """The cluster as it would be with its next version."""
    return replace(
        cluster,
        version=cluster.next_version,
        binary_image_id=cluster.next_binary_image_id,
        bundle_image_ids=cluster.next_bundle_image_ids,
    )


def explain_images(observations: Observations, image_ids: Iterable[str]) -> str:
    """What is wrong with the first of these images with which something is; empty = nothing."""
    for image_id in image_ids:
        status = observations.get(ImageStatus, image_id)
        if isinstance(status, ImageStatus) and status.fault is not None:
            return f"{status.name}: {status.fault.message}"
    return ""
