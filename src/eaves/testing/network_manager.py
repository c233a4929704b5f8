"""A real NetworkManager with a message bus of its own, in a network namespace: a machine whose ports it manages.

Its files are in a mount namespace of its own, so nothing of this machine's NetworkManager, if there is one, is seen or touched.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Self

from eaves.testing.namespaces import Namespace

_BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
    <allow user="*"/>
  </policy>
</busconfig>
"""
_CONFIG = """[main]
plugins=keyfile
auth-polkit=false
dns=none
rc-manager=unmanaged
no-auto-default=*
dhcp=internal
[logging]
level={level}
backend=syslog
"""
_START = """
mkdir -p /run/NetworkManager /var/lib/NetworkManager
mount -t tmpfs tmpfs /run/NetworkManager
mount -t tmpfs tmpfs /var/lib/NetworkManager
mount -t sysfs -o ro sys /sys
exec NetworkManager --no-daemon --config {config} --config-dir {empty} --system-config-dir {empty}
"""
_WAIT_S = 60.0


class ManagedHost:
    """Use as a context manager. ``address`` is that of the message bus, for ``DBUS_SYSTEM_BUS_ADDRESS``."""

    def __init__(self, *, has_radio: bool = False) -> None:
        """``has_radio``: wpa_supplicant runs too."""
        self._has_radio = has_radio
        self.namespace = Namespace()
        self._folder = Path(tempfile.mkdtemp(prefix="eaves-nm."))
        # Services on the bus may run as users of their own.
        self._folder.chmod(0o711)
        self._socket = self._folder / "bus"
        self.address = f"unix:path={self._socket}"
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> ManagedHost:
        try:
            self._start_bus()
            manager = self.start_manager()
            if self._has_radio:
                self._start_supplicant(manager)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()
        self.namespace.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _start_bus(self) -> None:
        config = self._folder / "bus.conf"
        config.write_text(_BUS.format(socket=self._socket))
        with (self._folder / "bus.log").open("ab") as output:
            argv = ["dbus-daemon", "--nofork", "--nopidfile", f"--config-file={config}"]
            self._processes.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output))
        _wait(self._socket.exists, "the message bus")

    def _start_supplicant(self, manager: int) -> None:
        """With the files that NetworkManager, process ``manager``, has: certificates are among them."""
        with (self._folder / "supplicant.log").open("ab") as output:
            self._start(["nsenter", f"--mount=/proc/{manager}/ns/mnt", "wpa_supplicant", "-u"], output)
        _wait(lambda: self._has_name("fi.w1.wpa_supplicant1"), "wpa_supplicant")

    def start_manager(self) -> int:
        """Start NetworkManager, or start it anew after :meth:`kill_manager`. Answers its process."""
        config, empty = self._folder / "manager.conf", self._folder / "empty"
        empty.mkdir(exist_ok=True)
        level = os.environ.get("EAVES_TEST_NM_LEVEL", "WARN")
        config.write_text(_CONFIG.format(level=level))
        script = _START.format(config=config, empty=empty)
        with (self._folder / "manager.log").open("ab") as output:
            # Slave: what other tests unmount must not stay mounted here.
            manager = self._start(["unshare", "--mount", "--propagation", "slave", "sh", "-ec", script], output)
        _wait(lambda: self._has_name("org.freedesktop.NetworkManager"), "NetworkManager", self.log)
        return manager

    def _start(self, argv: Sequence[str], output: BinaryIO) -> int:
        process = subprocess.Popen(
            self.namespace.argv(*argv),
            env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.address},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        self._processes.append(process)
        return process.pid

    def kill_manager(self) -> None:
        process = self._processes.pop()
        process.kill()
        process.wait()

    def log(self) -> str:
        """What NetworkManager wrote."""
        return (self._folder / "manager.log").read_text(errors="replace")[-8000:]

    def addresses(self, interface: str) -> str:
        """As ``ip`` shows them."""
        return self.namespace.run("ip", "-brief", "addr", "show", "dev", interface, check=False)

    def checkpoints(self) -> bool:
        """Whether NetworkManager holds one to go back to."""
        asked = subprocess.run(
            [
                *("dbus-send", f"--bus={self.address}", "--print-reply", "--dest=org.freedesktop.NetworkManager"),
                *("/org/freedesktop/NetworkManager", "org.freedesktop.DBus.Properties.Get"),
                *("string:org.freedesktop.NetworkManager", "string:Checkpoints"),
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        return "object path" in asked.stdout

    def add_profile(self, interface: str, address: str, gateway: str) -> None:
        """One of the host's own, that comes up by itself."""
        argv = ["nmcli", "connection", "add", "save", "no", "type", "ethernet", "con-name", "own", "ifname", interface]
        subprocess.run(
            [*argv, "ipv4.method", "manual", "ipv4.addresses", address, "ipv4.gateway", gateway],
            check=True,
            capture_output=True,
            env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.address},
        )

    def profiles(self) -> str:
        """As ``nmcli`` names them, a line each."""
        done = subprocess.run(
            ["nmcli", "--terse", "--fields", "NAME", "connection", "show"],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": self.address},
        )
        return done.stdout

    def _has_name(self, name: str) -> bool:
        asked = subprocess.run(
            [
                *("dbus-send", f"--bus={self.address}", "--print-reply", "--dest=org.freedesktop.DBus"),
                *("/org/freedesktop/DBus", "org.freedesktop.DBus.GetNameOwner"),
                f"string:{name}",
            ],
            check=False,
            capture_output=True,
        )
        return asked.returncode == 0


class DhcpNetwork:
    """A network with a DHCP server and an address of its own. ``namespace`` is the machine that serves it."""

    def __init__(self, subnet: str, *, lease: str = "10m") -> None:
        """``subnet`` like ``10.1.0``: the router is ``.1``, leases from ``.100`` on."""
        self.namespace = Namespace()
        self.subnet = subnet
        self._lease = lease
        self._servers: list[subprocess.Popen[bytes]] = []

    def take_address(self, interface: str) -> None:
        self.namespace.run("ip", "addr", "add", f"{self.subnet}.1/24", "dev", interface)

    def start_dhcp(self, interface: str = "lan", *options: str) -> None:
        """``options``: further arguments for dnsmasq."""
        span = f"--dhcp-range={self.subnet}.100,{self.subnet}.199,{self._lease}"
        self._serve(f"--interface={interface}", "--dhcp-authoritative", "--no-ping", span, *options)

    def _serve(self, *options: str) -> None:
        self._servers.append(
            subprocess.Popen(
                self.namespace.argv(
                    *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--leasefile-ro"),
                    *("--bind-interfaces", "--user=root", "--pid-file=", *options),
                ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )

    def start_ipv6(self, prefix: str, *, by_dhcp: bool = False, interface: str = "lan") -> None:
        """Announce itself as ``prefix::1`` to ``interface``; addresses are made by the hosts themselves, or given by DHCPv6."""
        self.namespace.run("ip", "addr", "add", f"{prefix}::1/64", "dev", interface, "nodad")
        span = f"{prefix}::100,{prefix}::1ff,64,{self._lease}" if by_dhcp else f"{prefix}::,ra-only,64,{self._lease}"
        self._serve(f"--interface={interface}", "--enable-ra", "--ra-param=lan,4,1800", f"--dhcp-range={span}")

    def stop_dhcp(self) -> None:
        for server in self._servers:
            server.kill()
            server.wait()
        self._servers.clear()

    def close(self) -> None:
        self.stop_dhcp()
        self.namespace.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class DhcpRouter(DhcpNetwork):
    """One at the other end of a cable."""

    def __init__(self, host: Namespace, interface: str, subnet: str, *, lease: str = "10m") -> None:
        super().__init__(subnet, lease=lease)
        host.connect(interface, self.namespace, "lan")
        self.take_address("lan")


@contextlib.contextmanager
def managed_host() -> Iterator[ManagedHost]:
    with ManagedHost() as found:
        yield found


def _wait(is_there: object, name: str, details: object = None) -> None:
    assert callable(is_there)
    ends_at = time.monotonic() + _WAIT_S
    while not is_there():
        if time.monotonic() > ends_at:
            raise AssertionError(f"{name} does not come up: {details() if callable(details) else ''}")
        time.sleep(0.05)
