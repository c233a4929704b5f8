"""Snapshots in a config, and the order to go back to one."""

from __future__ import annotations

from typing import Any

from eaves.controller.compile.model import CompiledConfig, Effect, NodeInputs
from eaves.controller.compile.node import compile_node
from eaves.controller.compile.snapshots import ROOT_ANNOTATION, name_root
from eaves.kinds.app import decode
from eaves.testing.objects import make_app, make_edgenode, make_network, make_snapshot, make_vm, uid_of
from eaves.wire.pb.config.appconfig_pb2 import SNAPSHOT_TYPE_APP_UPDATE, SNAPSHOT_TYPE_IMMEDIATE, SnapshotConfig


def compile_all(app: dict[str, Any], *snapshots: dict[str, Any], **given: Any) -> CompiledConfig:
    fields: dict[str, Any] = {"networks": [make_network()], **given}
    return compile_node(NodeInputs(edgenode=make_edgenode(), apps=[app], snapshots=snapshots, **fields))


def compile_snapshots(app: dict[str, Any], *snapshots: dict[str, Any]) -> SnapshotConfig:
    result = compile_all(app, *snapshots)
    assert result.problems == ()
    return result.config.apps[0].snapshot


def later(name: str, **spec: Any) -> dict[str, Any]:
    return make_snapshot(name, metadata={"creationTimestamp": "2026-11-25T00:00:00Z"}, **spec)


def test_snapshots_of_the_machine_from_the_oldest_on() -> None:
    config = compile_snapshots(
        make_vm(),
        later("b", type="DiskAndMemory"),
        make_snapshot("c", trigger="AppUpdate"),
        make_snapshot("other", appName="another"),
        make_snapshot("gone", metadata={"deletionTimestamp": "2026-11-25T00:00:00Z"}),
    )
    assert [(desc.eaves.name, desc.id, desc.type, desc.eaves.with_memory) for desc in config.snapshots] == [
        ("c", uid_of("AppSnapshot", "c"), SNAPSHOT_TYPE_APP_UPDATE, False),
        ("b", uid_of("AppSnapshot", "b"), SNAPSHOT_TYPE_IMMEDIATE, True),
    ]
    assert config.max_snapshots == 2
    assert not config.HasField("rollback_cmd")


def test_no_snapshot_is_no_word_of_any() -> None:
    assert not compile_all(make_vm()).config.apps[0].HasField("snapshot")


def test_snapshots_of_a_container_outlast_another_image() -> None:
    volumes = [{"name": "data", "mountPath": "/data"}]
    snapshot = make_snapshot("before", appName="web", trigger="AppUpdate")
    for image in ("shop/web:1", "shop/web:2"):
        app = make_app(image=image, volumes=volumes, rollback={"snapshotName": "before", "counter": 1})
        assert name_root(decode(app)) == ""
        (config,) = compile_all(app, snapshot).config.apps
        assert [found.id for found in config.snapshot.snapshots] == [uid_of("AppSnapshot", "before")]
        assert config.snapshot.rollback_cmd.counter == 1


def test_going_back_names_the_snapshot_and_its_counter() -> None:
    app = make_vm(rollback={"snapshotName": "before", "counter": 2})
    config = compile_snapshots(app, make_snapshot("before"), later("after"))
    assert (config.active_snapshot, config.rollback_cmd.counter) == (uid_of("AppSnapshot", "before"), 2)


def test_neither_a_snapshot_nor_going_back_is_a_restart() -> None:
    plain = compile_all(make_vm()).config.apps[0]
    app = make_vm(rollback={"snapshotName": "before", "counter": 1})
    back = compile_all(app, make_snapshot("before")).config.apps[0]
    assert (plain.restart, plain.purge) == (back.restart, back.purge)


def test_going_back_to_what_is_not_there_keeps_the_machine_as_it_is() -> None:
    before = compile_all(make_vm()).config
    app = make_vm(rollback={"snapshotName": "none", "counter": 1})
    result = compile_all(app, make_snapshot("before"), previous=before)
    (problem,) = result.problems
    assert (problem.reason, problem.effect) == ("SnapshotNotFound", Effect.KEPT)
    assert "none" in problem.message
    assert result.config.apps[0].restart == before.apps[0].restart


def test_a_snapshot_goes_with_the_root_disk_that_it_was_of() -> None:
    made_for = {"annotations": {ROOT_ANNOTATION: name_root(decode(make_vm()))}}
    snapshot = make_snapshot(metadata=made_for)
    assert [desc.id for desc in compile_snapshots(make_vm(), snapshot).snapshots] == [uid_of("AppSnapshot", "before")]
    for app in (make_vm(image="registry.example/disks/plc:2"), make_vm(purgeCounter=1)):
        assert not compile_snapshots(app, snapshot).snapshots
