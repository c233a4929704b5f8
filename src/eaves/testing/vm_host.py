"""The engine of virtual machines alone, on this machine, beside any other: for its contract tests and benchmarks.

Machines have no networks here; those come with a whole engine (:mod:`eaves.testing.engine_host`). Leaving the context removes all.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from eaves.kit import process, streams
from eaves.node.desired.model import AppKind, DesiredApp
from eaves.node.desired.vm_model import DesiredVm, VmDisk
from eaves.node.instance import Instance
from eaves.node.networks.connection import Connection
from eaves.node.vms.errors import QmpError
from eaves.node.vms.model import VmSpec
from eaves.node.vms.qemu import QemuEngine
from eaves.node.workloads.abc import Ready, Seen
from eaves.node.workloads.paths import AppFiles, find_app_files
from eaves.testing.guest_image import PROMPT, want_guest_disk

BOOT_LIMIT_S = 200.0
"""A guest without KVM on a busy machine."""
_KEY = b"k" * 32


class VmHost:
    """``engine`` is that of the present daemon; :meth:`restart` makes another as a new daemon would."""

    def __init__(self, folder: Path) -> None:
        token = secrets.token_hex(4)
        self.instance = Instance(f"t{token}", folder / "data", Path(f"/run/eaves-t{token}"))
        self.changes: list[str] = []
        self._changed = asyncio.Event()
        self._run: asyncio.Task[None] | None = None

    async def __aenter__(self) -> VmHost:
        await asyncio.to_thread(self.instance.prepare)
        self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.engine.teardown()
        await self._stop()
        for folder in (self.instance.run_dir, self.instance.data_dir):
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def restart(self) -> None:
        await self._stop()
        self._start()

    async def abandon(self, work: asyncio.Task[Any]) -> None:
        """A daemon is killed in the middle of ``work``, and another starts: nothing of the former gets to tidy up."""
        for session in self.engine.sessions:
            session.command = _say_nothing  # type: ignore[method-assign]  # as if nobody were there
        work.cancel()
        await asyncio.wait([work])
        await self.restart()

    async def wait(self, accept: Callable[[], object], limit_s: float = BOOT_LIMIT_S) -> None:
        """Until the engine has told of a change after which ``accept`` holds."""
        async with asyncio.timeout(limit_s):
            while not accept():
                self._changed.clear()
                await self._changed.wait()

    async def disk(self, name: str = "root.raw") -> Path:
        """A copy of the tiny guest's disk; ``.qcow2`` by name makes it that format."""
        source = await asyncio.to_thread(want_guest_disk)
        path = self.instance.volumes_dir / name
        kind = "qcow2" if path.suffix == ".qcow2" else "raw"
        await process.run(["qemu-img", "convert", "-f", "raw", "-O", kind, str(source), str(path)])
        return path

    def files(self, app_id: str = "vm") -> AppFiles:
        return find_app_files(self.instance, app_id)

    async def spec(
        self, *disks: Path, app_id: str = "vm", app: dict[str, Any] | None = None, **hardware: Any
    ) -> VmSpec:
        """What the keeper would want: ``hardware`` are fields of the machine, ``app`` those of the app."""
        await asyncio.to_thread(self.files(app_id).make)
        found = list(disks) or [await self.disk()]
        vm_disks = tuple(
            VmDisk(f"disk-{index}", 0, path.name, boot_index=index + 1, is_root=index == 0)
            for index, path in enumerate(found)
        )
        values: dict[str, Any] = {
            "id": app_id,
            "version": "1",
            "name": app_id,
            "namespace": "default",
            "kind": AppKind.VIRTUAL_MACHINE,
            "activate": True,
            "image_id": "",
            "root_volume_id": "disk-0",
            "root_generation": 0,
            "memory_bytes": 128 << 20,
            "cpu_millis": 0,
            "vm": msgspec.structs.replace(DesiredVm(1), disks=vm_disks, **hardware),
        }
        desired = DesiredApp(**(values | (app or {})))
        volumes = {(disk.volume_id, disk.generation): str(path) for disk, path in zip(vm_disks, found, strict=True)}
        ready = Ready("", "", Connection("", app_id, "", "", ()), volumes)
        return self.engine.want_spec(desired, ready, log_path=str(self.files(app_id).log), key=_KEY)

    async def boot(self, spec: VmSpec) -> Seen:
        """Create it and wait until the guest is up."""
        seen = await self.engine.create(spec)
        async with Console(self.console_path(spec.app_id)) as console:
            await console.wait(PROMPT)
        return seen

    def console_path(self, app_id: str = "vm") -> Path:
        return self.instance.apps_run_dir / app_id / "vm" / "console.sock"

    def log_text(self, app_id: str = "vm") -> str:
        return self.files(app_id).log.read_text(errors="replace")

    def _start(self) -> None:
        self.engine = QemuEngine(self.instance)
        self.engine.on_change = self._note
        self._run = asyncio.create_task(self.engine.run())

    async def _stop(self) -> None:
        if self._run is not None:
            self._run.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._run
            self._run = None

    def _note(self, app_id: str) -> None:
        self.changes.append(app_id)
        self._changed.set()


async def _say_nothing(*_: object, **__: object) -> None:
    raise QmpError("the daemon is dead", element="qemu")


class Console:
    """Somebody at the serial console of a guest."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.text = ""

    async def __aenter__(self) -> Console:
        self._reader, self._writer = await asyncio.open_unix_connection(self._path)
        return self

    async def __aexit__(self, *_: object) -> None:
        await streams.close(self._writer)

    async def wait(self, pattern: str, limit_s: float = BOOT_LIMIT_S) -> str:
        """Until the guest has written ``pattern`` (a regular expression) since the last wait; answers what matched."""
        try:
            async with asyncio.timeout(limit_s):
                while (found := re.search(pattern, self.text)) is None:
                    data = await self._reader.read(1 << 16)
                    assert data, f"the console ended before {pattern!r}: {self.text[-2000:]}"
                    self.text += data.decode(errors="replace")
        except TimeoutError:
            raise AssertionError(f"the guest did not write {pattern!r}: {self.text[-2000:]}") from None
        self.text = self.text[found.end() :]
        return found.group()

    async def run(self, command: str) -> str:
        """Run a command in the guest's shell; answers what it wrote."""
        end = secrets.token_hex(4)
        await self.type(f"echo {end}; {command}; echo {end}\n")
        # What the guest's kernel and its DHCP client write may come in between.
        found = await self.wait(rf"(?s){end}\r?\n.*?{end}\r?\n.*?{PROMPT}")
        return found.split(end)[1].replace("\r", "")

    async def type(self, text: str) -> None:
        self._writer.write(text.encode())
        await self._writer.drain()

    async def drain(self, limit_s: float = BOOT_LIMIT_S) -> bytes:
        """Wait until the console ends; answers nothing."""
        async with asyncio.timeout(limit_s):
            while data := await self._reader.read(1 << 16):
                self.text += data.decode(errors="replace")
        return b""
