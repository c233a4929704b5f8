"""Takes log files: of the device itself, of its apps, and the two forms of old devices. Durable before it is acknowledged.

Unpacking happens in a thread, a bounded number at a time, since one file costs milliseconds. A device may upload logs of those apps
alone that are or were in its config: nobody writes into the log of another device's app. EVE sends a refused file ten times more before
it goes on with the next, so that the last lines of an app that is gone must be taken, however late they come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from google.protobuf.message import DecodeError

from eaves.controller.gateway.config import ConfigShelf
from eaves.controller.gateway.devices import Device
from eaves.controller.gateway.errors import ForbiddenError, TooLargeError, UnprocessableError
from eaves.controller.gateway.limits import Gate
from eaves.store.telemetry import LogLine, LogSource, Telemetry
from eaves.wire import logfile
from eaves.wire.errors import GzipBombError, NewlogError
from eaves.wire.identifiers import AppId
from eaves.wire.newlog import LogRecord
from eaves.wire.pb.logs import log_pb2

THREADS = 2
WAIT_S = 20.0
UNPACKED_LIMIT_BYTES = 8 << 20
"""A file of 50 kB of text holds under 1 MB; one that unpacks to more than this is a bomb."""
_SMALL_BYTES = 2048
"""A file below this is unpacked at once: a thread would cost more."""
_STREAMS = ("stdout", "stderr")
_RUN_TAG = "run"
_LABEL_CHARS = 128
"""Of severity, source and run: what a bound on texts does not count must be short."""
_LARGEST_NUMBER = 2**63 - 1


class LogIntake:
    """The endpoints."""

    def __init__(self, telemetry: Telemetry, shelf: ConfigShelf, time_ns: Callable[[], int]) -> None:
        self._telemetry = telemetry
        self._shelf = shelf
        self._time_ns = time_ns
        self._gate = Gate(THREADS, WAIT_S)

    async def take_file(self, device: Device, payload: bytes, app_id: AppId | None) -> None:
        """Keep the lines of a gzip file. Raises UnprocessableError, TooLargeError for a bomb, ForbiddenError for a foreign app."""
        if app_id is not None:
            await self._check_app(device, app_id)
        if len(payload) <= _SMALL_BYTES:
            lines = _unpack(payload, self._time_ns(), is_app=app_id is not None)
        else:
            async with self._gate:
                lines = await asyncio.to_thread(_unpack, payload, self._time_ns(), is_app=app_id is not None)
        await self._keep(device, app_id, lines)

    async def take_bundle(self, device: Device, payload: bytes, app_id: AppId | None) -> None:
        """Keep the lines of a LogBundle or AppInstanceLogBundle, as old devices send them."""
        kind = log_pb2.LogBundle if app_id is None else log_pb2.AppInstanceLogBundle
        try:
            bundle = kind.FromString(payload)
        except DecodeError as error:
            raise UnprocessableError(f"payload is not a {kind.DESCRIPTOR.name}") from error
        if len(bundle.log) > logfile.LINES_LIMIT:
            raise TooLargeError(f"{len(bundle.log)} lines, at most {logfile.LINES_LIMIT} are allowed")
        if app_id is not None:
            await self._check_app(device, app_id)
        await self._keep(device, app_id, _lines_of_bundle(bundle.log, self._time_ns()))

    async def _keep(self, device: Device, app_id: AppId | None, lines: Sequence[LogLine]) -> None:
        if lines:
            await self._telemetry.append_logs(device.id, app_id or "", lines)

    async def _check_app(self, device: Device, app_id: AppId) -> None:
        await self._shelf.want(device.id)
        if self._shelf.has_app(device.id, app_id):
            return
        # What the shelf does not know since a restart: the app ran there, if it has lines from there.
        if not (await self._telemetry.read_logs(LogSource(device.id, app_id), limit_lines=1)).lines:
            raise ForbiddenError("this app is not one of this device's", code="ForeignApp")


def _unpack(payload: bytes, now_ns: int, *, is_app: bool) -> list[LogLine]:
    try:
        _, decoded = logfile.decode_log_file(payload, UNPACKED_LIMIT_BYTES)
    except GzipBombError as error:
        raise TooLargeError(error.message, code=error.code) from error
    except NewlogError as error:
        raise UnprocessableError(error.message, code=error.code) from error
    return [_line_of(record, now_ns, is_app=is_app) for record in decoded.records]


def _line_of(record: LogRecord, now_ns: int, *, is_app: bool) -> LogLine:
    """An app's stream travels as the process; which run of its container wrote the line, as a tag, if the device tells it."""
    severity = record.process if is_app and record.process in _STREAMS else record.severity
    return _want_line(
        record.time_ns or now_ns, severity, record.source, record.content, record.number, record.tags.get(_RUN_TAG, "")
    )


def _want_line(time_ns: int, severity: str, source: str, content: str, number: int, run: str = "") -> LogLine:
    """Numbers of the wire have 64 bits without a sign; one beyond what is stored counts as not given."""
    return LogLine(
        time_ns,
        severity[:_LABEL_CHARS],
        source[:_LABEL_CHARS],
        content,
        number if number <= _LARGEST_NUMBER else 0,
        run[:_LABEL_CHARS],
    )


def _lines_of_bundle(entries: Iterable[log_pb2.LogEntry], now_ns: int) -> list[LogLine]:
    lines = []
    for entry in entries:
        time_ns = entry.timestamp.seconds * 10**9 + entry.timestamp.nanos
        time_ns = time_ns if 0 < time_ns < 2**63 else now_ns
        lines.append(_want_line(time_ns, entry.severity, entry.source, entry.content, entry.msgid))
    return lines
