"""A K3s cluster over EVE devices of a whole controller: no release, the public fields alone, told by one device of all."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from eaves.testing.eve_device import drop_eaves_fields
from eaves.testing.scripted_member import ScriptedMember, join_member
from eaves.testing.system import ControllerHost
from eaves.wire.pb.config.edge_node_cluster_pb2 import EdgeNodeCluster
from eaves.wire.pb.info.edge_node_cluster_pb2 import NODE_ADMISSION_JOINED

pytestmark = pytest.mark.system

NAMES = ["eve-a", "eve-b"]
OF_EVE = "v1.32.3+k3s1"


def cluster() -> dict[str, Any]:
    addresses = [{"nodeName": name, "address": f"10.244.7.{11 + number}/24"} for number, name in enumerate(NAMES)]
    return {
        "apiVersion": "eaves.dev/v1alpha1",
        "kind": "K3sCluster",
        "metadata": {"name": "shop"},
        "spec": {"version": "v1.34.2+k3s1", "servers": {"nodeNames": NAMES}, "addresses": addresses},
    }


async def want_config(member: ScriptedMember) -> EdgeNodeCluster:
    """The member's part as a device reads it that knows no field of Eaves."""
    found = await member.poll_until(lambda found: found is not None)
    assert found is not None
    copy = EdgeNodeCluster.FromString(found.SerializeToString())
    drop_eaves_fields(copy)
    assert copy == found
    return copy


def node_of(member: ScriptedMember) -> dict[str, Any]:
    return {
        "name": member.name,
        "node_id": member.device.id,
        "api_server_sersion": OF_EVE,
        "admission_status": NODE_ADMISSION_JOINED,
    }


async def test_devices_of_eve_make_a_cluster_that_kubectl_sees(own_controller: ControllerHost) -> None:
    await asyncio.to_thread(own_controller.start)
    kubectl = own_controller.kubectl
    async with contextlib.AsyncExitStack() as stack:
        members = [
            await stack.enter_async_context(join_member(own_controller, name, f"192.0.2.{7 + number}", runs_eve=True))
            for number, name in enumerate(NAMES)
        ]
        a, b = members
        await asyncio.to_thread(own_controller.operator.create, "k3sclusters", cluster())
        first = await want_config(a)
        assert (first.cluster_ip_prefix, first.join_server_ip) == ("10.244.7.11/24", "10.244.7.11")
        await a.tell_nodes(first.cluster_id, node_of(a))
        second = await want_config(b)
        assert (second.cluster_ip_prefix, second.join_server_ip) == ("10.244.7.12/24", "10.244.7.11")
        assert second.cluster_id == first.cluster_id
        assert b.token(second) == a.token(first)
        await a.tell_nodes(first.cluster_id, node_of(a), node_of(b))
        await asyncio.to_thread(kubectl.ok, "wait", "--for=condition=Ready", "k3scluster/shop", "--timeout=60s")
        said = await asyncio.to_thread(own_controller.eaves_kubectl, "why", "k3scluster/shop")
        assert f"{NAMES[0]} ({OF_EVE}), {NAMES[1]} ({OF_EVE}) bring K3s with EVE" in said
        assert "is as asked" in said
