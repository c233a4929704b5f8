"""Network status, node by node."""

from __future__ import annotations

from eaves.testing.objects import make_edgenode, make_network, uid_of
from eaves.testing.observed_objects import ObservedObjects
from eaves.wire.pb.info import info_pb2
from eaves.wire.pb.info.common_pb2 import ErrorInfo
from eaves.wire.pb.info.info_pb2 import ZInfoMsg, ZmetIPAssignmentEntry

NOW = 1795543200.0


def network_message(
    *, error: str = "", state: info_pb2.ZNetworkInstanceState.ValueType = info_pb2.ZNETINST_STATE_ONLINE
) -> ZInfoMsg:
    message = ZInfoMsg(ztype=info_pb2.ZiNetworkInstance)
    info = message.niinfo
    info.networkID, info.networkVersion, info.displayname, info.activated = (
        uid_of("Network", "default"),
        "1",
        "default",
        True,
    )
    info.bridgeName, info.state = "bn1", state
    info.ports.append("eth0")
    info.ipAssignments.append(ZmetIPAssignmentEntry(macAddress="02:00:00:00:00:01", ipAddress=["10.160.1.64"]))
    if error:
        info.networkErr.append(ErrorInfo(description=error))
    return message


def test_a_network_shows_on_each_node_and_goes_again() -> None:
    network = make_network()
    first = ObservedObjects(make_edgenode(), network)
    second = ObservedObjects(make_edgenode("store-18"), network)
    first.tell(network_message(), NOW)
    second.tell(network_message(), NOW)
    assert network["status"]["nodes"] == [
        {"nodeName": name, "state": "Online", "bridge": "bn1", "ports": ["eth0"], "addresses": 1}
        for name in ("store-17", "store-18")
    ]
    gone = ZInfoMsg(ztype=info_pb2.ZiNetworkInstance)
    gone.niinfo.networkID = uid_of("Network", "default")
    first.tell(gone, NOW)
    assert [entry["nodeName"] for entry in network["status"]["nodes"]] == ["store-18"]


def test_a_fault_is_told_once() -> None:
    objects = ObservedObjects(make_edgenode(), make_network())
    message = network_message(error="port eth9 does not exist", state=info_pb2.ZNETINST_STATE_ERROR)
    assert [event.reason for event in objects.tell(message, NOW)] == ["NetworkFailed"]
    assert objects.tell(message, NOW) == []
    ready = objects.condition("Network", "default", "Ready")
    assert (ready["status"], ready["message"]) == ("False", "not online on store-17: port eth9 does not exist")
    objects.tell(network_message(), NOW)
    assert objects.condition("Network", "default", "Ready")["status"] == "True"


def test_words_about_unknown_networks_are_dropped() -> None:
    objects = ObservedObjects(make_edgenode())
    assert objects.tell(network_message(), NOW) == []
