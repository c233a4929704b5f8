"""What else lives on the machine: the engine brings up apps and takes them down, and all of it stays as it was."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from eaves.testing.desired import ALLOW_ALL, map_port
from eaves.testing.engine_host import EngineHost, find_port
from eaves.testing.registry import Registry

pytestmark = pytest.mark.contract

FILES = (
    "containers",
    "cni",
    "dnsmasq*",
    "nftables*",
    "iproute2",
    "sysctl*",
    "hosts",
    "resolv.conf",
    "subuid",
    "subgid",
)
"""What tools for containers and networks read and write in /etc."""
GLOBAL_SETTINGS = (
    "net/ipv4/conf/default/forwarding",
    "net/ipv4/conf/lo/forwarding",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/conf/all/rp_filter",
    "net/ipv4/ip_local_port_range",
    "net/ipv6/conf/all/disable_ipv6",
    "net/ipv6/conf/all/forwarding",
)


def run(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


class Neighbour:
    """A firewall table and a bridge that belong to somebody else."""

    def __init__(self) -> None:
        token = secrets.token_hex(3)
        self.table, self.bridge = f"foreign_{token}", f"fo{token}"

    def make(self) -> None:
        subnet = f"203.0.{secrets.randbelow(114)}.1/24"
        run("nft", f"add table inet {self.table}")
        run("nft", f"add chain inet {self.table} input {{ type filter hook input priority 5; policy accept; }}")
        run("nft", f'add rule inet {self.table} input tcp dport 9 drop comment "neighbour"')
        run("ip", "link", "add", self.bridge, "type", "bridge")
        run("ip", "address", "add", subnet, "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")

    def remove(self) -> None:
        for argv in (("nft", f"delete table inet {self.table}"), ("ip", "link", "delete", self.bridge)):
            subprocess.run(argv, capture_output=True, check=False)

    def look(self) -> dict[str, str]:
        """All of it, and what the machine has once for everybody."""
        settings = {name: (Path("/proc/sys") / name).read_text() for name in GLOBAL_SETTINGS}
        found = [path for pattern in FILES for top in Path("/etc").glob(pattern) for path in (top, *top.rglob("*"))]
        files = {str(path): str(path.stat().st_mtime_ns) for path in found}
        return settings | files | self._own()

    def _own(self) -> dict[str, str]:
        bridge = Path("/proc/sys/net/ipv4/conf") / self.bridge
        return {
            "table": run("nft", "--stateless", "list", "table", "inet", self.table),
            "address": run("ip", "-brief", "address", "show", "dev", self.bridge),
            "route": run("ip", "route", "show", "dev", self.bridge),
            "localnet": (bridge / "route_localnet").read_text(),
        }


@pytest.fixture
def neighbour() -> Iterator[Neighbour]:
    found = Neighbour()
    try:
        found.make()
        yield found
    finally:
        found.remove()


async def test_nothing_of_others_is_touched(neighbour: Neighbour, tmp_path: Path, registry: Registry) -> None:
    before = neighbour.look()
    async with EngineHost(tmp_path / "engine") as host:
        image, network = host.image(registry.datastore(), "shop/web:1"), host.network()
        app = host.app("web", image, network, acls=(map_port(find_port()), ALLOW_ALL))
        await host.apply(images=(image,), networks=(network,), apps=(app,))
        await host.wait_app("web")
        assert neighbour.look() == before
    assert neighbour.look() == before
