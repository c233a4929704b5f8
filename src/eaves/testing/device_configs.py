"""Device configs for tests of the node: a complete small app and its pieces, as any controller would write them."""

from __future__ import annotations

import base64

from eaves.wire.pb.config import storage_pb2
from eaves.wire.pb.config.appconfig_pb2 import AppInstanceConfig, VolumeRef
from eaves.wire.pb.config.devcommon_pb2 import Adapter, ConfigItem, UUIDandVersion
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.config.fw_pb2 import ACE, ACEAction, ACEMatch
from eaves.wire.pb.config.netconfig_pb2 import NetworkAdapter
from eaves.wire.pb.config.netinst_pb2 import IPV4, NetworkInstanceConfig, ZnetInstLocal
from eaves.wire.pb.config.storage_pb2 import ContentTree, DatastoreConfig, Volume, VolumeContentOrigin
from eaves.wire.pb.config.vm_pb2 import HVM, NOHYPER, VmConfig
from eaves.wire.pb.evecommon.netcmn_pb2 import ipRange, ipspec

STORE_ID = "10000000-0000-4000-8000-000000000001"
TREE_ID = "20000000-0000-4000-8000-000000000001"
ROOT_ID = "30000000-0000-4000-8000-000000000001"
DATA_ID = "30000000-0000-4000-8000-000000000002"
NETWORK_ID = "40000000-0000-4000-8000-000000000001"
APP_ID = "50000000-0000-4000-8000-000000000001"


def want_config(
    *, version: str = "1", user_data: str = "GREETING=hello\n", items: dict[str, str] | None = None
) -> EdgeDevConfig:
    """A config with one app ``web``: image, root and data volume, network, a port map from 8080 to 80."""
    config = EdgeDevConfig(
        id=UUIDandVersion(version=version),
        datastores=[
            DatastoreConfig(
                id=STORE_ID, dType=storage_pb2.DsContainerRegistry, fqdn="docker://registry.example:5000", dpath="shop"
            )
        ],
        contentInfo=[
            ContentTree(
                uuid=TREE_ID,
                ds_ids_list=[STORE_ID],
                URL="web:1.4",
                iformat=storage_pb2.CONTAINER,
                displayName="web-image",
            )
        ],
        volumes=[
            Volume(
                uuid=ROOT_ID,
                displayName="web-root",
                origin=VolumeContentOrigin(type=storage_pb2.VCOT_DOWNLOAD, downloadContentTreeID=TREE_ID),
            ),
            Volume(
                uuid=DATA_ID,
                displayName="web-data",
                origin=VolumeContentOrigin(type=storage_pb2.VCOT_BLANK),
                maxsizebytes=1 << 30,
            ),
        ],
        networkInstances=[want_network()],
        apps=[want_app(user_data=user_data)],
    )
    config.configItems.extend(ConfigItem(key=key, value=value) for key, value in (items or {}).items())
    return config


def want_network(
    network_id: str = NETWORK_ID, name: str = "default", subnet: str = "10.1.0.0/24"
) -> NetworkInstanceConfig:
    first = subnet.rpartition(".")[0]
    return NetworkInstanceConfig(
        uuidandversion=UUIDandVersion(uuid=network_id, version="1"),
        displayname=name,
        instType=ZnetInstLocal,
        activate=True,
        ipType=IPV4,
        port=Adapter(name="uplink"),
        ip=ipspec(subnet=subnet, gateway=f"{first}.1", dhcpRange=ipRange(start=f"{first}.2", end=f"{first}.254")),
    )


def want_app(app_id: str = APP_ID, name: str = "web", *, user_data: str = "") -> AppInstanceConfig:
    return AppInstanceConfig(
        uuidandversion=UUIDandVersion(uuid=app_id, version="1"),
        displayname=name,
        activate=True,
        fixedresources=VmConfig(memory=64 << 10, vcpus=1, virtualizationMode=NOHYPER),
        userData=base64.b64encode(user_data.encode()).decode(),
        volumeRefList=[VolumeRef(uuid=ROOT_ID), VolumeRef(uuid=DATA_ID, mount_dir="/data")],
        interfaces=[
            NetworkAdapter(
                name="eth0",
                networkId=NETWORK_ID,
                acls=[
                    ACE(id=1, name="out", matches=[ACEMatch(type="ip", value="0.0.0.0/0")]),
                    ACE(
                        id=2,
                        name="http",
                        matches=[ACEMatch(type="protocol", value="tcp"), ACEMatch(type="lport", value="8080")],
                        actions=[ACEAction(portmap=True, appPort=80)],
                    ),
                ],
            )
        ],
    )


def want_vm_config() -> EdgeDevConfig:
    """A config with one virtual machine ``plc`` as any controller would write it: a qcow2 root and a blank second disk."""
    config = want_config(user_data="")
    config.datastores[0].dType = storage_pb2.DsHttps
    config.datastores[0].fqdn = "https://files.example"
    tree = config.contentInfo[0]
    tree.iformat, tree.URL, tree.sha256 = storage_pb2.QCOW2, "plc.qcow2", "ab" * 32
    app = config.apps[0]
    app.displayname = "plc"
    app.volumeRefList[1].mount_dir = ""
    app.fixedresources.CopyFrom(VmConfig(memory=256 << 10, vcpus=2, virtualizationMode=HVM))
    return config
