"""What to do next for one app: pure functions over its wish, its record and what is seen.

The keeper asks :func:`plan_app` after everything that happened, does the one action it names and asks again. A container is the
same app's whatever happened to the daemon in between, so nothing here depends on how we got here.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec
from msgspec import Struct

from eaves.node.desired.model import DesiredApp, RestartPolicy
from eaves.node.observed import AppState, Fault, RunRecord
from eaves.node.workloads.abc import Seen, WorkloadState

FIRST_DELAY_S = 1.0
LIMIT_DELAY_S = 300.0
_FORMER_RUN = "the end of its former run"

GOOD_RUN_S = 600.0
"""A run this long starts the back-off anew."""


class AppRecord(Struct):
    """What must outlive the daemon about an app; one file each.

    ``restart_counter`` None = no command seen yet, the first one seen is remembered and not obeyed. ``digest`` is the spec of the
    latest container, ``image_id`` the image it was started for. ``is_over``: it ended and its restart policy wants no more.
    ``volumes``: paths that its container mounts.
    """

    restart_counter: int | None = None
    purge_counter: int = 0
    root_generation: int = 0
    digest: str = ""
    restarts: int = 0
    failures: int = 0
    is_over: bool = False
    has_run: bool = False
    current: RunRecord | None = None
    last: RunRecord | None = None
    volumes: list[str] = []
    image_id: str = ""
    is_updating: bool = False
    """It was stopped for an update, and what is to be saved before that is not saved yet."""


class Action(StrEnum):
    NONE = "none"
    CREATE = "create"
    START = "start"
    STOP = "stop"
    STOP_FOR_UPDATE = "stop-for-update"
    RESTART = "restart"
    REPLACE = "replace"
    REMOVE = "remove"
    FORGET = "forget"


class Blocker(Struct, frozen=True):
    """What an app waits for before it can start.

    ``lets_former_run``: a container that it has from before could start meanwhile. ``needs_stop``: it cannot come while the app runs.
    """

    state: AppState
    waiting_for: str
    fault: Fault | None = None
    lets_former_run: bool = False
    needs_stop: bool = False


class Plan(Struct, frozen=True):
    """``wake_in_s``: plan again after this time even if nothing happens; 0 = only when something happens."""

    action: Action
    state: AppState
    waiting_for: str = ""
    fault: Fault | None = None
    wake_in_s: float = 0.0


def plan_app(
    app: DesiredApp | None,
    record: AppRecord,
    seen: Seen | None,
    *,
    wanted_digest: str,
    blocker: Blocker | None,
    wait_s: float,
) -> Plan:
    """``wanted_digest`` is empty while ``blocker`` keeps it from being known; ``wait_s`` is what is left of the back-off."""
    if app is None:
        return Plan(Action.FORGET if seen is None else Action.REMOVE, AppState.HALTING)
    is_running = seen is not None and seen.state is WorkloadState.RUNNING
    if not app.activate:
        return Plan(Action.STOP, AppState.HALTING) if is_running else Plan(Action.NONE, AppState.HALTED)
    if is_running and blocker is not None and blocker.needs_stop:
        return Plan(Action.STOP, AppState.RESTARTING, blocker.waiting_for)
    is_other = bool(wanted_digest) and seen is not None and seen.spec_digest != wanted_digest
    if is_other:
        return Plan(Action.REPLACE, _state_of_replacement(app, record), _FORMER_RUN if is_running else "")
    is_told = has_restart_command(app, record)
    if is_running:
        return _plan_running(blocker, is_told)
    return _plan_stopped(app, record, seen, wanted_digest, blocker, 0.0 if is_told else wait_s, is_told=is_told)


def _plan_stopped(
    app: DesiredApp,
    record: AppRecord,
    seen: Seen | None,
    wanted_digest: str,
    blocker: Blocker | None,
    wait_s: float,
    *,
    is_told: bool,
) -> Plan:
    """An app that is to run and does not. A former container does the app's work until the next image is there."""
    # Another image is another run; while it is not there yet its spec is not known.
    is_next_awaited = is_next_image_awaited(app, record, blocker)
    is_same = seen is not None or record.digest == wanted_digest
    if record.is_over and not is_told and is_same and not is_next_awaited:
        return _say_over(record)
    is_former_wanted = is_next_awaited and seen is not None and not record.is_over
    if blocker is not None and not (is_former_wanted and blocker.lets_former_run):
        # Before the pause: what is missing may take longer, and only people can mend it.
        return Plan(Action.NONE, blocker.state, blocker.waiting_for, blocker.fault)
    waiting_for, fault = (blocker.waiting_for, blocker.fault) if blocker else ("", None)
    if wait_s > 0:
        return Plan(Action.NONE, AppState.BACK_OFF, waiting_for or "the next start", fault, wake_in_s=wait_s)
    return Plan(Action.CREATE if seen is None else Action.START, AppState.STARTING, waiting_for, fault)


def _plan_running(blocker: Blocker | None, is_told: bool) -> Plan:
    """A running app goes on while what it will need next is not ready; that shows as what it waits for."""
    if is_told and blocker is None:
        return Plan(Action.RESTART, AppState.RESTARTING, _FORMER_RUN)
    if blocker is not None:
        return Plan(Action.NONE, AppState.RUNNING, blocker.waiting_for, blocker.fault)
    return Plan(Action.NONE, AppState.RUNNING)


