"""Images and volumes as their devices report them."""

from __future__ import annotations

from typing import Any

from eaves.controller.compile.identifiers import content_tree_id, root_volume_id, source_tree_id
from eaves.kinds import app, volume
from eaves.testing.objects import make_app, make_edgenode, make_vm, make_volume, make_volume_snapshot, uid_of
from eaves.testing.observed_objects import ObservedObjects
from eaves.wire.pb.eaves.extension_pb2 import VolumeInfoExtension
from eaves.wire.pb.info import common_pb2, info_pb2
from eaves.wire.pb.info.common_pb2 import ErrorInfo
from eaves.wire.pb.info.info_pb2 import ZInfoMsg

NOW = 1795543200.0


def tree_message(tree_id: str, state: info_pb2.ZSwState.ValueType, **fields: Any) -> ZInfoMsg:
    message = ZInfoMsg(ztype=info_pb2.ZiContentTree)
    message.cinfo.uuid, message.cinfo.displayName, message.cinfo.state = tree_id, "web", state
    error = fields.pop("error", "")
    if error:
        message.cinfo.err.CopyFrom(ErrorInfo(description=error, severity=common_pb2.SEVERITY_WARNING))
    for name, value in fields.items():
        setattr(message.cinfo, name, value)
    return message


def test_progress_of_a_download_shows_in_the_app_in_steps() -> None:
    objects = ObservedObjects(make_edgenode(), make_app())
    tree = content_tree_id(app.decode(make_app()))
    objects.tell(tree_message(tree, info_pb2.DOWNLOAD_STARTED, progressPercentage=41), NOW)
    status = objects.status("App", "web")
    assert (status["phase"], status["message"]) == ("Downloading", "the image is being downloaded: 40 %")
    writes = objects.writes
    objects.tell(tree_message(tree, info_pb2.DOWNLOAD_STARTED, progressPercentage=49), NOW)
    assert objects.writes == writes
    objects.tell(tree_message(tree, info_pb2.LOADED, sha256="AB" * 32), NOW)
    status = objects.status("App", "web")
    assert status["image"]["digest"] == "sha256:" + "ab" * 32
    assert objects.condition("App", "web", "ImageReady")["status"] == "True"


def test_progress_of_a_conversion_shows_too() -> None:
    objects = ObservedObjects(make_edgenode(), make_app())
    tree = content_tree_id(app.decode(make_app()))
    objects.tell(tree_message(tree, info_pb2.LOADING, progressPercentage=57), NOW)
    status = objects.status("App", "web")
    assert (status["phase"], status["message"]) == ("Downloading", "the image is being made ready for volumes: 50 %")


def test_a_failed_pull_shows_in_the_app_once() -> None:
    objects = ObservedObjects(make_edgenode(), make_app())
    tree = content_tree_id(app.decode(make_app()))
    message = tree_message(tree, info_pb2.DOWNLOAD_STARTED, error="registry.example: connection refused")
    objects.tell(message, NOW)
    assert objects.status("App", "web")["state"]["waiting"]["reason"] == "ErrImagePull"
    assert [event.reason for event in objects.events] == ["Failed"]
    assert objects.tell(message, NOW + 60) == []


def test_a_running_app_is_not_touched_by_news_of_its_image() -> None:
    running = make_app(status={"phase": "Running", "message": "m", "state": {"running": {}}})
    objects = ObservedObjects(make_edgenode(), running)
    tree = content_tree_id(app.decode(make_app()))
    objects.tell(tree_message(tree, info_pb2.DOWNLOAD_STARTED, error="gone"), NOW)
    status = objects.status("App", "web")
    assert (status["phase"], status["message"], status["state"]) == ("Running", "m", {"running": {}})


