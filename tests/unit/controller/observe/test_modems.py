"""Modems in the status of an EdgeNode."""

from __future__ import annotations

from eaves.controller.observe.modems import want_modem
from eaves.wire.pb.evecommon import netcmn_pb2 as netcmn
from eaves.wire.pb.info.info_pb2 import DevicePort, ZCellularModuleInfo, ZSimcardInfo


def make_port() -> DevicePort:
    port = DevicePort(name="lte")
    cellular = port.wireless_status.cellular
    cellular.cellular_module = "490154203237518"
    cellular.sim_cards.extend(["8988", "8989"])
    cellular.providers.add(plmn="00102", description="Somebody's")
    cellular.providers.add(plmn="00101", description="Test Mobile", current_serving=True, roaming=True)
    cellular.current_rats.append(netcmn.RADIO_ACCESS_TECHNOLOGY_LTE)
    cellular.bearers.add(apn="internet", connected=True)
    return port


def test_the_modem_its_active_card_and_the_network_in_use() -> None:
    radio = ZCellularModuleInfo(name="490154203237518", imei="490154203237518", manufacturer="Maker", model="LTE")
    sims = {
        "8988": ZSimcardInfo(name="8988", iccid="8988"),
        "8989": ZSimcardInfo(name="8989", iccid="8989", imsi="00101", slot_activated=True),
    }
    assert want_modem(make_port(), {radio.name: radio}, sims) == {
        "imei": "490154203237518",
        "model": "Maker LTE",
        "iccid": "8989",
        "imsi": "00101",
        "operator": "Test Mobile",
        "roaming": True,
        "technologies": ["LTE"],
        "apn": "internet",
    }


def test_what_a_device_does_not_tell_is_left_out() -> None:
    assert want_modem(DevicePort(name="eth0"), {}, {}) == {}
    assert "imei" not in want_modem(make_port(), {}, {})
