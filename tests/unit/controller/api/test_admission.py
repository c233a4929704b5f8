"""Rules across objects: ports, memory, subnets, namespaces."""

from __future__ import annotations

import asyncio
from typing import Any

from eaves.testing.asgi import Answer, AsgiClient
from eaves.testing.objects import make_datastore, make_edgenode
from eaves.testing.operator_api import ApiBench

GROUP = "/apis/eaves.dev/v1alpha1/namespaces/default"
MERGE = "application/merge-patch+json"


def app(name: str, port: int = 0, node: str = "n1", network: str = "default", **spec: Any) -> dict[str, Any]:
    ports = [{"port": 80, "nodePort": port}] if port else []
    return {
        "apiVersion": "eaves.dev/v1alpha1",
        "kind": "App",
        "metadata": {"name": name},
        "spec": {
            "nodeName": node,
            "image": "registry.example/web:1",
            "networks": [{"name": network, "ports": ports}],
            **spec,
        },
    }


def network(name: str, subnet: str = "") -> dict[str, Any]:
    spec = {"subnet": subnet} if subnet else {}
    return {"apiVersion": "eaves.dev/v1alpha1", "kind": "Network", "metadata": {"name": name}, "spec": spec}


async def create(admin: AsgiClient, obj: dict[str, Any]) -> Answer:
    return await admin.call("POST", f"{GROUP}/{obj['kind'].lower()}s", obj)


def causes(answer: Answer) -> list[str]:
    assert answer.status == 422, answer.body.decode()
    return [cause["field"] for cause in answer.json()["details"]["causes"]]


async def test_a_node_port_is_taken_once(admin: AsgiClient) -> None:
    assert (await create(admin, app("a", 8080))).status == 201
    assert causes(await create(admin, app("b", 8080))) == ["spec.networks[0].ports[0].nodePort"]
    assert (await create(admin, app("b", 8080, node="n2"))).status == 201
    udp = app("c", 8080)
    udp["spec"]["networks"][0]["ports"][0]["protocol"] = "UDP"
    assert (await create(admin, udp)).status == 201
    moved = await admin.call("PATCH", f"{GROUP}/apps/b", {"spec": {"nodeName": "n1"}}, content_type=MERGE)
    assert causes(moved) == ["spec.networks[0].ports[0].nodePort"]
    same = await admin.call("PATCH", f"{GROUP}/apps/a", {"spec": {"running": False}}, content_type=MERGE)
    assert same.status == 200


async def test_of_two_apps_at_the_same_moment_one_gets_the_port(admin: AsgiClient) -> None:
    answers = await asyncio.gather(*(create(admin, app(f"a{n}", 8080)) for n in range(8)))
    assert sorted(answer.status for answer in answers) == [201, *[422] * 7]


async def test_memory_that_no_app_can_get(bench: ApiBench, admin: AsgiClient) -> None:
    await bench.put(make_edgenode("n1", status={"allocatable": {"memory": "512Mi"}}))
    assert causes(await create(admin, app("a", resources={"memory": "1Gi"}))) == ["spec.resources.memory"]
    assert (await create(admin, app("a", resources={"memory": "512Mi"}))).status == 201


async def test_memory_that_a_cluster_keeps_for_itself_is_for_no_app(bench: ApiBench, admin: AsgiClient) -> None:
    for name in ("n1", "n2", "n3"):
        await bench.put(make_edgenode(name, status={"allocatable": {"memory": "4Gi"}}))
    spec = {"version": "v1.34.2+k3s1", "servers": {"nodeNames": ["n1"]}, "resources": {"memory": "3Gi"}}
    status = {"members": [{"nodeName": "n2"}]}
    meta = {"name": "shop", "namespace": "default", "uid": "u", "creationTimestamp": "2026-11-28T00:00:00Z"}
    kind = {"apiVersion": "eaves.dev/v1alpha1", "kind": "K3sCluster"}
    await bench.put({**kind, "metadata": meta, "spec": spec, "status": status})
    for node in ("n1", "n2"):
        refused = await create(admin, app("a", node=node, resources={"memory": "1100Mi"}))
        assert causes(refused) == ["spec.resources.memory"]
        assert "of which K3sCluster default/shop keeps 3Gi" in refused.json()["message"]
        assert (await create(admin, app(f"fits-{node}", node=node, resources={"memory": "1Gi"}))).status == 201
    assert (await create(admin, app("a", node="n3", resources={"memory": "4Gi"}))).status == 201


