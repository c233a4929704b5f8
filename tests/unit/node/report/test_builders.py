"""What observations look like as device messages."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from eaves.node.counters import BootReason, Record
from eaves.node.desired.hardware_model import DesiredIo, IoKind
from eaves.node.desired.model import ConfigProblem, DesiredBaseOs, DesiredNetwork, NetworkKind, ObjectKind, Owner
from eaves.node.link.attestation import AttestationStep
from eaves.node.link.decryption import CipherFigures
from eaves.node.link.traffic import CallFigures, WayFigures
from eaves.node.link.uplinks import Uplink
from eaves.node.observed import (
    AppState,
    AppStatus,
    AppUsage,
    Fault,
    ImageState,
    ImageStatus,
    InterfaceStatus,
    InterfaceUsage,
    Lease,
    NetworkStatus,
    RunRecord,
    VolumeState,
    VolumeStatus,
)
from eaves.node.report import apps, device, metrics, networks, storage
from eaves.node.report.device import DeviceView
from eaves.node.report.facts import Disk, Eccs, Load, Machine, Mount, Port, parse_ports
from eaves.node.report.metrics import MetricsView
from eaves.wire.pb.evecommon import devmodelcommon_pb2
from eaves.wire.pb.info import common_pb2, info_pb2
from eaves.wire.pb.metrics import metrics_pb2
from eaves.wire.timers import ItemStatus

DEVICE = "a0000000-0000-4000-8000-000000000001"
APP = AppStatus("app-1", "3", "web", "shop", AppState.RUNNING, current=RunRecord(100.5))
PROBLEM = ConfigProblem("app-1", "app web", "NetworkMissing", "no network", "add it", ObjectKind.APP, is_fatal=True)
MACHINE = Machine("x86_64", 4, "Some CPU", 8 << 30, "store-17", "6.1", "quiet", "Debian", 50.0, has_tpm=True)


def test_every_state_of_an_app_has_one_on_the_wire() -> None:
    assert set(apps.STATES) == set(AppState)


def test_running_app() -> None:
    status = replace(
        APP,
        container_id="c1",
        image_digest="sha256:ab",
        restarts=2,
        last=RunRecord(10.0, 20.0, 137, "OOMKilled"),
        interfaces=(InterfaceStatus("eth0", "net-1", "02:00:00:00:00:01", ("10.1.0.2",)),),
        volume_ids=("v1", "v2"),
    )
    message = apps.want_app_info(DEVICE, status, (), 200.0)
    assert (message.ztype, message.devId, message.atTimeStamp.seconds) == (info_pb2.ZiApp, DEVICE, 200)
    info = message.ainfo
    assert (info.AppID, info.appVersion, info.AppName, info.state) == ("app-1", "3", "web", info_pb2.RUNNING)
    assert (info.bootTime.seconds, info.bootTime.nanos) == (100, 500_000_000)
    (network,) = info.network
    assert (network.devName, list(network.IPAddrs), network.ipv4_up) == ("eth0", ["10.1.0.2"], True)
    assert list(info.volumeRefs) == ["v1", "v2"]
    assert (info.eaves.restarts, info.eaves.last_exit_code, info.eaves.last_reason) == (2, 137, "OOMKilled")
    assert (info.eaves.started_at.seconds, info.eaves.HasField("finished_at")) == (100, False)
    assert not info.appErr


@pytest.mark.parametrize("addresses", [(), ("fe80::1", "2001:db8::7")])
def test_an_interface_is_up_for_ipv4_when_it_has_an_address_of_it(addresses: tuple[str, ...]) -> None:
    """As on a switch, where addresses come from outside."""
    status = replace(APP, interfaces=(InterfaceStatus("eth0", "net-1", "02:00:00:00:00:01", addresses),))
    (network,) = apps.want_app_info(DEVICE, status, (), 200.0).ainfo.network
    assert (list(network.IPAddrs), network.ipv4_up) == (list(addresses), False)


def test_app_in_back_off_says_why_and_until_when() -> None:
    status = replace(
        APP,
        state=AppState.BACK_OFF,
        current=RunRecord(100.0, 101.0, 1, "Error"),
        next_start_at=150.0,
        fault=Fault("CrashLoop", "exited with 1", "look at its log", since=101.0, retry_at=150.0),
    )
    info = apps.want_app_info(DEVICE, status, (), 120.0).ainfo
    assert info.state == info_pb2.RESTARTING
    assert (info.eaves.exit_code, info.eaves.reason, info.eaves.next_start_at.seconds) == (1, "Error", 150)
    (error,) = info.appErr
    assert error.severity == common_pb2.SEVERITY_WARNING
    assert error.description == "exited with 1; look at its log"
    assert error.retry_condition
    assert error.entities[0].entity_name == "web"


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (replace(APP, state=AppState.INITIAL, waiting_for="network default"), info_pb2.AWAITNETWORKINSTANCE),
        (replace(APP, state=AppState.INITIAL, next_start_at=500.0), info_pb2.START_DELAYED),
        (replace(APP, state=AppState.INITIAL), info_pb2.INITIAL),
        (replace(APP, state=AppState.FAILED), info_pb2.ERROR),
        (replace(APP, state=AppState.COMPLETED), info_pb2.HALTED),
        (replace(APP, state=AppState.HALTED), info_pb2.HALTED),
        (replace(APP, state=AppState.HALTED, current=None, last=None), info_pb2.INSTALLED),
    ],
)
def test_states(status: AppStatus, state: info_pb2.ZSwState.ValueType) -> None:
    assert apps.want_app_info(DEVICE, status, (), 1.0).ainfo.state == state


def test_failed_app_is_an_error_even_when_it_is_tried_again() -> None:
    status = replace(APP, state=AppState.FAILED, fault=Fault("X", "broken", retry_at=500.0))
    assert apps.want_app_info(DEVICE, status, (), 1.0).ainfo.appErr[0].severity == common_pb2.SEVERITY_ERROR


def test_app_that_cannot_be_tried_is_reported_with_its_reason() -> None:
    info = apps.want_refused_app_info(DEVICE, [PROBLEM], 5.0).ainfo
    assert (info.AppID, info.AppName, info.state) == ("app-1", "web", info_pb2.ERROR)
    assert (info.eaves.reason, info.eaves.message) == ("NetworkMissing", "no network")
    assert info.appErr[0].description == "no network; add it"


def test_removal_holds_the_id_alone() -> None:
    info = apps.want_removed_app_info(DEVICE, "app-1", 5.0).ainfo
    assert (info.AppID, info.state, info.AppName, info.appVersion) == ("app-1", info_pb2.INVALID, "", "")
    assert networks.want_removed_network_info(DEVICE, "n", 5.0).niinfo.networkID == "n"
    assert storage.want_removed_volume_info(DEVICE, "v", 5.0).vinfo.uuid == "v"
    assert storage.want_removed_image_info(DEVICE, "i", 5.0).cinfo.uuid == "i"


def test_network() -> None:
    status = NetworkStatus(
        "net-1", "2", "default", "Local", active=True, bridge="evbr12", bridge_address="10.1.0.1", uplink="eth0",
        mtu=1500, leases=(Lease("app-1", "eth0", "02:00:00:00:00:01", "10.1.0.2"),), up_since=7.0,
    )  # fmt: skip
    info = networks.want_network_info(DEVICE, status, (), 9.0).niinfo
    assert (info.networkID, info.instType, info.bridgeNum, info.bridgeName) == ("net-1", 2, 12, "evbr12")
    assert (info.state, info.activated) == (info_pb2.ZNETINST_STATE_ONLINE, True)
    assert (info.vifs[0].appID, list(info.ipAssignments[0].ipAddress)) == ("app-1", ["10.1.0.2"])
    broken = networks.want_network_info(DEVICE, replace(status, fault=Fault("X", "no bridge")), (), 9.0).niinfo
    assert (broken.state, broken.networkErr[0].description) == (info_pb2.ZNETINST_STATE_ERROR, "no bridge")


def test_image_shows_its_progress() -> None:
    status = ImageStatus("i", "web", ImageState.DOWNLOADING, size_bytes=1000, downloaded_bytes=420)
    info = storage.want_image_info(DEVICE, status, (), 9.0).cinfo
    assert (info.state, info.progressPercentage) == (info_pb2.DOWNLOAD_STARTED, 42)
    done = storage.want_image_info(DEVICE, replace(status, state=ImageState.LOADED, digest="sha256:ab"), (), 9.0).cinfo
    assert (done.state, done.progressPercentage, done.sha256) == (info_pb2.LOADED, 100, "ab")
    assert list(done.componentShaList) == ["ab"]
    again = storage.want_image_info(DEVICE, replace(status, generation=3), (), 9.0).cinfo
    assert again.generation_count == 3
    failed = storage.want_image_info(
        DEVICE, replace(status, state=ImageState.FAILED, fault=Fault("X", "no route")), [PROBLEM], 9.0
    ).cinfo
    assert failed.err.description == "no route"


def test_volume_tells_size_and_generation() -> None:
    status = VolumeStatus("v", 4, "data", VolumeState.READY, size_bytes=1000, used_bytes=10)
    info = storage.want_volume_info(DEVICE, status, (), 9.0).vinfo
    assert (info.state, info.generation_count) == (info_pb2.CREATED_VOLUME, 4)
    assert (info.resources.maxSizeBytes, info.resources.curSizeBytes) == (1000, 10)


@pytest.mark.parametrize(
    ("image", "state", "percent"),
    [
        (ImageState.WAITING, info_pb2.INITIAL, 0),
        (ImageState.RESOLVING, info_pb2.RESOLVING_TAG, 0),
        (ImageState.DOWNLOADING, info_pb2.DOWNLOAD_STARTED, 42),
        (ImageState.VERIFYING, info_pb2.VERIFYING, 99),
        (ImageState.CONVERTING, info_pb2.LOADING, 42),
        (ImageState.LOADED, info_pb2.LOADED, 100),
    ],
)
def test_a_volume_that_waits_for_its_image_is_as_far_as_that(
    image: ImageState, state: info_pb2.ZSwState.ValueType, percent: int
) -> None:
    status = VolumeStatus("v", 1, "data", VolumeState.WAITING)
    source = ImageStatus("i", "web", image, size_bytes=100, downloaded_bytes=percent)
    info = storage.want_volume_info(DEVICE, status, (), 9.0, source=source).vinfo
    assert (info.state, info.progressPercentage, info.HasField("volumeErr")) == (state, percent, False)
    making = replace(status, state=VolumeState.CREATING)
    assert storage.want_volume_info(DEVICE, making, (), 9.0, source=source).vinfo.state == info_pb2.CREATING_VOLUME


def test_a_volume_whose_image_cannot_be_had_tells_why_and_has_not_failed() -> None:
    status = VolumeStatus("v", 1, "data", VolumeState.WAITING)
    source = ImageStatus("i", "web", ImageState.FAILED, fault=Fault("X", "no route", retry_at=50.0))
    info = storage.want_volume_info(DEVICE, status, (), 9.0, source=source, references=2).vinfo
    assert (info.state, info.volumeErr.description) == (info_pb2.DOWNLOAD_STARTED, "no route")
    (entity,) = info.volumeErr.entities
    assert (entity.entity, entity.entity_id) == (common_pb2.ENTITY_CONTENT_TREE, "i")
    assert info.usage.refCount == 2


VIEW = DeviceView(
    machine=MACHINE,
    ports=[
        Port("eth0", "02:00:00:00:00:09", True, 1500, ("192.0.2.5/24",), ("192.0.2.1",)),
        Port("docker0", "02:00:00:00:00:0a", False, 1500, ("172.17.0.1/16",)),
        Port("eth9", "02:00:00:00:00:0b", False, 1500),
    ],
    mounts=[Mount("/dev/sda1", "/", 100 << 30, 1 << 30, 99 << 30, holds_apps=True)],
    record=Record("b", 3, BootReason.POWER_FAIL, "lost power", 40.0, reboot_counter=6),
    attestation=AttestationStep.COMPLETE,
    item_statuses={"timer.config.interval": ItemStatus("30"), "x": ItemStatus("", "unknown")},
    apps=[("app-1", "web")],
    serial="S-1",
    version="0.1.0",
    config_hash="h1",
    problems=["the disk is full"],
)


def test_device() -> None:
    info = device.want_device_info(DEVICE, VIEW, 9.0).dinfo
    assert (info.machineArch, info.ncpu, info.memory, info.storage) == ("x86_64", 4, 8192, 100 << 10)
    assert (info.minfo.serialNumber, info.HostName) == ("S-1", "store-17")
    assert (info.restartCounter, info.last_boot_reason) == (3, info_pb2.BOOT_REASON_POWER_FAIL)
    assert (info.lastRebootReason, info.rebootConfigCounter) == ("lost power", 6)
    assert info.state == info_pb2.ZDEVICE_STATE_ONLINE
    assert info.attestation_info.state == info_pb2.ATTESTATION_STATE_COMPLETE
    assert (info.swList[0].shortVersion, info.swList[0].activated) == ("0.1.0", True)
    assert info.storageList[0].storageLocation
    (pool,) = info.storage_info
    assert (pool.pool_name, pool.storage_state) == ("/", info_pb2.STORAGE_STATUS_ONLINE)
    assert [disk.disk_name.name for disk in pool.disks] == ["/dev/sda1"]
    assert info.configItemStatus.configItems["x"].error == "unknown"
    assert (info.appInstances[0].uuid, info.appInstances[0].name) == ("app-1", "web")
    eth0, docker0 = info.systemAdapter.status[0].ports
    assert (eth0.ifname, eth0.isMgmt, list(eth0.IPAddrs), list(eth0.defaultRouters)) == (
        "eth0", True, ["192.0.2.5"], ["192.0.2.1"],
    )  # fmt: skip
    assert not docker0.isMgmt
    # Eden looks for a device's addresses in this older form.
    told = [(port.devName, port.uplink, list(port.IPAddrs), port.ipv4_up) for port in info.network]
    assert told == [("eth0", True, ["192.0.2.5"], True), ("docker0", False, ["172.17.0.1"], False)]
    assert (info.eaves.config_hash, list(info.eaves.problems)) == ("h1", ["the disk is full"])


def test_configured_uplinks_are_the_management_ports() -> None:
    view = replace(VIEW, uplinks=[Uplink("modem", "eth9", 10)])
    ports = device.want_device_info(DEVICE, view, 9.0).dinfo.systemAdapter.status[0].ports
    assert [(port.name, port.isMgmt, port.cost) for port in ports] == [
        ("eth0", False, 0),
        ("docker0", False, 0),
        ("modem", True, 10),
    ]


@pytest.mark.parametrize(
    ("view", "state"),
    [
        (replace(VIEW, is_rebooting=True), info_pb2.ZDEVICE_STATE_REBOOTING),
        (replace(VIEW, is_in_maintenance=True), info_pb2.ZDEVICE_STATE_MAINTENANCE_MODE),
        (replace(VIEW, has_config=False), info_pb2.ZDEVICE_STATE_BOOTING),
        (replace(VIEW, record=Record(is_shut_down=True)), info_pb2.ZDEVICE_STATE_PREPARED_POWEROFF),
        (
            replace(VIEW, record=Record(is_shut_down=True), is_halting=True),
            info_pb2.ZDEVICE_STATE_PREPARING_POWEROFF,
        ),
    ],
)
def test_states_of_the_device(view: DeviceView, state: info_pb2.ZDeviceState.ValueType) -> None:
    assert device.want_device_info(DEVICE, view, 9.0).dinfo.state == state


def test_what_the_controller_calls_the_node_comes_back() -> None:
    owner = Owner(project_name="plant", project_id="p-1", enterprise_name="acme", enterprise_id="e-1")
    info = device.want_device_info(DEVICE, replace(VIEW, name="press", owner=owner), 9.0).dinfo
    names = (info.device_name, info.project_name, info.project_id, info.enterprise_name, info.enterprise_id)
    assert names == ("press", "plant", "p-1", "acme", "e-1")


def test_an_operating_system_is_refused_in_words_that_controllers_of_eve_read() -> None:
    view = replace(VIEW, base_os=DesiredBaseOs("14.5.0-kvm-amd64", retry_counter=3))
    info = device.want_device_info(DEVICE, view, 9.0).dinfo
    current, refused = info.swList
    assert (current.activated, current.partitionState, current.userStatus) == (True, "active", info_pb2.UPDATED)
    assert (refused.activated, refused.partitionState, refused.userStatus) == (False, "unused", info_pb2.FAILED)
    assert (refused.shortVersion, refused.swErr.severity) == ("14.5.0-kvm-amd64", common_pb2.SEVERITY_ERROR)
    assert (refused.swErr.entities[0].entity, info.baseos_update_counter) == (common_pb2.ENTITY_BASE_OS, 3)
    same = replace(VIEW, base_os=DesiredBaseOs(VIEW.version))
    _, empty = device.want_device_info(DEVICE, same, 9.0).dinfo.swList
    assert (empty.shortVersion, empty.partitionLabel, empty.userStatus) == ("", "IMGB", info_pb2.NONE)


def test_assignable_groups_tell_who_has_them() -> None:
    ethernet, dedicated = devmodelcommon_pb2.PhyIoNetEth, devmodelcommon_pb2.PhyIoUsageDedicated
    shared = devmodelcommon_pb2.PhyIoUsageShared
    hardware = (
        DesiredIo("eth1", IoKind.ETHERNET, group="lan", physical_label="LAN1", io_type=ethernet, usage=dedicated),
        DesiredIo("eth2", IoKind.ETHERNET, group="lan", io_type=ethernet, usage=dedicated),
        DesiredIo("eth0", IoKind.ETHERNET, group="uplink", is_kept=True, io_type=ethernet, usage=shared),
        DesiredIo("ttyS0", IoKind.SERIAL),
    )
    view = replace(VIEW, hardware=hardware, device_users={"lan": "app-1"})
    lan, uplink = device.want_device_info(DEVICE, view, 9.0).dinfo.assignableAdapters
    assert (lan.name, lan.type, list(lan.members), lan.usedByAppUUID) == ("lan", ethernet, ["LAN1", "eth2"], "app-1")
    assert (lan.usedByBaseOS, lan.usage) == (False, dedicated)
    assert (uplink.usedByAppUUID, uplink.usedByBaseOS, uplink.usage) == ("", True, shared)
    (own,) = apps.want_app_info(DEVICE, APP, (), 9.0, hardware[:2]).ainfo.assignedAdapters
    assert own == lan
    assert not apps.want_app_info(DEVICE, APP, (), 9.0).ainfo.assignedAdapters


def test_inventory() -> None:
    view = replace(VIEW, disks=[Disk("sda", 100 << 30)])
    inventory = device.want_hardware_info(DEVICE, view, 9.0).hwinfo.inventory
    assert (inventory.total_memory_bytes, inventory.total_storage_bytes) == (8 << 30, 100 << 30)
    assert (len(inventory.cpu_info.cpus), inventory.tpm.present) == (4, True)


def test_metrics() -> None:
    view = MetricsView(
        machine=MACHINE,
        load=Load(12_500_000_000, 2 << 30, 6 << 30, 50 << 20),
        ports=[Port("eth0", "m", True, 1500, rx_bytes=7, tx_bytes=8), Port("evbr1", "m", True, 1500, rx_bytes=1, tx_bytes=2)],
        labels={"eth0": "office"},
        apps=[
            AppUsage(
                "app-1", "web", "3", 1_500_000_000, 32 << 20, 64 << 20,
                interfaces=(InterfaceUsage("eth0", "net-1", 5, 6),),
            )
        ],
        started_at={"app-1": 100.0},
        config_processed_ns=1_795_900_000_123_456_789,
        networks=[NetworkStatus("net-1", "2", "default", "Local", active=True, bridge="evbr1")],
        volumes=[VolumeStatus("v", 1, "data", VolumeState.READY, size_bytes=1000, used_bytes=10)],
        interval_s=60,
    )  # fmt: skip
    message = metrics.want_metrics(DEVICE, view, 160.0)
    dm = message.dm
    assert (dm.memory.usedMem, dm.memory.availMem, dm.memory.usedPercentage) == (2048, 6144, 25.0)
    assert (dm.cpuMetric.total, dm.cpuMetric.total_ns) == (12, 12_500_000_000)
    assert [(port.iName, port.localName) for port in dm.network] == [("office", "eth0")]
    assert (dm.deviceMemory.used_eveMB, dm.deviceMemory.allocated_appsMB) == (50, 64)
    assert dm.dormant_time_in_seconds == 180
    (app,) = message.am
    # A duration in the form of a time, as EVE writes it.
    assert (app.AppID, app.cpu.total_ns, app.cpu.upTime.seconds) == ("app-1", 1_500_000_000, 60)
    assert dm.last_processed_config.ToNanoseconds() == 1_795_900_000_123_456_789
    assert (app.appMemory.usedMB, app.appMemory.allocatedMB, app.memory.usedPercentage) == (32, 64, 50.0)
    assert (app.network[0].rxBytes, app.network[0].txBytes) == (5, 6)
    (network,) = message.nm
    assert (network.networkStats.rx.totalBytes, network.networkStats.tx.totalBytes) == (1, 2)
    (volume,) = message.vm
    assert (volume.usedBytes, volume.freeBytes) == (10, 990)


def test_disks_of_apps_have_the_types_that_eve_gives_them() -> None:
    gib = 1 << 30
    volumes = [
        VolumeStatus("boot", 1, "boot", VolumeState.READY, 8 * gib, gib, "/v/boot.qcow2", format="Qcow2"),
        VolumeStatus("raw", 1, "raw", VolumeState.READY, gib, gib, "/v/raw.raw", format="Raw", enforcement="Disk"),
        VolumeStatus("image", 1, "image", VolumeState.READY, gib, 5 << 20, "/v/image", enforcement="Image"),
        VolumeStatus("folder", 1, "folder", VolumeState.READY, 0, 5 << 20, "/v/folder", enforcement="Watched"),
        VolumeStatus("awaited", 1, "awaited", VolumeState.WAITING, gib),
        VolumeStatus("other", 1, "other", VolumeState.READY, gib, gib, "/v/other.raw", format="Raw"),
    ]
    machine = AppUsage("vm", "vm", "1", 1, 1, 1, volume_ids=("boot", "raw", "awaited"))
    container = AppUsage("web", "web", "1", 1, 1, 1, disk_used_bytes=3 << 20, volume_ids=("root", "image", "folder"))
    view = MetricsView(machine=MACHINE, load=Load(1, 2, 3, 4), apps=[machine, container], volumes=volumes)
    of_machine, of_container = metrics.want_metrics(DEVICE, view, 9.0).am
    assert [(disk.disk, disk.used, disk.provisioned, disk.diskType) for disk in of_machine.disk] == [
        ("/v/boot.qcow2", 1024, 8192, "qcow2"),
        ("/v/raw.raw", 1024, 1024, "raw"),
    ]
    assert [(disk.disk, disk.used, disk.provisioned, disk.diskType) for disk in of_container.disk] == [
        ("root", 3, 3, "CONTAINER"),
        ("/v/image", 5, 1024, "raw"),
        ("/v/folder", 5, 5, "CONTAINER"),
    ]


def test_traffic_to_the_controller_by_way_and_call() -> None:
    call = CallFigures(tries=3, tried_bytes=300, sent=2, sent_bytes=200, received=2, received_bytes=40, milliseconds=90)
    ways = {"": WayFigures(2, 1, 1, 5.0, 4.0, {"https://c/info": call}), "modem": WayFigures()}
    view = MetricsView(machine=MACHINE, load=Load(1, 2, 3, 4), ports=VIEW.ports, traffic=ways)
    host, modem = metrics.want_metrics(DEVICE, view, 9.0).dm.zedcloud
    assert (host.ifName, host.success, host.failures, host.authVerifyFailure) == ("eth0", 2, 1, 1)
    assert (host.lastSuccess.seconds, host.lastFailure.seconds, modem.ifName) == (5, 4, "modem")
    (url,) = host.urlMetrics
    assert (url.url, url.tryMsgCount, url.sentByteCount, url.recvByteCount) == ("https://c/info", 3, 200, 40)


def test_encrypted_fields_are_counted() -> None:
    ciphers = CipherFigures(successes=3, not_ready=2, last_success=5.0, last_failure=4.0)
    view = MetricsView(machine=MACHINE, load=Load(1, 2, 3, 4), ciphers=ciphers)
    (cipher,) = metrics.want_metrics(DEVICE, view, 9.0).dm.cipher
    assert (cipher.success_count, cipher.failure_count, cipher.last_success.seconds) == (3, 2, 5)
    assert [(count.error_code, count.count) for count in cipher.tc] == [(metrics_pb2.CIPHER_ERROR_NOT_READY, 2)]


def test_an_app_tells_who_serves_it_on_its_networks() -> None:
    network = DesiredNetwork(
        "net-1", "1", "default", NetworkKind.LOCAL, "uplink", "10.1.0.0/24", "10.1.0.1", ntp_servers=("192.0.2.7",)
    )
    status = replace(APP, interfaces=(InterfaceStatus("eth0", "net-1", "02:00:00:00:00:01", ("10.1.0.2",)),))
    (found,) = apps.want_app_info(DEVICE, status, (), 9.0, networks=(network,)).ainfo.network
    assert (list(found.defaultRouters), list(found.dns.DNSservers)) == (["10.1.0.1"], ["10.1.0.1"])
    assert list(found.ntp_servers) == ["192.0.2.7"]


def test_memory_errors() -> None:
    health = metrics.want_health(DEVICE, [Eccs("mc0", 5, 1, (("rank0", 5, 1),))], 9.0)
    (controller,) = health.mr.memory_controllers
    assert (controller.ce_count, controller.ue_count, controller.ranks[0].rank_name) == (5, 1, "rank0")


def test_ports_are_read_from_ip() -> None:
    links = b"""[
      {"ifname":"lo","flags":["LOOPBACK","UP"],"addr_info":[]},
      {"ifname":"eth0","flags":["UP","LOWER_UP"],"mtu":1500,"address":"02:00:00:00:00:09",
       "addr_info":[{"family":"inet","local":"192.0.2.5","prefixlen":24,"scope":"global"},
                    {"family":"inet6","local":"fe80::1","prefixlen":64,"scope":"link"}],
       "stats64":{"rx":{"bytes":1,"packets":2,"errors":3,"dropped":4},"tx":{"bytes":5,"packets":6,"errors":7,"dropped":8}}},
      {"ifname":"veth1","flags":["UP"],"link_netnsid":0,"addr_info":[]}
    ]"""
    (port,) = parse_ports(links, b'[{"dst":"default","gateway":"192.0.2.1","dev":"eth0"}]')
    assert port == Port(
        "eth0", "02:00:00:00:00:09", True, 1500, ("192.0.2.5/24",), ("192.0.2.1",), 1, 5, 2, 6, 3, 7, 4, 8
    )
    assert parse_ports(b"", b"") == []
