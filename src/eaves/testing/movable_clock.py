"""A clock of the day for one machine of a test, which may be moved while everything on it runs.

The kernel has one clock of the day for all that it runs. So programs are told otherwise: those built from Go modules
(:mod:`eaves.testing.kubernetes`) by a package ``time`` that adds the seconds of :data:`FILE` where there is such a file, the tests'
own by :func:`load_shift`, and a node daemon by :mod:`eaves.testing.shifted_clock`. The clock that measures durations stays as it is,
as it does on a machine whose clock is set.
"""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path

from eaves.testing import shifted_clock

FOLDER = "/var/lib/eaves-testing-clock"
"""A place of each :class:`eaves.testing.k3s_machine.Machine`: outlives a power cut, as a battery keeps a clock."""
FILE = f"{FOLDER}/seconds"
"""What is added to the kernel's time: seconds, signed 64 bits, in the machine's byte order. Programs map it once and see each change."""
_TEXT = f"{FOLDER}/faketime"
"""The same for libfaketime."""

GO_SOURCE = f"""package time

import (
	"sync/atomic"
	"syscall"
	"unsafe"
)

var movedBy *int64

func init() {{
	fd, err := syscall.Open("{FILE}", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {{
		return
	}}
	defer syscall.Close(fd)
	page, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err == nil {{
		movedBy = (*int64)(unsafe.Pointer(&page[0]))
	}}
}}

func movedNow() (sec int64, nsec int32, mono int64) {{
	sec, nsec, mono = runtimeNow()
	if movedBy != nil {{
		sec += atomic.LoadInt64(movedBy)
	}}
	return
}}
"""
_GO_CALL = "sec, nsec, mono := runtimeNow()"


def write_overlay(go: str, folder: Path) -> Path | None:
    """A file for ``go build -overlay`` that makes programs heed :data:`FILE`; None for a Go whose ``time`` is not as it is known here."""
    root = subprocess.run([go, "env", "GOROOT"], capture_output=True, text=True, check=True).stdout.strip()
    source = Path(root, "src", "time", "time.go")
    # Some systems' Go has its sources elsewhere, or none.
    text = source.read_text() if source.is_file() else ""
    if text.count(_GO_CALL) != 1:
        return None
    changed, added = folder / "time.go", folder / "moved.go"
    changed.write_text(text.replace(_GO_CALL, _GO_CALL.replace("runtimeNow", "movedNow")))
    added.write_text(GO_SOURCE)
    overlay = folder / "overlay.json"
    overlay.write_text(
        json.dumps({"Replace": {str(source): str(changed), str(source.with_name(added.name)): str(added)}})
    )
    return overlay


def is_heeded_by(program: Path) -> bool:
    """Whether a program was built so."""
    return FILE.encode() in program.read_bytes()


class MovableClock:
    """The clock of one machine. ``folder``: where the test sees the machine's :data:`FOLDER`."""

    def __init__(self, folder: Path) -> None:
        self._seconds, self._text = folder / Path(FILE).name, folder / Path(_TEXT).name
        self._seconds.write_bytes(bytes(8))
        self.move(0)

    def move(self, seconds: int) -> None:
        """Let all programs on the machine be this much ahead of the kernel; those in Python see it within a second."""
        new = self._text.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._text)
        # In place: the page that running programs map.
        with self._seconds.open("r+b") as file:
            file.write(struct.pack("=q", seconds))


def load_shift() -> int:
    """How many seconds the clock of the machine on which this process runs is ahead; 0 without a clock of its own."""
    try:
        return int(struct.unpack("=q", Path(FILE).read_bytes())[0])
    except FileNotFoundError:
        return 0


def want_prefix() -> list[str]:
    """What goes before the command of a node daemon that is to heed the clock of its machine."""
    return shifted_clock.want_prefix(_TEXT)
