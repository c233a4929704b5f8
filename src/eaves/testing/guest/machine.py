"""Boots a guest over the host's files, runs one command in it and brings back its exit code, output and results."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

from msgspec import Struct

from eaves.testing.guest.kernel import Kernel, want_kernel
from eaves.testing.guest.packages import GuestError
from eaves.testing.guest.runtime import want_runtime

MEMORY_MIB = 2048
DISK_BYTES = 8 << 30


class Outcome(Struct, frozen=True):
    """``console`` is everything that the guest's serial line showed."""

    code: int
    console: str


class Guest:
    """``with Guest() as guest: guest.run("pytest …", cwd=…)``. ``results`` is a folder that the guest sees as /run/results."""

    def __init__(self, extra: tuple[str, ...] = (), *, memory_mib: int = MEMORY_MIB, append: str = "") -> None:
        self._extra = extra
        self._memory_mib = memory_mib
        self._append = append
        self._folder = tempfile.TemporaryDirectory(prefix="eaves-guest.", dir="/var/tmp")
        self.results = Path(self._folder.name) / "results"
        self.results.mkdir()

    def __enter__(self) -> Guest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def run(self, command: str, *, cwd: Path, limit_s: float) -> Outcome:
        """Run ``command`` by bash. Raises GuestError when the guest does not come to its end in time; blocking."""
        kernel = want_kernel()
        program = f"qemu-system-{platform.machine()}"
        if shutil.which(program) is None:
            raise GuestError(f"{program} is missing", resolution="run make setup")
        (self.results / "command.sh").write_text(command + "\n")
        disk = Path(self._folder.name) / "disk.raw"
        with disk.open("wb") as file:
            file.truncate(DISK_BYTES)
        console = Path(self._folder.name) / "console"
        with console.open("wb") as output:
            process = subprocess.Popen(
                [program, *self._want_arguments(kernel, disk, cwd)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                process.wait(limit_s)
            except subprocess.TimeoutExpired as error:
                raise GuestError(f"the guest did not end within {limit_s:g} s", details=_tail(console)) from error
            finally:
                process.kill()
                process.wait()
        code = self.results / "code"
        if not code.exists():
            raise GuestError("the guest ended before its command did", details=_tail(console))
        return Outcome(int(code.read_text()), console.read_text(errors="replace"))

    def _want_arguments(self, kernel: Kernel, disk: Path, cwd: Path) -> list[str]:
        script = Path(__file__).parent / "init.sh"
        machine = ["-machine", "q35"] if platform.machine() == "x86_64" else ["-machine", "virt", "-cpu", "max"]
        terminal = "ttyS0" if platform.machine() == "x86_64" else "ttyAMA0"
        append = (
            f"console={terminal} quiet loglevel=4 panic=-1 no_timer_check eaves.script={script} eaves.modules={kernel.modules}"
            f" eaves.runtime={want_runtime()} eaves.folder={cwd} {self._append}"
        )
        return [
            *machine,
            # KVM may be there and not run a stock kernel, and the tests must be the same everywhere.
            *("-accel", "tcg,thread=multi", "-smp", str(min(os.cpu_count() or 1, 2)), "-m", str(self._memory_mib)),
            *("-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"),
            *("-kernel", str(kernel.image), "-initrd", str(kernel.initrd), "-append", append),
            *("-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"),
            *("-virtfs", f"local,path={self.results},mount_tag=results,security_model=none"),
            *("-drive", f"file={disk},if=virtio,format=raw,cache=unsafe"),
            *("-device", "virtio-rng-pci"),
            *self._extra,
        ]


def _tail(path: Path) -> str:
    return path.read_text(errors="replace")[-4000:]
