"""Add-ons are looked at again when that may tell something."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from eaves.node.clusters import addons
from eaves.node.clusters.addonwatch import SETTLED_S, AddOnWatch
from eaves.node.clusters.kubeapi import KubeApi
from eaves.node.clusters.model import ClusterFolders
from eaves.node.desired.cluster_model import ClusterAddOn
from eaves.node.observed_cluster import AddOnState, AddOnStatus

FOLDERS = ClusterFolders(Path("/nowhere"), Path("/nowhere"))
WANTED = [ClusterAddOn("a", "1", ""), ClusterAddOn("b", "2", "")]


async def test_what_is_ready_is_asked_for_seldom_and_anything_else_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    states, asked = {"a": AddOnState.READY, "b": AddOnState.APPLIED}, []

    async def observe(_api: Any, _folders: Any, add_on: ClusterAddOn) -> AddOnStatus:
        asked.append(add_on.name)
        return AddOnStatus(add_on.name, add_on.digest, states[add_on.name])

    monkeypatch.setattr(addons, "observe", observe)
    watch = AddOnWatch()

    async def look(now: float, cluster_id: str = "c", wanted: list[ClusterAddOn] = WANTED) -> list[str]:
        asked.clear()
        seen = await watch.look(cast(KubeApi, None), FOLDERS, cluster_id, wanted, now)
        assert [(one.name, one.digest) for one in seen] == [(one.name, one.digest) for one in wanted]
        return [*asked]

    assert await look(0.0) == ["a", "b"]
    states["b"] = AddOnState.READY
    assert await look(5.0) == ["a", "b"]
    assert await look(10.0) == []
    assert await look(5.0 + SETTLED_S) == ["a", "b"]
    assert await look(36.0, wanted=[WANTED[0], ClusterAddOn("b", "3", "")]) == ["a", "b"]
    assert await look(37.0, wanted=WANTED[:1]) == ["a"]
    assert await look(38.0, cluster_id="other", wanted=WANTED[:1]) == ["a"]
    states["a"] = AddOnState.FAILED
    assert await look(38.0 + SETTLED_S, "other", WANTED[:1]) == ["a"]
    assert await look(39.0 + SETTLED_S, "other", WANTED[:1]) == ["a"]
