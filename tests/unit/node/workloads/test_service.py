"""What a former daemon left is known to be there before anybody has looked at it closer."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

from eaves.node.instance import Instance
from eaves.node.observed import AppStatus, Observations
from eaves.node.workloads.abc import AnyEngine
from eaves.node.workloads.service import Apps


async def test_apps_that_a_former_daemon_left_are_not_gone_before_they_are(tmp_path: Path) -> None:
    instance = Instance("x", tmp_path / "state", tmp_path / "run")
    (instance.apps_dir / "of-a-folder").mkdir(parents=True)

    async def observe() -> dict[str, object]:
        return {"of-a-container": object()}

    observations = Observations()
    apps = Apps(
        instance,
        cast(AnyEngine, SimpleNamespace(observe=observe)),
        observations,
        find_ready=lambda *_: None,  # type: ignore[arg-type]
        deliver=lambda *_: None,  # type: ignore[arg-type]
        on_change=lambda: None,
        on_failed_start=lambda: None,
    )
    instance.state_dir.mkdir(parents=True, exist_ok=True)
    await apps.open()
    assert observations.is_expected(AppStatus, "of-a-container")
    assert observations.is_expected(AppStatus, "of-a-folder")
    assert not observations.is_expected(AppStatus, "another")
