"""Snapshots of the cluster's datastore: by schedule and on order, kept to a number, shipped to a datastore, brought back.

The leader takes them with ``k3s etcd-snapshot save``; of an SQLite datastore SQLite's own backup makes a consistent copy. A snapshot holds
all that a restore on blank hardware needs, together with the cluster's token.
"""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
import sqlite3
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from eaves.kit import cron, files, process
from eaves.kit.errors import EavesError
from eaves.node.clusters import running, spec
from eaves.node.clusters.errors import BackupError
from eaves.node.clusters.membership import Membership
from eaves.node.clusters.model import ClusterFolders
from eaves.node.clusters.shipping import Shipper, want_target
from eaves.node.desired.cluster_model import ClusterBackup, ClusterDatastore, DesiredCluster
from eaves.node.observed_cluster import ClusterSnapshot
from eaves.node.statefile import StateFile

log = logging.getLogger(__name__)

SCHEDULED, ORDERED = "scheduled", "ordered"
RESTORE_LIMIT_S = 1800.0
SAVE_LIMIT_S = 900.0
RETRY_S = 60.0
_CLOCK_SLACK_S = 3600.0
"""Between the clocks of servers that lead one after the other."""
_OURS = re.compile(rf"({SCHEDULED}|{ORDERED}-\d+)-.+-\d+(\.zip|\.db)?")
_TROUBLE = (EavesError, OSError, sqlite3.Error)


class Shipped(Struct, frozen=True):
    size_bytes: int
    taken_at: float


class BackupState(Struct, frozen=True):
    """``shipped``: by name, what is known to be in the datastore. ``store``: where that is."""

    shipped: dict[str, Shipped] = {}
    store: str = ""


class Found(Struct, frozen=True):
    """A snapshot on this disk."""

    name: str
    size_bytes: int
    taken_at: float


