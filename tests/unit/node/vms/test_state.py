"""How a machine stands, told from what its files say."""

from __future__ import annotations

import pytest

from eaves.node.vms.state import RunEnd, RunState, VmRecord, judge_end, want_seen
from eaves.node.workloads.abc import EngineKind, WorkloadState

RECORD = VmRecord("app", "id", "digest", "0.0")
STATE = RunState(7, 70, 6, 60, 1000.0)
SHUTDOWN = '{"timestamp": {}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}'
PANIC = '{"event": "GUEST_PANICKED", "data": {"action": "poweroff"}}'


@pytest.mark.parametrize(
    ("end", "code", "reason"),
    [
        (RunEnd(1.0, 0, (SHUTDOWN,)), 0, ""),
        (RunEnd(1.0, 0, (PANIC, SHUTDOWN)), 134, "GuestPanicked"),
        (RunEnd(1.0, -9), 137, ""),
        (RunEnd(1.0, 1, (), "qemu: cannot do it"), 1, ""),
        (RunEnd(1.0, None, (SHUTDOWN,)), 0, ""),
        (RunEnd(1.0, None), 255, ""),
        (RunEnd(1.0, 0, ("no json", "[]")), 0, ""),
    ],
)
def test_end(end: RunEnd, code: int, reason: str) -> None:
    judged = judge_end(end)
    assert (judged.exit_code, judged.reason) == (code, reason)


def test_machine_without_notes_was_never_started_or_lost_its_power() -> None:
    seen = want_seen(RECORD, None, None, is_alive=False, has_monitor=False)
    assert (seen.state, seen.engine, seen.pid) == (WorkloadState.CREATED, EngineKind.VM, 0)


def test_machine_that_runs_has_no_end_whatever_an_old_note_says() -> None:
    seen = want_seen(RECORD, STATE, None, is_alive=True, has_monitor=True)
    assert (seen.state, seen.pid, seen.monitor_pid, seen.started_at) == (WorkloadState.RUNNING, 7, 6, 1000.0)


def test_machine_that_ended_unseen_is_lost() -> None:
    seen = want_seen(RECORD, STATE, None, is_alive=False, has_monitor=False)
    assert (seen.state, seen.is_lost) == (WorkloadState.ENDED, True)


def test_machine_that_ended_tells_how() -> None:
    seen = want_seen(RECORD, STATE, RunEnd(2000.0, -6), is_alive=False, has_monitor=False)
    assert (seen.state, seen.is_lost, seen.exit_code, seen.finished_at) == (WorkloadState.ENDED, False, 134, 2000.0)
