"""Gets addresses for containers on switches: a DHCP client in each one's namespace, since containers rarely bring their own.

Virtual machines do it themselves. The client (busybox ``udhcpc``) outlives the daemon, like the name servers; its script keeps the
lease in a file that the daemon reads.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Collection
from pathlib import Path

from msgspec import Struct

from eaves.kit import files, process
from eaves.node import pids
from eaves.node.inotify import FolderWatch
from eaves.node.instance import Instance
from eaves.node.networks.errors import NetworkError
from eaves.node.networks.model import WantedNetns, WantedVif

log = logging.getLogger(__name__)

_STOP_LIMIT_S = 5.0
_SCRIPT = """#!/bin/sh
# Set up {inside} as DHCP says and note the lease where it changes. An address that stays is not touched: its connections stay too.
case "$1" in
bound|renew)
  for old in $(ip -4 -o addr show dev {inside} | awk '{{print $4}}'); do
    [ "$old" = "$ip/$mask" ] || ip addr del "$old" dev {inside}
  done
  ip addr replace "$ip/$mask" dev {inside}
  {default}
  set -- $staticroutes
  while [ $# -ge 2 ]; do [ "$1" = 0.0.0.0/0 ] || ip route replace "$1" via "$2" dev {inside}; shift 2; done
  lease=$(echo "address $ip"; for server in $dns; do echo "nameserver $server"; done; [ -z "$domain" ] || echo "search $domain")
  [ "$lease" = "$(cat {folder}/lease 2>/dev/null)" ] || {{ echo "$lease" > {folder}/lease.new && mv {folder}/lease.new {folder}/lease; }}
  ;;
esac
"""
_DEFAULT = "for gateway in $router; do ip route replace default via $gateway dev {inside}; break; done"


class Lease(Struct, frozen=True):
    """``resolver``: lines for a resolv.conf."""

    address: str = ""
    resolver: str = ""


class DhcpClients:
    """The clients of the node, by the host's end of the interface that they serve. ``on_change``: a lease came or changed."""

    def __init__(self, instance: Instance, on_change: Callable[[], None]) -> None:
        self._instance = instance
        self._on_change = on_change
        self._watch: FolderWatch | None = None
        self._watched: dict[str, int] = {}

    async def apply(self, netns: WantedNetns, vif: WantedVif) -> None:
        """Make a client run for this interface. Raises NetworkError."""
        folder = self._instance.dhcp_dir / vif.link
        has_default = not netns.gateway
        script = _SCRIPT.format(
            inside=vif.inside, folder=folder, default=_DEFAULT.format(inside=vif.inside) if has_default else ":"
        )
        mark = f"{netns.app_id} {vif.inside} {vif.mac}\n"
        pid, is_same = await asyncio.to_thread(self._save, folder, self._script_path(vif.link), script, mark)
        self._follow(vif.link)
        if pid and is_same:
            return
        if pid:
            await pids.stop(pid, _STOP_LIMIT_S)
        await self._start(netns, vif, folder)

    async def remove_others(self, keep: Collection[str]) -> None:
        """Stop the clients of all links that are not in ``keep``."""
        for folder in await asyncio.to_thread(self._list_folders):
            if folder.name not in keep:
                pid = await asyncio.to_thread(pids.load_pid, folder / "pid", str(folder))
                if pid:
                    await pids.stop(pid, _STOP_LIMIT_S)
                if self._watch is not None and (number := self._watched.pop(folder.name, None)) is not None:
                    self._watch.remove(number)
                await asyncio.to_thread(self._forget, folder)

    async def load(self, link: str) -> Lease:
        """The lease of an interface, empty while there is none."""
        raw = await asyncio.to_thread(files.load_file, self._instance.dhcp_dir / link / "lease")
        return parse_lease(raw.decode(errors="replace") if raw else "")

    def close(self) -> None:
        """Follow the leases no longer; the clients go on."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        self._watched.clear()

    def _follow(self, link: str) -> None:
        """A client answers after it was seen to get its address: only the file says when its name servers are known."""
        if self._watch is None:
            self._watch = FolderWatch()
        if link not in self._watched:
            self._watched[link] = self._watch.add(self._instance.dhcp_dir / link, self._on_change)

    def _script_path(self, link: str) -> Path:
        """Not among the run-time files: Debian mounts /run so that nothing in it can be executed."""
        return self._instance.host_dir / f"dhcp-{link}.sh"

    def _save(self, folder: Path, script_path: Path, script: str, mark: str) -> tuple[int, bool]:
        """(pid, whether it runs for the same interface): a namespace that was made anew needs a new client."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if files.load_file(script_path) != script.encode():
            files.save_file(script_path, script.encode(), mode=0o700)
        is_same = files.load_file(folder / "mark") == mark.encode()
        if not is_same:
            files.save_file(folder / "mark", mark.encode(), mode=0o600)
        return pids.load_pid(folder / "pid", str(folder)), is_same

    def _forget(self, folder: Path) -> None:
        self._script_path(folder.name).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)

    async def _start(self, netns: WantedNetns, vif: WantedVif, folder: Path) -> None:
        await asyncio.to_thread((folder / "lease").unlink, missing_ok=True)
        inside = ["nsenter", f"--net={self._instance.netns_dir / netns.app_id}"]
        options = [
            "-i",
            vif.inside,
            "-p",
            str(folder / "pid"),
            "-s",
            str(self._script_path(vif.link)),
            "-b",
            "-t",
            "1",
            "-T",
            "1",
        ]
        more = ["-A", "10", "-S", "-R", "-x", f"hostname:{netns.hostname}", "-O", "staticroutes"]
        try:
            await process.run([*inside, "busybox", "udhcpc", *options, *more], timeout_s=30)
        except process.ProcessError as error:
            raise NetworkError(
                f"no DHCP client for interface {vif.name}",
                details=error.details,
                resolution="install busybox (its udhcpc) on the node",
            ) from error

    def _list_folders(self) -> list[Path]:
        folder = self._instance.dhcp_dir
        return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.exists() else []


def parse_lease(text: str) -> Lease:
    lines = text.splitlines()
    address = next((line.removeprefix("address ") for line in lines if line.startswith("address ")), "")
    resolver = "".join(f"{line}\n" for line in lines if line.startswith(("nameserver ", "search ")))
    return Lease(address, resolver)
