"""Conditions of a cluster about what is kept of it and what runs in it: etcd, snapshots, add-ons."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from eaves.controller.compile.clusteraddons import want_add_on
from eaves.controller.observe.conditions import FALSE, TRUE, UNKNOWN, Fact
from eaves.controller.reconcile.clusters.draft import Draft
from eaves.kinds.k3scluster_spec import ClusterDatastore
from eaves.kinds.k3scluster_status import AddOnStatus, ClusterSnapshot, K3sMemberStatus
from eaves.kinds.times import parse_time, render_time
from eaves.kit.cron import find_next

PENDING, READY, FAILED, REMOVING = "Pending", "Ready", "Failed", "Removing"
"""States of an add-on; one that is Applied is there and not ready yet."""
_SNAPSHOT_LIMIT_S = 3600.0
"""How long after its time a scheduled snapshot may be taken, shipped and told of."""


def judge_etcd(draft: Draft) -> Fact:
    """Whether every server's member of the embedded etcd is well, and all of them know each other."""
    if draft.spec.datastore is not ClusterDatastore.EMBEDDED_ETCD:
        return Fact(
            "EtcdHealthy", UNKNOWN, "NoEtcd", f"the cluster keeps its state in datastore {draft.spec.datastore}"
        )
    joined = [server for server in draft.servers() if server.joined]
    if not joined:
        return Fact("EtcdHealthy", UNKNOWN, "NotStarted", "no server has joined yet")
    # A device that knows the public fields alone does not tell of its etcd.
    servers = [server for server in joined if server.state]
    if not servers:
        return Fact("EtcdHealthy", UNKNOWN, "NotTold", "no server tells of its etcd")
    well = [server for server in servers if server.etcd_healthy]
    if not any(draft.is_connected(server) for server in servers):
        return Fact("EtcdHealthy", UNKNOWN, "NoContact", "no server is in contact")
    count = f"{len(well)} of {len(servers)} members are healthy"
    if len(well) < len(servers):
        ill = ", ".join(server.node_name for server in servers if not server.etcd_healthy)
        return Fact("EtcdHealthy", FALSE, "MembersUnhealthy", f"{count}; not well or out of contact: {ill}")
    known = max(server.etcd_members for server in well)
    # EVE makes agents servers too.
    if known and known != len(joined) and not draft.has_eve:
        return Fact("EtcdHealthy", FALSE, "MembersDiffer", f"{count}, but etcd counts {known} that vote")
    return Fact("EtcdHealthy", TRUE, "AllMembersHealthy", count)


def judge_datastore(draft: Draft) -> Fact:
    """Whether an external datastore answers the servers; the others are parts of K3s."""
    if draft.spec.datastore is not ClusterDatastore.EXTERNAL:
        return Fact("DatastoreHealthy", UNKNOWN, "NotExternal", f"{draft.spec.datastore} is a part of the servers")
    joined = [server for server in draft.servers() if server.joined]
    if not joined:
        return Fact("DatastoreHealthy", UNKNOWN, "NotStarted", "no server has joined yet")
    servers = [server for server in joined if draft.is_connected(server) and not server.stopped]
    if not servers:
        return Fact("DatastoreHealthy", UNKNOWN, "NoContact", "no server is in contact")
    # Only a server whose API answers can tell; one without it may have lost the datastore, or anything else.
    silent = [server for server in servers if not server.etcd_healthy]
    if not silent:
        return Fact("DatastoreHealthy", TRUE, "Answering", f"the datastore answers {_names(servers)}")
    told = "; ".join(f"{server.node_name}{f': {server.message}' if server.message else ''}" for server in silent[:5])
    if len(silent) < len(servers):
        return Fact("DatastoreHealthy", FALSE, "NotAnsweringAll", f"not every server works with the datastore: {told}")
    return Fact("DatastoreHealthy", FALSE, "NotAnswering", f"no server works with the datastore: {told}")


