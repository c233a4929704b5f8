"""podman's ``inspect`` → :class:`~eaves.node.workloads.abc.Seen`; the kernel's log → kills for memory. Parsers are pure."""

from __future__ import annotations

import os
import re
from datetime import datetime
from pathlib import Path
from typing import Any

from eaves.node import pids
from eaves.node.workloads.abc import Seen, WorkloadState

APP_LABEL = "eaves.app"
SPEC_LABEL = "eaves.spec"
INSTANCE_LABEL = "eaves.instance"

_RUNNING = ("running", "paused", "stopping")
_RECORD_BYTES = 8192
"""The kernel's own limit of a record of its log."""
_NEVER_RAN = ("created", "configured", "initialized", "unknown")


def parse_inspect(raw: dict[str, Any]) -> Seen | None:
    """None for a container that is not an app's."""
    labels = raw.get("Config", {}).get("Labels") or {}
    app_id = labels.get(APP_LABEL)
    if not app_id:
        return None
    state = raw.get("State", {})
    status = state.get("Status", "")
    if status in _RUNNING:
        kind = WorkloadState.RUNNING
    elif status in _NEVER_RAN:
        kind = WorkloadState.CREATED
    else:
        kind = WorkloadState.ENDED
    graph = (raw.get("GraphDriver") or {}).get("Data") or {}
    return Seen(
        app_id=app_id,
        workload_id=raw["Id"],
        state=kind,
        spec_digest=labels.get(SPEC_LABEL, ""),
        pid=int(state.get("Pid") or 0),
        exit_code=int(state.get("ExitCode") or 0),
        is_oom=bool(state.get("OOMKilled")),
        started_at=parse_time(state.get("StartedAt", "")),
        finished_at=parse_time(state.get("FinishedAt", "")),
        root_dir=graph.get("UpperDir", ""),
    )


def parse_time(text: str) -> float:
    """RFC 3339 with up to nine decimals → Unix seconds; Go's zero time and anything else → 0."""
    match = re.match(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(\.\d+)?\s*(Z|[+-]\d\d:?\d\d)", text)
    if match is None or text.startswith("0001"):
        return 0.0
    zone = "+00:00" if match.group(3) == "Z" else match.group(3)
    return datetime.fromisoformat(match.group(1) + zone).timestamp() + float(match.group(2) or 0)


class OomLog:
    """What the kernel logs of kills for memory from the moment this is made.

    The mark is an open reader and not a time: the log's clock is never adjusted and drifts from every other, by 23 ms in 18 hours on one
    machine.
    Without the right to read the log (``/dev/kmsg``) it tells of no kill.
    """

    def __init__(self) -> None:
        try:
            self._descriptor = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        except OSError:
            self._descriptor = -1
            return
        os.lseek(self._descriptor, 0, os.SEEK_END)

    def count(self, workload_id: str) -> int:
        """How often something was killed in the workload since the mark, or since this was last asked. Does not wait; some ms."""
        found = 0
        while self._descriptor >= 0:
            try:
                found += is_oom_message(os.read(self._descriptor, _RECORD_BYTES), workload_id)
            except BrokenPipeError:
                # The oldest messages were overwritten while we read; go on with the next.
                continue
            except BlockingIOError:
                break
        return found

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def is_oom_message(raw: bytes, workload_id: str) -> bool:
    """Whether a record of ``/dev/kmsg`` (``PRIORITY,NUMBER,MICROSECONDS,…;TEXT``) tells of a kill in the workload."""
    _, _, text = raw.partition(b";")
    return text.startswith(b"oom-kill:") and b"task_memcg=" in text and workload_id.encode() in text


def load_monitor_pid(path: Path, workload_id: str) -> int:
    """Pid of the container's monitor (conmon), 0 when it has gone."""
    return pids.load_pid(path, workload_id)
