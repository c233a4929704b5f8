"""Port sections of device configs, for tests."""

from __future__ import annotations

from typing import Any

from eaves.node.desired.port_setup import extract_port_sections
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.config.devmodel_pb2 import BondAdapter, PhysicalIO, SystemAdapter, VlanAdapter
from eaves.wire.pb.config.netconfig_pb2 import (
    CellularAccessPoint,
    CellularConfig,
    NetworkConfig,
    WifiConfig,
    WirelessConfig,
)
from eaves.wire.pb.config.netinst_pb2 import ZnetInstSwitch
from eaves.wire.pb.evecommon.acipherinfo_pb2 import CipherBlock, EncryptionBlock
from eaves.wire.pb.evecommon.devmodelcommon_pb2 import (
    PhyIoNetEth,
    PhyIoNetWLAN,
    PhyIoNetWWAN,
    PhyIoType,
    PhyIoUsageMgmtAndApps,
)
from eaves.wire.pb.evecommon.netcmn_pb2 import V4, WPAEAP, WPAPSK, Cellular, Client, NetworkType, Static, WiFi, ipspec

CONTROLLER = "198.51.100.1"
CONTROLLER_V6 = "2001:db8:ffff::1"


class SectionsMaker:
    """Collects ports, then gives the sections of a config with them."""

    def __init__(self) -> None:
        self.config = EdgeDevConfig()
        self._family: NetworkType.ValueType = V4
        self._wireless: dict[str, WirelessConfig] = {}

    def hardware(self, *names: str, kind: PhyIoType.ValueType = PhyIoNetEth) -> SectionsMaker:
        for name in names:
            self.config.deviceIoList.append(
                PhysicalIO(
                    ptype=kind,
                    logicallabel=name,
                    phylabel=name,
                    phyaddrs={"ifname": name},
                    usage=PhyIoUsageMgmtAndApps,
                )
            )
        return self

    def wifi(
        self, name: str, ssid: str, password: str, *, user: str = "", ca_pem: str = "", server_name: str = ""
    ) -> SectionsMaker:
        """A radio, by 802.1X for a ``user``; add its addresses afterwards."""
        sealed = _seal(EncryptionBlock(wifiUserName=user, wifiPassword=password))
        network = WifiConfig(wifiSSID=ssid, keyScheme=WPAEAP if user else WPAPSK, cipherData=sealed)
        network.eaves.ca_pem, network.eaves.server_name = ca_pem, server_name
        self._wireless[name] = WirelessConfig(type=WiFi, wifiCfg=[network])
        return self.hardware(name, kind=PhyIoNetWLAN)

    def cellular(
        self, name: str, apn: str, *, user: str = "", password: str = "", pin: str = "", **point: Any
    ) -> SectionsMaker:
        """A modem; add its addresses afterwards."""
        entry = CellularAccessPoint(apn=apn, **point)
        if user or pin:
            secrets = EncryptionBlock(cellular_net_username=user, cellular_net_password=password)
            secrets.eaves.sim_pin = pin
            entry.cipher_data.CopyFrom(_seal(secrets))
        self._wireless[name] = WirelessConfig(type=Cellular, cellularCfg=[CellularConfig(access_points=[entry])])
        return self.hardware(name, kind=PhyIoNetWWAN)

    def family(self, family: NetworkType.ValueType) -> SectionsMaker:
        """Of the ports that are added from now on."""
        self._family = family
        return self

    def dhcp(self, label: str, **adapter: Any) -> SectionsMaker:
        return self._add(label, ipspec(dhcp=Client), adapter)

    def static(self, label: str, address: str, subnet: str, gateway: str, **adapter: Any) -> SectionsMaker:
        spec = ipspec(dhcp=Static, subnet=subnet, gateway=gateway)
        return self._add(label, spec, {"addr": address, **adapter})

    def vlan(self, label: str, lower: str, vlan_id: int) -> SectionsMaker:
        self.config.vlans.append(
            VlanAdapter(logicallabel=label, interface_name=label, lower_layer_name=lower, vlan_id=vlan_id)
        )
        return self

    def bond(self, label: str, *lower: str, **options: Any) -> SectionsMaker:
        self.config.bonds.append(
            BondAdapter(logicallabel=label, interface_name=label, lower_layer_names=lower, **options)
        )
        return self

    def switch(self, label: str) -> SectionsMaker:
        """A network of kind Switch onto the port."""
        network = self.config.networkInstances.add(instType=ZnetInstSwitch)
        network.port.name = label
        return self

    def sections(self) -> bytes:
        return extract_port_sections(self.config)

    def _add(self, label: str, spec: ipspec, adapter: dict[str, Any]) -> SectionsMaker:
        network_id = f"net-{label}"
        self.config.networks.append(
            NetworkConfig(id=network_id, type=self._family, ip=spec, wireless=self._wireless.get(label))
        )
        values = {"lowerLayerName": label, "uplink": True, **adapter}
        self.config.systemAdapterList.append(SystemAdapter(name=label, networkUUID=network_id, **values))
        return self


def _seal(secrets: EncryptionBlock) -> CipherBlock:
    """In the clear, as the stage's decryption takes it."""
    return CipherBlock(cipherData=secrets.SerializeToString())
