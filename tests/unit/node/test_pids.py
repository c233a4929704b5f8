"""Processes that are brought to their end: asked, and killed when they do not hear."""

from __future__ import annotations

import asyncio
import signal
import sys

import pytest

from eaves.node import pids

DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
OBEYING = "import signal; print(flush=True); signal.pause()"


@pytest.mark.parametrize(
    ("program", "grace_s", "ended_by"), [(OBEYING, 20, signal.SIGTERM), (DEAF, 0.05, signal.SIGKILL)]
)
async def test_a_process_is_asked_first_and_then_killed(program: str, grace_s: float, ended_by: signal.Signals) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", "-c", program, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await process.stdout.readline()
    await pids.stop(process.pid, grace_s)
    assert await process.wait() == -ended_by


async def test_no_process_is_stopped_when_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pids, "send_signal", lambda *_: pytest.fail("0 is the group of who sends"))
    await pids.stop(0, 1)
