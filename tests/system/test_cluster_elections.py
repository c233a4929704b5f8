"""A cluster over scripted devices of a whole controller: configs in order, one election, whatever kills the controller in between."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from typing import Any

import pytest

from eaves.testing.daemons import wait_for
from eaves.testing.device_transport import TlsTransport
from eaves.testing.scripted_member import ScriptedMember, join_member
from eaves.testing.system import ControllerHost
from eaves.wire.pb.config.edge_node_cluster_pb2 import EdgeNodeCluster

pytestmark = pytest.mark.system

VERSION = "v1.34.2+k3s1"
NAMES = ["k3s-a", "k3s-b", "k3s-c"]


def manifests() -> list[dict[str, Any]]:
    binary = {"datastoreRef": {"name": "k3s"}, "path": "k3s", "sha256": "a" * 64}
    return [
        {
            "apiVersion": "eaves.dev/v1alpha1",
            "kind": "Datastore",
            "metadata": {"name": "k3s"},
            "spec": {"type": "HTTP", "url": "https://files.example"},
        },
        {
            "apiVersion": "eaves.dev/v1alpha1",
            "kind": "K3sRelease",
            "metadata": {"name": "k3s"},
            "spec": {"version": VERSION, "architectures": [{"architecture": "amd64", "binary": binary}]},
        },
        {
            "apiVersion": "eaves.dev/v1alpha1",
            "kind": "K3sCluster",
            "metadata": {"name": "shop"},
            "spec": {"version": VERSION, "servers": {"nodeNames": NAMES}},
        },
    ]


async def restart(controller: ControllerHost, members: Sequence[ScriptedMember]) -> None:
    """kill -9, and up again; devices open connections anew."""
    await asyncio.to_thread(controller.daemon.kill)
    for member in members:
        assert isinstance(member.device.transport, TlsTransport)
        with contextlib.suppress(OSError):
            await member.device.transport.close()
    await asyncio.to_thread(controller.start)
    for member in members:
        # Nodes call again within seconds, the server that leads the cluster first here.
        await member.poll()


async def want_started(member: ScriptedMember) -> EdgeNodeCluster:
    """The member's config once it may start."""
    found = await member.poll_until(lambda found: found is not None and not found.eaves.stopped)
    assert found is not None
    return found


async def test_one_server_is_elected_through_kills_of_the_controller(own_controller: ControllerHost) -> None:
    await asyncio.to_thread(own_controller.start)
    kubectl = own_controller.kubectl
    async with contextlib.AsyncExitStack() as stack:
        members = [
            await stack.enter_async_context(join_member(own_controller, name, f"10.17.0.{11 + number}"))
            for number, name in enumerate(NAMES)
        ]
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests()})
        await asyncio.to_thread(lambda: kubectl.ok("apply", "--server-side", "-f", "-", stdin=text))
        tokens: set[str] = set()
        first = EdgeNodeCluster()
        for _ in range(3):
            # Killed in the middle of whatever it does: nobody but the first server may ever be told to start.
            first = await want_started(members[0])
            tokens.add(members[0].token(first))
            for member in members[1:]:
                held = await member.poll_until(lambda found: found is not None)
                assert held is not None
                assert held.eaves.stopped
                assert held.join_server_ip == "10.17.0.11"
            await restart(own_controller, members)
        assert len(tokens) == 1
        shown = json.loads((await asyncio.to_thread(kubectl.ok, "get", "k3scluster", "shop", "-o", "json")).out)
        assert shown["status"]["firstServer"] == NAMES[0]

        await members[0].tell(
            first, views={members[0].device.id: {"name": NAMES[0], "ready": True, "version": VERSION}}
        )
        second = await want_started(members[1])
        assert second.eaves.initialized
        await restart(own_controller, members)
        waiting = await members[2].poll()
        assert waiting is not None
        assert waiting.eaves.stopped, "the third joins after the second"
        await members[1].tell(second)
        views = {member.device.id: {"name": member.name, "ready": True, "version": VERSION} for member in members[:2]}
        await members[0].tell(first, views=views)
        third = await want_started(members[2])
        await members[2].tell(third)
        views[members[2].device.id] = {"name": NAMES[2], "ready": True, "version": VERSION}
        await members[0].tell(first, views=views)
        await asyncio.to_thread(kubectl.ok, "wait", "--for=condition=Ready", "k3scluster/shop", "--timeout=60s")
        head, row = (
            line.split() for line in (await asyncio.to_thread(kubectl.ok, "get", "k3sclusters")).out.splitlines()
        )
        assert head == ["NAME", "PHASE", "VERSION", "SERVERS", "AGENTS", "API", "AGE"]
        assert row[:-1] == ["shop", "Ready", VERSION, "3/3", "0/0", "True"]

        explained = (await asyncio.to_thread(kubectl.ok, "explain", "k3scluster.spec.upgrade")).out
        assert "healthTimeout" in explained
        await asyncio.to_thread(kubectl.ok, "delete", "k3scluster", "shop", "--wait=false")
        for member in members:
            await member.poll_until(lambda found: found is None)
            await member.tell_left(first.cluster_id)
        await asyncio.to_thread(
            wait_for, "the cluster to go", lambda: "NotFound" in kubectl.run("get", "k3scluster", "shop").err
        )
