"""One app: sizes, counters, command, and what its neighbours must not feel."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from eaves.controller.compile.model import NodeInputs
from eaves.controller.compile.node import compile_node
from eaves.testing.device_cipher import DeviceCipher
from eaves.testing.eve_user_data import read_like_eve
from eaves.testing.objects import make_app, make_edgenode, make_network, make_secret
from eaves.wire.pb.config.appconfig_pb2 import AppInstanceConfig
from eaves.wire.pb.config.vm_pb2 import NOHYPER

DEVICE = DeviceCipher()
EVE = {"versions": {"eve": "14.5.0", "os": "EVE-OS 14.5.0"}}


def compile_app(app: dict[str, Any], *, status: dict[str, Any] | None = None, **given: Any) -> AppInstanceConfig:
    networks = given.pop("networks", [make_network(), make_network("second", subnet="10.160.2.0/24")])
    inputs = NodeInputs(
        edgenode=make_edgenode(status=status), apps=[app], networks=networks, cipher=DEVICE.node_cipher, **given
    )
    result = compile_node(inputs)
    assert result.problems == ()
    return result.config.apps[0]


def counters(app: AppInstanceConfig) -> tuple[int, int]:
    return app.restart.counter, app.purge.counter


@pytest.mark.parametrize(
    ("resources", "memory_kib", "vcpus", "cpu_millis"),
    [
        ({}, 256 * 1024, 1, 0),
        ({"memory": "1Gi", "cpus": "1500m"}, 1 << 20, 2, 1500),
        ({"memory": 4194305, "cpus": 2}, 4097, 2, 2000),
        ({"memory": "64M", "cpus": "1m"}, 62500, 1, 1),
    ],
)
def test_sizes_are_rounded_up_to_what_a_device_counts_in(
    resources: dict[str, Any], memory_kib: int, vcpus: int, cpu_millis: int
) -> None:
    app = compile_app(make_app(resources=resources))
    assert (app.fixedresources.memory, app.fixedresources.vcpus, app.eaves.cpu_millis) == (
        memory_kib,
        vcpus,
        cpu_millis,
    )
    assert app.fixedresources.virtualizationMode == NOHYPER


def test_what_only_eaves_knows_is_in_the_extension() -> None:
    app = compile_app(
        make_app(
            command=["/bin/web"],
            args=["-v"],
            workingDir="/srv",
            restartPolicy="OnFailure",
            terminationGracePeriodSeconds=3,
            startDelaySeconds=9,
        )
    )
    extension = app.eaves
    assert (list(extension.command), list(extension.args), extension.working_dir) == (["/bin/web"], ["-v"], "/srv")
    assert (extension.restart_policy, extension.stop_grace_s, extension.namespace, extension.name) == (
        "OnFailure",
        3,
        "default",
        "web",
    )
    assert app.start_delay_in_seconds == 9


def test_eve_gets_the_command_by_its_environment_variable() -> None:
    wanted = make_app(command=["/bin/sh", "-c"], args=["echo a b"], env=[{"name": "A", "value": "1"}])
    eve = compile_app(wanted, status=EVE)
    assert DEVICE.decrypt(eve.cipherData).protectedUserData
    variables, files = read_like_eve(_user_data(eve))
    assert variables == {"A": "1", "EVE_ECO_CMD": "/bin/sh /.eaves-command"}
    assert files == {"/.eaves-command": "#!/bin/sh\nexec /bin/sh -c 'echo a b'\n"}
    assert _user_data(compile_app(wanted)) == "A=1"
    plain = compile_app(make_app(command=["/bin/web", "--listen", ":80"]), status=EVE)
    assert _user_data(plain) == "EVE_ECO_CMD=/bin/web --listen :80"


def test_what_eve_has_no_word_for_in_a_container_is_told() -> None:
    compiled = compile_node(
        NodeInputs(
            edgenode=make_edgenode(status=EVE),
            apps=[make_app(args=["-v"], workingDir="/srv")],
            networks=[make_network("default")],
            cipher=DEVICE.node_cipher,
        )
    )
    assert [problem.message for problem in compiled.problems] == [
        "an EVE device keeps the image's working directory",
        "an EVE device takes no args without a command; write the image's entrypoint as command",
    ]


def _user_data(app: AppInstanceConfig) -> str:
    return base64.b64decode(DEVICE.user_data(app)).decode()


@pytest.mark.parametrize(
    "change",
    [
        {"env": [{"name": "A", "value": "2"}]},
        {"files": [{"path": "/a", "content": "x"}]},
        {"resources": {"memory": "512Mi"}},
        {"command": ["/bin/other"]},
        {"volumes": [{"name": "d", "mountPath": "/elsewhere"}]},
        {"networks": [{"name": "second"}]},
        {"restartCounter": 1},
    ],
)
def test_what_a_running_container_cannot_take_on_is_a_restart(change: dict[str, Any]) -> None:
    base: dict[str, Any] = {"env": [{"name": "A", "value": "1"}], "volumes": [{"name": "d", "mountPath": "/d"}]}
    before, after = compile_app(make_app(**base)), compile_app(make_app(**(base | change)))
    assert before.restart.counter != after.restart.counter
    assert before.purge.counter == after.purge.counter


@pytest.mark.parametrize(
    "change",
    [
        {"networks": [{"name": "default", "ports": [{"port": 80, "nodePort": 8081}]}]},
        {"networks": [{"name": "default", "acl": [{"name": "none", "action": "Drop"}]}]},
        {"restartPolicy": "Never"},
        {"terminationGracePeriodSeconds": 30},
        {"running": False},
        {"volumes": [{"name": "d", "mountPath": "/d", "size": "2Gi"}]},
    ],
)
def test_what_a_running_container_does_not_feel_is_none(change: dict[str, Any]) -> None:
    base: dict[str, Any] = {
        "networks": [{"name": "default", "ports": [{"port": 80, "nodePort": 8080}]}],
        "volumes": [{"name": "d", "mountPath": "/d"}],
    }
    assert counters(compile_app(make_app(**base))) == counters(compile_app(make_app(**(base | change))))


def test_a_changed_secret_restarts_and_a_changed_key_does_not() -> None:
    app = make_app(env=[{"name": "T", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}])
    one = compile_app(app, secrets=[make_secret("s", k="1")])
    two = compile_app(app, secrets=[make_secret("s", k="2")])
    assert one.restart.counter != two.restart.counter
    inputs = NodeInputs(
        edgenode=make_edgenode(),
        apps=[app],
        networks=[make_network()],
        secrets=[make_secret("s", k="1")],
        cipher=DeviceCipher().node_cipher,
    )
    other_key = compile_node(inputs).config.apps[0]
    assert other_key.cipherData.cipherData != one.cipherData.cipherData
    assert other_key.restart.counter == one.restart.counter


def test_another_image_is_another_root_volume_and_keeps_the_data() -> None:
    volumes = [{"name": "d", "mountPath": "/d"}]
    before, after = (
        compile_app(make_app(image="web:1", volumes=volumes)),
        compile_app(make_app(image="web:2", volumes=volumes)),
    )
    assert before.volumeRefList[0].uuid != after.volumeRefList[0].uuid
    assert before.volumeRefList[1] == after.volumeRefList[1]
    assert before.purge.counter != after.purge.counter


def test_a_purge_is_a_new_generation_of_the_root_volume_alone() -> None:
    volumes = [{"name": "d", "mountPath": "/d"}]
    before, after = compile_app(make_app(volumes=volumes)), compile_app(make_app(volumes=volumes, purgeCounter=1))
    assert [reference.generationCount for reference in after.volumeRefList] == [1, 0]
    assert before.volumeRefList[0].uuid == after.volumeRefList[0].uuid
    assert before.purge.counter != after.purge.counter
    assert before.restart.counter == after.restart.counter


def test_interfaces_are_in_the_order_of_the_spec() -> None:
    app = compile_app(make_app(networks=[{"name": "second"}, {"name": "default", "macAddress": "02:AA:00:00:00:01"}]))
    assert [(vif.name, vif.interface_order, vif.macAddress) for vif in app.interfaces] == [
        ("second", 0, ""),
        ("default", 1, "02:aa:00:00:00:01"),
    ]


def test_no_network_is_no_interface() -> None:
    assert not compile_app(make_app(networks=[])).interfaces


def test_a_read_only_volume_says_so() -> None:
    app = compile_app(make_app(volumes=[{"name": "d", "mountPath": "/d", "readOnly": True}]))
    assert app.volumeRefList[1].eaves.read_only
