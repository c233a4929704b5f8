"""What is done next for an app, for every state that the world can be in."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eaves.node.desired.model import AppKind, DesiredApp, RestartPolicy
from eaves.node.observed import AppState, Fault, RunRecord
from eaves.node.workloads.abc import Seen, WorkloadState
from eaves.node.workloads.plan import (
    GOOD_RUN_S,
    LIMIT_DELAY_S,
    Action,
    AppRecord,
    Blocker,
    Plan,
    has_never_run,
    plan_app,
    plan_meanwhile,
    plan_update,
    record_end,
    record_start,
    record_start_failure,
    want_delay_s,
)

APP = DesiredApp(
    id="app",
    version="1",
    name="app",
    namespace="default",
    kind=AppKind.CONTAINER,
    activate=True,
    image_id="image",
    root_volume_id="root",
    root_generation=0,
    memory_bytes=0,
    cpu_millis=0,
)
WAITING = Blocker(AppState.DOWNLOADING, "image web: download at 5 %")
RAN = AppRecord(restart_counter=0, digest="d1", has_run=True)


def see(state: WorkloadState, digest: str = "d1", **changes: object) -> Seen:
    return msgspec.structs.replace(Seen("app", "c1", state, digest), **changes)


def plan(
    app: DesiredApp | None = APP,
    record: AppRecord = RAN,
    seen: Seen | None = None,
    *,
    digest: str = "d1",
    blocker: Blocker | None = None,
    wait_s: float = 0.0,
) -> Plan:
    wanted = "" if blocker else digest
    return plan_app(app, record, seen, wanted_digest=wanted, blocker=blocker, wait_s=wait_s)


def change(**changes: object) -> DesiredApp:
    return msgspec.structs.replace(APP, **changes)


@pytest.mark.parametrize(
    ("planned", "action", "state"),
    [
        (plan(record=AppRecord()), Action.CREATE, AppState.STARTING),
        (plan(record=AppRecord(), blocker=WAITING), Action.NONE, AppState.DOWNLOADING),
        (plan(seen=see(WorkloadState.RUNNING)), Action.NONE, AppState.RUNNING),
        (plan(seen=see(WorkloadState.RUNNING), blocker=WAITING), Action.NONE, AppState.RUNNING),
        (plan(seen=see(WorkloadState.RUNNING, "old")), Action.REPLACE, AppState.RESTARTING),
        (plan(change(purge_counter=1), seen=see(WorkloadState.RUNNING, "old")), Action.REPLACE, AppState.PURGING),
        (plan(change(restart_counter=1), seen=see(WorkloadState.RUNNING)), Action.RESTART, AppState.RESTARTING),
        (plan(change(activate=False), seen=see(WorkloadState.RUNNING)), Action.STOP, AppState.HALTING),
        (plan(change(activate=False), seen=see(WorkloadState.ENDED)), Action.NONE, AppState.HALTED),
        (plan(change(activate=False)), Action.NONE, AppState.HALTED),
        (plan(seen=see(WorkloadState.ENDED)), Action.START, AppState.STARTING),
        (plan(seen=see(WorkloadState.CREATED)), Action.START, AppState.STARTING),
        (plan(seen=see(WorkloadState.ENDED), wait_s=4), Action.NONE, AppState.BACK_OFF),
        (plan(seen=see(WorkloadState.ENDED), blocker=WAITING), Action.NONE, AppState.DOWNLOADING),
        (plan(seen=see(WorkloadState.ENDED), blocker=WAITING, wait_s=4), Action.NONE, AppState.DOWNLOADING),
        (
            plan(change(restart_counter=1), seen=see(WorkloadState.RUNNING), blocker=WAITING),
            Action.NONE,
            AppState.RUNNING,
        ),
        (plan(None, seen=see(WorkloadState.RUNNING)), Action.REMOVE, AppState.HALTING),
        (plan(None), Action.FORGET, AppState.HALTING),
    ],
)
def test_next_step(planned: Plan, action: Action, state: AppState) -> None:
    assert (planned.action, planned.state) == (action, state)


def test_restart_command_ends_a_pause_and_a_completion() -> None:
    over = msgspec.structs.replace(RAN, is_over=True, last=RunRecord(1, 2, 0, "Completed"))
    told = change(restart_counter=5)
    assert plan(told, over, see(WorkloadState.ENDED)).action is Action.START
    assert plan(told, RAN, see(WorkloadState.ENDED), wait_s=100).action is Action.START


def test_first_restart_counter_is_remembered_and_not_obeyed() -> None:
    app = change(restart_counter=7)
    assert plan(app, AppRecord(), see(WorkloadState.RUNNING)).action is Action.NONE
    record = record_start(AppRecord(), app, see(WorkloadState.RUNNING), volumes=[], now=10)
    assert record.restart_counter == 7


def test_completed_app_stays_so_also_when_its_container_is_gone() -> None:
    over = msgspec.structs.replace(RAN, is_over=True, last=RunRecord(1, 2, 0, "Completed"))
    assert plan(record=over, seen=see(WorkloadState.ENDED)).state is AppState.COMPLETED
    assert plan(record=over).state is AppState.COMPLETED
    assert plan(record=over, digest="d2").action is Action.CREATE, "another spec is another run"


def test_completed_app_waits_for_its_next_image_and_for_nothing_else() -> None:
    over = msgspec.structs.replace(RAN, is_over=True, image_id="image", last=RunRecord(1, 2, 0, "Completed"))
    ended = see(WorkloadState.ENDED)
    assert plan(record=over, seen=ended, blocker=WAITING).state is AppState.COMPLETED
    waiting = plan(change(image_id="other"), over, ended, blocker=WAITING)
    assert (waiting.state, waiting.waiting_for) == (AppState.DOWNLOADING, WAITING.waiting_for)


def test_former_container_works_until_the_next_image_is_there() -> None:
    record = msgspec.structs.replace(RAN, image_id="image")
    newer, ended = change(image_id="other"), see(WorkloadState.ENDED)
    blocker = msgspec.structs.replace(WAITING, lets_former_run=True)
    assert plan(newer, record, ended, blocker=blocker) == Plan(Action.START, AppState.STARTING, WAITING.waiting_for)
    pause = plan(newer, record, ended, blocker=blocker, wait_s=3)
    assert pause == Plan(Action.NONE, AppState.BACK_OFF, WAITING.waiting_for, wake_in_s=3)
    assert plan(newer, record, None, blocker=blocker).action is Action.NONE, "there is no former container"
    assert plan(APP, record, ended, blocker=blocker).action is Action.NONE, "its own image is missing"
    assert plan(newer, record, ended, blocker=WAITING).action is Action.NONE, "its network is missing"
    over = msgspec.structs.replace(record, is_over=True)
    assert plan(newer, over, ended, blocker=blocker).action is Action.NONE, "the former run is over"


def test_stop_that_takes_long_tells_what_comes_after_it() -> None:
    restart = plan(change(restart_counter=1), seen=see(WorkloadState.RUNNING))
    assert restart.waiting_for == "the end of its former run"
    fault = Fault("ManifestUnknown", "manifest unknown")
    meanwhile = plan_meanwhile(restart, Blocker(AppState.DOWNLOADING, "image web: failed", fault))
    assert meanwhile == Plan(Action.RESTART, AppState.RESTARTING, "image web: failed", fault)
    assert plan_meanwhile(restart, None) == restart


def test_failed_app_that_must_not_restart_says_why() -> None:
    over = msgspec.structs.replace(RAN, is_over=True, last=RunRecord(1, 2, 3, "Error"))
    planned = plan(record=over, seen=see(WorkloadState.ENDED))
    assert planned.state is AppState.FAILED
    assert planned.fault is not None
    assert "exit code 3" in planned.fault.message


@pytest.mark.parametrize(
    ("policy", "code", "is_over"),
    [
        (RestartPolicy.ALWAYS, 0, False),
        (RestartPolicy.ALWAYS, 1, False),
        (RestartPolicy.ON_FAILURE, 0, True),
        (RestartPolicy.ON_FAILURE, 1, False),
        (RestartPolicy.NEVER, 0, True),
        (RestartPolicy.NEVER, 1, True),
    ],
)
def test_restart_policy(policy: RestartPolicy, code: int, is_over: bool) -> None:
    seen = see(WorkloadState.ENDED, exit_code=code, finished_at=20)
    record = record_end(RAN, seen, policy, is_asked=False, now=20)
    assert record.is_over is is_over
    assert record.last is not None
    assert record.last.reason == ("Completed" if code == 0 else "Error")


def test_power_cut_counts_as_no_end() -> None:
    running = msgspec.structs.replace(RAN, current=RunRecord(5), failures=4)
    never_ended = see(WorkloadState.ENDED, started_at=5, finished_at=0)
    for seen in (see(WorkloadState.CREATED), see(WorkloadState.ENDED, is_lost=True), never_ended):
        record = record_end(running, seen, RestartPolicy.NEVER, is_asked=False, now=9)
        assert (record.is_over, record.failures) == (False, 0)
        assert record.last == RunRecord(5, 9, 255, "NodeRestarted")


def test_the_end_of_the_run_before_is_no_end_of_this_one() -> None:
    running = msgspec.structs.replace(RAN, current=RunRecord(5), last=RunRecord(1, 4, 1, "Error"))
    record = record_end(
        running, see(WorkloadState.ENDED, finished_at=4), RestartPolicy.ON_FAILURE, is_asked=False, now=9
    )
    assert record.last == RunRecord(5, 9, 255, "NodeRestarted")


def test_an_end_that_podman_dates_before_its_start_counts() -> None:
    running = msgspec.structs.replace(RAN, current=RunRecord(5.2))
    seen = see(WorkloadState.ENDED, started_at=5.2, finished_at=5.1)
    record = record_end(running, seen, RestartPolicy.ON_FAILURE, is_asked=False, now=9)
    assert record.is_over


def test_pauses_double_to_five_minutes_and_start_anew_after_a_good_run() -> None:
    record = msgspec.structs.replace(RAN, current=RunRecord(0))
    pauses = []
    for _ in range(12):
        ended = see(WorkloadState.ENDED, exit_code=1, finished_at=1)
        record = record_end(record, ended, RestartPolicy.ALWAYS, is_asked=False, now=1)
        pauses.append(want_delay_s(record))
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    long_run = msgspec.structs.replace(record, current=RunRecord(100))
    ended = see(WorkloadState.ENDED, exit_code=1, finished_at=100 + GOOD_RUN_S)
    assert want_delay_s(record_end(long_run, ended, RestartPolicy.ALWAYS, is_asked=False, now=0)) == 1


def test_asked_stop_is_no_failure() -> None:
    ended = see(WorkloadState.ENDED, exit_code=143, finished_at=9)
    record = record_end(RAN, ended, RestartPolicy.NEVER, is_asked=True, now=9)
    assert (record.failures, record.is_over) == (0, False)
    assert record.last is not None
    assert record.last.reason == "Stopped"


def test_removed_container_and_oom_are_told() -> None:
    gone = record_end(RAN, None, RestartPolicy.ALWAYS, is_asked=False, now=9).last
    assert gone is not None
    assert (gone.exit_code, gone.reason) == (137, "Error")
    killed = see(WorkloadState.ENDED, exit_code=137, is_oom=True)
    last = record_end(RAN, killed, RestartPolicy.ALWAYS, is_asked=False, now=9).last
    assert last is not None
    assert last.reason == "OOMKilled"


def test_restarts_count_runs_of_one_spec() -> None:
    first = record_start(AppRecord(), APP, see(WorkloadState.RUNNING), volumes=["v"], now=1)
    assert (first.restarts, first.volumes) == (0, ["v"])
    second = record_start(first, APP, see(WorkloadState.RUNNING), volumes=[], now=2)
    assert second.restarts == 1
    other = record_start(second, APP, see(WorkloadState.RUNNING, "d2"), volumes=[], now=3)
    assert other.restarts == 0


@given(st.integers(0, 10_000))
def test_pause_is_always_bounded(failures: int) -> None:
    assert 0 <= want_delay_s(AppRecord(failures=failures)) <= LIMIT_DELAY_S


SEEN = [
    None,
    *(
        see(state, digest, exit_code=code, is_lost=is_lost)
        for state, digest, code, is_lost in itertools.product(WorkloadState, ("d1", "d2"), (0, 1), (False, True))
    ),
]
RECORDS = st.builds(
    AppRecord,
    restart_counter=st.none() | st.integers(0, 2),
    digest=st.sampled_from(["", "d1", "d2"]),
    failures=st.integers(0, 20),
    is_over=st.booleans(),
    has_run=st.booleans(),
    last=st.none() | st.just(RunRecord(1, 2, 1, "Error")),
)
APPS = st.none() | st.builds(
    change,
    activate=st.booleans(),
    restart_counter=st.integers(0, 2),
    purge_counter=st.integers(0, 1),
    restart_policy=st.sampled_from(RestartPolicy),
)


@settings(max_examples=1500)
@given(
    app=APPS,
    record=RECORDS,
    seen=st.sampled_from(SEEN),
    blocker=st.none() | st.just(WAITING),
    wait_s=st.sampled_from([-5.0, 0.0, 3.0]),
)
def test_whatever_the_world_is_like(
    app: DesiredApp | None, record: AppRecord, seen: Seen | None, blocker: Blocker | None, wait_s: float
) -> None:
    planned = plan(app, record, seen, blocker=blocker, wait_s=wait_s)
    assert (planned.action is Action.CREATE) <= (seen is None), "never a second container"
    if planned.action in (Action.START, Action.STOP, Action.RESTART, Action.REPLACE, Action.REMOVE):
        assert seen is not None
    if planned.action in (Action.CREATE, Action.START, Action.REPLACE, Action.RESTART):
        assert app is not None
        assert app.activate
        assert blocker is None, "nothing starts before what it needs is there"
    if seen is not None and seen.state is WorkloadState.RUNNING and app is not None and app.activate:
        assert planned.action in (Action.NONE, Action.RESTART, Action.REPLACE)
        assert seen.spec_digest != "d1" or planned.action is not Action.REPLACE, "the same spec is left alone"
    if planned.state is AppState.BACK_OFF:
        assert planned.wake_in_s > 0


@settings(max_examples=300)
@given(
    record=RECORDS,
    seen=st.sampled_from(SEEN),
    policy=st.sampled_from(RestartPolicy),
    codes=st.lists(st.integers(0, 3), max_size=8),
)
def test_an_app_settles(record: AppRecord, seen: Seen | None, policy: RestartPolicy, codes: list[int]) -> None:
    """Carry out whatever is planned, let runs end with ``codes``: the app ends up running or over, within few steps."""
    app = change(restart_policy=policy)
    ends = iter(codes)
    steps = 0
    while True:
        steps += 1
        assert steps < 60
        planned = plan_app(app, record, seen, wanted_digest="d1", blocker=None, wait_s=0)
        match planned.action:
            case Action.CREATE | Action.START | Action.RESTART | Action.REPLACE:
                seen = see(WorkloadState.RUNNING)
                record = record_start(record, app, seen, volumes=[], now=1)
            case Action.NONE if planned.state is AppState.RUNNING and (code := next(ends, None)) is not None:
                seen = see(WorkloadState.ENDED, exit_code=code, finished_at=2)
                record = record_end(record, seen, policy, is_asked=False, now=2)
            case Action.NONE:
                break
            case _:
                raise AssertionError(planned)
    assert planned.state in (AppState.RUNNING, AppState.COMPLETED, AppState.FAILED)


def test_failed_start_is_recorded() -> None:
    record = record_start_failure(RAN, 5)
    assert record.last == RunRecord(5, 5, 128, "StartError")
    assert want_delay_s(record) == 1


@pytest.mark.parametrize(
    ("record", "state", "digest", "never"),
    [
        (AppRecord(), WorkloadState.CREATED, "d1", True),
        (RAN, WorkloadState.CREATED, "d2", True),
        (RAN, WorkloadState.CREATED, "d1", False),
        (AppRecord(), WorkloadState.ENDED, "d1", False),
    ],
)
def test_workload_that_never_ran_may_be_made_anew(
    record: AppRecord, state: WorkloadState, digest: str, never: bool
) -> None:
    assert has_never_run(record, see(state, digest)) is never


def test_an_update_stops_first_and_starts_when_its_snapshot_is_taken() -> None:
    running, stopped = see(WorkloadState.RUNNING), see(WorkloadState.ENDED)
    updating = msgspec.structs.replace(RAN, is_updating=True)
    for planned in (
        plan(change(restart_counter=1), seen=running),
        plan(seen=see(WorkloadState.RUNNING, "old")),
    ):
        assert plan_update(planned, RAN, running, "s").action is Action.STOP_FOR_UPDATE
        assert plan_update(planned, RAN, running, "") == planned
    for planned in (plan(record=updating, seen=stopped), plan(record=updating, seen=see(WorkloadState.ENDED, "old"))):
        waiting = plan_update(planned, updating, stopped, "s")
        assert (waiting.action, waiting.state) == (Action.NONE, AppState.RESTARTING)
        assert waiting.waiting_for == "snapshot s before its update"
        assert plan_update(planned, updating, stopped, "") == planned


def test_a_stop_that_is_no_update_takes_no_snapshot_on_the_way_back() -> None:
    planned = plan(seen=see(WorkloadState.ENDED))
    assert plan_update(planned, RAN, see(WorkloadState.ENDED), "s") == planned
    assert not record_start(
        msgspec.structs.replace(RAN, is_updating=True), APP, see(WorkloadState.RUNNING), volumes=[], now=1.0
    ).is_updating