def test_the_last_word_about_an_image_and_words_about_others_are_passed_over() -> None:
    objects = ObservedObjects(make_edgenode(), make_app(), make_app("elsewhere", nodeName="other"))
    gone = ZInfoMsg(ztype=info_pb2.ZiContentTree)
    gone.cinfo.uuid = content_tree_id(app.decode(make_app()))
    objects.tell(gone, NOW)
    objects.tell(tree_message("unknown", info_pb2.LOADED), NOW)
    objects.tell(tree_message(content_tree_id(app.decode(make_app("elsewhere"))), info_pb2.LOADED), NOW)
    assert objects.writes == 0


def volume_message(state: info_pb2.ZSwState.ValueType, used: int = 0, error: str = "") -> ZInfoMsg:
    message = ZInfoMsg(ztype=info_pb2.ZiVolume)
    message.vinfo.uuid, message.vinfo.displayName, message.vinfo.state = uid_of("Volume", "data"), "data", state
    message.vinfo.resources.maxSizeBytes, message.vinfo.resources.curSizeBytes = 1 << 30, used
    if error:
        message.vinfo.volumeErr.description = error
    return message


def test_a_volume_becomes_ready() -> None:
    objects = ObservedObjects(make_edgenode(), make_volume())
    objects.tell(volume_message(info_pb2.CREATING_VOLUME), NOW)
    assert objects.status("Volume", "data")["phase"] == "Creating"
    objects.tell(volume_message(info_pb2.CREATED_VOLUME, used=4096), NOW)
    status = objects.status("Volume", "data")
    assert (status["phase"], status["capacity"], status["used"]) == ("Ready", str(1 << 30), "4096")
    assert [event.reason for event in objects.events] == ["VolumeReady"]


def test_use_of_a_volume_is_written_when_it_moved_notably() -> None:
    objects = ObservedObjects(make_edgenode(), make_volume())
    objects.tell(volume_message(info_pb2.CREATED_VOLUME, used=4096), NOW)
    objects.tell(volume_message(info_pb2.CREATED_VOLUME, used=1 << 20), NOW)
    assert objects.writes == 1
    objects.tell(volume_message(info_pb2.CREATED_VOLUME, used=1 << 29), NOW)
    assert objects.status("Volume", "data")["used"] == str(1 << 29)


def test_what_an_eaves_node_adds_arrives() -> None:
    objects = ObservedObjects(make_edgenode(), make_volume(rollback={"snapshotName": "daily", "counter": 2}))
    message = volume_message(info_pb2.CREATED_VOLUME, used=4096)
    message.vinfo.eaves.CopyFrom(
        VolumeInfoExtension(
            mode="Block",
            format="Qcow2",
            enforcement="Disk",
            allocated_bytes=8192,
            encrypted=True,
            users=["web", "db"],
            rollback_counter=2,
        )
    )
    objects.tell(message, NOW)
    status = objects.status("Volume", "data")
    told = ("mode", "format", "enforcement", "allocated", "encrypted", "usedBy", "rollbackCounter")
    assert [status[name] for name in told] == ["Block", "Qcow2", "Disk", "8192", True, ["db", "web"], 2]
    assert [event.reason for event in objects.events] == ["VolumeReady", "RolledBack"]
    writes = objects.writes
    message.vinfo.eaves.allocated_bytes += 4096
    objects.tell(message, NOW)
    assert objects.writes == writes, "a little more is no news"


