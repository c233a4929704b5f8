"""What is told about an app."""

from __future__ import annotations

import msgspec

from eaves.node.desired.model import AppKind, DesiredApp
from eaves.node.networks.connection import Connection
from eaves.node.observed import AppState, AppStatus, Fault, InterfaceStatus, RunRecord
from eaves.node.workloads.plan import Action, AppRecord, Plan
from eaves.node.workloads.status import want_status

APP = DesiredApp(
    id="app",
    version="2",
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
LINK = InterfaceStatus("default", "n1", "02:00:00:00:00:02", ("10.0.0.2",))
CONNECTION = Connection("/run/netns/app", "app", "", "", (LINK,), Fault("Soft", "port taken"))
RECORD = AppRecord(current=RunRecord(5.0), restarts=1)


def tell(
    planned: Plan, *, connection: Connection | None = None, former: AppStatus | None = None, now: float = 100.0
) -> AppStatus:
    return want_status(
        APP, planned, RECORD, None, image_digest="", connection=connection, fault=None, former=former, now=now
    )


def test_running_app_tells_its_interfaces_and_what_is_wrong_with_them() -> None:
    status = tell(Plan(Action.NONE, AppState.RUNNING), connection=CONNECTION)
    assert (status.interfaces, status.fault, status.version) == ((LINK,), CONNECTION.fault, "2")
    assert tell(Plan(Action.NONE, AppState.HALTED), connection=CONNECTION).interfaces == ()


def test_app_that_runs_on_keeps_its_interfaces() -> None:
    former = tell(Plan(Action.NONE, AppState.RUNNING), connection=CONNECTION)
    assert tell(Plan(Action.NONE, AppState.RUNNING, "image web: unpacking"), former=former).interfaces == (LINK,)
    assert tell(Plan(Action.NONE, AppState.RUNNING)).interfaces == ()


def test_next_start_does_not_wander() -> None:
    first = tell(Plan(Action.NONE, AppState.BACK_OFF, wake_in_s=10.0))
    assert first.next_start_at == 110.0
    again = tell(Plan(Action.NONE, AppState.BACK_OFF, wake_in_s=6.7), former=first, now=103.5)
    assert again.next_start_at == 110.0
    assert tell(Plan(Action.NONE, AppState.RUNNING), former=first).next_start_at == 0.0
    assert msgspec.structs.replace(first, next_start_at=0.0) == tell(
        Plan(Action.NONE, AppState.BACK_OFF, wake_in_s=-100.0)
    )
