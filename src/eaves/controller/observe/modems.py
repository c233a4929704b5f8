"""A port's modem, its card and its mobile network, as a device tells them, for the status of an EdgeNode. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from eaves.controller.observe.conditions import compact
from eaves.kube.resource import Object
from eaves.wire.pb.evecommon import netcmn_pb2 as netcmn
from eaves.wire.pb.info.info_pb2 import DevicePort, ZCellularModuleInfo, ZSimcardInfo

_TECHNOLOGIES: Mapping[int, str] = {
    netcmn.RADIO_ACCESS_TECHNOLOGY_GSM: "GSM",
    netcmn.RADIO_ACCESS_TECHNOLOGY_UMTS: "UMTS",
    netcmn.RADIO_ACCESS_TECHNOLOGY_LTE: "LTE",
    netcmn.RADIO_ACCESS_TECHNOLOGY_5GNR: "5GNR",
}


def want_modem(port: DevicePort, modems: Mapping[str, ZCellularModuleInfo], sims: Mapping[str, ZSimcardInfo]) -> Object:
    """Empty when the port is none, or nothing is known of it. ``modems`` and ``sims`` by the names that the port uses."""
    cellular = port.wireless_status.cellular
    radio = modems.get(cellular.cellular_module, ZCellularModuleInfo())
    cards = [sims[name] for name in cellular.sim_cards if name in sims]
    card = next((card for card in cards if card.slot_activated), ZSimcardInfo())
    serving = next((provider for provider in cellular.providers if provider.current_serving), None)
    return compact(
        imei=radio.imei,
        model=" ".join(text for text in (radio.manufacturer, radio.model) if text),
        iccid=card.iccid,
        imsi=card.imsi,
        operator=(serving.description or serving.plmn) if serving is not None else "",
        roaming=True if serving is not None and serving.roaming else None,
        technologies=[_TECHNOLOGIES[one] for one in cellular.current_rats if one in _TECHNOLOGIES],
        apn=next((bearer.apn for bearer in cellular.bearers if bearer.connected), ""),
    )
