"""How a machine is brought to its end: asked first, then switched off."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal

from eaves.node import pids
from eaves.node.vms import agent
from eaves.node.vms.errors import QmpError, VmError
from eaves.node.vms.session import Session

log = logging.getLogger(__name__)

_QUIT_LIMIT_S = 10.0
_PRESS_EVERY_S = 5.0
"""A guest that is booting does not hear the power button; it is pressed again."""


async def stop_machine(session: Session, pid: int, grace_s: float) -> None:
    """Ask the guest to power off; after ``grace_s`` switch it off. Returns when its process has ended."""
    if grace_s > 0:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await _ask(session, pid)
                return
    log.info("machine does not end by itself and is switched off: app=%s", session.folders.run.name)
    await switch_off(session, pid)


async def switch_off(session: Session, pid: int) -> None:
    """QEMU writes back what it still has of the disks; when it does not answer it is killed."""
    with contextlib.suppress(TimeoutError, QmpError):
        async with asyncio.timeout(_QUIT_LIMIT_S):
            await session.command("quit")
            await pids.wait_exit(pid)
            return
    pids.send_signal(pid, signal.SIGKILL)
    await pids.wait_exit(pid)


async def _ask(session: Session, pid: int) -> None:
    """Until it has ended: by its agent where that answers, by the power button else."""
    end = asyncio.ensure_future(pids.wait_exit(pid))
    try:
        with contextlib.suppress(VmError):
            if session.has_agent:
                await agent.shut_down(session.folders.agent)
                await asyncio.wait((end,), timeout=_PRESS_EVERY_S)
        while not end.done():
            with contextlib.suppress(QmpError):
                # One that stands still hears nothing.
                await session.command("cont")
                await session.command("system_powerdown")
            await asyncio.wait((end,), timeout=_PRESS_EVERY_S)
    finally:
        end.cancel()
