"""Network status → ZInfoNetworkInstance."""

from __future__ import annotations

import re
from collections.abc import Sequence

from eaves.node.desired.model import ConfigProblem, NetworkKind
from eaves.node.observed import NetworkStatus
from eaves.node.report.pieces import want_error, want_message, want_problem_error, want_time
from eaves.wire.pb.config import netinst_pb2
from eaves.wire.pb.eaves.extension_pb2 import NetworkInfoExtension, SpanningTreePort
from eaves.wire.pb.info import info_pb2
from eaves.wire.pb.info.common_pb2 import ENTITY_NETWORK_INSTANCE, DeviceEntity
from eaves.wire.pb.info.info_pb2 import IPRoute, ZInfoMsg, ZInfoNetworkInstance, ZmetIPAssignmentEntry, ZmetVifInfo

KIND_NUMBERS: dict[str, int] = {
    NetworkKind.LOCAL: netinst_pb2.ZnetInstLocal,
    NetworkKind.SWITCH: netinst_pb2.ZnetInstSwitch,
}


def want_network_info(device_id: str, status: NetworkStatus, problems: Sequence[ConfigProblem], now: float) -> ZInfoMsg:
    """The message about one network."""
    entity = DeviceEntity(entity=ENTITY_NETWORK_INSTANCE, entity_id=status.id, entity_name=status.name)
    number = re.search(r"[0-9]+$", status.bridge)
    info = ZInfoNetworkInstance(
        networkID=status.id,
        networkVersion=status.version,
        instType=KIND_NUMBERS.get(status.kind, 0),
        displayname=status.name,
        activated=status.active,
        upTimeStamp=want_time(status.up_since),
        ports=status.ports,
        ip_routes=[
            IPRoute(
                destination_network=route.destination,
                gateway=route.gateway,
                port=route.link,
                gateway_app=route.gateway_app,
            )
            for route in status.routes
        ],
        bridgeNum=int(number[0]) if number else 0,
        bridgeName=status.bridge,
        bridgeIPAddr=status.bridge_address,
        state=_want_state(status),
        mtu=status.mtu,
    )
    vifs = {(lease.app_id, lease.interface): lease.mac for lease in status.leases}
    for (app_id, interface), mac in vifs.items():
        addresses = [lease.address for lease in status.leases if lease.mac == mac and lease.address]
        if addresses:
            info.ipAssignments.append(ZmetIPAssignmentEntry(macAddress=mac, ipAddress=addresses))
        info.vifs.append(ZmetVifInfo(vifName=interface, macAddress=mac, appID=app_id))
    if status.tree is not None:
        info.eaves.CopyFrom(
            NetworkInfoExtension(
                root_bridge=status.tree.root,
                is_root=status.tree.is_root,
                topology_changes=status.tree.changes,
                ports=[
                    SpanningTreePort(name=port.name, role=port.role, state=port.state) for port in status.tree.ports
                ],
            )
        )
    if status.fault is not None:
        info.networkErr.append(want_error(status.fault, entity))
    info.networkErr.extend(want_problem_error(problem, entity, now) for problem in problems)
    message = want_message(device_id, info_pb2.ZiNetworkInstance, now)
    message.niinfo.CopyFrom(info)
    return message


def want_refused_network_info(device_id: str, problems: Sequence[ConfigProblem], now: float) -> ZInfoMsg:
    """The message about a network that cannot be made at all."""
    first = problems[0]
    name = first.element.partition(" ")[2]
    entity = DeviceEntity(entity=ENTITY_NETWORK_INSTANCE, entity_id=first.object_id, entity_name=name)
    message = want_message(device_id, info_pb2.ZiNetworkInstance, now)
    message.niinfo.CopyFrom(
        ZInfoNetworkInstance(
            networkID=first.object_id,
            displayname=name,
            state=info_pb2.ZNETINST_STATE_ERROR,
            networkErr=[want_problem_error(problem, entity, now) for problem in problems],
        )
    )
    return message


def want_removed_network_info(device_id: str, network_id: str, now: float) -> ZInfoMsg:
    message = want_message(device_id, info_pb2.ZiNetworkInstance, now)
    message.niinfo.networkID = network_id
    return message


def _want_state(status: NetworkStatus) -> info_pb2.ZNetworkInstanceState.ValueType:
    if status.fault is not None:
        return info_pb2.ZNETINST_STATE_ERROR
    return info_pb2.ZNETINST_STATE_ONLINE if status.active else info_pb2.ZNETINST_STATE_INIT
