"""Names and folders of one node on a machine.

A machine has one node, called ``eaves``; tests run several side by side under other names. Everything that the engine makes on
the host carries a name from here, and ``teardown`` removes by these names, so nothing else may invent one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

DEFAULT_NAME = "eaves"

_PRIVATE = 0o700
_FIRST_TABLE = 0x45760000
_PASSABLE = 0o711
"""dnsmasq gives up root: it must pass through the run folder to its own files, without listing what else is there."""


class Instance(Struct, frozen=True):
    """``data_dir`` survives reboots, ``run_dir`` need not; ``name`` is letters and digits."""

    name: str = DEFAULT_NAME
    data_dir: Path = Path("/var/lib/eaves")
    run_dir: Path = Path("/run/eaves")

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9]{0,20}", self.name):
            raise ValueError(f"instance name {self.name!r} is not lower-case letters and digits")

    @property
    def _link_prefix(self) -> str:
        # Interface names have 15 characters; other instances than the default are told apart by four hex digits.
        if self.name == DEFAULT_NAME:
            return "ev"
        return "ev" + hashlib.sha256(self.name.encode()).hexdigest()[:4]

    @property
    def table(self) -> str:
        """The nftables table of family inet."""
        return self.name

    @property
    def log_group(self) -> int:
        """Number of the group under which the table's log statements reach us; those of other software are small."""
        return 0x4000 | int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:2]) & 0x3FFF

    @property
    def bridge_prefix(self) -> str:
        """Bridges are this and a number."""
        return self._link_prefix + "br"

    @property
    def veth_prefix(self) -> str:
        """Host ends of app interfaces are this and eight hex digits."""
        return self._link_prefix + "v"

    @property
    def routing_table(self) -> int:
        """First of 256 routing tables; their numbers tell whose they are."""
        if self.name == DEFAULT_NAME:
            return _FIRST_TABLE
        return _FIRST_TABLE + (1 + int(hashlib.sha256(self.name.encode()).hexdigest()[:4], 16) << 8)

    @property
    def cgroup(self) -> str:
        return f"/{self.name}"

    @property
    def host_dir(self) -> Path:
        """Private configuration of the tools that the engine runs."""
        return self.data_dir / "host"

    @property
    def storage_dir(self) -> Path:
        """Images and container roots, managed by podman."""
        return self.data_dir / "containers"

    @property
    def state_dir(self) -> Path:
        """Small records of the engine, one file a kind."""
        return self.data_dir / "engine"

    @property
    def apps_dir(self) -> Path:
        return self.data_dir / "apps"

    @property
    def logs_dir(self) -> Path:
        return self.data_dir / "applogs"

    @property
    def volumes_dir(self) -> Path:
        return self.data_dir / "volumes"

    @property
    def downloads_dir(self) -> Path:
        return self.data_dir / "downloads"

    @property
    def blobs_dir(self) -> Path:
        """Disk images by digest, and downloads under way."""
        return self.data_dir / "blobs"

    @property
    def exports_dir(self) -> Path:
        """Images of volumes that are being taken away."""
        return self.data_dir / "exports"

    @property
    def k3s_dir(self) -> Path:
        """K3s's programs and the data of a cluster that this node is a member of."""
        return self.data_dir / "k3s"

    @property
    def k3s_run_dir(self) -> Path:
        return self.run_dir / "k3s"

    @property
    def k3s_cgroup(self) -> str:
        """Parent of K3s and of all its pods."""
        return f"{self.cgroup}/k3s"

    @property
    def scratch_dir(self) -> Path:
        """Temporary files of podman, on the disk that has the room."""
        return self.downloads_dir / "scratch"

    @property
    def podman_run_dir(self) -> Path:
        return self.run_dir / "podman"

    @property
    def netns_dir(self) -> Path:
        return self.run_dir / "netns"

    @property
    def dns_dir(self) -> Path:
        return self.run_dir / "dns"

    @property
    def dhcp_dir(self) -> Path:
        """DHCP clients of containers on switches."""
        return self.run_dir / "dhcp"

    @property
    def trees_dir(self) -> Path:
        """Spanning trees of switches."""
        return self.run_dir / "trees"

    @property
    def apps_run_dir(self) -> Path:
        """Pid files of containers."""
        return self.run_dir / "apps"

    def machine_socket(self, name: str) -> Callable[[str], Path]:
        """App id → a socket of its virtual machine: ``console`` (the serial line) or ``vnc``."""
        return lambda app_id: self.apps_run_dir / app_id / "vm" / f"{name}.sock"

    @property
    def sessions_dir(self) -> Path:
        """Process ids of commands that people run in containers."""
        return self.run_dir / "sessions"

    @property
    def run_folders(self) -> tuple[Path, ...]:
        """What describes processes and links of this boot, and nothing of another one."""
        return (
            self.podman_run_dir,
            self.netns_dir,
            self.dns_dir,
            self.dhcp_dir,
            self.trees_dir,
            self.apps_run_dir,
            self.sessions_dir,
            self.k3s_run_dir,
        )

    @property
    def data_folders(self) -> tuple[Path, ...]:
        """What survives reboots."""
        return (
            self.host_dir,
            self.storage_dir,
            self.state_dir,
            self.apps_dir,
            self.logs_dir,
            self.volumes_dir,
            self.downloads_dir,
            self.blobs_dir,
            self.exports_dir,
            self.k3s_dir,
        )

    def prepare(self) -> None:
        """Make the folders. Blocking; call it from a thread."""
        for folder in (self.data_dir, self.run_dir):
            folder.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
        self.run_dir.chmod(self.run_dir.stat().st_mode | _PASSABLE)
        blobs = (self.blobs_dir / "sha256", self.blobs_dir / "partial", self.blobs_dir / "disks")
        for folder in (*self.data_folders, *self.run_folders, *blobs, self.scratch_dir):
            folder.mkdir(mode=_PRIVATE, exist_ok=True)
        # dnsmasq must read here, as its own user.
        self.dns_dir.chmod(0o755)


def is_bridge_name(link: str) -> bool:
    """Whether ``link`` is named like a bridge of any instance."""
    return re.fullmatch(r"ev([0-9a-f]{4})?br\d+", link) is not None
