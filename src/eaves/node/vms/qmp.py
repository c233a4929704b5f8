"""The one door to QEMU's monitor socket: commands with a time limit, events, errors of ours. Imports ``qemu.qmp`` when first used."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eaves.node.vms.errors import QmpError

if TYPE_CHECKING:
    from qemu.qmp import QMPClient

# That a machine ended is told by others; the library would say it once more.
logging.getLogger("qemu.qmp").setLevel(logging.ERROR)

COMMAND_LIMIT_S = 30.0
_CONNECT_LIMIT_S = 20.0


class Qmp:
    """One connection. QEMU serves one client a socket: a second one waits until the first has gone."""

    def __init__(self, client: QMPClient) -> None:
        self._client = client
        self._lock = asyncio.Lock()

    @classmethod
    async def open(cls, path: Path) -> Qmp:
        """Raises QmpError when nobody answers."""
        from qemu.qmp import QMPClient, QMPError

        client = QMPClient(path.parent.name)
        try:
            async with asyncio.timeout(_CONNECT_LIMIT_S):
                await client.connect(str(path))
        except (QMPError, OSError, TimeoutError) as error:
            with contextlib.suppress(Exception):
                await client.disconnect()
            raise QmpError(f"QEMU does not answer: {error}", element="qemu") from error
        return cls(client)

    async def run(self, command: str, /, *, fd: int = -1, limit_s: float = COMMAND_LIMIT_S, **arguments: Any) -> Any:
        """Answers what QEMU returns; names with ``_`` are sent with ``-``. ``fd``: a descriptor that goes with the command.

        Raises QmpError.
        """
        from qemu.qmp import ExecuteError, QMPError

        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        try:
            async with self._lock, asyncio.timeout(limit_s):
                if fd >= 0:
                    self._client.send_fd_scm(fd)
                return await self._client.execute(command, named)
        except ExecuteError as error:
            raise QmpError(
                f"{command}: {error.error.error.desc}", element="qemu", code=error.error.error.class_
            ) from error
        except (QMPError, OSError, EOFError, TimeoutError) as error:
            raise QmpError(f"{command}: no answer from QEMU ({type(error).__name__})", element="qemu") from error

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Events as they come, until QEMU has gone."""
        from qemu.qmp import EventListener

        listener = EventListener()
        with self._client.listen(listener):
            end = asyncio.ensure_future(self._wait_gone())
            try:
                while True:
                    get = asyncio.ensure_future(listener.get())
                    await asyncio.wait((get, end), return_when=asyncio.FIRST_COMPLETED)
                    if not get.done():
                        get.cancel()
                        return
                    yield dict(get.result())
            finally:
                end.cancel()

    async def close(self) -> None:
        # Whatever the connection ended with was told to who waited for an answer.
        with contextlib.suppress(Exception):
            await self._client.disconnect()

    async def _wait_gone(self) -> None:
        from qemu.qmp import Runstate

        while await self._client.runstate_changed() is Runstate.RUNNING:
            pass
