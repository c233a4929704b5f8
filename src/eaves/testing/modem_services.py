"""What a machine with a modem runs: polkit and ModemManager as they are, and udev where the modem is on a serial line.

Serial lines need a stock kernel, see ``tests/guest``. A modem on a socket does everything but to carry data.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

_UDEVD = "/lib/systemd/systemd-udevd"
_UDEV = Path("/run/udev")
_RULES = _UDEV / "rules.d" / "99-eaves-test-modem.rules"
_RULE = """ACTION!="remove", SUBSYSTEM=="tty", ATTRS{serial}=="eaves-modem-*", \\
  ENV{ID_MM_DEVICE_PROCESS}="1", ENV{ID_MM_CANDIDATE}="1", ENV{ID_MM_PHYSDEV_UID}="eaves-modem"
ACTION!="remove", SUBSYSTEM=="tty", ATTRS{serial}=="eaves-modem-data", ENV{ID_MM_PORT_TYPE_AT_PPP}="1"
ACTION!="remove", SUBSYSTEM=="tty", ATTRS{serial}=="eaves-modem-control", ENV{ID_MM_PORT_TYPE_AT_PRIMARY}="1"
"""
"""Adapters from USB to serial are no modems to ModemManager, unless somebody says so; and its two lines are of one modem."""
_POLKITD = "/usr/lib/polkit-1/polkitd"
_MANAGER, _MANAGER_PATH = "org.freedesktop.ModemManager1", "/org/freedesktop/ModemManager1"
_WAIT_S = 60.0


def find_modem_lines() -> list[Path]:
    """The far ends of the modem's serial lines: data, control."""
    subprocess.run(
        ["modprobe", "--all", "virtio_console", "xhci_pci", "ftdi_sio", "ppp_async", "ppp_deflate"], check=False
    )
    names = {path.read_text().strip(): path.parent.name for path in Path("/sys/class/virtio-ports").glob("*/name")}
    return [Path("/dev") / names[name] for name in ("eaves-modem-data", "eaves-modem-control")]


@contextlib.contextmanager
def listen_as_modem() -> Iterator[socket.socket]:
    """A socket that ModemManager takes for a serial line."""
    with socket.socket(socket.AF_UNIX) as line:
        line.bind(f"\0abstract:eaves-{uuid.uuid4()}")
        line.listen()
        yield line


class ModemServices:
    """On the message bus at ``address``. A context manager."""

    def __init__(self, address: str, *, line: socket.socket | None = None) -> None:
        """``line``: of :func:`listen_as_modem`; without one, those that udev finds."""
        self.address = address
        self._line = line
        self._folder = Path(tempfile.mkdtemp(prefix="eaves-modems."))
        self._processes: list[subprocess.Popen[bytes]] = []
        self._has_udev = _is_udev_running()

    def __enter__(self) -> Self:
        try:
            if self._line is None:
                self._start_udev()
            self._start(_POLKITD, "--no-debug")
            self._wait(lambda: self._has_name("org.freedesktop.PolicyKit1"), "polkitd")
            self.start_manager()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start_manager(self) -> None:
        """Start ModemManager."""
        level = os.environ.get("EAVES_TEST_MM_LEVEL", "WARN")
        how = ["--filter-policy=allowlist-only"] if self._line is None else ["--test-enable", "--no-auto-scan"]
        self._start("ModemManager", *how, f"--log-level={level}")
        self._wait(lambda: self._has_name(_MANAGER), "ModemManager")
        if self._line is not None:
            name = self._line.getsockname()[1:].decode()
            values = ["string:test", "string:generic", f"array:string:{name}"]
            asked = self._ask(_MANAGER, _MANAGER_PATH, f"{_MANAGER}.Test.SetProfile", values)
            assert asked == 0, self.log()

    def stop_manager(self) -> None:
        process = self._processes.pop()
        process.kill()
        process.wait()

    def close(self) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()
        _RULES.unlink(missing_ok=True)
        if not self._has_udev:
            # What is left of it would tell others that there is a udev.
            shutil.rmtree(_UDEV, ignore_errors=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start_udev(self) -> None:
        _RULES.parent.mkdir(parents=True, exist_ok=True)
        _RULES.write_text(_RULE)
        if not self._has_udev:
            self._start(_UDEVD)
            self._wait(_is_udev_running, "udevd")
        for action in (
            ["control", "--reload"],
            [
                "trigger",
                "--action=add",
                "--subsystem-match=usb",
                "--subsystem-match=usb-serial",
                "--subsystem-match=tty",
            ],
            ["settle"],
        ):
            subprocess.run(["udevadm", *action], check=True, timeout=_WAIT_S)

    def _start(self, *argv: str) -> None:
        with (self._folder / "log").open("ab") as output:
            self._processes.append(
                subprocess.Popen(
                    argv,
                    env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.address},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
            )

    def log(self) -> str:
        """What they wrote."""
        return (self._folder / "log").read_text(errors="replace")[-8000:]

    def _has_name(self, name: str) -> bool:
        return not self._ask(
            "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus.GetNameOwner", [f"string:{name}"]
        )

    def _ask(self, destination: str, path: str, method: str, values: Sequence[str]) -> int:
        argv = ["dbus-send", f"--bus={self.address}", "--print-reply", f"--dest={destination}", path, method, *values]
        return subprocess.run(argv, check=False, capture_output=True).returncode

    def _wait(self, is_there: Callable[[], bool], name: str) -> None:
        ends_at = time.monotonic() + _WAIT_S
        while not is_there():
            if time.monotonic() > ends_at:
                raise AssertionError(f"{name} does not come up: {self.log()}")
            time.sleep(0.05)


def _is_udev_running() -> bool:
    return subprocess.run(["udevadm", "control", "--ping"], check=False, capture_output=True).returncode == 0
