"""What a node reports is what the controller shows: both ends of a status, without the wire between them."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from eaves.controller.compile.identifiers import content_tree_id, root_volume_id
from eaves.kinds import app as app_kind
from eaves.kinds import pod
from eaves.kinds.pod_projection import project_pod
from eaves.node.observed import (
    AppState,
    AppStatus,
    Fault,
    ImageState,
    ImageStatus,
    InterfaceStatus,
    NetworkStatus,
    RunRecord,
    TreePortStatus,
    TreeStatus,
    VolumeState,
    VolumeStatus,
)
from eaves.node.observed_vm import Accelerator, AgentState, SnapshotState, SnapshotStatus, VmStatus
from eaves.node.report.apps import want_app_info, want_removed_app_info
from eaves.node.report.networks import want_network_info
from eaves.node.report.storage import want_image_info, want_volume_info
from eaves.testing.objects import (
    DEVICE_ID,
    make_app,
    make_edgenode,
    make_network,
    make_snapshot,
    make_vm,
    make_volume,
    uid_of,
)
from eaves.testing.observed_objects import ObservedObjects

NOW = 1795543200.0


def status(state: AppState, **fields: object) -> AppStatus:
    given: dict[str, object] = {
        "id": uid_of("App", "web"),
        "version": "1",
        "name": "web",
        "namespace": "default",
        "state": state,
    }
    return AppStatus(**(given | fields))  # type: ignore[arg-type]


def shown(reported: AppStatus, **spec: object) -> tuple[str, str]:
    """Phase of the App and STATUS of its Pod."""
    objects = ObservedObjects(make_edgenode(), make_app(**spec))  # type: ignore[arg-type]
    objects.tell(want_app_info(DEVICE_ID, reported, (), NOW), NOW)
    app = objects.find("App", "web")
    return app["status"]["phase"], pod.status_text(project_pod(app))


FAULT = Fault("ImagePullFailed", "registry.example: connection refused", since=NOW, retry_at=NOW + 9)
ENDED = RunRecord(NOW - 9, NOW - 1, 3, "Error")


@pytest.mark.parametrize(
    ("reported", "expected"),
    [
        (status(AppState.INITIAL, waiting_for="network default"), ("Creating", "ContainerCreating")),
        (status(AppState.DOWNLOADING), ("Downloading", "Pulling")),
        (status(AppState.DOWNLOADING, fault=FAULT), ("Downloading", "ErrImagePull")),
        (status(AppState.CREATING), ("Creating", "ContainerCreating")),
        (status(AppState.STARTING), ("Starting", "ContainerCreating")),
        (status(AppState.RUNNING, current=RunRecord(NOW)), ("Running", "Running")),
        (status(AppState.BACK_OFF, current=ENDED, next_start_at=NOW + 9), ("BackOff", "CrashLoopBackOff")),
        (status(AppState.BACK_OFF, last=ENDED, next_start_at=NOW + 9), ("BackOff", "CrashLoopBackOff")),
        (status(AppState.COMPLETED, current=RunRecord(NOW - 9, NOW, 0, "Completed")), ("Completed", "Completed")),
        (status(AppState.FAILED, current=RunRecord(NOW - 9, NOW, 137, "OOMKilled")), ("Failed", "OOMKilled")),
        (status(AppState.FAILED, fault=Fault("BadCommand", "no such file")), ("Failed", "BadCommand")),
    ],
)
def test_every_state_of_an_app_arrives(reported: AppStatus, expected: tuple[str, str]) -> None:
    assert shown(reported) == expected


def test_a_stopped_app_is_halted() -> None:
    assert shown(status(AppState.HALTED, current=RunRecord(NOW - 9, NOW, 143, "Stopped")), running=False)[0] == "Halted"


def test_details_of_a_running_app_arrive() -> None:
    objects = ObservedObjects(make_edgenode(), make_app())
    reported = status(
        AppState.RUNNING,
        current=RunRecord(NOW),
        last=ENDED,
        restarts=2,
        container_id="c0ffee",
        image_digest="sha256:" + "ab" * 32,
        interfaces=(InterfaceStatus("default", uid_of("Network", "default"), "02:00:00:00:00:02", ("10.160.1.64",)),),
    )
    objects.tell(want_app_info(DEVICE_ID, reported, (), NOW), NOW)
    got = objects.status("App", "web")
    assert (got["restarts"], got["containerID"], got["image"]["digest"]) == (2, "c0ffee", "sha256:" + "ab" * 32)
    assert got["addresses"][0]["addresses"] == ["10.160.1.64"]
    assert got["lastState"]["terminated"]["exitCode"] == 3
    objects.tell(want_removed_app_info(DEVICE_ID, reported.id, NOW), NOW)
    assert objects.status("App", "web")["phase"] == "Pending"


def test_images_networks_and_volumes_arrive() -> None:
    objects = ObservedObjects(make_edgenode(), make_app(), make_network(), make_volume())
    tree = content_tree_id(app_kind.decode(make_app()))
    image = ImageStatus(tree, "web", ImageState.DOWNLOADING, size_bytes=100, downloaded_bytes=35)
    objects.tell(want_image_info(DEVICE_ID, image, (), NOW), NOW)
    assert objects.status("App", "web")["message"] == "the image is being downloaded: 30 %"
    network = NetworkStatus(
        uid_of("Network", "default"), "1", "default", "Local", active=True, bridge="evbr1", uplink="eth0"
    )
    objects.tell(want_network_info(DEVICE_ID, network, (), NOW), NOW)
    assert objects.status("Network", "default")["nodes"][0]["state"] == "Online"
    volume = VolumeStatus(uid_of("Volume", "data"), 0, "data", VolumeState.READY, size_bytes=1 << 30, used_bytes=4096)
    objects.tell(want_volume_info(DEVICE_ID, volume, (), NOW), NOW)
    assert objects.status("Volume", "data")["phase"] == "Ready"


def test_the_size_of_a_root_disk_arrives_and_is_held_against_what_was_asked_for() -> None:
    machine = make_vm(vm={"rootDisk": {"size": "1Gi"}})
    objects = ObservedObjects(make_edgenode(), machine)
    root = root_volume_id(app_kind.decode(machine))
    disk = VolumeStatus(root, 0, "plc-root", VolumeState.READY, size_bytes=2 << 30, mode="Block", format="Qcow2")
    objects.tell(want_volume_info(DEVICE_ID, disk, (), NOW), NOW)
    assert objects.condition("App", "plc", "RootDiskSized")["reason"] == "ImageLarger"
    assert list(app_kind.RESOURCE.warn(objects.find("App", "plc"))), "who writes the App from now on is warned at once"


def test_the_spanning_tree_of_a_switch_arrives() -> None:
    objects = ObservedObjects(make_edgenode(), make_network())
    ports = (TreePortStatus("left", "Root", "Forwarding"), TreePortStatus("right", "Alternate", "Discarding"))
    tree = TreeStatus("8000020000000001", is_root=False, changes=3, ports=ports)
    network = NetworkStatus(uid_of("Network", "default"), "1", "default", "Switch", active=True, tree=tree)
    objects.tell(want_network_info(DEVICE_ID, network, (), NOW), NOW)
    assert objects.status("Network", "default")["nodes"][0]["spanningTree"] == {
        "rootBridge": "8000020000000001",
        "isRoot": False,
        "topologyChanges": 3,
        "ports": [
            {"name": "left", "role": "Root", "state": "Forwarding"},
            {"name": "right", "role": "Alternate", "state": "Discarding"},
        ],
    }


def test_a_machine_and_its_snapshots_arrive() -> None:
    objects = ObservedObjects(make_edgenode(), make_vm("web"), make_snapshot(appName="web"))
    machine = VmStatus(Accelerator.TCG, "UEFI", "q35", has_vnc=True, agent=AgentState.CONNECTED, guest_os="Debian 12")
    taken = SnapshotStatus(uid_of("AppSnapshot", "before"), SnapshotState.READY, NOW, 4096, app_version="1")
    reported = status(AppState.RUNNING, current=RunRecord(NOW), vm=machine, snapshots=(taken,))
    objects.tell(want_app_info(DEVICE_ID, reported, (), NOW), NOW)
    got = objects.status("App", "web")
    assert (got["vm"]["accelerator"], got["vm"]["vnc"], got["vm"]["guest"]["os"]) == ("TCG", True, "Debian 12")
    assert got["snapshots"] == ["before"]
    assert objects.status("AppSnapshot", "before")["phase"] == "Ready"
    paused = replace(reported, vm=replace(machine, paused_reason="the disk is full"))
    objects.tell(want_app_info(DEVICE_ID, paused, (), NOW), NOW)
    assert objects.condition("App", "web", "Ready")["reason"] == "Paused"


@pytest.mark.parametrize("state", SnapshotState)
def test_every_state_of_a_snapshot_arrives(state: SnapshotState) -> None:
    objects = ObservedObjects(make_edgenode(), make_vm("web"), make_snapshot(appName="web"))
    reported = status(AppState.RUNNING, snapshots=(SnapshotStatus(uid_of("AppSnapshot", "before"), state),))
    objects.tell(want_app_info(DEVICE_ID, reported, (), NOW), NOW)
    phase = objects.status("AppSnapshot", "before")["phase"]
    assert phase == {"Waiting": "Pending"}.get(state, state)
