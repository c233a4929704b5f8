"""Sizes of volumes and files of containers as an EVE device bears them."""

from __future__ import annotations

from typing import Any

import pytest

from eaves.controller.compile.model import CompiledConfig, NodeInputs
from eaves.controller.compile.node import compile_node
from eaves.kube.resource import Object
from eaves.testing.device_cipher import DeviceCipher
from eaves.testing.objects import (
    make_app,
    make_datastore,
    make_edgenode,
    make_network,
    make_object,
    make_vm,
    make_volume,
)
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig

EVE = {"versions": {"eve": "14.5.0", "os": "EVE-OS 14.5.0"}}
DEVICE = DeviceCipher()
GIB = 1 << 30


def compile_eve(
    *, previous: EdgeDevConfig | None = None, status: dict[str, Any] = EVE, **objects: Any
) -> CompiledConfig:
    files = make_datastore("files", type="HTTP", url="http://files.example")
    edgenode = make_edgenode(status=status)
    inputs = NodeInputs(
        edgenode=edgenode,
        datastores=[files],
        networks=[make_network("default")],
        previous=previous,
        cipher=DEVICE.node_cipher,
        **objects,
    )
    return compile_node(inputs)


def make_disk(image_format: str, size: str = "20Gi") -> Object:
    source = {"image": "disk@sha256:" + "ab" * 32, "format": image_format, "datastoreRef": {"name": "files"}}
    return make_volume(size=size, mode="Block", source=source)


@pytest.mark.parametrize(
    ("image_format", "size"), [("Vmdk", 0), ("Vhd", 0), ("Vhdx", 0), ("Qcow2", 20 * GIB), ("Raw", 20 * GIB)]
)
def test_a_disk_that_eve_cannot_make_larger_keeps_the_size_of_its_image(image_format: str, size: int) -> None:
    compiled = compile_eve(volumes=[make_disk(image_format)])
    assert [volume.maxsizebytes for volume in compiled.config.volumes] == [size]
    assert any("gets the size of its image" in problem.message for problem in compiled.problems) is (size == 0)
    (same,) = compile_eve(volumes=[make_disk(image_format)], status={}).config.volumes
    assert same.maxsizebytes == 20 * GIB


def test_a_volume_that_grows_keeps_its_size_on_an_eve_device() -> None:
    before = compile_eve(volumes=[make_volume(size="1Gi")])
    assert not before.problems
    after = compile_eve(volumes=[make_volume(size="2Gi")], previous=before.config)
    assert [volume.maxsizebytes for volume in after.config.volumes] == [GIB]
    assert [problem.name for problem in after.problems] == ["data"]
    (grown,) = compile_eve(volumes=[make_volume(size="2Gi")], previous=before.config, status={}).config.volumes
    assert grown.maxsizebytes == 2 * GIB


def test_a_root_disk_of_another_size_comes_with_a_purge() -> None:
    def machine(size: str, **spec: Any) -> Object:
        return make_vm(vm={"rootDisk": {"size": size}}, **spec)

    before = compile_eve(apps=[machine("10Gi")])
    root = before.config.volumes[0].uuid

    def size_of(app: Object) -> int:
        config = compile_eve(apps=[app], previous=before.config).config
        return next(volume.maxsizebytes for volume in config.volumes if volume.uuid == root)

    assert size_of(machine("20Gi")) == 10 * GIB
    assert size_of(machine("20Gi", purgeCounter=1)) == 20 * GIB


def test_files_of_a_container_are_placed_anew_when_a_config_map_changes() -> None:
    file = {"path": "/etc/web.conf", "configMapKeyRef": {"name": "web", "key": "conf"}}

    def compile_with(content: str, previous: EdgeDevConfig | None = None, **spec: Any) -> EdgeDevConfig:
        settings = make_object("ConfigMap", "web", data={"conf": content})
        return compile_eve(apps=[make_app(files=[file], **spec)], configmaps=[settings], previous=previous).config

    first = compile_with("a")
    assert first.apps[0].cloud_init_version == 1
    again = compile_with("a", first)
    assert again.apps[0].cloud_init_version == 1
    changed = compile_with("b", again)
    assert changed.apps[0].cloud_init_version == 2
    assert changed.apps[0].uuidandversion.version == first.apps[0].uuidandversion.version
    assert changed.apps[0].restart.counter != again.apps[0].restart.counter
    # A config of a controller that left the count to the app's version.
    del_version = EdgeDevConfig.FromString(changed.SerializeToString())
    del_version.apps[0].ClearField("cloud_init_version")
    assert compile_with("b", del_version).apps[0].cloud_init_version == 2
    assert compile_with("b", del_version).apps[0].restart.counter == changed.apps[0].restart.counter


def test_first_boot_data_of_machines_keep_the_version_that_the_operator_gives() -> None:
    secret = make_object("Secret", "init", data={"user": "I2Nsb3VkLWNvbmZpZwo="})
    machine = make_vm(
        vm={"cloudInit": {"version": 7, "userDataFrom": {"secretKeyRef": {"name": "init", "key": "user"}}}}
    )
    (app,) = compile_eve(apps=[machine], secrets=[secret]).config.apps
    assert app.cloud_init_version == 7
