"""What the keeper tells about its app: plan, record and container as one status. Pure."""

from __future__ import annotations

from eaves.node.desired.model import DesiredApp
from eaves.node.networks.connection import Connection
from eaves.node.observed import AppState, AppStatus, Fault, InterfaceStatus
from eaves.node.observed_vm import SnapshotStatus, VmStatus
from eaves.node.workloads.abc import Seen
from eaves.node.workloads.plan import AppRecord, Plan


def want_status(
    app: DesiredApp,
    planned: Plan,
    record: AppRecord,
    seen: Seen | None,
    *,
    image_digest: str,
    connection: Connection | None,
    fault: Fault | None,
    former: AppStatus | None,
    now: float,
    vm: VmStatus | None = None,
    snapshots: tuple[SnapshotStatus, ...] = (),
) -> AppStatus:
    """``connection`` None: what the workload would get next is not known; ``former``: what was told last."""
    is_running = planned.state is AppState.RUNNING
    return AppStatus(
        id=app.id,
        version=app.version,
        name=app.name,
        namespace=app.namespace,
        state=planned.state,
        waiting_for=planned.waiting_for,
        container_id=seen.workload_id if seen else "",
        image_digest=image_digest,
        restarts=record.restarts,
        current=record.current if is_running else None,
        last=record.last,
        next_start_at=_want_next_start(planned, former, now),
        interfaces=_want_interfaces(connection, former) if is_running else (),
        volume_ids=tuple(dict.fromkeys((app.root_volume_id, *(mount.volume_id for mount in app.mounts)))),
        vm=vm if is_running else None,
        snapshots=snapshots,
        fault=planned.fault or fault or (connection.fault if connection else None),
    )


def _want_next_start(planned: Plan, former: AppStatus | None, now: float) -> float:
    next_start_at = round(now + planned.wake_in_s, 1) if planned.state is AppState.BACK_OFF else 0.0
    if former is not None and abs(former.next_start_at - next_start_at) < 1:
        # The same moment, reckoned again a little later; a status that differs would be sent again.
        return former.next_start_at
    return next_start_at


def _want_interfaces(connection: Connection | None, former: AppStatus | None) -> tuple[InterfaceStatus, ...]:
    if connection is not None:
        return connection.interfaces
    # The container runs on as it is while something that it will need next is missing.
    return former.interfaces if former is not None else ()
