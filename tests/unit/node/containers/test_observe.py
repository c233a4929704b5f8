"""What podman and the kernel say about a container."""

from __future__ import annotations

import pytest

from eaves.node.containers.observe import is_oom_message, parse_inspect, parse_time
from eaves.node.workloads.abc import WorkloadState


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("running", WorkloadState.RUNNING),
        ("paused", WorkloadState.RUNNING),
        ("stopping", WorkloadState.RUNNING),
        ("created", WorkloadState.CREATED),
        ("configured", WorkloadState.CREATED),
        ("initialized", WorkloadState.CREATED),
        ("exited", WorkloadState.ENDED),
        ("stopped", WorkloadState.ENDED),
        ("removing", WorkloadState.ENDED),
    ],
)
def test_inspect(status: str, state: WorkloadState) -> None:
    raw = {
        "Id": "c1",
        "Config": {"Labels": {"eaves.app": "a", "eaves.spec": "d"}},
        "State": {
            "Status": status,
            "Pid": 7,
            "ExitCode": 3,
            "OOMKilled": True,
            "StartedAt": "2026-01-31T10:00:00.5Z",
            "FinishedAt": "0001-01-01T00:00:00Z",
        },
        "GraphDriver": {"Data": {"UpperDir": "/upper"}},
    }
    seen = parse_inspect(raw)
    assert seen is not None
    assert (seen.app_id, seen.workload_id, seen.state, seen.spec_digest) == ("a", "c1", state, "d")
    assert (seen.pid, seen.exit_code, seen.is_oom, seen.root_dir) == (7, 3, True, "/upper")
    assert (seen.started_at, seen.finished_at) == (1769853600.5, 0.0)


def test_containers_of_others_are_not_seen() -> None:
    assert parse_inspect({"Id": "c", "Config": {"Labels": None}, "State": {}}) is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-01-31T10:00:00.123456789Z", 1769853600.123456789),
        ("2026-01-31T11:00:00+01:00", 1769853600.0),
        ("0001-01-01T00:00:00Z", 0.0),
        ("", 0.0),
        ("soon", 0.0),
    ],
)
def test_time(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


def test_kill_for_memory_in_the_kernels_log() -> None:
    record = (
        b"6,733,4633468596,-;oom-kill:constraint=CONSTRAINT_MEMCG,task_memcg=/eaves/a/libpod-c1,task=sh,pid=9,uid=0\n"
    )
    assert is_oom_message(record, "c1")
    assert not is_oom_message(record, "c2")
    assert not is_oom_message(b"6,1,2,-;hello c1", "c1")
    assert not is_oom_message(b"junk", "c1")
