"""Serves ``pods/NAME/log``: an app's log lines from telemetry, and those to come.

Nodes upload logs in their own time; while somebody reads, :class:`LogInterest` asks the node to upload quickly. A plain read waits a
moment for what the node has not sent yet. A follow takes new lines from the node itself where it can be reached, else from what it
uploads, and goes on over restarts of the app until the client or the app goes; numbers of lines see that none is lost or shown twice.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from msgspec import Struct

from eaves.controller.api.http import TEXT, Request, Stream
from eaves.controller.api.livelogs import open_live_tail
from eaves.controller.api.routing import Query, Target, is_true
from eaves.controller.documents import decode_object, key_of
from eaves.controller.tunnel.abc import Tunnel
from eaves.kinds import app, edgenode
from eaves.kinds.pod_projection import CONTAINER_NAME
from eaves.kinds.times import parse_time
from eaves.kube import status
from eaves.kube.errors import CauseType, FieldError
from eaves.kube.resource import Object
from eaves.store.abc import ObjectStore, StoredObject
from eaves.store.telemetry import LogLine, LogRun, LogSource, Telemetry
from eaves.wire.tunnel import TunnelProtocolError

INTEREST_S = 60
"""How long one reader keeps a node uploading; a follow renews it in time."""
FRESH_WAIT_S = 1.5
"""How long a plain read waits for lines that the node holds."""
FOLLOW_WAIT_S = 20.0
CATCH_UP_S = 10.0
"""How long a node may take to upload what was written before its live stream began."""
PAGE_LINES = 1000

log = logging.getLogger(__name__)


class LogInterest(Protocol):
    """Tells nodes that somebody reads."""

    async def want_logs(self, device_id: str, app_id: str, seconds: int) -> bool:
        """Ask the device to upload the app's logs at once for a while; False when it cannot be told now."""
        ...


class LogOptions(Struct, frozen=True):
    """What is asked for. ``since_ns`` 0 = all."""

    follow: bool
    tail: int | None
    since_ns: int
    timestamps: bool
    previous: bool
    limit_bytes: int | None


def parse_log_options(query: Query, pod: str, now: float) -> LogOptions:
    """Raises ApiError 400, 422."""
    container = query.get("container", "")
    if container not in ("", CONTAINER_NAME):
        raise status.bad_request(f"container {container} is not valid for pod {pod}")
    faults = []
    if "sinceSeconds" in query and "sinceTime" in query:
        faults.append(
            FieldError(
                "sinceSeconds", CauseType.FORBIDDEN, "at most one of `sinceTime` or `sinceSeconds` may be specified"
            )
        )
    seconds = _parse_count(query, "sinceSeconds", 1, faults)
    tail = _parse_count(query, "tailLines", 0, faults)
    limit = _parse_count(query, "limitBytes", 1, faults)
    since_ns = int((now - seconds) * 1e9) if seconds is not None else _parse_since(query, faults)
    if faults:
        raise status.invalid("", "PodLogOptions", pod, faults)
    return LogOptions(
        follow=is_true(query, "follow"),
        tail=tail,
        since_ns=since_ns,
        timestamps=is_true(query, "timestamps"),
        previous=is_true(query, "previous"),
        limit_bytes=limit,
    )


class Choice(Struct, frozen=True):
    """The container start whose lines are shown, None = whatever there is; and the cursor after which they are looked for."""

    run: str | None
    after: int = 0


def is_silent(obj: Object, runs: Sequence[LogRun]) -> bool:
    """Whether the app's container runs and has written nothing yet, so that the newest run with lines is an earlier one."""
    state = (obj.get("status") or {}).get("state") or {}
    started = str((state.get("running") or {}).get("startedAt") or "")
    # Whole seconds, and the first line may come before the runtime has noted the start.
    return bool(runs and started) and runs[-1].first_ns < (parse_time(started) - 1) * 1e9


