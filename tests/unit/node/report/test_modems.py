"""Modems as the device API tells them."""

from __future__ import annotations

from eaves.node.desired.port_model import Medium, PortSetup, PortsSetup
from eaves.node.ports.history import Record
from eaves.node.ports.modem_model import (
    FailedReason,
    ModemState,
    Registration,
    SeenBearer,
    SeenModem,
    SeenSim,
    Signal,
    Technology,
)
from eaves.node.ports.view import PortsView
from eaves.node.report.facts import Port
from eaves.node.report.modems import UNKNOWN, want_cellular_metrics, want_radio, want_sims
from eaves.node.report.ports import want_adapters
from eaves.wire.pb.evecommon import netcmn_pb2
from eaves.wire.pb.info import info_pb2

MODEM = SeenModem(
    "/modem/0",
    imei="490154203237518",
    manufacturer="Maker",
    model="LTE",
    state=ModemState.CONNECTED,
    registration=Registration.ROAMING,
    plmn="00101",
    operator="Test Mobile",
    technologies=(Technology.LTE,),
    sims=(SeenSim("/sim/0", 1, is_active=False), SeenSim("/sim/1", 2, iccid="8988", imsi="00101", is_esim=True)),
    bearers=(SeenBearer("internet", is_connected=True, has_ipv6=True),),
)
LTE = PortSetup("lte", "ppp0", Medium.CELLULAR)


def test_a_modem_with_its_cards() -> None:
    radio = want_radio(MODEM)
    assert (radio.name, radio.imei, radio.model) == ("490154203237518", "490154203237518", "LTE")
    assert radio.operating_state == info_pb2.Z_CELLULAR_OPERATING_STATE_ONLINE_AND_CONNECTED
    idle, used = want_sims(MODEM)
    assert (idle.state, idle.slot_activated, used.state, used.slot_number) == ("inactive", False, "present", 2)
    assert (used.iccid, used.imsi, used.type) == ("8988", "00101", info_pb2.SIM_TYPE_ESIM)


def test_a_modem_without_use() -> None:
    modem = SeenModem("/modem/0", state=ModemState.FAILED, failed=FailedReason.SIM_MISSING)
    radio = want_radio(modem)
    assert (radio.name, radio.operating_state) == ("/modem/0", info_pb2.Z_CELLULAR_OPERATING_STATE_OFFLINE)
    assert not list(want_sims(modem))


def test_the_port_in_force_tells_of_its_network() -> None:
    record = Record("controller", b"good", 5.5, last_succeeded=10.0)
    view = PortsView((record,), 0, (PortsSetup((LTE,)),), faults={"lte": "no answer"}, modems={"lte": MODEM})
    (port,) = want_adapters([], (), (), view).status[0].ports
    cellular = port.wireless_status.cellular
    (provider,) = cellular.providers
    assert (provider.plmn, provider.description, provider.roaming) == ("00101", "Test Mobile", True)
    assert list(cellular.current_rats) == [netcmn_pb2.RADIO_ACCESS_TECHNOLOGY_LTE]
    (bearer,) = cellular.bearers
    assert (bearer.apn, bearer.connected) == ("internet", True)
    assert bearer.ip_type == netcmn_pb2.CELLULAR_IP_TYPE_IPV4_AND_IPV6
    assert cellular.config_error == "no answer"


def test_signals_and_counters_by_port() -> None:
    ports = {"ppp0": Port("ppp0", "", True, 1500, rx_bytes=7, tx_bytes=8)}
    signals = {"lte": Signal(rssi=-73.4, rsrp=-101), "other": Signal()}
    lte, other = want_cellular_metrics(signals, {"lte": "ppp0"}, ports)
    strength = lte.signal_strength
    assert (strength.rssi, strength.rsrp, strength.rsrq, strength.snr) == (-73, -101, UNKNOWN, UNKNOWN)
    assert (lte.packet_stats.rx.totalBytes, lte.packet_stats.tx.totalBytes) == (7, 8)
    assert not other.HasField("packet_stats")