class Backups:
    """``snapshots`` and ``order_message`` are what is reported."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._file = StateFile(membership.backup_file, BackupState)
        self._state = BackupState()
        self._retry_at = 0.0
        self._failures: dict[str, str] = {}
        self.snapshots: tuple[ClusterSnapshot, ...] = ()
        self.order_message = ""

    async def open(self) -> None:
        self._state = await self._file.load()

    async def take_turn(self, cluster: DesiredCluster) -> None:
        """Take what is due, ship what is not there yet, prune; never raises for what a later turn can mend."""
        if time.monotonic() >= self._retry_at:
            try:
                await self._take_due(cluster)
                await self._ship_all(cluster)
                await self._prune(cluster)
                self.order_message = ""
            except _TROUBLE as error:
                log.warning("backup is not done: cluster=%s error=%s", cluster.name, error)
                self.order_message = str(error)[:500]
                self._retry_at = time.monotonic() + RETRY_S
        found = await asyncio.to_thread(list_snapshots, self._membership.own)
        self.snapshots = render_snapshots(found, self._state, self._failures)

    async def restore(self, cluster: DesiredCluster) -> None:
        """Obey the order to go back to a snapshot: the first server does, the others drop their data and join it anew.

        Raises EavesError, OSError; the order stands until it is done, and a restore that was cut off begins anew.
        """
        membership, number = self._membership, cluster.orders.restore
        if membership.seen.pid:
            await membership.stop()
        if cluster.datastore is ClusterDatastore.EXTERNAL:
            raise BackupError(
                "an external datastore is restored by its own means", code="RestoreUnsupported", retryable=False
            )
        folders = membership.folders(cluster.id)
        if cluster.join_address == cluster.address:
            rendered, backend = await membership.prepare(replace(cluster, is_initialized=True), is_first=True)
            path = await self._find(cluster, folders)
            log.info("snapshot is restored: cluster=%s snapshot=%s", cluster.name, path.name)
            if cluster.datastore is ClusterDatastore.SQLITE:
                await asyncio.to_thread(put_sqlite, path, folders)
            else:
                await self._reset(rendered, path, folders)
            await membership.update(flannel_backend=backend, is_installed=True, has_restored=True)
        else:
            await membership.begin(cluster)
            await asyncio.to_thread(shutil.rmtree, folders.data / "server" / "db", ignore_errors=True)
        await membership.note_done(restore=number)

    async def _take_due(self, cluster: DesiredCluster) -> None:
        membership, record = self._membership, self._membership.record
        if cluster.orders.snapshot > record.done.snapshot:
            base = f"{ORDERED}-{cluster.orders.snapshot}"
            found = await asyncio.to_thread(list_snapshots, membership.own)
            if not any(one.name.startswith(f"{base}-") for one in found):
                # One that is there was taken before this daemon could note it.
                await self._take(cluster, base)
            await membership.note_done(snapshot=cluster.orders.snapshot)
        if not cluster.backup.schedule:
            return
        now = time.time()
        due_at = _find_due(cluster.backup.schedule, now)
        if not record.last_scheduled_at:
            await membership.update(last_scheduled_at=now)
        elif record.last_scheduled_at < due_at:
            await self._take(cluster, SCHEDULED)
            await membership.update(last_scheduled_at=now)
        elif record.last_scheduled_at > now:
            # The clock was ahead; what it promised for then is not waited for.
            await membership.update(last_scheduled_at=now)

    async def _take(self, cluster: DesiredCluster, base: str) -> None:
        folders = self._membership.own
        before = {found.name for found in await asyncio.to_thread(list_snapshots, folders)}
        if cluster.datastore is ClusterDatastore.EXTERNAL:
            raise BackupError(
                "an external datastore is backed up by its own means", code="BackupUnsupported", retryable=False
            )
        if cluster.datastore is ClusterDatastore.SQLITE:
            await asyncio.to_thread(copy_sqlite, folders, f"{base}-{cluster.node_name}-{int(time.time())}.db")
        else:
            await self._membership.run_k3s("etcd-snapshot", "save", "--name", base, timeout_s=SAVE_LIMIT_S)
        new = [found for found in await asyncio.to_thread(list_snapshots, folders) if found.name not in before]
        if not new:
            raise BackupError("K3s took a snapshot, but there is no new file of it", element=str(folders.snapshots))
        log.info("snapshot is taken: cluster=%s snapshot=%s", cluster.name, new[-1].name)

    async def _ship_all(self, cluster: DesiredCluster) -> None:
        if cluster.backup.store is None:
            return
        shipper = await self._want_shipper(cluster.backup)
        key = f"{cluster.backup.store.id}/{cluster.backup.prefix}"
        if self._state.store != key:
            await self._save(BackupState(store=key))
        for found in await asyncio.to_thread(list_snapshots, self._membership.own):
            if found.name in self._state.shipped:
                continue
            try:
                await asyncio.to_thread(shipper.put, self._membership.own.snapshots / found.name, found.name)
            except BackupError as error:
                self._failures[found.name] = str(error)[:300]
                raise
            self._failures.pop(found.name, None)
            shipped = {**self._state.shipped, found.name: Shipped(found.size_bytes, found.taken_at)}
            await self._save(replace(self._state, shipped=shipped))

    async def _prune(self, cluster: DesiredCluster) -> None:
        if not cluster.backup.keep:
            return
        folders = self._membership.own
        local = [found.name for found in await asyncio.to_thread(list_snapshots, folders)]
        now = time.time()
        for name in list_surplus(local, cluster.backup.keep, now):
            if cluster.backup.store is None or name in self._state.shipped:
                await asyncio.to_thread((folders.snapshots / name).unlink, missing_ok=True)
        if cluster.backup.store is None:
            return
        surplus = list_surplus(self._state.shipped, cluster.backup.keep, now)
        if not surplus:
            return
        shipper = await self._want_shipper(cluster.backup)
        # Another server may have been leader before: what it shipped counts too, where the datastore can be asked.
        there = await asyncio.to_thread(shipper.list_names)
        for name in list_surplus(there, cluster.backup.keep, now) if there is not None else surplus:
            await asyncio.to_thread(shipper.remove, name)
        gone = set(surplus)
        kept = {name: shipped for name, shipped in self._state.shipped.items() if name not in gone}
        await self._save(replace(self._state, shipped=kept))

    async def _reset(self, rendered: spec.K3sSpec, path: Path, folders: ClusterFolders) -> None:
        """K3s makes a cluster of one member out of the snapshot and ends."""
        await asyncio.to_thread((folders.data / "server" / "db" / "reset-flag").unlink, missing_ok=True)
        try:
            argv = spec.render_reset(rendered, str(path))
            done = await process.run(argv, timeout_s=RESTORE_LIMIT_S, env=rendered.environment, check=False)
        except EavesError as error:
            raise BackupError(f"the snapshot cannot be restored: {error}", code="RestoreFailed") from error
        if done.returncode != 0:
            output = self._membership.veil.hide((done.stderr or done.stdout).decode(errors="replace"))
            raise BackupError(
                f"K3s cannot restore the snapshot: {running.find_last_words(output)}",
                code="RestoreFailed",
                resolution="check that the snapshot is of this cluster and its token is the one of that time",
            )

    async def _find(self, cluster: DesiredCluster, folders: ClusterFolders) -> Path:
        """The snapshot to restore: on this disk, below the backup's prefix, or at a path of the datastore."""
        name = cluster.orders.restore_snapshot.strip("/")
        if not name or ".." in name.split("/"):
            raise BackupError("the order to restore names no snapshot", code="RestoreFailed", retryable=False)
        local = folders.snapshots / name
        if "/" not in name and await asyncio.to_thread(local.is_file):
            return local
        if cluster.backup.store is None:
            raise BackupError(
                f"the snapshot {name} is not on this server and the cluster has no datastore for backups",
                code="SnapshotMissing",
                resolution="name the datastore in the cluster's backup, or a snapshot that this server has",
            )
        await asyncio.to_thread(files.want_folder, folders.restores)
        target = folders.restores / name.rpartition("/")[2]
        places = (cluster.backup.prefix, "") if cluster.backup.prefix else ("",)
        problem: BackupError | None = None
        for prefix in places:
            try:
                shipper = await self._want_shipper(replace(cluster.backup, prefix=prefix))
                await asyncio.to_thread(shipper.fetch, name, target)
            except BackupError as error:
                problem = problem or error
            else:
                return target
        raise problem or BackupError("the snapshot cannot be brought back")

    async def _want_shipper(self, backup: ClusterBackup) -> Shipper:
        assert backup.store is not None
        try:
            way = await self._membership.find_way()
        except EavesError as error:
            raise BackupError(f"there is no way out for the snapshot: {error}", resolution=error.resolution) from error
        target = want_target(backup.store, backup.prefix, self._membership.proxies, way)
        return await asyncio.to_thread(Shipper, target)

    async def _save(self, state: BackupState) -> None:
        await self._file.save(state)
        self._state = state


