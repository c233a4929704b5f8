"""Clusters through store, planner and compiler to devices and back: configs in order, one election, tokens for members' eyes only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from eaves.kinds import k3scluster
from eaves.kinds.k3scluster_status import K3sClusterStatus
from eaves.kube.resource import Object
from eaves.testing.deviceside import Rig, open_rig
from eaves.testing.objects import make_object, make_secret
from eaves.testing.scripted_member import ScriptedMember
from eaves.wire.pb.info.edge_node_cluster_pb2 import NODE_ADMISSION_JOINED, NODE_ADMISSION_JOINING

VERSION = "v1.34.2+k3s1"
NAMES = ["a", "b", "c", "d"]


def release(version: str = VERSION) -> Object:
    def file(name: str, digit: str) -> Object:
        return {"datastoreRef": {"name": "k3s"}, "path": f"{version}/{name}", "sha256": digit * 64}

    builds = [{"architecture": "amd64", "binary": file("k3s", "a"), "images": [file("images.tar.zst", "b")]}]
    return make_object("K3sRelease", version.replace("+", "-"), {"version": version, "architectures": builds})


def cluster(**fields: Any) -> Object:
    spec = {"version": VERSION, "servers": {"nodeNames": ["a", "b", "c"]}, "agents": {"nodeNames": ["d"]}, **fields}
    return make_object("K3sCluster", "shop", spec)


class Site:
    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.members: dict[str, ScriptedMember] = {}

    async def add(self, name: str, number: int) -> None:
        device = await self.rig.onboarded(serial=name, source=f"192.0.2.{number}")
        member = ScriptedMember(self.rig.side.nodes.name_of(device.id) or "", device, f"10.17.0.{number}")
        assert member.name == name
        await member.introduce()
        self.members[name] = member

    async def status(self) -> K3sClusterStatus:
        obj = await self.rig.objects.get("K3sCluster", "default", "shop")
        assert obj is not None
        return k3scluster.decode(obj).status

    async def until(self, wanted: Any) -> K3sClusterStatus:
        async def check() -> Any:
            status = await self.status()
            return status if wanted(status) else None

        found: K3sClusterStatus = await self.rig.until(check)
        return found

    def views(self, *names: str, **fields: Any) -> dict[str, dict[str, Any]]:
        return {
            self.members[name].device.id: {"name": name, "ready": True, "version": VERSION, **fields} for name in names
        }


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_rig(tmp_path) as rig:
        await rig.add_key()
        site = Site(rig)
        for number, name in enumerate(NAMES):
            await site.add(name, 11 + number)
        datastore = {"type": "HTTP", "url": "https://files.example", "path": "k3s"}
        await rig.put(make_object("Datastore", "k3s", datastore))
        await rig.put(release())
        yield site


async def bring_up(site: Site) -> None:
    """All four members, each in its turn."""
    await site.rig.put(cluster())
    a, b, c, d = (site.members[name] for name in NAMES)
    first = await a.poll_until(lambda found: found is not None and not found.eaves.stopped)
    assert first is not None
    await a.tell(first, views=site.views("a"))
    for member, ready in ((b, "ab"), (c, "abc"), (d, "abcd")):
        config = await member.poll_until(lambda found: found is not None and not found.eaves.stopped)
        assert config is not None
        await member.tell(config)
        await a.tell(first, views=site.views(*ready))
    await site.until(lambda status: status.phase == "Ready")


async def test_configs_appear_in_order_and_say_what_a_member_needs(site: Site) -> None:
    await site.rig.put(cluster(config={"node-label": ["tier=edge"], "tls-san": ["shop.example"]}, disable=["traefik"]))
    a, b, c, d = (site.members[name] for name in NAMES)
    first = await a.poll_until(lambda found: found is not None and not found.eaves.stopped)
    assert first is not None
    assert (await site.status()).first_server == "a"
    for member in (b, c, d):
        held = await member.poll_until(lambda found: found is not None)
        assert held is not None
        assert held.eaves.stopped
    assert first.cluster_name == "shop"
    assert first.cluster_ip_prefix == "10.17.0.11/32"
    assert first.join_server_ip == "10.17.0.11"
    assert first.cluster_interface == "eth0"
    assert not first.is_worker_node
    assert list(first.master_node_uuids) == sorted(site.members[name].device.id for name in "abc")
    told = first.eaves
    assert (told.name, told.namespace, told.version, told.node_name) == ("shop", "default", VERSION, "a")
    assert (told.is_leader, told.initialized, told.datastore) == (True, False, "EmbeddedEtcd")
    assert list(told.disable) == ["traefik"]
    assert json.loads(told.config) == {
        "node-label": ["tier=edge"],
        "tls-san": ["shop.example"],
        "secrets-encryption": True,
    }
    assert dict(told.node_labels) == {"eaves.dev/edgenode": "a"}
    assert told.memory_reserved_bytes == 1 << 30
    config = a.device.config
    assert config is not None
    trees = {tree.uuid: tree for tree in config.contentInfo}
    assert trees[told.binary_image_id].sha256 == "a" * 64
    assert f"{VERSION}/k3s" == trees[told.binary_image_id].URL
    assert [trees[tree].sha256 for tree in told.bundle_image_ids] == ["b" * 64]
    agent = await d.poll()
    assert agent is not None
    assert agent.is_worker_node
    assert json.loads(agent.eaves.config) == {"node-label": ["tier=edge"]}
    assert sorted(member.name for member in agent.eaves.members) == ["a", "b", "c", "d"]


async def test_members_join_in_turn_and_the_cluster_gets_ready(site: Site) -> None:
    await bring_up(site)
    status = await site.status()
    assert (status.servers.ready, status.agents.ready, status.version) == (3, 1, VERSION)
    assert {condition.type: str(condition.status) for condition in status.conditions} == {
        "APIAvailable": "True",
        "AddOnsReady": "True",
        "BackupHealthy": "Unknown",
        "DatastoreHealthy": "Unknown",
        "Degraded": "False",
        "EtcdHealthy": "True",
        "Progressing": "False",
        "Ready": "True",
        "SpecSupported": "True",
        "Upgrading": "False",
    }
    events = [event["reason"] for event in await site.rig.objects.list("Event", "default")]
    assert {"FirstServerElected", "ClusterCreated", "MemberJoined"} <= set(events)


def find_files(folder: Path, text: bytes) -> list[Path]:
    """Files that hold the text."""
    return [path for path in folder.rglob("*") if path.is_file() and text in path.read_bytes()]


async def test_the_token_is_made_once_and_is_nowhere_but_under_cipher(site: Site, tmp_path: Path) -> None:
    await bring_up(site)
    tokens = {}
    for name, member in site.members.items():
        config = await member.poll()
        assert config is not None
        tokens[name] = member.token(config)
    secret = tokens["a"]
    assert len(secret) == 64
    # Who joins later learns the cluster's authority with it, in K3s' own form.
    assert {tokens[name] for name in "bcd"} == {f"K10{'c' * 64}::server:{secret}"}
    for kind in ("K3sCluster", "Event", "EdgeNode"):
        assert secret not in json.dumps(await site.rig.objects.list(kind))
    assert await asyncio.to_thread(find_files, tmp_path, secret.encode()) == []
    for member in site.members.values():
        assert member.device.config is not None
        assert secret.encode() not in member.device.config.SerializeToString()


async def test_an_election_and_the_token_outlive_the_controller(tmp_path: Path) -> None:
    async with open_rig(tmp_path) as rig:
        await rig.add_key()
        site = Site(rig)
        for number, name in enumerate(NAMES):
            await site.add(name, 11 + number)
        await rig.put(make_object("Datastore", "k3s", {"type": "HTTP", "url": "https://files.example"}))
        await rig.put(release())
        await rig.put(cluster(servers={"nodeNames": ["b", "a", "c"]}))
        first = await site.members["b"].poll_until(lambda found: found is not None and not found.eaves.stopped)
        assert first is not None
        token = site.members["b"].token(first)
        config_hash = site.members["b"].device.config_hash
    async with open_rig(tmp_path) as rig:
        await asyncio.wait_for(rig.side.clusters.queue.wait_idle(), 20)
        site.rig = rig
        for member in site.members.values():
            transport = rig.device().transport
            member.device.transport = transport
        again = await site.members["b"].poll()
        assert again is not None
        assert (await site.status()).first_server == "b"
        assert site.members["b"].device.config_hash == config_hash
        assert site.members["b"].token(again) == token


async def test_a_member_leaves_and_the_rest_goes_on(site: Site) -> None:
    await bring_up(site)
    a, d = site.members["a"], site.members["d"]
    await site.rig.change("K3sCluster", "shop", "default", agents={"nodeNames": []})
    leader = await a.poll_until(lambda found: any(m.want == "Drained" for m in found.eaves.members))
    assert leader is not None
    await a.tell(leader, views={**site.views("a", "b", "c"), **site.views("d", drained=True)})
    leader = await a.poll_until(lambda found: any(m.want == "Removed" for m in found.eaves.members))
    assert leader is not None
    await a.tell(leader, views={**site.views("a", "b", "c"), **site.views("d", ready=False, removed=True)})
    await d.poll_until(lambda found: found is None)
    assert d.device.config is not None
    assert not d.device.config.contentInfo
    await d.tell_left(leader.cluster_id)
    status = await site.until(lambda status: len(status.members) == 3)
    assert status.phase == "Ready"


async def test_a_deleted_cluster_goes_when_everybody_has_left(site: Site) -> None:
    await bring_up(site)
    obj = await site.rig.objects.get("K3sCluster", "default", "shop")
    assert obj is not None
    assert obj["metadata"]["finalizers"] == [k3scluster.FINALIZER]
    obj["metadata"]["deletionTimestamp"] = "2026-11-24T18:00:00Z"
    await site.rig.put(obj)
    uid = obj["metadata"]["uid"]
    for member in site.members.values():
        await member.poll_until(lambda found: found is None)
        assert await site.rig.objects.get("K3sCluster", "default", "shop") is not None
        await member.tell_left(uid)

    async def is_gone() -> bool:
        return await site.rig.objects.get("K3sCluster", "default", "shop") is None

    await site.rig.until(is_gone)

    async def is_token_gone() -> bool:
        return await site.rig.settings.load_setting(f"k3s-token/{uid}/0") is None

    await site.rig.until(is_token_gone)


async def test_what_is_missing_keeps_the_config_that_a_member_has(site: Site) -> None:
    await bring_up(site)
    a = site.members["a"]
    before = await a.poll()
    assert before is not None
    stored = await site.rig.objects.store.get(_release_key())
    assert stored is not None
    await site.rig.objects.store.commit([_remove(stored)])
    status = await site.until(lambda status: any(c.reason == "ReleaseMissing" for c in status.conditions))
    assert status.initialized
    await site.rig.put(make_secret("other"))
    again = await a.poll()
    assert again is not None
    assert again.eaves.binary_image_id == before.eaves.binary_image_id


def _release_key() -> Any:
    from eaves.controller.objects import key_of

    return key_of("K3sRelease", "default", VERSION.replace("+", "-"))


def _remove(stored: Any) -> Any:
    from eaves.controller.documents import decode_object, encode_document
    from eaves.kinds import k3srelease
    from eaves.store.abc import Remove

    return Remove(stored.key, encode_document(k3srelease.RESOURCE, decode_object(stored)), stored.revision)


async def test_a_device_of_eve_gets_the_public_fields_when_its_turn_comes(site: Site) -> None:
    b = site.members["b"]
    await b.introduce(runs_eve=True)
    await site.rig.until(lambda: site.rig.side.clusters._facts["b"].runs_eve)
    await site.rig.put(cluster(addresses=[{"nodeName": "b", "address": "10.244.7.12/24"}]))
    a = site.members["a"]
    first = await a.poll_until(lambda found: found is not None and not found.eaves.stopped)
    assert first is not None
    assert await b.poll() is None
    await a.tell(first, views=site.views("a"))
    config = await b.poll_until(lambda found: found is not None)
    assert config is not None
    assert not config.HasField("eaves")
    assert config.join_server_ip == "10.17.0.11"
    assert config.cluster_ip_prefix == "10.244.7.12/24"
    assert b.token(config).startswith("K10")


async def test_devices_of_eve_alone_make_a_cluster_without_a_release(site: Site) -> None:
    stored = await site.rig.objects.store.get(_release_key())
    assert stored is not None
    await site.rig.objects.store.commit([_remove(stored)])
    names = ["a", "b"]
    for name in names:
        await site.members[name].introduce(runs_eve=True)
    await site.rig.until(lambda: all(site.rig.side.clusters._facts[name].runs_eve for name in names))
    addresses = [{"nodeName": name, "address": f"10.244.7.{11 + number}/24"} for number, name in enumerate(names)]
    await site.rig.put(cluster(servers={"nodeNames": names}, agents={}, addresses=addresses))
    a, b = (site.members[name] for name in names)
    first = await a.poll_until(lambda found: found is not None)
    assert first is not None
    assert first.cluster_ip_prefix == "10.244.7.11/24"
    assert first.join_server_ip == "10.244.7.11"
    assert (first.cluster_name, first.cluster_interface, first.is_worker_node) == ("shop", "eth0", False)
    assert a.token(first)
    assert not first.HasField("eaves")
    assert await b.poll() is None

    # What it ran before comes with the cluster's id first, and is not the cluster.
    node_a: dict[str, Any] = {"name": "a", "node_id": a.device.id, "api_server_sersion": "v1.32.3+k3s1"}
    await a.tell_nodes(first.cluster_id, {**node_a, "admission_status": NODE_ADMISSION_JOINING})
    assert not (await site.status()).initialized
    node_a["admission_status"] = NODE_ADMISSION_JOINED
    await a.tell_nodes(first.cluster_id, node_a)
    config = await b.poll_until(lambda found: found is not None)
    assert config is not None
    assert config.join_server_ip == "10.244.7.11"
    assert b.token(config) == a.token(first)
    node_b = {**node_a, "name": "b", "node_id": b.device.id}
    await a.tell_nodes(first.cluster_id, node_a, node_b)
    status = await site.until(lambda status: status.phase == "Ready")
    assert status.version == "v1.32.3+k3s1"
    assert {member.running_version for member in status.members} == {"v1.32.3+k3s1"}
    support = next(condition for condition in status.conditions if condition.type == "SpecSupported")
    assert (support.status, support.reason) == ("False", "EVEMembers")
