"""Modems and their cards as the device API tells them (ZCellularModuleInfo, ZSimcardInfo, ZCellularStatus, CellularMetric)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from eaves.node.ports.modem_model import (
    FailedReason,
    ModemState,
    Protocol,
    Registration,
    SeenBearer,
    SeenModem,
    SeenSim,
    Signal,
    Technology,
)
from eaves.node.report.facts import Port
from eaves.wire.pb.evecommon import netcmn_pb2 as netcmn
from eaves.wire.pb.info import info_pb2
from eaves.wire.pb.info.info_pb2 import (
    CellularBearer,
    ZCellularModuleInfo,
    ZCellularProvider,
    ZCellularStatus,
    ZSimcardInfo,
)
from eaves.wire.pb.metrics.metrics_pb2 import CellularMetric, CellularPacketStats, CellularSignalStrength, NetworkStats

UNKNOWN = 0x7FFFFFFF
"""Of a signal."""
_TECHNOLOGIES = {
    Technology.GSM: netcmn.RADIO_ACCESS_TECHNOLOGY_GSM,
    Technology.UMTS: netcmn.RADIO_ACCESS_TECHNOLOGY_UMTS,
    Technology.LTE: netcmn.RADIO_ACCESS_TECHNOLOGY_LTE,
    Technology.NR: netcmn.RADIO_ACCESS_TECHNOLOGY_5GNR,
}
_PROTOCOLS = {
    Protocol.AT: info_pb2.Z_CELLULAR_CONTROL_PROTOCOL_UNSPECIFIED,
    Protocol.QMI: info_pb2.Z_CELLULAR_CONTROL_PROTOCOL_QMI,
    Protocol.MBIM: info_pb2.Z_CELLULAR_CONTROL_PROTOCOL_MBIM,
}
_OFFLINE = (ModemState.FAILED, ModemState.INITIALIZING, ModemState.LOCKED)
_RADIO_OFF = (ModemState.DISABLED, ModemState.DISABLING, ModemState.ENABLING)


def want_radio(modem: SeenModem) -> ZCellularModuleInfo:
    return ZCellularModuleInfo(
        name=_name(modem),
        imei=modem.imei,
        firmware_version=modem.revision,
        model=modem.model,
        manufacturer=modem.manufacturer,
        operating_state=_want_state(modem.state),
        control_protocol=_PROTOCOLS[modem.protocol],
    )


def want_sims(modem: SeenModem) -> Iterator[ZSimcardInfo]:
    for sim in modem.sims:
        yield ZSimcardInfo(
            name=sim.iccid or sim.name,
            cell_module_name=_name(modem),
            imsi=sim.imsi,
            iccid=sim.iccid,
            state=_want_sim_state(modem, sim),
            slot_number=sim.slot,
            slot_activated=sim.is_active,
            type=info_pb2.SIM_TYPE_ESIM if sim.is_esim else info_pb2.SIM_TYPE_PHYSICAL,
        )


def want_cellular(modem: SeenModem, fault: str) -> ZCellularStatus:
    """``fault``: why its port is not up."""
    is_serving = modem.registration in (Registration.HOME, Registration.ROAMING)
    status = ZCellularStatus(
        cellular_module=_name(modem),
        sim_cards=[sim.iccid or sim.name for sim in modem.sims],
        current_rats=[_TECHNOLOGIES[technology] for technology in modem.technologies],
        config_error=fault,
        bearers=[_want_bearer(bearer) for bearer in modem.bearers],
    )
    if modem.plmn:
        status.providers.append(
            ZCellularProvider(
                plmn=modem.plmn,
                description=modem.operator,
                current_serving=is_serving,
                roaming=modem.registration is Registration.ROAMING,
                forbidden=modem.registration is Registration.DENIED,
            )
        )
    return status


def want_cellular_metrics(
    signals: Mapping[str, Signal], interfaces: Mapping[str, str], ports: Mapping[str, Port]
) -> Iterator[CellularMetric]:
    """``interfaces``: that of each label; ``ports``: counters by interface."""
    for label, signal in signals.items():
        metric = CellularMetric(
            logicallabel=label,
            signal_strength=CellularSignalStrength(
                rssi=_want_level(signal.rssi),
                rsrq=_want_level(signal.rsrq),
                rsrp=_want_level(signal.rsrp),
                snr=_want_level(signal.snr),
            ),
        )
        port = ports.get(interfaces.get(label, ""))
        if port is not None:
            metric.packet_stats.CopyFrom(
                CellularPacketStats(
                    rx=NetworkStats(
                        totalPackets=port.rx_packets,
                        errors=port.rx_errors,
                        drops=port.rx_dropped,
                        totalBytes=port.rx_bytes,
                    ),
                    tx=NetworkStats(
                        totalPackets=port.tx_packets,
                        errors=port.tx_errors,
                        drops=port.tx_dropped,
                        totalBytes=port.tx_bytes,
                    ),
                )
            )
        yield metric


def _name(modem: SeenModem) -> str:
    return modem.imei or modem.path


def _want_sim_state(modem: SeenModem, sim: SeenSim) -> str:
    """In EVE's words, and one more."""
    if not sim.is_active:
        return "inactive"
    if modem.failed is FailedReason.SIM_ERROR:
        return "error"
    return "locked" if modem.state is ModemState.LOCKED else "present"


def _want_state(state: ModemState) -> info_pb2.ZCellularOperatingState.ValueType:
    if state is ModemState.UNKNOWN:
        return info_pb2.Z_CELLULAR_OPERATING_STATE_UNRECOGNIZED
    if state in _OFFLINE:
        return info_pb2.Z_CELLULAR_OPERATING_STATE_OFFLINE
    if state in _RADIO_OFF:
        return info_pb2.Z_CELLULAR_OPERATING_STATE_RADIO_OFF
    if state is ModemState.CONNECTED:
        return info_pb2.Z_CELLULAR_OPERATING_STATE_ONLINE_AND_CONNECTED
    return info_pb2.Z_CELLULAR_OPERATING_STATE_ONLINE


def _want_bearer(bearer: SeenBearer) -> CellularBearer:
    families = {
        (True, False): netcmn.CELLULAR_IP_TYPE_IPV4,
        (False, True): netcmn.CELLULAR_IP_TYPE_IPV6,
        (True, True): netcmn.CELLULAR_IP_TYPE_IPV4_AND_IPV6,
    }
    return CellularBearer(
        apn=bearer.apn,
        bearer_type=netcmn.BEARER_TYPE_DEFAULT,
        ip_type=families.get((bearer.has_ipv4, bearer.has_ipv6), netcmn.CELLULAR_IP_TYPE_UNSPECIFIED),
        connected=bearer.is_connected,
        connection_error=bearer.error,
    )


def _want_level(value: float | None) -> int:
    return UNKNOWN if value is None else round(value)
