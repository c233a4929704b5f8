"""Commands in small guests, as the sessions that every workload has."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from eaves.node.vms.isolation.guest import frames
from eaves.node.vms.isolation.link import Channel, GuestLink
from eaves.node.workloads.sessions import Command, Session, SessionError, SessionUnsupportedError, Take

ANSWER_LIMIT_S = 90.0
"""A guest that is starting answers once it has a network; by translated code on a busy node that takes its time."""


class GuestLinks:
    """The lines to all small guests, by app; each is opened when it is first needed, and again for the next machine."""

    def __init__(self) -> None:
        self._links: dict[str, GuestLink] = {}
        self._opening: dict[str, asyncio.Lock] = {}

    async def want(self, app_id: str, path: Path) -> GuestLink:
        """Raises SessionError when the guest does not answer."""
        async with self._opening.setdefault(app_id, asyncio.Lock()):
            link = self._links.get(app_id)
            if link is None or link.is_closed:
                link = self._links[app_id] = await _open(path)
            return link

    async def forget(self, app_id: str) -> None:
        """Its machine has ended."""
        self._opening.pop(app_id, None)
        link = self._links.pop(app_id, None)
        if link is not None:
            await link.close()


class GuestSession(Session):
    """A command in a small guest. The line to it may still be opening: who uses the session waits for it."""

    def __init__(self, links: GuestLinks, app_id: str, path: Path, command: Command) -> None:
        self._is_terminal = command.tty
        self._starting = asyncio.create_task(self._start(links, app_id, path, command), name=f"session with {app_id}")

    async def pump(self, take: Take) -> int:
        channel = await self._channel()
        while (heard := await channel.receive()) is not None:
            await take(*heard)
            await channel.taken(len(heard[1]))
        return channel.result()

    async def write(self, data: bytes) -> None:
        with contextlib.suppress(SessionError):
            await (await self._channel()).write(data)

    async def close_input(self) -> None:
        """A terminal is told by its end-of-file character, as by a person."""
        if self._is_terminal:
            await self.write(b"\x04")
            return
        with contextlib.suppress(SessionError):
            await (await self._channel()).send(frames.INPUT_END)

    async def resize(self, columns: int, rows: int) -> None:
        if self._is_terminal:
            with contextlib.suppress(SessionError):
                await (await self._channel()).send(frames.SIZE, frames.encode_size(columns, rows))

    async def close(self) -> None:
        self._starting.cancel()
        await asyncio.wait((self._starting,))
        if not self._starting.cancelled() and self._starting.exception() is None:
            await asyncio.shield(self._starting.result().close())

    async def _channel(self) -> Channel:
        """One who waits and is cancelled does not cut off the others."""
        return await asyncio.shield(self._starting)

    @staticmethod
    async def _start(links: GuestLinks, app_id: str, path: Path, command: Command) -> Channel:
        return await (await links.want(app_id, path)).start(command)


async def _open(path: Path) -> GuestLink:
    try:
        async with asyncio.timeout(ANSWER_LIMIT_S):
            return await GuestLink.open(path)
    except FileNotFoundError as error:
        raise SessionUnsupportedError(
            "the app was started by an Eaves that ran no commands in it: restart it"
        ) from error
    except (OSError, EOFError, ValueError, TimeoutError) as error:
        raise SessionError("the app's guest does not answer; it may still be starting") from error