def test_snapshots_of_a_volume_tell_how_far_they_are() -> None:
    objects = ObservedObjects(
        make_edgenode(),
        make_volume(),
        make_volume_snapshot("daily"),
        make_volume_snapshot("weekly"),
        make_volume_snapshot("other", volumeName="other"),
    )
    daily, weekly = uid_of("VolumeSnapshot", "daily"), uid_of("VolumeSnapshot", "weekly")
    message = volume_message(info_pb2.CREATED_VOLUME)
    told = message.vinfo.eaves.snapshots
    told.add(id=daily, state="Pending", message="is taken when app db has stopped")
    told.add(id=weekly, state="Failed", message="no space left")
    objects.tell(message, NOW)
    status = objects.status("VolumeSnapshot", "daily")
    assert (status["phase"], status["message"]) == ("Pending", "is taken when app db has stopped")
    assert objects.condition("VolumeSnapshot", "weekly", "Ready")["reason"] == "SnapshotFailed"
    told[0].state, told[0].message, told[0].size_bytes = "Ready", "", 1 << 20
    told[0].taken_at.FromSeconds(int(NOW))
    objects.tell(message, NOW)
    status = objects.status("VolumeSnapshot", "daily")
    assert (status["phase"], status["size"], status["nodeName"]) == ("Ready", str(1 << 20), "store-17")
    assert status["takenAt"]
    assert objects.status("Volume", "data")["snapshots"] == ["daily"]
    assert "status" not in objects.find("VolumeSnapshot", "other")
    assert [event.reason for event in objects.events] == ["VolumeReady", "SnapshotFailed", "SnapshotTaken"]


def test_a_volume_that_cannot_be_made_says_why() -> None:
    objects = ObservedObjects(make_edgenode(), make_volume())
    objects.tell(volume_message(info_pb2.ERROR, error="no space left"), NOW)
    assert objects.status("Volume", "data")["message"] == "no space left"
    assert [(event.type, event.reason) for event in objects.events] == [("Warning", "VolumeFailed")]


def test_the_image_of_a_volume_shows_in_the_volume() -> None:
    made = make_volume(source={"image": "shop/seed:1"})
    objects = ObservedObjects(make_edgenode(), made)
    objects.tell(
        tree_message(source_tree_id(volume.decode(made)), info_pb2.DOWNLOAD_STARTED, progressPercentage=70), NOW
    )
    assert objects.status("Volume", "data")["message"] == "the image is being downloaded: 70 %"
    objects.tell(volume_message(info_pb2.DOWNLOAD_STARTED), NOW)
    status = objects.status("Volume", "data")
    assert (status["phase"], status["message"]) == ("Creating", "the image is being downloaded: 70 %")
    objects.tell(volume_message(info_pb2.DOWNLOAD_STARTED, error="no route"), NOW)
    status = objects.status("Volume", "data")
    assert (status["phase"], status["message"]) == ("Creating", "no route")
    objects.tell(tree_message(source_tree_id(volume.decode(made)), info_pb2.LOADED), NOW)
    objects.tell(volume_message(info_pb2.CREATING_VOLUME), NOW)
    assert "message" not in objects.status("Volume", "data")


def test_what_a_volume_waits_for_shows_whoever_was_told_last() -> None:
    made = make_volume(source={"image": "shop/seed:1"})
    objects = ObservedObjects(make_edgenode(), made)
    objects.tell(tree_message(source_tree_id(volume.decode(made)), info_pb2.DOWNLOAD_STARTED), NOW)
    objects.tell(volume_message(info_pb2.INITIAL), NOW)
    assert objects.status("Volume", "data")["message"] == "the image is being downloaded: 0 %"


def test_how_far_an_image_is_does_not_hide_what_hinders_an_app_of_an_eve_device() -> None:
    edgenode = make_edgenode(status={"versions": {"eve": "17.3.0"}})
    objects = ObservedObjects(edgenode, make_app())
    message = ZInfoMsg(ztype=info_pb2.ZiApp)
    info = message.ainfo
    info.AppID, info.AppName, info.appVersion, info.state = uid_of("App", "web"), "web", "1", info_pb2.DELIVERED
    info.appErr.append(ErrorInfo(description="Remaining disk space", severity=common_pb2.SEVERITY_ERROR))
    tree = content_tree_id(app.decode(make_app()))
    objects.tell(message, NOW)
    objects.tell(tree_message(tree, info_pb2.VERIFYING), NOW)
    assert objects.status("App", "web")["message"] == "Remaining disk space"
    info.state = info_pb2.ERROR
    objects.tell(message, NOW)
    objects.tell(tree_message(tree, info_pb2.VERIFYING), NOW)
    assert objects.status("App", "web")["message"] == "Remaining disk space"
    del info.appErr[:]
    info.state = info_pb2.DELIVERED
    objects.tell(message, NOW)
    objects.tell(tree_message(tree, info_pb2.VERIFYING), NOW)
    assert objects.status("App", "web")["message"] == "the image is being verified and unpacked"


