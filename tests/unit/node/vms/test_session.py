"""What the daemon does by itself for a machine that runs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from eaves.node.vms import agent
from eaves.node.vms.model import VmFolders
from eaves.node.vms.session import Session
from eaves.node.vms.state import VmRecord


class Monitor:
    """Of a machine that runs."""

    async def run(self, name: str, /, **_: Any) -> Any:
        assert name == "query-status"
        return {"status": "running"}


async def test_a_guest_that_goes_on_is_told_the_time_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []

    async def set_clock(_: Path, time_ns: int) -> None:
        told.append(time_ns)

    async def thaw(_: Path) -> None:
        pass

    async def load_facts(_: Path) -> agent.GuestFacts:
        return agent.GuestFacts(os="Debian")

    for function in (set_clock, thaw, load_facts):
        monkeypatch.setattr(agent, function.__name__, function)
    session = Session(VmFolders(tmp_path, tmp_path, "0.0"), VmRecord("vm", "1", "", "0.0"), lambda: None)
    session._qmp = Monitor()  # type: ignore[assignment]  # that of a machine that runs
    await session._ask_agent(tmp_path)
    assert told == []
    await session._take_event({"event": "STOP"})
    await session._take_event({"event": "RESUME"})
    await session._ask_agent(tmp_path)
    await session._ask_agent(tmp_path)
    (time_ns,) = told
    assert abs(time_ns - time.time_ns()) < 60_000_000_000
