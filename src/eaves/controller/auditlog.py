"""The audit log: who did what through the operator API, one line of JSON a request, in a file that is bounded and rotated.

Lines have the shape of ``audit.k8s.io/v1`` at level Metadata: never a body, and no query, since commands stand in queries. What is written:
every write, every refusal, reads of Secrets, and all that acts on a running thing or a cluster (exec, attach, port-forward, consoles, the
proxy). Other reads only when asked for; leases and events, which programs write all the time, never.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import os
from collections import deque
from pathlib import Path
from typing import Any

import msgspec

from eaves.controller.api.audit import Record
from eaves.controller.api.http import Request
from eaves.kit.files import want_folder

log = logging.getLogger(__name__)

QUEUE_LIMIT = 20_000
"""Lines that wait for a disk; more are dropped and counted, since requests do not wait for the audit log."""
_READS = frozenset({"get", "list", "watch"})
_ACTING = frozenset({"exec", "attach", "portforward", "console", "vnc", "proxy"})
_NOISE = frozenset({"leases", "events"})
_REFUSALS = frozenset({401, 403})


def is_wanted(request: Request, code: int, *, reads: bool) -> bool:
    """Whether a request is written down."""
    target = request.target
    if code in _REFUSALS:
        return True
    if target is None or target.resource in _NOISE:
        return False
    is_reading = request.verb in _READS and target.subresource not in _ACTING
    return reads or not is_reading or target.resource == "secrets"


def render_event(record: Record) -> bytes:
    """The line for a request, with its end."""
    received = datetime.datetime.fromtimestamp(record.ended_at - record.duration_s, datetime.UTC)
    ended = datetime.datetime.fromtimestamp(record.ended_at, datetime.UTC)
    reference = {
        "resource": record.resource,
        "namespace": record.namespace,
        "name": record.name,
        "apiGroup": record.group,
        "apiVersion": record.version,
        "subresource": record.subresource,
    }
    caller = {"username": record.user, "groups": list(record.groups)}
    impersonated = {}
    if record.caller:
        impersonated = {"impersonatedUser": caller}
        caller = {"username": record.caller, "groups": list(record.caller_groups)}
    event: dict[str, Any] = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "Metadata",
        "auditID": record.audit_id,
        "stage": "ResponseComplete",
        "requestURI": record.path,
        "verb": record.verb,
        "user": caller,
        **impersonated,
        "sourceIPs": [record.source] if record.source else [],
        "userAgent": record.user_agent,
        **({"objectRef": {key: value for key, value in reference.items() if value}} if record.resource else {}),
        "responseStatus": {"code": record.code},
        "requestReceivedTimestamp": _render(received),
        "stageTimestamp": _render(ended),
        "annotations": {
            "authorization.k8s.io/decision": "forbid" if record.code in _REFUSALS else "allow",
            "eaves.dev/duration": f"{record.duration_s:.6f}s",
        },
    }
    return msgspec.json.encode(event) + b"\n"


class AuditLog:
    """Give :meth:`wants` and :meth:`note` to the API, run :meth:`run` under the supervisor."""

    def __init__(self, path: Path, *, max_bytes: int, backups: int, reads: bool) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._backups = backups
        self._reads = reads
        self._lines: deque[Record] = deque()
        self._news = asyncio.Event()
        self.dropped = 0

    def wants(self, request: Request, code: int) -> bool:
        return is_wanted(request, code, reads=self._reads)

    def note(self, record: Record) -> None:
        """Returns at once."""
        if len(self._lines) >= QUEUE_LIMIT:
            self.dropped += 1
            return
        self._lines.append(record)
        self._news.set()

    async def run(self) -> None:
        """Until cancelled; what waits then is written first."""
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                await self._write_waiting()
        finally:
            if self._lines:
                await self._write_waiting()

    async def _write_waiting(self) -> None:
        records = [self._lines.popleft() for _ in range(len(self._lines))]
        writing = asyncio.ensure_future(asyncio.to_thread(self._write_or_drop, records))
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            # A thread cannot be cancelled, and two must not write at once.
            await asyncio.wait({writing})
            raise

    def _write_or_drop(self, records: list[Record]) -> None:
        try:
            self._write(records)
        except OSError as error:
            self.dropped += len(records)
            log.warning("audit lines lost: path=%s count=%d error=%s", self._path, len(records), error.strerror)

    def _write(self, records: list[Record]) -> None:
        want_folder(self._path.parent)
        data = b"".join(map(render_event, records))
        if self._size() + len(data) > self._max_bytes and self._size():
            self._rotate()
        with open(self._path, "ab", opener=_open_private) as file:
            file.write(data)

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def _rotate(self) -> None:
        """``audit.log`` becomes ``audit.log.1`` and so on; the oldest goes."""
        for number in range(self._backups, 0, -1):
            older = self._path if number == 1 else self._backup(number - 1)
            if older.exists():
                older.replace(self._backup(number))
        if not self._backups:
            self._path.unlink()

    def _backup(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _render(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
