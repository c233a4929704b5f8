"""A conversation with a session: what it has said so far, and its end."""

from __future__ import annotations

import asyncio

from eaves.node.workloads.sessions import Output, Session

WAIT_S = 90.0


class Talk:
    """Reads the session from its making on. Use within a running loop."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.said = {Output.STDOUT: b"", Output.STDERR: b""}
        self._heard = asyncio.Event()
        self.pumping = asyncio.create_task(session.pump(self._take))

    async def wait(self, text: bytes) -> None:
        """Until the command has written this."""
        async with asyncio.timeout(WAIT_S):
            while text not in self.said[Output.STDOUT]:
                self._heard.clear()
                await self._heard.wait()

    async def end(self) -> int:
        """The exit code. Raises SessionError when nothing ran."""
        try:
            async with asyncio.timeout(WAIT_S):
                return await self.pumping
        finally:
            await self.session.close()

    async def _take(self, output: Output, data: bytes) -> None:
        self.said[output] += data
        self._heard.set()