async def test_an_app_may_come_before_its_node_or_without_one(admin: AsgiClient) -> None:
    assert (await create(admin, app("a", node="not-yet"))).status == 201
    assert (await create(admin, app("b", node=""))).status == 201


async def test_subnets_are_chosen_apart_and_kept(admin: AsgiClient) -> None:
    chosen = [(await create(admin, network(f"n{n}"))).json()["spec"]["subnet"] for n in range(20)]
    assert len(set(chosen)) == 20
    obj = await admin.get(f"{GROUP}/networks/n0")
    del obj["spec"]["subnet"]
    answer = await admin.call("PUT", f"{GROUP}/networks/n0", obj)
    assert answer.json()["spec"]["subnet"] == chosen[0]


async def test_networks_with_one_subnet_do_not_meet_on_a_node(admin: AsgiClient) -> None:
    await create(admin, network("a", "10.1.0.0/24"))
    await create(admin, network("b", "10.1.0.0/16"))
    await create(admin, network("c", "10.9.0.0/24"))
    assert (await create(admin, app("one", network="a"))).status == 201
    assert causes(await create(admin, app("two", network="b"))) == ["spec.networks[0].name"]
    assert (await create(admin, app("two", network="c"))).status == 201
    moved = await admin.call("PATCH", f"{GROUP}/networks/c", {"spec": {"subnet": "10.1.0.0/25"}}, content_type=MERGE)
    assert causes(moved) == ["spec.subnet"]


