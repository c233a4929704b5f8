"""Runs one dnsmasq a bridge. It outlives the daemon, so that names resolve while the daemon is updated; a new one adopts it."""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from eaves.kit import files, process
from eaves.node import pids
from eaves.node.instance import Instance
from eaves.node.networks import dns, ruleset
from eaves.node.networks.errors import NetworkError
from eaves.node.networks.model import Layout, WantedBridge

log = logging.getLogger(__name__)

_STOP_LIMIT_S = 5.0


class NameServers:
    """The dnsmasq processes of the node; ``on_exit`` is called when one ends without being asked to."""

    def __init__(self, instance: Instance, on_exit: Callable[[], None]) -> None:
        self._instance = instance
        self._on_exit = on_exit
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._pids: dict[str, int] = {}

    async def apply(self, bridge: WantedBridge, layout: Layout) -> None:
        """Make the bridge's dnsmasq run with the names of ``layout``. Raises NetworkError."""
        folder = self._instance.dns_dir / bridge.link
        conf = dns.render_dnsmasq_conf(
            bridge, folder, self._instance.table, ruleset.want_hosts(layout).get(bridge.network_id, set())
        )
        names = {
            "hosts": dns.render_hosts(bridge, layout),
            "leases.conf": dns.render_leases(bridge, layout),
            "options.conf": dns.render_options(bridge),
        }
        pid, has_new_conf, has_new_names = await asyncio.to_thread(self._save, folder, conf, names)
        if pid and not has_new_conf:
            if has_new_names:
                pids.send_signal(pid, signal.SIGHUP)
        else:
            if pid:
                await self._stop(bridge.link, pid)
            pid = await self._start(bridge, folder)
        self._watch(bridge.link, pid)

    async def remove_others(self, keep: set[str]) -> None:
        """Stop dnsmasq and remove its files for every bridge that is not in ``keep``."""
        for folder in await asyncio.to_thread(self._list_folders):
            if folder.name not in keep:
                pid = await asyncio.to_thread(pids.load_pid, folder / "pid", str(folder))
                await self._stop(folder.name, pid)
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def close(self) -> None:
        """Stop watching; the processes go on."""
        for task in self._watches.values():
            task.cancel()
        self._watches.clear()
        self._pids.clear()

    def _save(self, folder: Path, conf: str, names: dict[str, str]) -> tuple[int, bool, bool]:
        """Write what differs; answers pid (0 = not running), whether the configuration and whether the names changed."""
        folder.mkdir(mode=0o755, exist_ok=True)
        folder.chmod(0o755)
        changed = {}
        for name, text in {"dnsmasq.conf": conf, **names}.items():
            path = folder / name
            changed[name] = files.load_file(path) != text.encode()
            if changed[name]:
                files.save_file(path, text.encode(), mode=0o644)
        pid = pids.load_pid(folder / "pid", str(folder))
        return pid, changed["dnsmasq.conf"], any(changed[name] for name in names)

    async def _start(self, bridge: WantedBridge, folder: Path) -> int:
        try:
            await process.run(["dnsmasq", f"--conf-file={folder / 'dnsmasq.conf'}"], timeout_s=20)
        except process.ProcessError as error:
            raise NetworkError(
                f"dnsmasq of bridge {bridge.link} does not start",
                details=error.details,
                resolution=f"see what holds port 53 or 67 of {bridge.gateway}",
            ) from error
        return await asyncio.to_thread(pids.load_pid, folder / "pid", str(folder))

    async def _stop(self, link: str, pid: int) -> None:
        if task := self._watches.pop(link, None):
            task.cancel()
        self._pids.pop(link, None)
        await pids.stop(pid, _STOP_LIMIT_S)

    def _watch(self, link: str, pid: int) -> None:
        if self._pids.get(link) == pid:
            return
        if task := self._watches.pop(link, None):
            task.cancel()
        self._pids[link] = pid
        self._watches[link] = asyncio.create_task(self._tell_exit(link, pid), name=f"dnsmasq {link}")

    async def _tell_exit(self, link: str, pid: int) -> None:
        await pids.wait_exit(pid)
        log.warning("dnsmasq ended, it is started again: bridge=%s", link)
        self._pids.pop(link, None)
        self._on_exit()

    def _list_folders(self) -> list[Path]:
        return sorted(path for path in self._instance.dns_dir.iterdir() if path.is_dir())
