"""Containers by podman: one ``podman run`` a start, no daemon, the containers live on when ours ends.

The container's name is made from the app's id, so podman itself refuses a second one. An end is seen by the kernel (pidfd of the
container and of its monitor), never by asking again and again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import shutil
from pathlib import Path

import msgspec

from eaves.kit import files, process
from eaves.node import pids
from eaves.node.containers import observe, spec
from eaves.node.containers.attach import AttachSession
from eaves.node.containers.cli import PodmanCli
from eaves.node.containers.errors import ContainerError
from eaves.node.containers.sessions import CommandSession
from eaves.node.containers.spec import ContainerSpec, Mount
from eaves.node.desired.model import DesiredApp
from eaves.node.hardware.apply import list_usb_nodes
from eaves.node.host import Host
from eaves.node.instance import Instance
from eaves.node.workloads import cgroups
from eaves.node.workloads.abc import Ready, Seen, Usage, WorkloadEngine, WorkloadState
from eaves.node.workloads.errors import StartError
from eaves.node.workloads.sessions import Command, Session

log = logging.getLogger(__name__)

_STOP_SLACK_S = 30.0
_CLEANUP_LIMIT_S = 20.0
"""How long the monitor may take to write down the end of its container."""


class PodmanEngine(WorkloadEngine[ContainerSpec]):
    def __init__(self, instance: Instance, host: Host, cli: PodmanCli) -> None:
        self._instance = instance
        self._host = host
        self._cli = cli
        self._cgroups: dict[str, cgroups.Cgroups] = {}
        self._oom_before: dict[str, int] = {}
        self._oom_logs: dict[str, observe.OomLog] = {}

    def want_spec(self, app: DesiredApp, ready: Ready, *, log_path: str, key: bytes) -> ContainerSpec:
        return spec.want_spec(app, ready, log_path=log_path, key=key)

    async def observe(self) -> dict[str, Seen]:
        label = f"label={observe.INSTANCE_LABEL}={self._instance.name}"
        listed = await self._cli.run("ps", "--all", "--quiet", "--no-trunc", "--filter", label)
        ids = listed.text.split()
        if not ids:
            return {}
        found = await self._inspect(*ids)
        return {seen.app_id: seen for seen in found}

    async def observe_one(self, app_id: str) -> Seen | None:
        found = await self._inspect(self._name(app_id))
        return found[0] if found else None

    async def create(self, wanted: ContainerSpec) -> Seen:
        env_file, mounts = await asyncio.to_thread(self._save_inputs, wanted)
        run_dir = self._instance.apps_run_dir / wanted.app_id
        args = spec.render_run(
            wanted,
            name=self._name(wanted.app_id),
            labels={
                observe.APP_LABEL: wanted.app_id,
                observe.SPEC_LABEL: wanted.digest,
                observe.INSTANCE_LABEL: self._instance.name,
                "eaves.name": wanted.name,
            },
            cgroup_parent=self._cgroup_parent(wanted.app_id),
            pid_file=str(run_dir / "pid"),
            monitor_pid_file=str(run_dir / "monitor"),
            env_file=str(env_file) if env_file else "",
            mounts=mounts,
            usb_nodes=await asyncio.to_thread(list_usb_nodes, wanted.devices.usb),
        )
        try:
            await self._move_interfaces(wanted)
            await self._run_new(wanted, args)
        finally:
            if env_file:
                await asyncio.to_thread(env_file.unlink, missing_ok=True)
        return await self._started(wanted.app_id)

    async def start(self, seen: Seen) -> Seen:
        # A daemon was killed in the middle of a start: what the runtime had made by then waits, or runs, under a monitor that would
        # not tell its pid again.
        is_half_started = seen.state is WorkloadState.CREATED and await asyncio.to_thread(pids.is_process, seen.pid)
        if seen.is_lost or is_half_started:
            await self._settle(seen.workload_id)
        await asyncio.to_thread(self._prepare_run_dir, seen.app_id)
        self._mark_oom_log(seen.app_id)
        started = await self._cli.run("start", seen.workload_id, check=False)
        if started.returncode != 0 and b"already exists" in started.stderr:
            await process.run([self._host.runtime, "delete", "--force", seen.workload_id], check=False)
            started = await self._cli.run("start", seen.workload_id, check=False)
        if started.returncode != 0:
            raise _start_error(started)
        return await self._started(seen.app_id)

    async def stop(self, app_id: str, grace_s: float) -> Seen | None:
        name = self._name(app_id)
        former = await self.observe_one(app_id)
        if former is None or former.is_lost:
            if former is not None:
                await self._settle(former.workload_id)
            return former
        seconds = max(0, round(grace_s))
        await self._cli.run(
            "stop", "--ignore", f"--time={seconds}", name, timeout_s=seconds + _STOP_SLACK_S, check=False
        )
        seen = await self.observe_one(app_id)
        if seen is not None and seen.state is WorkloadState.RUNNING:
            raise ContainerError("the container does not stop", element=f"app {app_id}")
        return seen

    async def remove(self, app_id: str) -> None:
        """Besides the container its anonymous volumes go."""
        name = self._name(app_id)
        former = await self.observe_one(app_id)
        if former is not None:
            # A podman that was killed in the middle of a stop leaves the state "stopping", from which a forced removal forgets the
            # container and lets its process live on; one killed in the middle of a start does not know of a process at all.
            await process.run([self._host.runtime, "delete", "--force", former.workload_id], check=False)
        removed = await self._cli.run("rm", "--force", "--volumes", "--ignore", "--time=0", name, check=False)
        if removed.returncode != 0 and await self.observe_one(app_id) is not None:
            raise ContainerError("the container cannot be removed", details=removed.stderr.decode(errors="replace"))
        self._cgroups.pop(app_id, None)
        self._forget_oom_log(app_id)
        await asyncio.to_thread(shutil.rmtree, self._instance.apps_run_dir / app_id, ignore_errors=True)

    async def wait_end(self, seen: Seen) -> Seen | None:
        # The kernel's count of kills must be read before the container's control group is cleaned away.
        await pids.wait_exit(seen.pid)
        kills = await asyncio.to_thread(self._count_oom_kills, seen.app_id)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLEANUP_LIMIT_S):
                await pids.wait_exit(seen.monitor_pid)
        ended = await self.observe_one(seen.app_id)
        if ended is None or ended.workload_id != seen.workload_id or ended.exit_code != 137 or ended.is_oom:
            self._forget_oom_log(seen.app_id)
            return ended
        if not kills and (oom_log := self._oom_logs.get(seen.app_id)):
            # It may have ended before its control group was looked at. The log is asked second: the kernel limits its rate.
            kills = oom_log.count(seen.workload_id)
        self._forget_oom_log(seen.app_id)
        return msgspec.structs.replace(ended, is_oom=kills > 0)

    async def reopen_log(self, seen: Seen) -> bool:
        control = self._instance.storage_dir / "overlay-containers" / seen.workload_id / "userdata" / "ctl"
        return await asyncio.to_thread(_tell_reopen, control)

    async def usage(self, seen: Seen) -> Usage | None:
        known = self._cgroups.get(seen.app_id)
        return await asyncio.to_thread(cgroups.observe_usage, known) if known else None

    async def exec(self, seen: Seen, command: Command) -> Session:
        config = self._userdata(seen) / "config.json"
        folder = self._instance.sessions_dir / secrets.token_hex(8)
        return await CommandSession.open(self._host.runtime, seen.workload_id, config, command, folder)

    async def attach(self, seen: Seen, *, stdin: bool) -> Session:
        return await AttachSession.open(self._userdata(seen))

    def _userdata(self, seen: Seen) -> Path:
        """Where podman keeps the container's configuration, and its monitor its sockets."""
        return self._instance.storage_dir / "overlay-containers" / seen.workload_id / "userdata"

    async def teardown(self) -> None:
        for app_id in await self.observe():
            await self.remove(app_id)
        label = f"label={observe.INSTANCE_LABEL}={self._instance.name}"
        left = (await self._cli.run("ps", "--all", "--quiet", "--filter", label)).text.split()
        if left:
            raise ContainerError("containers are left", details=" ".join(left))
        # Storage keeps its folder mounted on itself for as long as it is in use.
        await process.run(["umount", "--lazy", str(self._instance.storage_dir / "overlay")], check=False)
        await asyncio.to_thread(self._remove_cgroups)

    async def _settle(self, workload_id: str) -> None:
        """Bring podman to see that a container has ended whose monitor is no longer there to say so.

        What may still run of it is killed, and the note that the monitor would have left is written in its place; without the note
        podman waits for it, and then takes the container for one that is forever stopping.
        """
        await process.run([self._host.runtime, "delete", "--force", workload_id], check=False)
        note = self._instance.podman_run_dir / "libpod" / "exits" / workload_id
        await asyncio.to_thread(_write_note, note)
        await self._cli.run("stop", "--time=0", workload_id, check=False)

    async def _move_interfaces(self, wanted: ContainerSpec) -> None:
        """Into the app's network namespace, and up, which moving ends; when that goes the kernel moves hardware back by itself."""
        for interface in wanted.devices.interfaces:
            moved = await process.run(["ip", "link", "set", interface, "netns", wanted.netns], check=False)
            inside = ["nsenter", f"--net={wanted.netns}", "ip", "link", "set", interface, "up"]
            raised = await process.run(inside, check=False)
            if raised.returncode != 0:
                # One that could not be moved because it is there already comes up.
                text = (moved if moved.returncode != 0 else raised).stderr.decode(errors="replace").strip()
                raise StartError(
                    f"interface {interface} cannot be given to the container: {text}",
                    resolution=f"try: ip link set {interface} up; a CAN bus needs its bit rate first: "
                    f"ip link set {interface} type can bitrate 500000",
                )

    async def _run_new(self, wanted: ContainerSpec, args: list[str]) -> None:
        environment = spec.render_environment(wanted)
        self._mark_oom_log(wanted.app_id)
        done = await self._cli.run(*args, env=environment, check=False)
        if done.returncode != 0 and b"already in use" in done.stderr:
            # A former daemon was killed while podman worked for it: what it left is not known to be whole.
            await self.remove(wanted.app_id)
            await asyncio.to_thread(self._prepare_run_dir, wanted.app_id)
            self._mark_oom_log(wanted.app_id)
            done = await self._cli.run(*args, env=environment, check=False)
        if done.returncode != 0:
            raise _start_error(done)

    async def _started(self, app_id: str) -> Seen:
        seen = await self.observe_one(app_id)
        if seen is None:
            raise ContainerError("the container has gone right after its start", element=f"app {app_id}")
        return seen

    async def _inspect(self, *names: str) -> list[Seen]:
        found = await self._ask(*names)
        lost = [seen.workload_id for seen in found if seen.is_lost]
        if not lost:
            return found
        # The monitor may have noted the end after podman was asked and before the monitor was looked for.
        settled = {seen.workload_id: seen for seen in await self._ask(*lost)}
        return [settled.get(seen.workload_id, seen) for seen in found]

    async def _ask(self, *names: str) -> list[Seen]:
        done = await self._cli.run("container", "inspect", *names, check=False)
        if done.returncode != 0 and b"no such" not in done.stderr.lower():
            text = done.stderr.decode(errors="replace")
            raise ContainerError("podman does not tell about its containers", details=text)
        raw = msgspec.json.decode(done.stdout or b"[]")
        return await asyncio.to_thread(self._complete, [seen for item in raw if (seen := observe.parse_inspect(item))])

    def _complete(self, found: list[Seen]) -> list[Seen]:
        """Check what podman believes to run against the monitors that there are: one that lives will tell the end."""
        complete = []
        for seen in found:
            if seen.state is not WorkloadState.RUNNING:
                complete.append(seen)
                continue
            path = self._instance.apps_run_dir / seen.app_id / "monitor"
            monitor_pid = observe.load_monitor_pid(path, seen.workload_id)
            if monitor_pid:
                self._remember_cgroups(seen)
                complete.append(msgspec.structs.replace(seen, monitor_pid=monitor_pid))
            else:
                complete.append(msgspec.structs.replace(seen, state=WorkloadState.ENDED, is_lost=True))
        return complete

    def _remember_cgroups(self, seen: Seen) -> None:
        found = cgroups.observe_cgroups(seen.pid)
        if found is not None and self._cgroups.get(seen.app_id) != found:
            self._cgroups[seen.app_id] = found
            self._oom_before[seen.app_id] = cgroups.observe_oom_kills(found)

    def _count_oom_kills(self, app_id: str) -> int:
        known = self._cgroups.pop(app_id, None)
        return cgroups.observe_oom_kills(known) - self._oom_before.get(app_id, 0) if known else 0

    def _mark_oom_log(self, app_id: str) -> None:
        self._forget_oom_log(app_id)
        self._oom_logs[app_id] = observe.OomLog()

    def _forget_oom_log(self, app_id: str) -> None:
        if former := self._oom_logs.pop(app_id, None):
            former.close()

    def _save_inputs(self, wanted: ContainerSpec) -> tuple[Path | None, tuple[Mount, ...]]:
        """Write what the container gets as files; answers the file of variables and the mounts."""
        self._prepare_run_dir(wanted.app_id)
        folder = self._instance.apps_dir / wanted.app_id
        inputs = folder / "files"
        shutil.rmtree(inputs, ignore_errors=True)
        inputs.mkdir(mode=0o700, parents=True)
        mounts = [
            Mount(str(folder / "resolv.conf"), "/etc/resolv.conf"),
            Mount(str(folder / "hosts"), "/etc/hosts"),
        ]
        for number, file in enumerate(wanted.files):
            path = inputs / str(number)
            path.touch(0o600)
            path.write_bytes(file.content)
            owner = spec.parse_owner(file.owner)
            assert owner is not None
            os.chown(path, *owner)
            path.chmod(file.mode)
            mounts.append(Mount(str(path), file.path))
        env_file = None
        if text := spec.render_env_file(wanted):
            env_file = folder / "env"
            files.save_file(env_file, text.encode())
        return env_file, tuple(mounts)

    def _prepare_run_dir(self, app_id: str) -> None:
        folder = self._instance.apps_run_dir / app_id
        folder.mkdir(mode=0o700, exist_ok=True)
        for name in ("pid", "monitor"):
            (folder / name).unlink(missing_ok=True)

    def _name(self, app_id: str) -> str:
        return f"{self._instance.name}-{app_id}"

    def _cgroup_parent(self, app_id: str) -> str:
        if self._host.cgroup_manager == "systemd":
            # A dash in a slice's name is a level of the tree.
            return f"{self._instance.name}-{app_id.replace('-', '')}.slice"
        return f"{self._instance.cgroup}/{app_id}"

    def _remove_cgroups(self) -> None:
        for top in Path("/sys/fs/cgroup").glob(f"*{self._instance.cgroup}"):
            _remove_folders(top)
        _remove_folders(Path(f"/sys/fs/cgroup{self._instance.cgroup}"))


def _remove_folders(top: Path) -> None:
    for folder in sorted(top.glob("**/"), reverse=True):
        with contextlib.suppress(OSError):
            folder.rmdir()


def _write_note(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_text("137")


def _tell_reopen(control: Path) -> bool:
    """Message 2 of conmon's control pipe: open the log anew. Nobody at the other end = False."""
    try:
        descriptor = os.open(control, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        os.write(descriptor, b"2 0 0\n")
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _start_error(done: process.Completed) -> StartError:
    text = done.stderr.decode(errors="replace").strip()
    last = text.splitlines()[-1] if text else f"exit status {done.returncode}"
    resolution = ""
    if "executable file not found" in text or "no such file or directory" in text.lower():
        resolution = "check the app's command against what its image holds"
    if b"no space left on device" in done.stderr.lower():
        return StartError("no space left on device", code="StorageFull")
    return StartError(last.removeprefix("Error: ")[:500], resolution=resolution)
