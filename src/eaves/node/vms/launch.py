"""Makes a machine's folders ready and starts its monitor, which starts QEMU."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec

from eaves.kit import daemonizing, files, process
from eaves.node.vms import cloudinit, command, confining, limits, monitor
from eaves.node.vms.errors import VmError
from eaves.node.vms.isolation.prepare import GuestRoots
from eaves.node.vms.model import VmFolders, VmHost, VmSpec
from eaves.node.vms.saved import WAITING, SavedMachine
from eaves.node.vms.seedimage import save_seed_image
from eaves.node.workloads.errors import StartError

_START_LIMIT_S = 120.0


async def prepare(
    spec: VmSpec,
    host: VmHost,
    folders: VmFolders,
    *,
    cgroup: str,
    position: Path,
    cpus: list[int],
    roots: GuestRoots | None,
    saved: SavedMachine | None = None,
) -> None:
    """Write all that QEMU and its monitor read. ``saved``: what it goes on from, for which it then waits.

    Raises VmError when another monitor has the machine.
    """
    await asyncio.to_thread(_clean, folders)
    boot = await roots.prepare(spec.app_id, spec.container, folders.run) if roots and spec.container else None
    if spec.firmware == "UEFI":
        await _want_nvram(host, folders)
    if spec.has_vtpm:
        await asyncio.to_thread(files.want_folder, folders.tpm_state)
    if spec.cloud_init is not None:
        await save_seed_image(folders.seed, cloudinit.want_seed(spec.cloud_init))
    confinement = confining.want_confinement(spec, host)
    start = {
        # Apart from the command, which goes with saved memory to whatever starts it again.
        "launcher": confinement.launcher,
        "options": confinement.options,
        "helper_launcher": confining.want_helper_launcher(),
        "argv": [*saved.argv, *WAITING] if saved is not None else command.render_command(spec, host, folders, boot),
        "helpers": [(command.render_tpm_command(host, folders), str(folders.tpm_socket))] if spec.has_vtpm else [],
        "log": spec.log_path,
        "position": str(position),
        "serial": spec.has_serial_console,
        "cgroups": [],
        "cpus": cpus,
    }
    await asyncio.to_thread(_save_start, spec, folders, cgroup, start)


async def start_monitor(folders: VmFolders, *, is_adoption: bool = False) -> None:
    """Returns when QEMU runs. Raises StartError with what QEMU says."""
    options = [monitor.ADOPT] if is_adoption else []
    argv = daemonizing.want_argv(f"{monitor.__name__}.main", str(folders.run), *options)
    done = await process.run(argv, timeout_s=_START_LIMIT_S, check=False)
    if done.returncode != 0:
        raise _start_error(done.stderr.decode(errors="replace"))


def kill_strays(folders: VmFolders) -> None:
    """End what still has the machine's sockets on its command line: a start that was cut off between two notes. Blocking."""
    mark = f"{folders.run}/"
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                if words[0].rpartition("/")[2].startswith(("qemu-system-", "swtpm")) and any(
                    mark in word for word in words
                ):
                    os.kill(int(entry.name), signal.SIGKILL)


def _clean(folders: VmFolders) -> None:
    files.want_folder(folders.keep)
    files.want_folder(folders.run)
    with _locked(folders):
        kill_strays(folders)
        for path in folders.run.iterdir():
            if path.name != monitor.LOCK:
                path.unlink() if not path.is_dir() else shutil.rmtree(path)
        for path in folders.keep.glob("*-*"):
            # Variables and TPM of a root that has been purged.
            if not path.name.removesuffix(".qcow2").removesuffix(".img").endswith(f"-{folders.root}"):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()


@contextlib.contextmanager
def _locked(folders: VmFolders) -> Iterator[None]:
    """A monitor holds this lock for as long as it lives."""
    with (folders.run / monitor.LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise VmError("another monitor has the machine", element=folders.run.name) from None
        yield


async def _want_nvram(host: VmHost, folders: VmFolders) -> None:
    if await asyncio.to_thread(folders.nvram.exists):
        return
    new = folders.nvram.with_suffix(".new")
    await process.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", host.uefi_vars, str(new)])
    await asyncio.to_thread(new.replace, folders.nvram)


def _save_start(spec: VmSpec, folders: VmFolders, cgroup: str, start: dict[str, object]) -> None:
    start["cgroups"] = limits.make_cgroups(cgroup, limits.want_limits(spec.memory_bytes, spec.vcpus, spec.cpu_millis))
    if spec.vnc_password:
        files.save_file(folders.vnc_secret, spec.vnc_password.reveal().encode())
    files.save_file(folders.run / "start.json", msgspec.json.encode(start))


def _start_error(text: str) -> StartError:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    last = lines[-1] if lines else "QEMU does not start"
    resolution = ""
    if "No space left on device" in text:
        return StartError("no space left on device", code="StorageFull")
    if "unable to map backing store" in text:
        # Ordinary memory has no such store.
        return StartError(
            "the node has too few free pages of the size that vm.hugePages asks for",
            details=text[-2000:],
            resolution="reserve them (sysctl vm.nr_hugepages=N, or hugepages=N on the kernel's command line), or leave out vm.hugePages",
        )
    if "Cannot allocate memory" in text:
        resolution = "give it less memory, or stop other apps of this node"
    return StartError(last[:500], details=text[-2000:], resolution=resolution)