class PodLogs:
    """The subresource's handler."""

    def __init__(
        self,
        store: ObjectStore,
        telemetry: Telemetry,
        interest: LogInterest,
        tunnel: Tunnel,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._telemetry = telemetry
        self._interest = interest
        self._tunnel = tunnel
        self._clock = clock

    async def serve(self, request: Request, target: Target) -> Stream:
        """Raises ApiError 400 when there is no such container run, 404 when there is no such pod."""
        options = parse_log_options(request.query, target.name, self._clock())
        stored = await self._store.get(key_of(app.RESOURCE, target.namespace, target.name))
        if stored is None:
            raise status.not_found("", "pods", target.name)
        is_told = await self._want_logs(stored)
        choice = await self._choose_run(stored, options, target.name, is_told=is_told)
        lines = self._lines(stored, options, choice)
        chunks = _limited(_rendered(lines, options.timestamps), options.limit_bytes)
        return Stream(chunks, TEXT.partition(";")[0], is_lines=False)

    async def _choose_run(self, stored: StoredObject, options: LogOptions, pod: str, *, is_told: bool) -> Choice:
        """The container start whose lines are shown."""
        source, obj = LogSource(app_id=stored.uid), decode_object(stored)
        runs = await self._telemetry.list_runs(source)
        if options.previous:
            former = runs if is_silent(obj, runs) else runs[:-1]
            if not former:
                raise status.bad_request(f'previous terminated container "{CONTAINER_NAME}" in pod "{pod}" not found')
            return Choice(former[-1].run)
        page = await self._telemetry.read_logs(source, tail=1, limit_lines=1)
        if is_told and not options.follow:
            await self._telemetry.wait_logs(source, after=page.cursor, timeout_s=FRESH_WAIT_S)
            runs = await self._telemetry.list_runs(source)
        if not page.lines and not runs and (why := _waiting_reason(obj)):
            raise status.bad_request(f'container "{CONTAINER_NAME}" in pod "{pod}" is waiting to start: {why}')
        if is_silent(obj, runs):
            end = await self._telemetry.read_logs(source, tail=0)
            return Choice(None, max(end.cursor, page.cursor))
        return Choice(runs[-1].run if runs else None)

    async def _lines(self, stored: StoredObject, options: LogOptions, choice: Choice) -> AsyncGenerator[LogLine, None]:
        source = LogSource(app_id=stored.uid)
        run, cursor, tail = choice.run, choice.after, options.tail
        shown = ShownMark()
        while True:
            page = await self._telemetry.read_logs(
                source,
                after=cursor,
                since_ns=options.since_ns,
                tail=tail,
                run=run,
                limit_lines=max(PAGE_LINES, tail or 0),
            )
            for line in page.lines:
                if shown.is_new(line):
                    yield line
            cursor, tail = max(cursor, page.cursor), None
            if page.lines:
                continue
            if not options.follow:
                return
            # From here on lines of later runs are wanted too: the app may be restarted while it is followed.
            run = None
            async with contextlib.aclosing(self._live_lines(stored, cursor)) as live:
                async for line in live:
                    shown.note(line)
                    yield line
            if not await self._wait_more(stored, source, cursor):
                return

    async def _live_lines(self, stored: StoredObject, cursor: int) -> AsyncGenerator[LogLine, None]:
        """Lines after the cursor, from the node itself for as long as it can be reached; each later than the one before."""
        node = await self._find_node(stored)
        if node is None or (tail := await open_live_tail(self._tunnel, node.uid, stored.uid)) is None:
            return
        shown = ShownMark()
        try:
            # What is uploaded lacks the last seconds: with it the lines up to the stream's beginning are whole.
            source = LogSource(node.uid, stored.uid)
            if not await self._wait_number(source, tail.last_number):
                return
            while (page := await self._telemetry.read_logs(source, after=cursor, limit_lines=PAGE_LINES)).lines:
                for line in page.lines:
                    shown.note(line)
                    yield line
                cursor = page.cursor
            while (lines := await tail.read(FOLLOW_WAIT_S)) is not None:
                for line in lines:
                    if line.number > tail.last_number and shown.is_new(line):
                        shown.note(line)
                        yield line
                if not lines and not await self._is_there(stored):
                    return
        except TunnelProtocolError as error:
            log.warning("live logs ended: app=%s error=%s", stored.uid, error)
        finally:
            await tail.close()

    async def _wait_number(self, source: LogSource, number: int) -> bool:
        """Whether the lines of a device's app are there up to ``number``, which a node that is asked to hurry sends within seconds."""
        ends_at = self._clock() + CATCH_UP_S
        while number:
            newest = await self._telemetry.read_logs(source, tail=1, limit_lines=1)
            if newest.lines and newest.lines[-1].number >= number:
                break
            left_s = ends_at - self._clock()
            if left_s <= 0 or not await self._telemetry.wait_logs(source, after=newest.cursor, timeout_s=left_s):
                return False
        return True

    async def _wait_more(self, stored: StoredObject, source: LogSource, cursor: int) -> bool:
        """Whether there are lines after the cursor; False when the app is gone."""
        while not await self._telemetry.wait_logs(source, after=cursor, timeout_s=FOLLOW_WAIT_S):
            if not await self._is_there(stored):
                return False
            await self._want_logs(stored)
        return True

    async def _is_there(self, stored: StoredObject) -> bool:
        current = await self._store.get(stored.key)
        return current is not None and current.uid == stored.uid

    async def _find_node(self, stored: StoredObject) -> StoredObject | None:
        name = stored.fields.get("spec.nodeName", "")
        return await self._store.get(key_of(edgenode.RESOURCE, "", name)) if name else None

    async def _want_logs(self, stored: StoredObject) -> bool:
        node = await self._find_node(stored)
        return node is not None and await self._interest.want_logs(node.uid, stored.uid, INTEREST_S)


class ShownMark:
    """How far the lines of a live stream were shown, to tell them when they come again as uploaded ones.

    Numbers begin anew when the app was removed and came again, and a clock may be set back: a line is new by either of the two.
    """

    def __init__(self) -> None:
        self._number = -1
        self._time_ns = -1

    def note(self, line: LogLine) -> None:
        self._number, self._time_ns = max(self._number, line.number), max(self._time_ns, line.time_ns)

    def is_new(self, line: LogLine) -> bool:
        return line.number > self._number or line.time_ns > self._time_ns


class NoInterest:
    """For a controller without a notify channel: nodes upload in their own time."""

    async def want_logs(self, device_id: str, app_id: str, seconds: int) -> bool:
        return False


async def _rendered(lines: AsyncGenerator[LogLine, None], timestamps: bool) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(lines):
        async for line in lines:
            text = line.text if line.text.endswith("\n") else f"{line.text}\n"
            yield f"{render_timestamp(line.time_ns)} {text}".encode() if timestamps else text.encode()


async def _limited(chunks: AsyncGenerator[bytes, None], limit: int | None) -> AsyncGenerator[bytes, None]:
    left = limit
    try:
        async for chunk in chunks:
            if left is None:
                yield chunk
                continue
            yield chunk[:left]
            left -= min(left, len(chunk))
            if not left:
                return
    finally:
        await chunks.aclose()


def render_timestamp(time_ns: int) -> str:
    """RFC 3339 with nine digits of a second, as the container runtimes write it."""
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def _waiting_reason(obj: Object) -> str:
    """Why the app has not started, empty when it has."""
    current = obj.get("status") or {}
    state = current.get("state") or {}
    if "running" in state or "terminated" in state or current.get("lastState"):
        return ""
    waiting = state.get("waiting") or {}
    texts = (
        waiting.get("reason") or current.get("phase") or "Pending",
        waiting.get("message") or current.get("message"),
    )
    return ": ".join(text for text in texts if text)


def _parse_count(query: Query, name: str, minimum: int, faults: list[FieldError]) -> int | None:
    text = query.get(name)
    if text is None or text == "":
        return None
    try:
        number = int(text)
    except ValueError as error:
        raise status.bad_request(f'{name} "{text}" is not a whole number') from error
    if number < minimum:
        faults.append(FieldError(name, CauseType.INVALID, f"must be greater than or equal to {minimum}", number))
    return number


def _parse_since(query: Query, faults: list[FieldError]) -> int:
    text = query.get("sinceTime", "")
    if not text:
        return 0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        faults.append(FieldError("sinceTime", CauseType.INVALID, "must be a time such as 2026-11-24T18:00:00Z", text))
        return 0
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e9)
