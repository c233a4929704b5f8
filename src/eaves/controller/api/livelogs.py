"""An app's log lines straight from its node, for ``logs -f``: shown as they are written instead of when they are uploaded.

The node tells which line was its last one before the stream; lines up to there come from telemetry, where they are or will be soon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from eaves.controller.tunnel.abc import Tunnel
from eaves.controller.tunnel.errors import TunnelError
from eaves.store.telemetry import LogLine
from eaves.tunnel.stream import TunnelStream
from eaves.wire import livelogs
from eaves.wire.identifiers import AppId, DeviceId
from eaves.wire.livelogs import LiveLine, LiveStart, LogsParameters, RecordReader
from eaves.wire.tunnel import CloseCause, CloseCode, StreamKind, StreamRequest, TunnelProtocolError

_START_TIMEOUT_S = 10.0
_GONE = CloseCause(CloseCode.GONE, "nobody follows any more")


class LiveTail:
    """The lines after ``last_number``, as they are written; close it."""

    def __init__(self, stream: TunnelStream) -> None:
        self._stream = stream
        self._reader = RecordReader()
        self._pending: list[bytes] = []
        self.last_number = 0

    async def start(self) -> None:
        """Hear where the stream begins. Raises TunnelProtocolError, TimeoutError."""
        async with asyncio.timeout(_START_TIMEOUT_S):
            while not self._pending:
                if (data := await self._stream.receive()) is None:
                    raise TunnelProtocolError("the node ended the stream before it began")
                self._pending = self._reader.split(data)
        self.last_number = livelogs.parse_record(self._pending.pop(0), LiveStart).last_number

    async def read(self, timeout_s: float) -> Sequence[LogLine] | None:
        """The next lines, none when none came within the time; None at the end of the stream. Raises TunnelProtocolError."""
        if not self._pending:
            try:
                async with asyncio.timeout(timeout_s):
                    data = await self._stream.receive()
            except TimeoutError:
                return []
            if data is None:
                return None
            self._pending = self._reader.split(data)
        records, self._pending = self._pending, []
        return [_line_of(livelogs.parse_record(record, LiveLine)) for record in records]

    async def close(self) -> None:
        await self._stream.close(_GONE)


async def open_live_tail(tunnel: Tunnel, device_id: str, app_id: str) -> LiveTail | None:
    """None when the node is away or has no such streams; what it uploads is what there is then."""
    device = DeviceId(device_id)
    if not tunnel.is_connected(device):
        return None
    request = StreamRequest(StreamKind.LOGS, {"app": LogsParameters(AppId(app_id)).app})
    try:
        stream = await tunnel.open(device, request)
    except TunnelError:
        return None
    tail = LiveTail(stream)
    try:
        await tail.start()
    except (TunnelProtocolError, TimeoutError):
        await tail.close()
        return None
    except BaseException:
        await tail.close()
        raise
    return tail


def _line_of(line: LiveLine) -> LogLine:
    return LogLine(line.time_ns, line.stream, "", line.text, line.number, line.run)
