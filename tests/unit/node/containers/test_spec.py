"""Spec digests and podman's arguments: secrets in neither."""

from __future__ import annotations

import msgspec
import pytest

from eaves.node.containers import spec
from eaves.node.containers.spec import ContainerSpec, Mount
from eaves.node.desired.model import (
    AclAction,
    AclDirection,
    AclRule,
    AppKind,
    DesiredApp,
    DesiredInterface,
    FileToWrite,
    Secret,
    VolumeMount,
)
from eaves.node.networks.connection import Connection
from eaves.node.observed import InterfaceStatus
from eaves.node.workloads.abc import Ready
from eaves.node.workloads.errors import SpecImpossibleError

APP = DesiredApp(
    id="app",
    version="1",
    name="web",
    namespace="default",
    kind=AppKind.CONTAINER,
    activate=True,
    image_id="image",
    root_volume_id="root",
    root_generation=0,
    memory_bytes=64 << 20,
    cpu_millis=500,
    env={"TOKEN": Secret("hunter2"), "PATH": Secret("/opt/bin")},
    command=("/bin/sh", "-c"),
    args=("echo $TOKEN",),
    mounts=(VolumeMount("v", 3, "/data", True),),
)


def want(app: DesiredApp = APP, key: bytes = b"k" * 32, image: str = "img") -> ContainerSpec:
    interfaces = (InterfaceStatus("default", "net", "mac", ("addr",)),)
    connection = Connection("/run/ns", "web", resolv_conf="", hosts="", interfaces=interfaces)
    ready = Ready(image, "", connection, {("v", 3): "/volumes/v#3"})
    return spec.want_spec(app, ready, log_path="/log/current.log", key=key)


def change(**changes: object) -> DesiredApp:
    return msgspec.structs.replace(APP, **changes)


def render(wanted: ContainerSpec) -> list[str]:
    return spec.render_run(
        wanted,
        name="eaves-app",
        labels={"eaves.app": "app"},
        cgroup_parent="/eaves/app",
        pid_file="/run/pid",
        monitor_pid_file="/run/monitor",
        env_file="/app/env",
        mounts=(Mount("/app/hosts", "/etc/hosts"),),
    )


def test_arguments_hold_everything_but_values_of_variables() -> None:
    args = render(want())
    assert {
        "--network=ns:/run/ns",
        "--memory=67108864b",
        "--memory-swap=67108864b",
        "--cpus=0.5",
        "--volume=/volumes/v#3:/data:ro",
        "--volume=/app/hosts:/etc/hosts",
        '--entrypoint=["/bin/sh","-c"]',
        "--env=TOKEN",
        "--env-file=/app/env",
        "--pull=never",
    } <= set(args)
    assert args[-2:] == ["img", "echo $TOKEN"]
    assert not any("hunter2" in argument for argument in args)
    assert spec.render_environment(want()) == {"TOKEN": "hunter2"}
    assert spec.render_env_file(want()) == "PATH=/opt/bin\n"


@pytest.mark.parametrize(
    "name", ["PATH", "HOME", "LD_PRELOAD", "CONTAINERS_CONF", "CONTAINER_HOST", "https_proxy", "GODEBUG", "TMPDIR"]
)
def test_variables_that_would_steer_podman_travel_in_a_file(name: str) -> None:
    wanted = want(change(env={name: Secret("x")}))
    assert spec.render_environment(wanted) == {}
    assert spec.render_env_file(wanted) == f"{name}=x\n"


@pytest.mark.parametrize(
    "app",
    [
        change(image_id="other", env={"TOKEN": Secret("hunter3"), "PATH": Secret("/opt/bin")}),
        change(args=()),
        change(memory_bytes=1 << 20),
        change(purge_counter=1),
        change(root_generation=1),
        change(files=(FileToWrite("/x", b"1"),)),
        change(working_dir="/x"),
        change(mounts=()),
        change(mounts=(VolumeMount("v", 3, "/elsewhere", True),)),
    ],
)
def test_what_a_container_cannot_change_makes_another_digest(app: DesiredApp) -> None:
    assert want(app).digest != want().digest


@pytest.mark.parametrize(
    "app",
    [
        change(version="2"),
        change(restart_counter=9),
        change(stop_grace_s=99),
        change(interfaces=(DesiredInterface("x", "n", acls=(AclRule(1, "", AclDirection.BOTH, AclAction.ALLOW),)),)),
        change(env={"PATH": Secret("/opt/bin"), "TOKEN": Secret("hunter2")}),
        change(collect_logs=False),
    ],
)
def test_what_it_need_not_know_does_not(app: DesiredApp) -> None:
    assert want(app).digest == want().digest


def test_digest_needs_the_key_and_the_image() -> None:
    assert want(key=b"z" * 32).digest != want().digest
    assert want(image="img2").digest != want().digest


@pytest.mark.parametrize(
    "app",
    [
        change(env={"A B": Secret("x")}),
        change(env={"A*": Secret("x")}),
        change(env={"": Secret("x")}),
        change(env={"A": Secret("x\0y")}),
        change(env={"PATH": Secret("a\nb")}),
        change(mounts=(VolumeMount("v", 3, "relative"),)),
        change(mounts=(VolumeMount("v", 3, "/"),)),
        change(mounts=(VolumeMount("v", 3, "/a:/b"),)),
        change(files=(FileToWrite("/a/../b", b""),)),
        change(files=(FileToWrite("/a", b"", owner="www-data:www-data"),)),
    ],
)
def test_impossible_wishes_are_refused_with_a_reason(app: DesiredApp) -> None:
    with pytest.raises(SpecImpossibleError) as caught:
        want(app)
    assert caught.value.message


@pytest.mark.parametrize(
    ("text", "owner"), [("root:root", (0, 0)), ("1000:50", (1000, 50)), ("7", (7, 7)), ("", (0, 0)), ("x:0", None)]
)
def test_owner(text: str, owner: tuple[int, int] | None) -> None:
    assert spec.parse_owner(text) == owner