def test_how_far_an_image_is_does_not_hide_what_hinders_a_volume() -> None:
    made = make_volume(source={"image": "shop/seed:1"})
    objects = ObservedObjects(make_edgenode(), made)
    objects.tell(volume_message(info_pb2.CREATING_VOLUME, error="no space left"), NOW)
    objects.tell(tree_message(source_tree_id(volume.decode(made)), info_pb2.VERIFYING), NOW)
    assert objects.status("Volume", "data")["message"] == "no space left"


def root_message(
    size_bytes: int, state: info_pb2.ZSwState.ValueType = info_pb2.CREATED_VOLUME, mode: str = "Block"
) -> ZInfoMsg:
    message = ZInfoMsg(ztype=info_pb2.ZiVolume)
    message.vinfo.uuid, message.vinfo.state = root_volume_id(app.decode(make_vm())), state
    message.vinfo.resources.maxSizeBytes = size_bytes
    if mode:
        message.vinfo.eaves.mode = mode
    return message


def machine(size: str) -> dict[str, Any]:
    return make_vm(vm={"rootDisk": {"size": size}})


def test_a_root_disk_that_has_the_size_of_a_larger_image_is_told() -> None:
    objects = ObservedObjects(make_edgenode(), machine("1Gi"))
    objects.tell(root_message(2 << 30), NOW)
    assert objects.status("App", "plc")["rootDisk"] == {"image": make_vm()["spec"]["image"], "size": str(2 << 30)}
    condition = objects.condition("App", "plc", "RootDiskSized")
    assert (condition["status"], condition["reason"]) == ("False", "ImageLarger")
    assert condition["message"].startswith("spec.vm.rootDisk.size: 1Gi is less than the 2Gi of the image")
    assert objects.tell(root_message(2 << 30), NOW + 60) == []


def test_a_root_disk_as_large_as_asked_for_is_told_and_one_that_has_to_grow() -> None:
    objects = ObservedObjects(make_edgenode(), machine("3Gi"))
    objects.tell(root_message(2 << 30), NOW)
    assert objects.condition("App", "plc", "RootDiskSized")["reason"] == "NotGrown"
    objects.tell(root_message(3 << 30), NOW)
    assert objects.condition("App", "plc", "RootDiskSized")["status"] == "True"


def test_a_size_that_is_left_out_later_is_judged_no_more() -> None:
    objects = ObservedObjects(make_edgenode(), machine("1Gi"))
    objects.tell(root_message(2 << 30), NOW)
    del objects.find("App", "plc")["spec"]["vm"]
    told = ZInfoMsg(ztype=info_pb2.ZiApp)
    told.ainfo.AppID, told.ainfo.AppName, told.ainfo.appVersion = uid_of("App", "plc"), "plc", "2"
    told.ainfo.state = info_pb2.RUNNING
    objects.tell(told, NOW)
    status = objects.status("App", "plc")
    assert "RootDiskSized" not in {condition["type"] for condition in status["conditions"]}
    assert status["rootDisk"]["size"] == str(2 << 30)


def test_sizes_of_disks_that_are_not_there_or_that_an_eve_device_repeats_are_not_taken_for_those_of_disks() -> None:
    objects = ObservedObjects(make_edgenode(), machine("1Gi"))
    assert objects.tell(root_message(1 << 30, info_pb2.CREATING_VOLUME), NOW) == []
    assert objects.tell(root_message(1 << 30, mode=""), NOW) == []