def plan_update(planned: Plan, record: AppRecord, seen: Seen | None, snapshot: str) -> Plan:
    """Put the stop of an update off from its start, until ``snapshot`` is taken; empty = nothing is to be saved first.

    An update is a restart or another spec of an app that has run; how it came to stand still is on record.
    """
    if not snapshot or seen is None:
        return planned
    waiting_for = f"snapshot {snapshot} before its update"
    if planned.action in (Action.RESTART, Action.REPLACE) and seen.state is WorkloadState.RUNNING:
        return Plan(Action.STOP_FOR_UPDATE, planned.state, waiting_for)
    if record.is_updating and planned.action in (Action.CREATE, Action.START, Action.REPLACE):
        return Plan(Action.NONE, AppState.RESTARTING, waiting_for)
    return planned


def plan_meanwhile(planned: Plan, blocker: Blocker | None) -> Plan:
    """What to say while ``planned`` is being done and something has changed: the wait that comes after it, if there is one."""
    if blocker is None:
        return planned
    return msgspec.structs.replace(planned, waiting_for=blocker.waiting_for, fault=blocker.fault)


def is_next_image_awaited(app: DesiredApp, record: AppRecord, blocker: Blocker | None) -> bool:
    """Whether the app ran with another image than it is to run with next."""
    return blocker is not None and record.image_id not in ("", app.image_id)


def has_never_run(record: AppRecord, seen: Seen) -> bool:
    """Whether no start of the workload is on record, so that nothing of the app's own is in it."""
    return seen.state is WorkloadState.CREATED and not (record.has_run and record.digest == seen.spec_digest)


def has_restart_command(app: DesiredApp, record: AppRecord) -> bool:
    return record.restart_counter is not None and app.restart_counter != record.restart_counter


def record_start(record: AppRecord, app: DesiredApp, seen: Seen, *, volumes: list[str], now: float) -> AppRecord:
    """The record after a start. A new spec counts its restarts anew."""
    is_same = seen.spec_digest == record.digest
    return msgspec.structs.replace(
        record,
        restart_counter=app.restart_counter,
        purge_counter=app.purge_counter,
        root_generation=app.root_generation,
        digest=seen.spec_digest,
        restarts=record.restarts + 1 if is_same and record.has_run else 0 if not is_same else record.restarts,
        failures=record.failures if is_same else 0,
        has_run=True,
        is_over=False,
        current=RunRecord(started_at=seen.started_at or now),
        volumes=volumes,
        image_id=app.image_id,
        is_updating=False,
    )


def _is_end_unknown(record: AppRecord, seen: Seen) -> bool:
    """After a reboot podman 5 calls what ran "exited", with code 0 and the end of the run before, or none.

    The start is no measure: podman notes it after the container runs, so one that ends at once has ended before.
    """
    former = record.last.finished_at if record.last else 0.0
    return seen.exit_code == 0 and seen.finished_at <= former


def record_end(record: AppRecord, seen: Seen | None, policy: RestartPolicy, *, is_asked: bool, now: float) -> AppRecord:
    """The record after an end; ``is_asked``: the node stopped it on purpose. None seen = somebody removed the container."""
    started_at = record.current.started_at if record.current else 0.0
    if seen is None:
        ended = RunRecord(started_at, now, 137, "Error")
    elif seen.is_lost or seen.state is WorkloadState.CREATED or _is_end_unknown(record, seen):
        ended = RunRecord(started_at, now, 255, "NodeRestarted")
    else:
        finished_at = seen.finished_at or now
        ended = RunRecord(started_at, finished_at, seen.exit_code, _say_reason(seen, is_asked))
    record = msgspec.structs.replace(record, current=None, last=ended)
    if is_asked or ended.reason == "NodeRestarted":
        return msgspec.structs.replace(record, failures=0, is_over=False)
    is_success = ended.exit_code == 0
    is_good = ended.finished_at - ended.started_at >= GOOD_RUN_S
    return msgspec.structs.replace(
        record,
        failures=1 if is_good else record.failures + 1,
        is_over=policy is RestartPolicy.NEVER or (policy is RestartPolicy.ON_FAILURE and is_success),
    )


def record_start_failure(record: AppRecord, now: float) -> AppRecord:
    failed = RunRecord(now, now, 128, "StartError")
    return msgspec.structs.replace(record, current=None, last=failed, failures=record.failures + 1)


def want_delay_s(record: AppRecord) -> float:
    """Pause before the next start: 1 s after the first failure, doubling to five minutes."""
    if record.failures == 0:
        return 0.0
    return float(min(LIMIT_DELAY_S, FIRST_DELAY_S * 2 ** min(record.failures - 1, 20)))


def _say_reason(seen: Seen, is_asked: bool) -> str:
    if is_asked:
        return "Stopped"
    if seen.is_oom:
        return "OOMKilled"
    if seen.reason:
        return seen.reason
    return "Completed" if seen.exit_code == 0 else "Error"


def _say_over(record: AppRecord) -> Plan:
    code = record.last.exit_code if record.last else 0
    if code == 0:
        return Plan(Action.NONE, AppState.COMPLETED)
    fault = Fault("ExitedWithError", f"exit code {code} and the restart policy wants no restart")
    return Plan(Action.NONE, AppState.FAILED, fault=fault)


def _state_of_replacement(app: DesiredApp, record: AppRecord) -> AppState:
    is_purge = (app.purge_counter, app.root_generation) != (record.purge_counter, record.root_generation)
    return AppState.PURGING if is_purge else AppState.RESTARTING