async def test_what_holds_a_namespace_is_changed_by_its_subresource_alone(admin: AsgiClient) -> None:
    spaces = "/api/v1/namespaces"
    await admin.call("POST", spaces, {"metadata": {"name": "x"}})
    kept = await admin.call("PATCH", f"{spaces}/x", {"spec": {"finalizers": None}}, content_type=MERGE)
    assert kept.json()["spec"] == {"finalizers": ["kubernetes"]}
    unlabelled = {"metadata": {"labels": {"kubernetes.io/metadata.name": None}}}
    relabelled = await admin.call("PATCH", f"{spaces}/x", unlabelled, content_type=MERGE)
    assert relabelled.json()["metadata"]["labels"] == {"kubernetes.io/metadata.name": "x"}
    deleted = await admin.call("DELETE", f"{spaces}/x")
    assert deleted.json()["status"]["phase"] == "Terminating"
    late = await admin.call("POST", f"{spaces}/x/configmaps", {"metadata": {"name": "c"}})
    assert late.status == 403
    assert late.json()["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    body = {"metadata": {"name": "x"}, "spec": {"finalizers": []}}
    assert (await admin.call("PUT", f"{spaces}/x/finalize", body)).status == 200
    assert (await admin.call("GET", f"{spaces}/x")).status == 404


def snapshot(name: str, app_name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "eaves.dev/v1alpha1",
        "kind": "AppSnapshot",
        "metadata": {"name": name},
        "spec": {"appName": app_name, **spec},
    }


async def test_a_snapshot_of_a_volume_needs_it_and_goes_with_it(admin: AsgiClient) -> None:
    wish = {
        "apiVersion": "eaves.dev/v1alpha1",
        "kind": "VolumeSnapshot",
        "metadata": {"name": "daily"},
        "spec": {"volumeName": "data", "retain": True},
    }
    assert causes(await create(admin, wish)) == ["spec.volumeName"]
    made = await create(admin, {**wish, "kind": "Volume", "metadata": {"name": "data"}, "spec": {"nodeName": "n"}})
    assert made.status == 201, made.body.decode()
    snapshot_made = await create(admin, wish)
    assert snapshot_made.status == 201, snapshot_made.body.decode()
    (owner,) = snapshot_made.json()["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Volume", made.json()["metadata"]["uid"])
    refused = await admin.call("DELETE", f"{GROUP}/volumesnapshots/daily")
    assert (refused.status, "retain" in refused.json()["message"]) == (403, True)


async def test_a_file_of_an_envelope_is_a_volume_that_is_one(admin: AsgiClient) -> None:
    files = [{"name": "later", "volumeName": "later"}, {"name": "f", "volumeName": "data"}]
    wish = {
        "apiVersion": "eaves.dev/v1alpha1",
        "kind": "PatchEnvelope",
        "metadata": {"name": "model"},
        "spec": {"apps": ["till"], "files": files[:1]},
    }
    made = await create(admin, {**wish, "kind": "Volume", "metadata": {"name": "data"}, "spec": {"nodeName": "n"}})
    assert made.status == 201, made.body.decode()
    assert causes(await create(admin, {**wish, "spec": {"files": files}})) == ["spec.files[1].volumeName"]
    assert (await create(admin, wish)).status == 201


async def test_a_snapshot_needs_a_machine_and_goes_with_it(admin: AsgiClient) -> None:
    assert causes(await create(admin, snapshot("s", "plc"))) == ["spec.appName"]
    assert (await create(admin, app("web"))).status == 201
    assert causes(await create(admin, snapshot("s", "web"))) == ["spec.appName"]
    volumes = [{"name": "data", "mountPath": "/data"}]
    assert (await create(admin, app("db", volumes=volumes))).status == 201
    assert causes(await create(admin, snapshot("d", "db", type="DiskAndMemory"))) == ["spec.type"]
    assert (await create(admin, snapshot("d", "db", trigger="AppUpdate"))).status == 201
    created = await create(admin, app("plc", type="VirtualMachine", devices=[{"name": "gpu"}]))
    assert created.status == 201
    assert causes(await create(admin, snapshot("s", "plc", type="DiskAndMemory", trigger="AppUpdate"))) == ["spec.type"]
    made = await create(admin, snapshot("s", "plc", retain=True))
    assert made.status == 201, made.body.decode()
    (owner,) = made.json()["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("App", created.json()["metadata"]["uid"])
    path = f"{GROUP}/appsnapshots/s"
    refused = await admin.call("DELETE", path)
    assert (refused.status, "retain" in refused.json()["message"]) == (403, True)
    replaced = {**made.json(), "spec": {"appName": "plc", "type": "Disk", "trigger": "Immediate"}}
    del replaced["metadata"]["ownerReferences"], replaced["metadata"]["annotations"]
    answer = await admin.call("PUT", path, replaced)
    assert answer.json()["metadata"]["ownerReferences"] == [owner]
    assert answer.json()["metadata"]["annotations"] == made.json()["metadata"]["annotations"]
    assert (await admin.call("DELETE", path)).status == 200


async def test_an_image_fits_its_datastore(bench: ApiBench, admin: AsgiClient) -> None:
    await bench.put(make_datastore("files", url="https://files.example", type="HTTP"))
    await bench.put(make_datastore("registry"))
    files: dict[str, Any] = {"datastoreRef": {"name": "files"}}
    machine: dict[str, Any] = {"type": "VirtualMachine", **files}
    registered: dict[str, Any] = {"type": "VirtualMachine", "datastoreRef": {"name": "registry"}}
    assert causes(await create(admin, app("web", **files))) == ["spec.datastoreRef.name"]
    assert causes(await create(admin, app("plc", image="plc.raw", **machine))) == ["spec.image"]
    image = f"plc.raw@sha256:{'ab' * 32}"
    assert (await create(admin, app("plc", image=image, **machine))).status == 201
    bad = await create(admin, app("erp", image="Disks/ERP", **registered))
    assert causes(bad) == ["spec.image"]
    assert (await create(admin, app("later", datastoreRef={"name": "none-yet"}))).status == 201
    moved = await admin.call("PATCH", f"{GROUP}/apps/later", {"spec": files}, content_type=MERGE)
    assert causes(moved) == ["spec.datastoreRef.name"]


def k3s_cluster(name: str, *nodes: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "eaves.dev/v1alpha1",
        "kind": "K3sCluster",
        "metadata": {"name": name},
        "spec": {"version": "v1.34.2+k3s1", "servers": {"nodeNames": list(nodes)}, **spec},
    }


async def test_a_node_is_a_member_of_one_cluster(admin: AsgiClient) -> None:
    assert (await create(admin, k3s_cluster("a", "n1"))).status == 201
    refused = await create(admin, k3s_cluster("b", "n2", "n1", "n3"))
    assert causes(refused) == ["spec.servers.nodeNames[1]"]
    assert "K3sCluster default/a" in refused.json()["message"]
    assert (await create(admin, k3s_cluster("b", "n2"))).status == 201
    agents = await admin.call(
        "PATCH", f"{GROUP}/k3sclusters/b", {"spec": {"agents": {"nodeNames": ["n1"]}}}, content_type=MERGE
    )
    assert causes(agents) == ["spec.agents.nodeNames[0]"]
    freed = await admin.call(
        "PATCH", f"{GROUP}/k3sclusters/a", {"spec": {"servers": {"nodeNames": ["n9"]}}}, content_type=MERGE
    )
    assert freed.status == 200
    assert (await create(admin, k3s_cluster("c", "n1"))).status == 201


async def test_of_two_clusters_at_the_same_moment_one_gets_the_node(admin: AsgiClient) -> None:
    answers = await asyncio.gather(*(create(admin, k3s_cluster(f"c{n}", "n1")) for n in range(6)))
    assert sorted(answer.status for answer in answers) == [201, *[422] * 5]


async def test_the_shared_address_of_servers_is_in_their_subnet(bench: ApiBench, admin: AsgiClient) -> None:
    node = make_edgenode("n1", uplinks=[{"name": "eth0", "addresses": ["10.17.0.11/24"], "gateway": "10.17.0.1"}])
    await bench.put(node)
    outside = await create(admin, k3s_cluster("a", "n1", apiAddress="10.18.0.10"))
    assert causes(outside) == ["spec.apiAddress"]
    assert "10.17.0.0/24" in outside.json()["message"]
    assert causes(await create(admin, k3s_cluster("a", "n1", apiAddress="10.17.0.11"))) == ["spec.apiAddress"]
    assert (await create(admin, k3s_cluster("a", "n1", apiAddress="10.17.0.10"))).status == 201


async def test_references_that_lead_nowhere_are_no_fault_of_the_cluster(admin: AsgiClient) -> None:
    spec = {"release": "none", "backup": {"datastoreRef": {"name": "none"}}, "tokenSecretRef": {"name": "none"}}
    assert (await create(admin, k3s_cluster("a", "n1", **spec))).status == 201


async def test_an_even_number_of_servers_is_answered_with_a_warning(admin: AsgiClient) -> None:
    answer = await create(admin, k3s_cluster("a", "n1", "n2"))
    assert answer.status == 201
    assert any("odd number" in text for text in answer.warnings)


async def test_an_envelope_without_files_is_taken_with_a_warning_until_it_has_one(admin: AsgiClient) -> None:
    envelope = {"apiVersion": "eaves.dev/v1alpha1", "kind": "PatchEnvelope", "metadata": {"name": "a"}}
    answer = await create(admin, {**envelope, "spec": {"apps": ["till"]}})
    assert (answer.status, len(answer.warnings)) == (201, 1)
    assert "spec.files: the envelope has no content" in answer.warnings[0]
    filled = {"spec": {"files": [{"name": "prices", "content": "1"}]}}
    answer = await admin.call("PATCH", f"{GROUP}/patchenvelopes/a", filled, content_type=MERGE)
    assert (answer.status, answer.warnings) == (200, [])
