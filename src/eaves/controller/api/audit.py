"""What is kept of each request: counters for Prometheus, and one record for whoever wants to audit.

The pipeline calls :meth:`RequestLog.finished` once a request. Records go to the auditor that bootstrap gives.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct
from prometheus_client import CollectorRegistry, Counter, Histogram

from eaves.controller.api.http import Request

log = logging.getLogger(__name__)

_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_STREAM_VERBS = frozenset({"watch"})
_STREAM_SUBRESOURCES = frozenset({"log", "exec", "attach", "portforward"})


class Record(Struct, frozen=True):
    """One request as an auditor sees it; never a body, since bodies hold secrets."""

    audit_id: str
    user: str
    groups: Sequence[str]
    verb: str
    path: str
    group: str
    version: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int
    duration_s: float
    user_agent: str
    source: str
    ended_at: float
    """Unix seconds."""
    caller: str = ""
    """Who acts as ``user``, when that is somebody else."""
    caller_groups: Sequence[str] = ()


class Auditor(Protocol):
    """Keeps records. Both methods return at once."""

    def wants(self, request: Request, code: int) -> bool: ...

    def note(self, record: Record) -> None: ...


class RequestLog:
    """Counts requests and hands records to the auditor."""

    def __init__(self, registry: CollectorRegistry, auditor: Auditor | None = None) -> None:
        self._auditor = auditor
        self._requests = Counter(
            "eaves_api_requests",
            "Requests answered by the operator API.",
            ["verb", "group", "resource", "subresource", "code"],
            registry=registry,
        )
        self._durations = Histogram(
            "eaves_api_request_duration_seconds",
            "Time to answer; endless answers (watch, log follow) are not counted.",
            ["verb"],
            buckets=_BUCKETS_S,
            registry=registry,
        )
        # Looking labels up in the client library costs more than the rest of a get.
        self._counters: dict[tuple[str, str, str, str, int], Counter] = {}
        self._timers: dict[str, Histogram] = {}

    def finished(self, request: Request, code: int, duration_s: float, *, is_known: bool) -> None:
        """Count a request. ``is_known`` False keeps names that a caller made up out of the label values."""
        target = request.target if is_known else None
        group, resource, subresource = (target.group, target.resource, target.subresource) if target else ("", "", "")
        verb = request.verb if target else request.method.lower()
        key = (verb, group, resource, subresource, code)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = self._requests.labels(verb, group, resource, subresource, str(code))
        counter.inc()
        if verb not in _STREAM_VERBS and subresource not in _STREAM_SUBRESOURCES:
            timer = self._timers.get(verb)
            if timer is None:
                timer = self._timers[verb] = self._durations.labels(verb)
            timer.observe(duration_s)
        if self._auditor is not None and self._auditor.wants(request, code):
            self._auditor.note(_record(request, code, duration_s))


def _record(request: Request, code: int, duration_s: float) -> Record:
    target = request.target
    client = request.scope.get("client")
    return Record(
        audit_id=request.audit_id,
        user=request.identity.user,
        groups=request.identity.groups,
        verb=request.verb or request.method.lower(),
        path=request.path,
        group=target.group if target else "",
        version=target.version if target else "",
        resource=target.resource if target else "",
        subresource=target.subresource if target else "",
        namespace=target.namespace if target else "",
        name=target.name if target else "",
        code=code,
        duration_s=duration_s,
        user_agent=request.header(b"user-agent"),
        source=str(client[0]) if client else "",
        ended_at=time.time(),
        caller=request.impersonator.user if request.impersonator else "",
        caller_groups=request.impersonator.groups if request.impersonator else (),
    )
