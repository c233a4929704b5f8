"""Time servers of the ports: which ones count, and the machine's own time service told of them.

The service is chrony or systemd-timesyncd, whichever Debian has installed; both read further files from ``/run``, so nothing of it
outlives a boot or a reset. The clock itself is theirs to set.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from eaves.kit import files, process
from eaves.kit.errors import EavesError
from eaves.node.desired.port_model import PortsSetup
from eaves.node.ports.errors import PortError
from eaves.node.ports.model import SeenManager

log = logging.getLogger(__name__)

_CHRONYD = "usr/sbin/chronyd"
_TIMESYNCD = ("usr/lib/systemd/systemd-timesyncd", "lib/systemd/systemd-timesyncd")
_CHRONY_FOLDER = "run/chrony-dhcp"
"""A ``sourcedir`` of Debian's chrony.conf."""
_TIMESYNCD_FOLDER = "run/systemd/timesyncd.conf.d"
_LIMIT_S = 30.0


def want_time_servers(setup: PortsSetup, seen: SeenManager) -> dict[str, tuple[str, ...]]:
    """Label of each port that has any → its servers: those of the config, then what DHCP told unless that is ignored. Pure."""
    found = {}
    for port in setup.ports:
        link = seen.links.get(port.interface)
        told = link.time_servers if link is not None and not port.ip.ignores_ntp else ()
        if servers := tuple(dict.fromkeys((*port.ip.ntp_servers, *told))):
            found[port.label] = servers
    return found


class TimeService:
    """``root``: of the machine's file system. Level-based: a file that says the same already is left, and nobody told again."""

    def __init__(self, instance: str, root: Path = Path("/")) -> None:
        self._root = root
        self._chrony = root / _CHRONY_FOLDER / f"eaves-{instance}.sources"
        self._timesyncd = root / _TIMESYNCD_FOLDER / f"50-eaves-{instance}.conf"

    async def apply(self, by_port: Mapping[str, Sequence[str]]) -> None:
        """Let the time service ask these servers too; none = only those that it has from its owner. Raises PortError."""
        servers = tuple(dict.fromkeys(server for group in by_port.values() for server in group))
        lines = "".join(f"server {server} iburst\n" for server in servers)
        conf = f"[Time]\nNTP={' '.join(servers)}\n" if servers else ""
        try:
            is_chrony = await asyncio.to_thread((self._root / _CHRONYD).exists)
            if await asyncio.to_thread(_write, self._chrony, lines if is_chrony else ""):
                await self._tell("chronyc", "reload", "sources")
            if await asyncio.to_thread(_write, self._timesyncd, "" if is_chrony else conf):
                await self._tell("systemctl", "try-restart", "systemd-timesyncd.service")
        except OSError as error:
            raise PortError(f"the time service cannot be told of servers: {error.strerror}", element="time") from error
        if servers and not is_chrony and not any((self._root / path).exists() for path in _TIMESYNCD):
            raise PortError(
                "this machine has no time service that the servers could be told to",
                element="time",
                resolution="install chrony or systemd-timesyncd",
            )

    async def remove(self) -> None:
        """Every trace. Raises PortError."""
        await self.apply({})

    async def _tell(self, *argv: str) -> None:
        # One that does not run reads the files when it starts.
        try:
            done = await process.run(list(argv), timeout_s=_LIMIT_S, check=False)
        except EavesError as error:
            log.info("time service was not told: command=%s error=%s", argv[0], error)
            return
        log.info("time servers changed: command=%s code=%d", " ".join(argv), done.returncode)


def _write(path: Path, text: str) -> bool:
    """Whether anything changed; an empty text means no file."""
    if not text:
        if not path.exists():
            return False
        path.unlink()
        return True
    if files.load_file(path) == text.encode():
        return False
    # Both services run as users of their own.
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    files.save_file(path, text.encode(), mode=0o644)
    return True
