"""Runs the spanning tree of each switch that needs one (:mod:`eaves.node.networks.rstp`).

The process outlives the daemon, as the name servers do: without it neighbours would take our silence for the end of the network. A new
daemon adopts it. One that dies is started anew at once; until then the ports stay as they are.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec

from eaves.kit import daemonizing, files, process
from eaves.node import pids
from eaves.node.inotify import FolderWatch
from eaves.node.instance import Instance
from eaves.node.networks import addressing
from eaves.node.networks.errors import NetworkError
from eaves.node.networks.model import WantedSwitch
from eaves.node.networks.treeview import Tree

log = logging.getLogger(__name__)

_START_LIMIT_S = 20.0
PROGRAM = "eaves.node.networks.rstp.main"


class SpanningTrees:
    """The processes of the node. ``on_change``: one ended without being asked to, or its ports have changed."""

    def __init__(self, instance: Instance, on_change: Callable[[], None]) -> None:
        self._instance = instance
        self._on_change = on_change
        self._exits: dict[str, tuple[int, asyncio.Task[None]]] = {}
        self._watch: FolderWatch | None = None
        self._watched: dict[str, int] = {}

    async def apply(self, switch: WantedSwitch) -> None:
        """Make the tree run with the ports of the switch. Raises NetworkError."""
        folder = self._instance.trees_dir / switch.link
        pid, has_new_ports = await asyncio.to_thread(self._save, folder, _render_config(switch))
        self._follow(folder)
        if not pid:
            pid = await self._start(switch, folder)
        elif has_new_ports:
            pids.send_signal(pid, signal.SIGHUP)
        self._follow_exit(switch.link, pid)

    async def remove_others(self, keep: Collection[str]) -> None:
        """End the trees of all links that are not in ``keep``; their ports are brought in line by ``plan``."""
        for folder in await asyncio.to_thread(self._list_folders):
            if folder.name not in keep:
                if known := self._exits.pop(folder.name, None):
                    known[1].cancel()
                pid = await asyncio.to_thread(pids.load_pid, folder / "pid", str(folder))
                pids.send_signal(pid, signal.SIGKILL) if pid else None
                await pids.wait_exit(pid)
                if self._watch is not None and (number := self._watched.pop(folder.name, None)) is not None:
                    self._watch.remove(number)
                await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def load(self, link: str) -> Tree:
        """How the tree stands, empty while it does not say."""
        raw = await asyncio.to_thread(files.load_file, self._instance.trees_dir / link / "status.json")
        try:
            return msgspec.json.decode(raw or b"{}", type=Tree)
        except msgspec.DecodeError:
            return Tree()

    def close(self) -> None:
        """Stop watching; the trees go on."""
        for _, task in self._exits.values():
            task.cancel()
        self._exits.clear()
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        self._watched.clear()

    def _save(self, folder: Path, config: bytes) -> tuple[int, bool]:
        """(pid, 0 = it does not run; whether it must read its configuration again)"""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / "config.json"
        is_same = files.load_file(path) == config
        if not is_same:
            files.save_file(path, config, mode=0o600)
        return pids.load_pid(folder / "pid", str(folder)), not is_same

    async def _start(self, switch: WantedSwitch, folder: Path) -> int:
        argv = daemonizing.want_argv(PROGRAM, str(folder))
        done = await process.run(argv, timeout_s=_START_LIMIT_S, check=False)
        if done.returncode:
            raise NetworkError(
                f"the spanning tree of {switch.link} does not start",
                details=done.stderr.decode(errors="replace").strip(),
                resolution="the ports of the switch stay shut meanwhile; use a kernel with CONFIG_PACKET and CONFIG_BRIDGE",
            )
        return await asyncio.to_thread(pids.load_pid, folder / "pid", str(folder))

    def _follow(self, folder: Path) -> None:
        if self._watch is None:
            self._watch = FolderWatch()
        if folder.name not in self._watched:
            self._watched[folder.name] = self._watch.add(folder, self._on_change)

    def _follow_exit(self, link: str, pid: int) -> None:
        known = self._exits.get(link)
        if known is not None and known[0] == pid:
            return
        if known is not None:
            known[1].cancel()
        self._exits[link] = (pid, asyncio.create_task(self._tell_exit(link, pid), name=f"spanning tree {link}"))

    async def _tell_exit(self, link: str, pid: int) -> None:
        await pids.wait_exit(pid)
        log.warning("a spanning tree ended, it is started again: bridge=%s", link)
        self._exits.pop(link, None)
        self._on_change()

    def _list_folders(self) -> list[Path]:
        folder = self._instance.trees_dir
        return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.exists() else []


def _render_config(switch: WantedSwitch) -> bytes:
    return msgspec.json.encode(
        {
            "bridge": switch.link,
            "mac": addressing.derive_mac(switch.network_id, switch.link, "bridge"),
            "ports": {port.interface: {"guard": port.has_guard} for port in switch.ports},
        }
    )
