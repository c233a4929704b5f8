"""A device that plays a member of a K3s cluster over the device API: it reads its config, tells what the test wants, and runs nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from eaves.testing.device import Device
from eaves.testing.eve_device import join_device
from eaves.testing.system import ControllerHost
from eaves.wire.pb.config.edge_node_cluster_pb2 import EdgeNodeCluster
from eaves.wire.pb.info import info_pb2
from eaves.wire.pb.info.edge_node_cluster_pb2 import KUBE_NODE_CONDITION_TYPE_READY

WAIT_S = 60.0


class ScriptedMember:
    """Wraps a device that is onboarded."""

    def __init__(self, name: str, device: Device, address: str) -> None:
        self.name = name
        self.device = device
        self.address = address

    async def introduce(self, *, runs_eve: bool = False) -> None:
        """Tell of the box itself: its processor, its port and address."""
        message = self.device.info()
        info = message.dinfo
        info.state = info_pb2.ZDEVICE_STATE_ONLINE
        if runs_eve:
            info.swList.add(activated=True, partitionLabel="IMGA", shortVersion="16.0.0-k-amd64")
        else:
            info.eaves.daemon_version = "1"
        port = info.systemAdapter.status.add().ports.add(ifname="eth0", name="eth0", isMgmt=True, up=True)
        port.IPAddrs.append(self.address)
        await self._send(message)

    async def poll(self) -> EdgeNodeCluster | None:
        """The cluster of the newest config; None when it has none."""
        reply = await self.device.poll()
        assert reply.status in (200, 304), reply
        config = self.device.config
        assert config is not None
        return config.cluster if config.HasField("cluster") else None

    async def poll_until(self, wanted: Any) -> EdgeNodeCluster | None:
        """Poll until ``wanted(cluster)`` holds."""
        async with asyncio.timeout(WAIT_S):
            while True:
                cluster = await self.poll()
                if wanted(cluster):
                    return cluster
                await asyncio.sleep(0.02)

    async def tell(self, cluster: EdgeNodeCluster, state: str = "Ready", **fields: Any) -> None:
        """Report as a member that has come so far; ``views`` are of other members: UUID → fields."""
        message = info_pb2.ZInfoMsg(ztype=info_pb2.ZiKubeCluster, devId=self.device.id)
        self._stamp(message)
        message.cluster_info.cluster_id = cluster.cluster_id
        told = message.cluster_info.eaves
        told.cluster_id, told.state = cluster.cluster_id, state
        told.is_server = not cluster.is_worker_node
        is_up = state == "Ready"
        told.version = cluster.eaves.version if is_up else ""
        if told.is_server and is_up:
            told.api_ready = told.has_data = told.etcd_healthy = True
            told.ca_hash = "c" * 64
        for device_id, view in fields.pop("views", {}).items():
            told.is_leader = True
            told.members.add(id=device_id, **view)
        for name, value in fields.items():
            setattr(told, name, value)
        await self._send(message)

    async def tell_nodes(self, cluster_id: str, *nodes: Mapping[str, Any]) -> None:
        """Report as the EVE device that is elected to tell of all Nodes: ``node_id``, ``admission_status`` and so on of each."""
        message = info_pb2.ZInfoMsg(ztype=info_pb2.ZiKubeCluster, devId=self.device.id)
        self._stamp(message)
        message.cluster_info.cluster_id = cluster_id
        for fields in nodes:
            node = message.cluster_info.nodes.add(**fields)
            node.conditions.add(type=KUBE_NODE_CONDITION_TYPE_READY, set=True)
        await self._send(message)

    async def tell_left(self, cluster_id: str) -> None:
        message = info_pb2.ZInfoMsg(ztype=info_pb2.ZiKubeCluster, devId=self.device.id)
        self._stamp(message)
        message.cluster_info.cluster_id = cluster_id
        await self._send(message)

    def token(self, cluster: EdgeNodeCluster) -> str:
        return self.device.decrypt(cluster.encrypted_cluster_token).cluster_token

    async def _send(self, message: info_pb2.ZInfoMsg) -> None:
        reply = await self.device.send_info(message)
        assert reply.status == 201, reply

    def _stamp(self, message: info_pb2.ZInfoMsg) -> None:
        message.atTimeStamp.GetCurrentTime()


@contextlib.asynccontextmanager
async def join_member(
    controller: ControllerHost, name: str, address: str, *, runs_eve: bool = False
) -> AsyncIterator[ScriptedMember]:
    """A device of a running controller that has told of itself and is approved."""
    async with join_device(controller, name) as device:
        member = ScriptedMember(name, device, address)
        await member.introduce(runs_eve=runs_eve)
        await asyncio.to_thread(controller.eaves_kubectl, "approve", name)
        yield member
