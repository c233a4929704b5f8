"""Virtual machines by QEMU: a monitor and a QEMU a machine, both of which live on when the daemon ends.

A machine's record lies with its app's files; while it runs, its monitor keeps notes in the run folder. An end is seen by the kernel
(pidfd of QEMU) and told by the monitor's last note, whoever was there when it came.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import shutil
import signal
import uuid
from pathlib import Path

import msgspec

from eaves.kit import files
from eaves.kit.errors import EavesError
from eaves.node import pids
from eaves.node.containers.cli import PodmanCli
from eaves.node.desired.model import DesiredApp
from eaves.node.guard import keep_running
from eaves.node.instance import Instance
from eaves.node.observed import Fault
from eaves.node.observed_vm import VmStatus
from eaves.node.vms import launch, limits, pinning, resuming, spec
from eaves.node.vms.errors import VmError
from eaves.node.vms.host import find_architecture, observe_vm_host
from eaves.node.vms.isolation.prepare import GuestRoots
from eaves.node.vms.isolation.session import GuestLinks, GuestSession
from eaves.node.vms.livedisks import MachineDisks
from eaves.node.vms.model import VmFolders, VmHost, VmSpec
from eaves.node.vms.output import OutputSession
from eaves.node.vms.saved import SUSPENDED, Origin, Resume
from eaves.node.vms.session import DISK_FULL, Session
from eaves.node.vms.state import RECORD, VmRecord, load_record, load_seen, save_resume
from eaves.node.vms.stopping import stop_machine
from eaves.node.volumes.model import SNAPSHOTS
from eaves.node.workloads import cgroups
from eaves.node.workloads.abc import Ready, Seen, Usage, WorkloadEngine
from eaves.node.workloads.paths import find_app_files
from eaves.node.workloads.sessions import Command, SessionUnsupportedError
from eaves.node.workloads.sessions import Session as OpenSession

log = logging.getLogger(__name__)

_NOTE_LIMIT_S = 20.0
"""How long the monitor may take to write down the end of its machine."""


class QemuEngine(WorkloadEngine[VmSpec]):
    """``cli`` is needed by containers with a kernel of their own, whose images podman holds."""

    def __init__(self, instance: Instance, cli: PodmanCli | None = None) -> None:
        self._instance = instance
        self._roots = GuestRoots(instance, cli) if cli is not None else None
        self._specs: dict[str, VmSpec] = {}
        self._records: dict[str, VmRecord] = {}
        self._sessions: dict[str, Session] = {}
        self._oom_before: dict[str, int] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._host: VmHost | None = None
        self._host_lock = asyncio.Lock()
        self._pinning = asyncio.Lock()
        self._wake = asyncio.Event()
        self._links = GuestLinks()
        self.disks = MachineDisks(lambda: self.sessions, self._want_resumed)

    @property
    def host(self) -> VmHost | None:
        """What the node offers; None until the first machine is wanted."""
        return self._host

    @property
    def sessions(self) -> tuple[Session, ...]:
        """Those of the machines that run now."""
        return tuple(self._sessions.values())

    def want_spec(self, app: DesiredApp, ready: Ready, *, log_path: str, key: bytes) -> VmSpec:
        wanted = spec.want_spec(app, ready, find_architecture(), log_path=log_path, key=key)
        # A start of what is there already gets no spec; secrets are not kept on disk for it.
        self._specs[app.id] = wanted
        if (session := self._sessions.get(app.id)) is not None:
            session.learn(wanted, self._host)
        return wanted

    async def observe(self) -> dict[str, Seen]:
        found = await asyncio.to_thread(self._observe)
        for seen in found.values():
            self._note_running(seen)
        return found

    async def observe_one(self, app_id: str) -> Seen | None:
        return await asyncio.to_thread(self._load, app_id)

    async def create(self, wanted: VmSpec) -> Seen:
        former = await self.observe_one(wanted.app_id)
        if former is not None:
            # A former daemon was killed while it made this one: what it left is not known to be whole.
            await self.remove(wanted.app_id)
        return await self._start(str(uuid.uuid4()), wanted)

    async def start(self, seen: Seen) -> Seen:
        wanted = self._specs.get(seen.app_id)
        if wanted is None or wanted.digest != seen.spec_digest:
            raise VmError("what this machine was made from is not known", element=f"app {seen.app_id}")
        return await self._start(seen.workload_id, wanted)

    async def stop(self, app_id: str, grace_s: float) -> Seen | None:
        seen = await self.observe_one(app_id)
        if seen is None or not seen.pid:
            return seen
        await stop_machine(self._want_session(seen), seen.pid, grace_s)
        await self._await_note(seen)
        await self._forget(app_id)
        return await self.observe_one(app_id)

    async def suspend(self, app_id: str) -> None:
        """Save a machine's memory and end it: its next start goes on from there. Raises EavesError or OSError."""
        seen = await self.observe_one(app_id)
        if seen is None or not seen.pid:
            return
        session = self._want_session(seen)
        root_disk = Path(session.disks[0])
        folder = root_disk.with_name(f"{root_disk.stem}{SNAPSHOTS}") / SUSPENDED
        await resuming.suspend(session, seen.pid, folder, self._records[app_id].root)
        await self._await_note(seen)
        await self._forget(app_id)

    async def remove(self, app_id: str) -> None:
        """The guest is not asked. Firmware variables and TPM stay with the app's files, for the next machine on the same root."""
        seen = await self.observe_one(app_id)
        if seen is not None and seen.pid:
            pids.send_signal(seen.pid, signal.SIGKILL)
            await self._await_note(seen)
        await self._forget(app_id)
        record = self._records.get(app_id)
        if self._roots is not None and (record is None or record.is_guest):
            await self._roots.remove(app_id)
        await asyncio.to_thread(self._remove, app_id)

    async def wait_end(self, seen: Seen) -> Seen | None:
        self._note_running(seen)
        monitor_pid = seen.monitor_pid
        while True:
            await _wait_any(seen.pid, monitor_pid)
            if not await asyncio.to_thread(pids.is_process, seen.pid):
                break
            # The monitor died: another one takes over, so that the console, the log and the next end are kept.
            log.warning("monitor of a machine died, a new one takes over: app=%s", seen.app_id)
            await self._adopt(seen.app_id)
            found = await self.observe_one(seen.app_id)
            if found is None or found.pid != seen.pid:
                break
            monitor_pid = found.monitor_pid
        kills = await asyncio.to_thread(self._count_new_kills, seen.app_id)
        await self._await_note(msgspec.structs.replace(seen, monitor_pid=monitor_pid))
        session = self._sessions.get(seen.app_id)
        await self._forget(seen.app_id)
        ended = await self.observe_one(seen.app_id)
        if ended is None or ended.workload_id != seen.workload_id:
            return ended
        if session is not None and session.broken_reason:
            return msgspec.structs.replace(ended, exit_code=ended.exit_code or 1, reason=session.broken_reason)
        return msgspec.structs.replace(ended, is_oom=ended.exit_code == 137 and kills > 0)

    async def reopen_log(self, seen: Seen) -> bool:
        found = await self.observe_one(seen.app_id)
        if found is None or not found.monitor_pid:
            return False
        pids.send_signal(found.monitor_pid, signal.SIGUSR1)
        return True

    async def usage(self, seen: Seen) -> Usage | None:
        if not seen.pid:
            return None
        return await asyncio.to_thread(limits.observe_usage, seen.pid, self._cgroup(seen.app_id))

    async def exec(self, seen: Seen, command: Command) -> OpenSession:
        record = self._records.get(seen.app_id)
        if record is None or not record.is_guest:
            raise SessionUnsupportedError("commands cannot be run in a virtual machine: use its console")
        return GuestSession(self._links, seen.app_id, self._folders(seen.app_id).exec, command)

    async def attach(self, seen: Seen, *, stdin: bool) -> OpenSession:
        return await OutputSession.open(self._folders(seen.app_id).live)

    async def teardown(self) -> None:
        for app_id in await asyncio.to_thread(self._list_apps):
            await self.remove(app_id)
        # Whichever engine ends last takes the group of all apps away.
        await asyncio.to_thread(limits.remove_cgroups, self._instance.cgroup)

    def describe(self, app_id: str) -> VmStatus | None:
        session = self._sessions.get(app_id)
        return session.status if session is not None else None

    def fault(self, app_id: str) -> Fault | None:
        session = self._sessions.get(app_id)
        if session is None or not session.paused_reason:
            return None
        is_full = session.paused_reason == DISK_FULL
        resolution = "free space on the node's disk" if is_full else "look at its console, or restart it"
        return Fault("MachinePaused", f"the machine stands still: {session.paused_reason}", resolution)

    async def run(self) -> None:
        """Follow the machines that run, so that what happens to them is known at once. Until cancelled."""
        try:
            while True:
                self._wake.clear()
                for app_id, session in self._sessions.items():
                    if app_id not in self._tasks:
                        follow = keep_running(f"machine {app_id}", functools.partial(self._follow, app_id, session))
                        self._tasks[app_id] = asyncio.create_task(follow, name=f"machine {app_id}")
                await self._wake.wait()
        finally:
            for app_id in list(self._sessions):
                await self._forget(app_id)

    async def _follow(self, app_id: str, session: Session) -> None:
        session.learn(self._specs.get(app_id), await self._want_host())
        self.on_change(app_id)
        await session.run()

    async def _start(self, workload_id: str, wanted: VmSpec) -> Seen:
        disks = tuple(disk.path for disk in wanted.disks)
        record = VmRecord(
            wanted.app_id, workload_id, wanted.digest, wanted.root, disks, is_guest=wanted.container is not None
        )
        host = await self._want_host()
        spec.check_host(wanted, host)
        folders = self._folders(wanted.app_id, wanted.root)
        found = await self.observe_one(wanted.app_id)
        if found is not None and found.pid:
            return found
        start = await resuming.find_start(wanted, host, folders)
        seen = await self._launch(wanted, host, folders, record, start)
        if start.saved is not None and (why := await resuming.go_on(start, self._want_session(seen))):
            seen = await self._boot_instead(seen, wanted, host, folders, record, start, why)
        return seen

    async def _launch(
        self, wanted: VmSpec, host: VmHost, folders: VmFolders, record: VmRecord, start: resuming.Start
    ) -> Seen:
        paths = find_app_files(self._instance, wanted.app_id)
        note = resuming.say_resumed(start) if start.saved is not None else start.note
        record = msgspec.structs.replace(record, note=note)
        # Two machines that start at once must not pick the same processors.
        async with self._pinning if wanted.dedicated_cpus else contextlib.nullcontext():
            cpus = await asyncio.to_thread(self._pick_cpus, wanted) if wanted.dedicated_cpus else []
            await launch.prepare(
                wanted,
                host,
                folders,
                cgroup=self._cgroup(wanted.app_id),
                position=paths.log_position,
                cpus=cpus,
                roots=self._roots,
                saved=start.saved,
            )
            await asyncio.to_thread(files.save_file, folders.keep / RECORD, msgspec.json.encode(record))
            self._records[wanted.app_id] = record
            await launch.start_monitor(folders)
        seen = await self.observe_one(wanted.app_id)
        if seen is None:
            raise VmError("the machine has gone right after its start", element=f"app {wanted.app_id}")
        if start.saved is None:
            # One that waits for its memory is nobody's affair yet.
            self._note_running(seen)
        return seen

    async def _boot_instead(
        self,
        seen: Seen,
        wanted: VmSpec,
        host: VmHost,
        folders: VmFolders,
        record: VmRecord,
        start: resuming.Start,
        why: str,
    ) -> Seen:
        """After memory that could not be loaded."""
        pids.send_signal(seen.pid, signal.SIGKILL)
        await self._await_note(seen)
        await self._forget(wanted.app_id)
        why = await asyncio.to_thread(resuming.find_failure, folders, why)
        return await self._launch(wanted, host, folders, record, await resuming.give_up(start, folders, why))

    async def _want_resumed(self, app_id: str, folder: Path) -> None:
        keep = self._folders(app_id).keep
        if (record := await asyncio.to_thread(load_record, keep)) is not None:
            await asyncio.to_thread(save_resume, keep, Resume(str(folder), Origin.SNAPSHOT, record.root))

    def _pick_cpus(self, wanted: VmSpec) -> list[int]:
        others = [seen.pid for seen in self._observe().values() if seen.pid and seen.app_id != wanted.app_id]
        everything = os.sched_getaffinity(0)
        return pinning.pick_cpus(wanted.vcpus, everything, pinning.observe_taken(others, everything))

    async def _adopt(self, app_id: str) -> None:
        try:
            await launch.start_monitor(self._folders(app_id), is_adoption=True)
        except (EavesError, OSError) as error:
            log.warning("machine goes on without a monitor: app=%s error=%s", app_id, error)
        self.on_change(app_id)

    async def _want_host(self) -> VmHost:
        async with self._host_lock:
            if self._host is None:
                self._host = await observe_vm_host(self._instance)
            return self._host

    async def _await_note(self, seen: Seen) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_NOTE_LIMIT_S):
                await pids.wait_exit(seen.pid)
                await pids.wait_exit(seen.monitor_pid)

    def _want_session(self, seen: Seen) -> Session:
        session = self._sessions.get(seen.app_id)
        if session is None:
            changed = functools.partial(self.on_change, seen.app_id)
            record = self._records[seen.app_id]
            session = Session(self._folders(seen.app_id, record.root), record, changed)
            session.learn(self._specs.get(seen.app_id), self._host)
            self._sessions[seen.app_id] = session
            self._wake.set()
        return session

    def _note_running(self, seen: Seen) -> None:
        if seen.pid:
            self._want_session(seen)

    async def _forget(self, app_id: str) -> None:
        task, session = self._tasks.pop(app_id, None), self._sessions.pop(app_id, None)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        if session is not None:
            await session.close()
        await self._links.forget(app_id)

    def _observe(self) -> dict[str, Seen]:
        return {app_id: seen for app_id in self._list_apps() if (seen := self._load(app_id)) is not None}

    def _list_apps(self) -> list[str]:
        return [path.parent.parent.name for path in self._instance.apps_dir.glob(f"*/vm/{RECORD}")]

    def _load(self, app_id: str) -> Seen | None:
        folders = self._folders(app_id)
        seen = load_seen(folders.keep, folders.run)
        if seen is not None and app_id not in self._records and (record := load_record(folders.keep)) is not None:
            self._records[app_id] = record
        if seen is not None and seen.pid and app_id not in self._oom_before:
            found = limits.find_cgroups(self._cgroup(app_id))
            self._oom_before[app_id] = cgroups.observe_oom_kills(found) if found else 0
        return seen

    def _count_new_kills(self, app_id: str) -> int:
        """How often the kernel killed in the machine's group since its start. The group outlives the machine."""
        found = limits.find_cgroups(self._cgroup(app_id))
        return cgroups.observe_oom_kills(found) - self._oom_before.pop(app_id, 0) if found else 0

    def _remove(self, app_id: str) -> None:
        folders = self._folders(app_id)
        launch.kill_strays(folders)
        (folders.keep / RECORD).unlink(missing_ok=True)
        shutil.rmtree(folders.run, ignore_errors=True)
        limits.remove_cgroups(self._cgroup(app_id))
        self._oom_before.pop(app_id, None)
        self._records.pop(app_id, None)

    def _folders(self, app_id: str, root: str = "") -> VmFolders:
        run = self._instance.apps_run_dir / app_id / "vm"
        return VmFolders(self._instance.apps_dir / app_id / "vm", run, root)

    def _cgroup(self, app_id: str) -> str:
        return f"{self._instance.cgroup}/{app_id}/vm"


async def _wait_any(*processes: int) -> None:
    """Until one of them has ended."""
    tasks = [asyncio.ensure_future(pids.wait_exit(pid)) for pid in processes if pid]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
