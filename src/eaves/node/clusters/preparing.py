"""What a start of K3s needs of this machine: the program, its bundles, what the kernel can do, the environment.

Owned by :class:`.membership.Membership`; keeps nothing but what it saw of the kernel.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct

from eaves.kit.errors import EavesError
from eaves.node.clusters import addresses, cgroups, program, spec
from eaves.node.clusters.errors import ClusterError
from eaves.node.clusters.model import ClusterFolders, KernelFacts
from eaves.node.clusters.spec import HostSize, Surroundings
from eaves.node.desired.cluster_model import DesiredCluster
from eaves.node.images.plan import Pin
from eaves.node.images.ways import FindWay, find_host_way
from eaves.node.instance import Instance

log = logging.getLogger(__name__)

FindPin = Callable[[str], Pin | None]


class Program(Struct, frozen=True):
    """K3s as it would be started: its file, where it comes from, and what is still missing."""

    path: str = ""
    source: str = ""
    bundles: tuple[program.Bundle, ...] = ()
    missing: tuple[str, ...] = ()


class Preparer:
    """``find_pin``: content tree id → what is here of it. ``own_binary``: program for controllers that name none.

    ``proxies``: of the node's settings; those of the uplink that ``find_way`` answers come first.
    """

    def __init__(
        self,
        instance: Instance,
        *,
        find_pin: FindPin,
        own_binary: str,
        proxies: Mapping[str, str],
        find_way: FindWay = find_host_way,
    ) -> None:
        self._instance = instance
        self._find_pin = find_pin
        self.own_binary = own_binary
        self._node_proxies = proxies
        self._proxies = proxies
        self._find_way = find_way
        self._kernel: KernelFacts | None = None

    def find_program(self, cluster: DesiredCluster) -> Program:
        """By content tree; by the node's settings when the config names none. Raises ClusterError when there is neither."""
        if not cluster.binary_image_id:
            if not self.own_binary:
                raise ClusterError(
                    "the config names no k3s program and this node has none of its own",
                    code="ProgramMissing",
                    resolution="name a release in the cluster, or set k3s_binary in the node's settings",
                )
            return Program(self.own_binary)
        missing: list[str] = []
        pin = self._find_pin(cluster.binary_image_id)
        if pin is None:
            missing.append(f"k3s {cluster.version}".strip())
        bundles = []
        for image_id in cluster.bundle_image_ids:
            if (found := self._find_pin(image_id)) is None:
                missing.append(f"bundle {image_id}")
            else:
                bundles.append(program.Bundle(found.path, found.digest, found.reference))
        path = program.want_program_path(self._instance.k3s_dir, cluster.version or f"image-{cluster.binary_image_id}")
        return Program(str(path), pin.path if pin else "", tuple(bundles), tuple(missing))

    async def install(self, cluster: DesiredCluster, wanted: Program, folders: ClusterFolders, running: str) -> None:
        """Program and bundles in their places; ``running``: the program that is started now. Raises EavesError, OSError."""
        await self.place(cluster, wanted)
        await asyncio.to_thread(program.place_bundles, wanted.bundles, folders.bundles)
        await asyncio.to_thread(self.remove_others, wanted.path, running)

    async def place(self, cluster: DesiredCluster, wanted: Program) -> None:
        """The program in its place, and tried. Raises EavesError, OSError."""
        if wanted.source:
            await program.install(wanted.source, Path(wanted.path), cluster.version)
        elif cluster.version:
            await program.check_version(Path(wanted.path), cluster.version)

    def remove_others(self, *keep: str) -> None:
        """Programs of other versions go; ``keep`` holds paths. Blocking."""
        program.remove_programs(self._instance.k3s_dir, keep)

    async def surround(
        self,
        cluster: DesiredCluster,
        wanted: Program,
        interface: str,
        folders: ClusterFolders,
        backend: str,
        *,
        is_first: bool,
    ) -> Surroundings:
        """``backend``: flannel's of the servers that are there already, empty = none is. Raises ClusterError."""
        kernel = await self._want_kernel()
        backend = spec.want_backend(cluster, kernel, backend)
        if cluster.is_server and (reason := spec.check_backend(backend, kernel)):
            raise ClusterError(
                reason,
                code="KernelUnsuitable",
                resolution="load the kernel's module, or set flannel-backend: host-gw for the whole cluster",
            )
        return Surroundings(
            folders=folders,
            program=wanted.path,
            interface=interface,
            backend=backend,
            is_first=is_first,
            host=await asyncio.to_thread(observe_size),
            cgroup_root=self._instance.k3s_cgroup if await asyncio.to_thread(cgroups.is_possible) else "",
            environment=self.environment(),
        )

    async def _want_kernel(self) -> KernelFacts:
        if self._kernel is None:
            self._kernel = await addresses.observe_kernel()
        return self._kernel

    async def learn_proxies(self) -> None:
        """For the next start of K3s, which reads them once; a cluster starts without any uplink too."""
        try:
            way = await self._find_way()
        except EavesError as error:
            log.info("proxies for K3s are not known, the former ones stay: error=%s", error)
            return
        if way.proxy is not None and way.proxy.pac:
            log.warning("K3s follows no proxy auto-configuration file, it fetches images directly")
        self._proxies = self._node_proxies if way.proxy is None else dict(way.proxy.variables)

    def environment(self) -> Mapping[str, str]:
        """Nothing of the daemon's own place under systemd: K3s would take its unit for a cgroup driver of systemd's."""
        path = os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        private = "127.0.0.0/8,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,.svc,.cluster.local"
        spared = ",".join(part for part in (private, self._proxies.get("NO_PROXY", "")) if part)
        has_proxy = any(name != "NO_PROXY" for name in self._proxies)
        proxies = {**self._proxies, "NO_PROXY": spared} if has_proxy else {}
        return {"PATH": path, "HOME": os.environ.get("HOME", "/root"), "LANG": "C.UTF-8", **proxies}


def observe_size() -> HostSize:
    """Blocking, short."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return HostSize(pages, (os.cpu_count() or 1) * 1000)