def list_snapshots(folders: ClusterFolders) -> list[Found]:
    """Ours on this disk, the oldest first; those that K3s takes by itself are its own. Blocking."""
    if not folders.snapshots.is_dir():
        return []
    found = []
    for path in folders.snapshots.iterdir():
        if _OURS.fullmatch(path.name) and path.is_file():
            facts = path.stat()
            found.append(Found(path.name, facts.st_size, facts.st_mtime))
    return sorted(found, key=lambda one: (one.taken_at, one.name))


def _find_due(schedule: str, now: float) -> float:
    """Raises BackupError."""
    try:
        return cron.find_last(schedule, now)
    except cron.ScheduleError as error:
        raise BackupError(
            f"schedule {schedule!r} {error}",
            code="BadSchedule",
            retryable=False,
            resolution='write five fields of cron: "0 2 * * *"',
        ) from error


def list_surplus(names: Iterable[str], keep: int, now: float) -> list[str]:
    """Scheduled snapshots beyond the newest ``keep``, the oldest first; ordered ones stay until somebody deletes them.

    Those from after ``now`` (Unix seconds) were taken while the clock was ahead, before those that have a right time since.
    """
    scheduled = [name for name in names if _OURS.fullmatch(name) and name.startswith(f"{SCHEDULED}-")]

    def age(name: str) -> tuple[bool, int]:
        stamp = _stamp_of(name)
        return stamp <= now + _CLOCK_SLACK_S, stamp

    return sorted(scheduled, key=age)[:-keep] if keep > 0 else []


def render_snapshots(
    local: Sequence[Found], state: BackupState, failures: dict[str, str]
) -> tuple[ClusterSnapshot, ...]:
    """What is on this disk or in the datastore, the oldest first."""
    rows = {name: (shipped.taken_at, shipped.size_bytes) for name, shipped in state.shipped.items()}
    rows |= {found.name: (found.taken_at, found.size_bytes) for found in local}
    return tuple(
        ClusterSnapshot(
            name, taken_at, size, name in state.shipped, failures.get(name, ""), name.startswith(f"{SCHEDULED}-")
        )
        for name, (taken_at, size) in sorted(rows.items(), key=lambda row: row[1])
    )


def copy_sqlite(folders: ClusterFolders, name: str) -> None:
    """A consistent copy while K3s writes. Blocking. Raises sqlite3.Error, OSError."""
    files.want_folder(folders.snapshots)
    new = folders.snapshots / f".{name}"
    source = f"file:{folders.data / 'server' / 'db' / 'state.db'}?mode=ro"
    try:
        with closing(sqlite3.connect(source, uri=True)) as database, closing(sqlite3.connect(new)) as copy:
            database.backup(copy, pages=4096)
        new.chmod(0o600)
        new.replace(folders.snapshots / name)
        files.sync_folder(folders.snapshots)
    finally:
        new.unlink(missing_ok=True)


def put_sqlite(path: Path, folders: ClusterFolders) -> None:
    """Make the copy the database of a K3s that stands still. Blocking. Raises OSError."""
    folder = files.want_folder(folders.data / "server" / "db")
    new = folder / ".state.db.new"
    shutil.copyfile(path, new)
    new.chmod(0o600)
    for name in ("state.db-wal", "state.db-shm"):
        (folder / name).unlink(missing_ok=True)
    new.replace(folder / "state.db")
    files.sync_folder(folder)


def _stamp_of(name: str) -> int:
    found = re.search(r"-(\d+)(\.zip|\.db)?$", name)
    return int(found[1]) if found else 0
