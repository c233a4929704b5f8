"""The daemon's side of the helper process that downloads: starts it, asks it, ends it with the task that uses it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from eaves.node.images.download.protocol import (
    LINE_LIMIT_BYTES,
    Answer,
    BlobRequest,
    ManifestRequest,
    RateRequest,
    Setup,
)
from eaves.node.images.errors import DownloadError, as_download_error

_MODULE = "eaves.node.images.download"

Tell = Callable[[Answer], None]


class Fetcher:
    """One helper process for one datastore. Use as an async context manager; leaving it kills the process."""

    def __init__(self, setup: Setup, element: str) -> None:
        """``element``: for errors, the image that this is for."""
        self._setup = setup
        self._element = element
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._ids = itertools.count(1)
        self._waiting: dict[int, tuple[asyncio.Future[Answer], Tell | None]] = {}
        self._end: DownloadError | None = None

    async def __aenter__(self) -> Fetcher:
        # A session of its own: signals of a terminal are for the daemon, which ends this process by itself.
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", _MODULE),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LINE_LIMIT_BYTES,
            start_new_session=True,
        )
        self._reader = asyncio.create_task(self._read(), name=f"download for {self._element}")
        await self._send(self._setup)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader

    async def manifest(self, repository: str, reference: str) -> bytes:
        """A manifest's bytes, unchecked. Raises DownloadError."""
        answer = await self._ask(ManifestRequest(next(self._ids), repository, reference), None)
        return answer.text.encode()

    async def blob(
        self,
        path: str,
        digest: str,
        *,
        size_bytes: int = 0,
        max_bytes: int = 0,
        is_trusted: bool = True,
        tell: Tell | None = None,
    ) -> Answer:
        """Bring a blob into the store; answers when it is there and its digest is right. Raises DownloadError."""
        return await self._ask(BlobRequest(next(self._ids), path, digest, size_bytes, max_bytes, is_trusted), tell)

    async def set_rate(self, bytes_per_s: int) -> None:
        """Most bytes a second of this process from now on; 0 = any."""
        await self._send(RateRequest(bytes_per_s))

    async def _ask(self, request: ManifestRequest | BlobRequest, tell: Tell | None) -> Answer:
        if self._end is not None:
            raise self._end
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[request.id] = (future, tell)
        try:
            await self._send(request)
            return await future
        finally:
            self._waiting.pop(request.id, None)

    async def _send(self, message: Any) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        # When the process has ended, what it said last is the better reason.
        with contextlib.suppress(ConnectionError):
            self._process.stdin.write(msgspec.json.encode(message) + b"\n")
            await self._process.stdin.drain()

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        end = DownloadError("the download program ended unexpectedly", element=self._element, retryable=True)
        try:
            while line := await self._process.stdout.readline():
                answer = msgspec.json.decode(line, type=Answer)
                if answer.id == 0 and answer.failure is not None:
                    end = as_download_error(answer.failure, self._element)
                    continue
                self._take(answer)
        except (msgspec.DecodeError, ValueError):
            end = DownloadError("the download program answers nonsense", element=self._element, retryable=True)
        finally:
            self._end = end
            for future, _ in self._waiting.values():
                if not future.done():
                    future.set_exception(end)

    def _take(self, answer: Answer) -> None:
        future, tell = self._waiting.get(answer.id, (None, None))
        if future is None or future.done():
            return
        if answer.failure is not None:
            future.set_exception(as_download_error(answer.failure, self._element))
            return
        try:
            if tell is not None:
                tell(answer)
        except DownloadError as error:
            # The listener has had enough: its budget is used up.
            future.set_exception(error)
            return
        if answer.done:
            future.set_result(answer)
