"""A guest behind a tap without a hypervisor: what a virtual machine's network card and kernel would do.

It opens the tap as QEMU does and carries its frames to and from a tap of the same hardware address in a namespace of its own, in
which the guest's programs (``udhcpc``, ``ping`` …) run.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import select
import struct
import threading
from pathlib import Path

from eaves.testing.namespaces import Namespace

_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_FRAME = 1 << 16
_SCRIPT = """#!/bin/sh
case "$1" in bound|renew)
  ip link set dev $interface mtu ${mtu:-1500}
  ip addr flush dev $interface
  ip addr add $ip/$mask dev $interface
  for gateway in $router; do ip route replace default via $gateway; done
  set -- $staticroutes
  while [ $# -ge 2 ]; do ip route replace $1 via $2; shift 2; done
  env > "$0.lease";;
esac
"""


def open_tap(name: str) -> int:
    """A queue of a tap in the caller's namespace; makes the tap if there is none."""
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
    return fd


class TapGuest:
    """``tap`` is the host's persistent tap, which must be there and free. ``folder`` takes the DHCP client's script and lease."""

    def __init__(self, tap: str, mac: str, folder: Path) -> None:
        self.namespace = Namespace()
        self._mac = mac
        self._script = folder / f"{tap}.sh"
        self._script.write_text(_SCRIPT)
        self._script.chmod(0o755)
        self._outer = open_tap(tap)
        with self.namespace.entered():
            self._inner = open_tap("eth0")
        self.namespace.batch(f"link set dev eth0 address {mac}", "link set dev eth0 up")
        self._stop_read, self._stop_write = os.pipe()
        self._thread = threading.Thread(target=self._pump, name=f"guest of {tap}")
        self._thread.start()

    def close(self) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join()
        for fd in (self._outer, self._inner, self._stop_read, self._stop_write):
            os.close(fd)
        self.namespace.close()

    def __enter__(self) -> TapGuest:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, *command: str, check: bool = True, timeout_s: float = 30) -> str:
        return self.namespace.run(*command, check=check, timeout_s=timeout_s)

    def ask_dhcp(self, *options: str) -> dict[str, str]:
        """Get an address as a guest does; answers what the server said by udhcpc's names. Raises AssertionError without a lease."""
        client = (
            "busybox",
            "udhcpc",
            "-i",
            "eth0",
            "-n",
            "-q",
            "-t",
            "8",
            "-T",
            "2",
            "-O",
            "mtu",
            "-O",
            "staticroutes",
        )
        self.run(*client, "-s", str(self._script), *options)
        lines = Path(f"{self._script}.lease").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def flood_arp(self, prefix: str, number: int) -> None:
        """Claim addresses ``prefix``1 and on, as fast as it goes."""
        mac = bytes.fromhex(self._mac.replace(":", ""))
        for count in range(number):
            sender = ipaddress.IPv4Address(f"{prefix}{count % 254 + 1}").packed
            body = b"\x00\x01\x08\x00\x06\x04\x00\x01" + mac + sender + bytes(6) + sender
            with contextlib.suppress(OSError):
                os.write(self._outer, b"\xff" * 6 + mac + b"\x08\x06" + body + bytes(18))

    def _pump(self) -> None:
        ways = {self._outer: self._inner, self._inner: self._outer}
        while True:
            ready, _, _ = select.select([*ways, self._stop_read], [], [])
            if self._stop_read in ready:
                return
            for source in ready:
                # A frame that cannot be taken is lost, as on a cable.
                with contextlib.suppress(OSError):
                    os.write(ways[source], os.read(source, _FRAME))
