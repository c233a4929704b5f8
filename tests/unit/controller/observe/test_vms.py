"""Status of virtual machines and their snapshots, from what Eaves nodes and EVE devices report."""

from __future__ import annotations

from typing import Any

import pytest

from eaves.controller.compile.snapshots import ROOT_ANNOTATION
from eaves.controller.observe.compiled import observe_compiled
from eaves.kinds.pod_projection import project_pod
from eaves.testing.objects import make_app, make_edgenode, make_snapshot, make_vm, uid_of
from eaves.testing.observed_objects import ObservedObjects
from eaves.wire.pb.eaves.extension_pb2 import GuestInterface, SnapshotInfoExtension, VmInfo
from eaves.wire.pb.info import common_pb2, info_pb2
from eaves.wire.pb.info.common_pb2 import ErrorInfo
from eaves.wire.pb.info.info_pb2 import ZInfoMsg, ZInfoNetwork, ZInfoSnapshot

NOW = 1795543200
MACHINE = VmInfo(
    accelerator="TCG", firmware="UEFI", machine="q35", vtpm=True, serial_console=True, guest_agent="Connected",
    guest_os="Debian 12", guest_hostname="plc", guest_interfaces=[GuestInterface(name="ens3", addresses=["10.0.0.2"])],
    note="no KVM on this node",
)  # fmt: skip


def message(
    state: info_pb2.ZSwState.ValueType, *, vm: VmInfo | None = None, snapshots: list[ZInfoSnapshot] | None = None
) -> ZInfoMsg:
    told = ZInfoMsg(ztype=info_pb2.ZiApp)
    info = told.ainfo
    info.AppID, info.AppName, info.appVersion, info.state = uid_of("App", "plc"), "plc", "1", state
    info.network.append(ZInfoNetwork(devName="default", IPAddrs=["10.160.1.5"]))
    if vm is not None:
        info.eaves.container_id = "plc"
        info.eaves.vm.CopyFrom(vm)
    info.snapshots.extend(snapshots or [])
    return told


def snapshot(name: str = "before", *, taken: int = 0, error: str = "", state: str = "", size: int = 0) -> ZInfoSnapshot:
    told = ZInfoSnapshot(id=uid_of("AppSnapshot", name), config_version="1")
    if taken:
        told.create_time.seconds = taken
    if error:
        told.snap_err.CopyFrom(ErrorInfo(description=error, severity=common_pb2.SEVERITY_ERROR))
    if state:
        told.eaves.CopyFrom(SnapshotInfoExtension(state=state, size_bytes=size))
    return told


def observed(*others: Any) -> ObservedObjects:
    return ObservedObjects(make_edgenode(), make_vm(), *others)


def reasons(objects: ObservedObjects) -> list[str]:
    return [event.reason for event in objects.events]


def test_a_machine_as_an_eaves_node_tells_it() -> None:
    objects = observed()
    objects.tell(message(info_pb2.RUNNING, vm=MACHINE), NOW)
    status = objects.status("App", "plc")
    assert status["vm"] == {
        "accelerator": "TCG",
        "firmware": "UEFI",
        "machine": "q35",
        "vtpm": True,
        "serialConsole": True,
        "note": "no KVM on this node",
        "guest": {
            "agent": "Connected",
            "os": "Debian 12",
            "hostname": "plc",
            "interfaces": [{"name": "ens3", "addresses": ["10.0.0.2"]}],
        },
    }
    assert objects.condition("App", "plc", "AgentConnected")["status"] == "True"
    assert objects.condition("App", "plc", "Paused")["status"] == "False"
    assert "virtual machine started" in objects.events[-1].message
    objects.tell(message(info_pb2.RUNNING, vm=MACHINE), NOW + 60)
    assert objects.writes == 1


def test_a_machine_as_an_eve_device_tells_it() -> None:
    objects = observed()
    objects.tell(message(info_pb2.BOOTING), NOW)
    assert objects.status("App", "plc")["message"] == "the virtual machine is being started"
    objects.tell(message(info_pb2.RUNNING), NOW)
    assert objects.condition("App", "plc", "Ready")["status"] == "True"
    assert "vm" not in objects.status("App", "plc")


def test_a_guest_without_its_agent_is_told_what_to_install() -> None:
    objects = observed()
    objects.tell(message(info_pb2.RUNNING, vm=VmInfo(guest_agent="NotSeen")), NOW)
    condition = objects.condition("App", "plc", "AgentConnected")
    assert (condition["status"], "qemu-guest-agent" in condition["message"]) == ("False", True)


def test_a_paused_machine_is_not_ready_and_says_why() -> None:
    objects = observed()
    paused = VmInfo(accelerator="KVM", paused_reason="the disk of the node is full")
    objects.tell(message(info_pb2.RUNNING, vm=paused), NOW)
    assert objects.condition("App", "plc", "Ready")["reason"] == "Paused"
    assert objects.condition("App", "plc", "Paused")["message"] == "the disk of the node is full"
    assert objects.status("App", "plc")["message"] == "is paused: the disk of the node is full"
    objects.tell(message(info_pb2.RUNNING, vm=VmInfo(accelerator="KVM")), NOW)
    assert objects.condition("App", "plc", "Ready")["status"] == "True"


def test_what_was_seen_of_a_machine_goes_when_it_stops() -> None:
    objects = observed()
    objects.tell(message(info_pb2.RUNNING, vm=MACHINE), NOW)
    objects.tell(message(info_pb2.HALTED), NOW)
    assert "vm" not in objects.status("App", "plc")
    assert objects.condition("App", "plc", "AgentConnected") == {}
    assert objects.condition("App", "plc", "Paused") == {}