def _names(servers: Sequence[K3sMemberStatus]) -> str:
    return ", ".join(server.node_name for server in servers)


def judge_backup(draft: Draft, snapshots: Sequence[ClusterSnapshot]) -> Fact:
    """``snapshots``: newest first."""
    if draft.spec.backup is None:
        return Fact("BackupHealthy", UNKNOWN, "NotConfigured", "no backup is asked for; set spec.backup")
    if not snapshots:
        return Fact("BackupHealthy", UNKNOWN, "NoSnapshotYet", "no snapshot has been taken yet")
    newest = snapshots[0]
    is_shipped = newest.shipped or draft.spec.backup.datastore_ref is None
    if newest.message or not is_shipped:
        text = newest.message or "it is not in the Datastore yet"
        reason = "SnapshotFailed" if newest.message else "NotShipped"
        return Fact("BackupHealthy", FALSE, reason, f"snapshot {newest.name}: {text}")
    if due_at := _find_missed(draft, draft.spec.backup.schedule, snapshots):
        text = f"none was told of that was due at {render_time(due_at)}; the newest snapshot is {newest.name}"
        return Fact("BackupHealthy", FALSE, "Overdue", text)
    return Fact("BackupHealthy", TRUE, "SnapshotTaken", f"the newest snapshot is {newest.name}")


def _find_missed(draft: Draft, schedule: str, snapshots: Sequence[ClusterSnapshot]) -> float:
    """When the one after the newest scheduled snapshot was due, in Unix seconds; 0 while that is not long ago.

    Before the first one nobody knows since when the schedule is there. One from after now was taken by a clock that was ahead.
    """
    times = [parse_time(found.taken_at) for found in snapshots if found.scheduled and found.taken_at]
    taken_at = next((time for time in times if time <= draft.now + _SNAPSHOT_LIMIT_S), None)
    if not schedule or taken_at is None:
        return 0.0
    due_at = find_next(schedule, taken_at)
    return due_at if draft.is_past(due_at + _SNAPSHOT_LIMIT_S) else 0.0


def list_add_ons(draft: Draft, told: Sequence[AddOnStatus]) -> list[AddOnStatus]:
    """One entry for each that the spec names, as the leader tells of it, and for those that are still to go."""
    by_name = {entry.name: entry for entry in told}
    found = []
    for add_on in draft.spec.add_ons:
        entry = by_name.pop(add_on.name, AddOnStatus(name=add_on.name))
        if entry.digest != want_add_on(add_on).digest:
            # What is told is of its former form.
            waiting_for = f"server {draft.leader} to get it" if draft.has_api and draft.leader else "the cluster's API"
            entry = msgspec.structs.replace(entry, state=PENDING, message=f"waits for {waiting_for}")
        found.append(entry)
    # The leader tells of the others as long as they are there; what it said before it heard that they shall go is old.
    found += [
        entry if entry.state == REMOVING else msgspec.structs.replace(entry, state=REMOVING, message="")
        for entry in by_name.values()
    ]
    return sorted(found, key=lambda entry: entry.name)


def judge_add_ons(entries: Sequence[AddOnStatus]) -> Fact:
    """Whether all that is to run in the cluster does."""
    if not entries:
        return Fact("AddOnsReady", TRUE, "NoAddOns", "no add-ons are asked for")
    waiting = [entry for entry in entries if entry.state != READY]
    if not waiting:
        return Fact("AddOnsReady", TRUE, "AllReady", f"{len(entries)} of {len(entries)} add-ons are ready")
    reason = "AddOnFailed" if any(entry.state == FAILED for entry in waiting) else "AddOnsNotReady"
    texts = [f"{entry.name}: {entry.message or entry.state}" for entry in waiting]
    ready = len(entries) - len(waiting)
    return Fact("AddOnsReady", FALSE, reason, f"{ready} of {len(entries)} add-ons are ready; {'; '.join(texts[:5])}")
