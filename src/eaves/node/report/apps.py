"""App status → ZInfoApp. The device API's states are coarser than ours; the Eaves extension carries the rest."""

from __future__ import annotations

from collections.abc import Sequence

from eaves.node.desired.hardware_model import DesiredIo
from eaves.node.desired.model import ConfigProblem, DesiredNetwork
from eaves.node.observed import AppState, AppStatus, InterfaceStatus, RunRecord
from eaves.node.observed_vm import VmStatus
from eaves.node.report.assignable import want_app_bundles
from eaves.node.report.pieces import want_error, want_message, want_problem_error, want_time
from eaves.node.report.vms import want_snapshot_info, want_vm_info
from eaves.wire.pb.eaves.extension_pb2 import AppInfoExtension
from eaves.wire.pb.info import info_pb2
from eaves.wire.pb.info.common_pb2 import ENTITY_APP_INSTANCE, DeviceEntity
from eaves.wire.pb.info.info_pb2 import ZInfoApp, ZInfoDNS, ZInfoMsg, ZInfoNetwork

STATES = {
    AppState.INITIAL: info_pb2.INITIAL,
    AppState.DOWNLOADING: info_pb2.DOWNLOAD_STARTED,
    AppState.CREATING: info_pb2.CREATING_VOLUME,
    AppState.STARTING: info_pb2.BOOTING,
    AppState.RUNNING: info_pb2.RUNNING,
    AppState.BACK_OFF: info_pb2.RESTARTING,
    AppState.COMPLETED: info_pb2.HALTED,
    AppState.HALTING: info_pb2.HALTING,
    AppState.HALTED: info_pb2.HALTED,
    AppState.RESTARTING: info_pb2.RESTARTING,
    AppState.PURGING: info_pb2.PURGING,
    AppState.FAILED: info_pb2.ERROR,
}


def want_app_info(
    device_id: str,
    status: AppStatus,
    problems: Sequence[ConfigProblem],
    now: float,
    devices: Sequence[DesiredIo] = (),
    networks: Sequence[DesiredNetwork] = (),
) -> ZInfoMsg:
    """The message about one app; ``problems`` are those of the config that concern it, ``devices`` what it has of the hardware model,
    ``networks`` those that it is on."""
    entity = DeviceEntity(entity=ENTITY_APP_INSTANCE, entity_id=status.id, entity_name=status.name)
    info = ZInfoApp(
        AppID=status.id,
        appVersion=status.version,
        AppName=status.name,
        state=_want_state(status),
        bootTime=want_time(status.current.started_at if status.current else 0.0),
        assignedAdapters=want_app_bundles(devices, status.id),
        volumeRefs=status.volume_ids,
        cluster_app_running=status.state is AppState.RUNNING,
        eaves=_want_extension(status),
    )
    if status.fault is not None:
        info.appErr.append(want_error(status.fault, entity, is_final=status.state is AppState.FAILED))
    info.appErr.extend(want_problem_error(problem, entity, now) for problem in problems)
    by_id = {network.id: network for network in networks}
    info.network.extend(
        _want_interface(interface, status.vm, by_id.get(interface.network_id)) for interface in status.interfaces
    )
    info.snapshots.extend(want_snapshot_info(snapshot) for snapshot in status.snapshots)
    message = want_message(device_id, info_pb2.ZiApp, now)
    message.ainfo.CopyFrom(info)
    return message


def want_refused_app_info(device_id: str, problems: Sequence[ConfigProblem], now: float) -> ZInfoMsg:
    """The message about an app that the config asks for and that cannot be tried at all."""
    first = problems[0]
    name = first.element.partition(" ")[2]
    entity = DeviceEntity(entity=ENTITY_APP_INSTANCE, entity_id=first.object_id, entity_name=name)
    info = ZInfoApp(
        AppID=first.object_id,
        AppName=name,
        state=info_pb2.ERROR,
        appErr=[want_problem_error(problem, entity, now) for problem in problems],
        eaves=AppInfoExtension(reason=first.code, message=first.message),
    )
    message = want_message(device_id, info_pb2.ZiApp, now)
    message.ainfo.CopyFrom(info)
    return message


def want_removed_app_info(device_id: str, app_id: str, now: float) -> ZInfoMsg:
    """The last message about an app: nothing but its id."""
    message = want_message(device_id, info_pb2.ZiApp, now)
    message.ainfo.AppID = app_id
    return message


def _want_state(status: AppStatus) -> info_pb2.ZSwState.ValueType:
    if status.state is AppState.INITIAL and status.waiting_for.startswith("network"):
        return info_pb2.AWAITNETWORKINSTANCE
    if status.state is AppState.INITIAL and status.next_start_at:
        return info_pb2.START_DELAYED
    if status.state is AppState.HALTED and status.current is None and status.last is None:
        # HALTED is for one that ran.
        return info_pb2.INSTALLED
    return STATES[status.state]


def _want_interface(interface: InterfaceStatus, vm: VmStatus | None, network: DesiredNetwork | None) -> ZInfoNetwork:
    """``ipv4_up`` is EVE's word for an IPv4 address that is known; on a switch one may come late or never."""
    addresses = _addresses(interface, vm)
    info = ZInfoNetwork(
        devName=interface.name,
        macAddr=interface.mac,
        IPAddrs=addresses,
        ipv4_up=any(":" not in address for address in addresses),
    )
    if network is not None and network.gateway:
        info.defaultRouters.append(network.gateway)
        info.ntp_servers.extend(network.ntp_servers)
        # Apps ask the network's own name server, which asks those of the config.
        info.dns.CopyFrom(ZInfoDNS(DNSservers=network.dns_servers or [network.gateway], DNSdomain=network.domain))
    return info


def _addresses(interface: InterfaceStatus, vm: VmStatus | None) -> tuple[str, ...]:
    """What the network saw and what the guest's agent tells, each once."""
    told = (guest.addresses for guest in vm.guest_interfaces if guest.mac == interface.mac) if vm is not None else ()
    return tuple(dict.fromkeys([*interface.addresses, *(address for addresses in told for address in addresses)]))


def _want_extension(status: AppStatus) -> AppInfoExtension:
    current = status.current or RunRecord(0.0)
    last = status.last or RunRecord(0.0)
    fault = status.fault
    is_over = current.finished_at > 0
    return AppInfoExtension(
        exit_code=current.exit_code if is_over else 0,
        reason=current.reason if is_over else fault.code if fault else "",
        message=fault.message if fault else "",
        restarts=status.restarts,
        started_at=want_time(current.started_at),
        finished_at=want_time(current.finished_at),
        image_digest=status.image_digest,
        container_id=status.container_id,
        last_exit_code=last.exit_code,
        last_reason=last.reason,
        last_started_at=want_time(last.started_at),
        last_finished_at=want_time(last.finished_at),
        waiting_for=status.waiting_for,
        next_start_at=want_time(status.next_start_at),
        vm=want_vm_info(status.vm) if status.vm is not None else None,
    )