def test_words_of_a_hostile_guest_are_cut_and_cleaned() -> None:
    objects = observed()
    hostile = VmInfo(
        guest_os="\x1b[2J" + "x" * 10_000,
        guest_interfaces=[GuestInterface(name=f"e{n}", addresses=["\n"] * 100) for n in range(500)],
    )
    objects.tell(message(info_pb2.RUNNING, vm=hostile), NOW)
    guest = objects.status("App", "plc")["vm"]["guest"]
    assert guest["os"].startswith("[2Jx")
    assert (len(guest["os"]), len(guest["interfaces"])) == (256, 32)
    assert all("addresses" not in interface for interface in guest["interfaces"])


def test_the_pod_of_a_machine() -> None:
    objects = ObservedObjects(make_edgenode(), make_vm(volumes=[{"name": "data", "size": "5Gi"}]))
    objects.tell(message(info_pb2.RUNNING, vm=MACHINE), NOW)
    pod = project_pod(objects.find("App", "plc"))
    (container,) = pod["spec"]["containers"]
    assert (container["image"], "volumeMounts" in container) == ("registry.example/disks/plc:1", False)
    assert pod["spec"]["volumes"] == [{"name": "data", "emptyDir": {"sizeLimit": "5Gi"}}]
    assert pod["spec"]["terminationGracePeriodSeconds"] == 60
    assert pod["status"]["containerStatuses"][0]["containerID"] == "qemu://plc"
    assert pod["status"]["podIP"] == "10.160.1.5"


def test_the_life_of_a_snapshot_on_an_eaves_node() -> None:
    objects = observed(make_snapshot())
    objects.take(observe_compiled(objects.objects, "hash", [], NOW))
    assert objects.status("AppSnapshot", "before")["message"] == "waits for node store-17 to take its config"
    objects.tell(message(info_pb2.RUNNING, snapshots=[snapshot(state="Creating")]), NOW)
    assert objects.status("AppSnapshot", "before")["phase"] == "Creating"
    objects.tell(message(info_pb2.RUNNING, snapshots=[snapshot(state="Ready", taken=NOW, size=4096)]), NOW)
    status = objects.status("AppSnapshot", "before")
    assert (status["phase"], status["reason"], status["size"]) == ("Ready", "Taken", "4096")
    assert (status["takenAt"], status["nodeName"], status["appGeneration"]) == ("2026-11-24T18:00:00Z", "store-17", 1)
    assert objects.condition("AppSnapshot", "before", "Ready")["status"] == "True"
    assert objects.status("App", "plc")["snapshots"] == ["before"]
    objects.tell(message(info_pb2.RUNNING, snapshots=[snapshot(state="RollingBack", taken=NOW)]), NOW)
    objects.tell(message(info_pb2.RUNNING, snapshots=[snapshot(state="Ready", taken=NOW)]), NOW)
    assert [reason for reason in reasons(objects) if "Snap" in reason or "Roll" in reason] == [
        "SnapshotTaken",
        "RollingBack",
        "RolledBack",
    ]
    objects.tell(message(info_pb2.RUNNING), NOW)
    status = objects.status("AppSnapshot", "before")
    assert (status["phase"], status["reason"]) == ("Failed", "Lost")
    assert "snapshots" not in objects.status("App", "plc")


@pytest.mark.parametrize(
    ("told", "phase", "text"),
    [
        (snapshot(taken=NOW), "Ready", ""),
        (snapshot(), "Pending", "waits for its moment"),
        (snapshot(error="raw disks have no snapshots"), "Failed", "raw disks have no snapshots"),
    ],
)
def test_snapshots_on_an_eve_device(told: ZInfoSnapshot, phase: str, text: str) -> None:
    objects = observed(make_snapshot())
    objects.tell(message(info_pb2.RUNNING, snapshots=[told]), NOW)
    status = objects.status("AppSnapshot", "before")
    assert status["phase"] == phase
    assert text in status.get("message", "")


def test_a_snapshot_that_the_node_has_not_heard_of_waits() -> None:
    objects = observed(make_snapshot(status={"phase": "Pending"}), make_snapshot("other", appName="another"))
    objects.tell(message(info_pb2.RUNNING), NOW)
    assert objects.status("AppSnapshot", "before") == {"phase": "Pending"}
    assert objects.status("AppSnapshot", "other") == {}


def test_a_container_has_no_conditions_of_machines() -> None:
    objects = ObservedObjects(make_edgenode(), make_app("plc"))
    objects.tell(message(info_pb2.RUNNING), NOW)
    assert objects.condition("App", "plc", "Paused") == {}
    assert "container started" in objects.events[-1].message


def test_a_snapshot_of_a_former_root_disk_says_so() -> None:
    of_another = {"annotations": {ROOT_ANNOTATION: "another"}}
    objects = observed(make_snapshot(metadata=of_another, status={"phase": "Ready"}))
    objects.take(observe_compiled(objects.objects, "hash", [], NOW))
    status = objects.status("AppSnapshot", "before")
    assert (status["phase"], status["reason"]) == ("Failed", "RootReplaced")
    objects.tell(message(info_pb2.RUNNING), NOW)
    assert objects.status("AppSnapshot", "before")["reason"] == "RootReplaced"


def test_the_pod_of_a_container_with_a_kernel_of_its_own() -> None:
    objects = ObservedObjects(make_edgenode(), make_app("plc", isolation="VM"))
    objects.tell(message(info_pb2.RUNNING, vm=VmInfo(accelerator="KVM", guest_agent="Disabled")), NOW)
    assert objects.status("App", "plc")["vm"]["accelerator"] == "KVM"
    assert objects.condition("App", "plc", "AgentConnected") == {}
    pod = project_pod(objects.find("App", "plc"))
    assert pod["status"]["containerStatuses"][0]["containerID"] == "qemu://plc"
