"""Device config → desired state: a whole good one, and each way in which a part can be impossible."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from hypothesis import given, settings
from hypothesis import strategies as st

from eaves.kit.errors import EavesError
from eaves.node.desired.model import (
    AclAction,
    AclDirection,
    AppKind,
    ConfigProblem,
    DatastoreKind,
    DesiredNode,
    ImageFormat,
    NetworkKind,
    ObjectKind,
    RestartPolicy,
    S3Addressing,
    Secret,
)
from eaves.node.desired.parse import parse_config
from eaves.testing.device_configs import (
    APP_ID,
    DATA_ID,
    NETWORK_ID,
    ROOT_ID,
    STORE_ID,
    TREE_ID,
    want_app,
    want_config,
    want_network,
)
from eaves.wire.pb.config import netinst_pb2, storage_pb2
from eaves.wire.pb.config.appconfig_pb2 import AppInstanceConfig, VolumeRef
from eaves.wire.pb.config.devconfig_pb2 import EdgeDevConfig
from eaves.wire.pb.config.fw_pb2 import ACE, BOTH, EGRESS, ACEAction, ACEMatch
from eaves.wire.pb.config.netconfig_pb2 import NetworkAdapter
from eaves.wire.pb.config.vm_pb2 import VmConfig
from eaves.wire.pb.eaves.extension_pb2 import AppExtension
from eaves.wire.pb.evecommon.acipherinfo_pb2 import CipherBlock, EncryptionBlock

OTHER_ID = "60000000-0000-4000-8000-000000000009"


def no_key(_: CipherBlock) -> bytes:
    raise EavesError("no key", code="NoKey")


def parse(config: EdgeDevConfig, decrypt: Callable[[CipherBlock], bytes] = no_key) -> DesiredNode:
    return parse_config(config, "hash-1", decrypt)


def codes(node: DesiredNode, kind: ObjectKind = ObjectKind.APP) -> list[str]:
    return [problem.code for problem in node.problems if problem.kind is kind]


def only(node: DesiredNode) -> ConfigProblem:
    (problem,) = node.problems
    return problem


def test_complete_app() -> None:
    node = parse(want_config(version="7", items={"timer.config.interval": "30"}))
    assert node.problems == ()
    assert (node.version, node.config_hash, node.config_items) == ("7", "hash-1", {"timer.config.interval": "30"})
    (image,) = node.images
    (store,) = image.datastores
    assert (image.id, image.reference, image.format, image.digest) == (TREE_ID, "web:1.4", ImageFormat.CONTAINER, "")
    assert (store.id, store.kind, store.server, store.path, store.plain_http) == (
        STORE_ID, DatastoreKind.REGISTRY, "registry.example:5000", "shop", False,
    )  # fmt: skip
    root, data = node.volumes
    assert (root.image_id, data.image_id, data.size_bytes) == (TREE_ID, "", 1 << 30)
    (network,) = node.networks
    assert (network.kind, network.subnet, network.gateway) == (NetworkKind.LOCAL, "10.1.0.0/24", "10.1.0.1")
    assert (network.dhcp_start, network.dhcp_end, network.port_label) == ("10.1.0.2", "10.1.0.254", "uplink")
    (app,) = node.apps
    assert (app.id, app.name, app.kind, app.activate) == (APP_ID, "web", AppKind.CONTAINER, True)
    assert (app.image_id, app.root_volume_id) == (TREE_ID, ROOT_ID)
    assert (app.memory_bytes, app.cpu_millis) == (64 << 20, 1000)
    assert [(mount.volume_id, mount.mount_path) for mount in app.mounts] == [(DATA_ID, "/data")]
    assert app.env == {"GREETING": Secret("hello")}
    out, http = app.interfaces[0].acls
    assert (out.action, out.subnet, out.direction) == (AclAction.ALLOW, "0.0.0.0/0", AclDirection.BOTH)
    assert (http.action, http.protocol, http.local_port, http.app_port) == (AclAction.PORT_MAP, "tcp", "8080", 80)


def test_empty_config_is_an_empty_node() -> None:
    node = parse(EdgeDevConfig())
    assert (node.apps, node.networks, node.problems, node.reboot_counter) == ((), (), (), None)


def test_extension_of_an_eaves_controller_is_used() -> None:
    config = want_config()
    config.apps[0].eaves.CopyFrom(
        AppExtension(
            command=["/bin/web"], args=["-v"], cpu_millis=250, restart_policy="OnFailure", stop_grace_s=30,
            namespace="shop", working_dir="/srv",
        )
    )  # fmt: skip
    config.apps[0].volumeRefList[1].eaves.read_only = True
    config.eaves.node_name = "store-17"
    config.eaves.notify_disabled = True
    node = parse(config)
    (app,) = node.apps
    assert (app.command, app.args, app.cpu_millis, app.working_dir) == (("/bin/web",), ("-v",), 250, "/srv")
    assert (app.restart_policy, app.stop_grace_s, app.namespace) == (RestartPolicy.ON_FAILURE, 30, "shop")
    assert app.mounts[0].read_only
    assert (node.name, node.notify_disabled) == ("store-17", True)


def test_command_variable_of_other_controllers_replaces_the_command_and_is_no_variable() -> None:
    (app,) = parse(want_config(user_data="EVE_ECO_CMD=/bin/sh -c 'echo hi'\nA=1\n")).apps
    assert app.command == ("/bin/sh", "-c", "echo hi")
    assert app.env == {"A": Secret("1")}


def test_encrypted_user_data_and_credentials() -> None:
    user_data = base64.b64encode(b"TOKEN=s3cret").decode()
    blocks = {
        "app": EncryptionBlock(protectedUserData=user_data),
        "store": EncryptionBlock(dsAPIKey="joe", dsPassword="hunter2"),
    }
    config = want_config()
    config.apps[0].cipherData.cipherContextId = "app"
    config.datastores[0].cipherData.cipherContextId = "store"
    node = parse(config, lambda block: blocks[block.cipherContextId].SerializeToString())
    assert node.apps[0].env["TOKEN"].reveal() == "s3cret"
    store = node.images[0].datastores[0]
    assert (store.username, store.password.reveal()) == ("joe", "hunter2")
    assert "hunter2" not in repr(node)
    assert "s3cret" not in repr(node)


def test_what_cannot_be_decrypted_falls_back_to_clear_text() -> None:
    config = want_config()
    config.apps[0].cipherData.cipherContextId = "x"
    config.datastores[0].cipherData.cipherContextId = "x"
    config.datastores[0].apiKey = "joe"
    node = parse(config)
    assert node.apps[0].env == {"GREETING": Secret("hello")}
    assert node.images[0].datastores[0].username == "joe"


def test_what_can_only_be_had_encrypted_is_a_problem() -> None:
    config = want_config()
    config.apps[0].userData = ""
    config.apps[0].cipherData.cipherContextId = "x"
    node = parse(config)
    assert node.apps == ()
    assert only(node).code == "DecryptionFailed"
    assert "no key" in only(node).message


def test_good_app_runs_beside_an_impossible_one() -> None:
    config = want_config()
    bad = want_app(OTHER_ID, "bad")
    bad.fixedresources.memory = 0
    config.apps.append(bad)
    node = parse(config)
    assert [app.name for app in node.apps] == ["web"]
    problem = only(node)
    assert (problem.object_id, problem.element, problem.code) == (OTHER_ID, "app bad", "MemoryTooSmall")
    assert problem.is_fatal
    assert problem.resolution


def break_app(change: Callable[[AppInstanceConfig], object]) -> EdgeDevConfig:
    config = want_config()
    change(config.apps[0])
    return config


@pytest.mark.parametrize(
    ("config", "code"),
    [
        (break_app(lambda app: app.ClearField("fixedresources")), "ResourcesMissing"),
        (break_app(lambda app: setattr(app.uuidandversion, "uuid", "../../etc")), "BadIdentifier"),
        (break_app(lambda app: app.ClearField("uuidandversion")), "BadIdentifier"),
        (break_app(lambda app: app.ClearField("volumeRefList")), "ImageMissing"),
        (break_app(lambda app: setattr(app.volumeRefList[0], "uuid", OTHER_ID)), "VolumeMissing"),
        (break_app(lambda app: setattr(app.volumeRefList[0], "generationCount", 4)), "VolumeGenerationMismatch"),
        (break_app(lambda app: app.volumeRefList.append(VolumeRef(uuid=DATA_ID, mount_dir="/b"))), "DuplicateVolume"),
        (break_app(lambda app: setattr(app.volumeRefList[1], "mount_dir", "relative")), "BadMountPath"),
        (break_app(lambda app: setattr(app.volumeRefList[1], "mount_dir", "/a/../..")), "BadMountPath"),
        (break_app(lambda app: setattr(app.volumeRefList[1], "mount_dir", "/")), "BadMountPath"),
        (break_app(lambda app: setattr(app.interfaces[0], "networkId", OTHER_ID)), "NetworkMissing"),
        (break_app(lambda app: setattr(app.interfaces[0], "addr", "10.9.0.5")), "BadAddress"),
        (break_app(lambda app: setattr(app.interfaces[0], "addr", "10.1.0.1")), "BadAddress"),
        (break_app(lambda app: setattr(app.interfaces[0], "addr", "nonsense")), "BadAddress"),
        (break_app(lambda app: setattr(app.interfaces[0], "macAddress", "01:00:00:00:00:01")), "BadMacAddress"),
        (break_app(lambda app: setattr(app.interfaces[0], "macAddress", "zz")), "BadMacAddress"),
        (break_app(lambda app: setattr(app, "userData", "***")), "BadUserData"),
    ],
)
def test_impossible_apps_are_left_out_with_a_reason(config: EdgeDevConfig, code: str) -> None:
    node = parse(config)
    assert node.apps == ()
    assert codes(node) == [code]
    assert all(problem.message and "\n" not in problem.message for problem in node.problems)


def test_object_that_appears_twice_counts_once() -> None:
    config = want_config()
    config.apps.append(config.apps[0])
    node = parse(config)
    assert len(node.apps) == 1
    assert codes(node) == ["DuplicateObject"]


def test_ids_in_capital_letters_are_the_same_ids() -> None:
    config = want_config()
    config.apps[0].volumeRefList[0].uuid = ROOT_ID.upper()
    config.apps[0].interfaces[0].networkId = NETWORK_ID.upper()
    assert parse(config).problems == ()


def test_volume_whose_image_is_gone_keeps_its_data() -> None:
    config = want_config()
    config.ClearField("contentInfo")
    node = parse(config)
    assert [volume.id for volume in node.volumes] == [ROOT_ID, DATA_ID]
    assert codes(node, ObjectKind.VOLUME) == ["ImageMissing"]
    assert codes(node) == ["ImageMissing"]


def test_app_outside_the_active_profile_is_not_to_run() -> None:
    config = want_config()
    config.apps[0].profile_list.append("night")
    assert not parse(config).apps[0].activate
    config.global_profile = "night"
    assert parse(config).apps[0].activate


def test_app_from_a_disk_image_is_a_virtual_machine() -> None:
    config = want_config()
    config.contentInfo[0].iformat = storage_pb2.QCOW2
    assert parse(config).apps[0].kind is AppKind.VIRTUAL_MACHINE


def test_interfaces_keep_the_order_that_is_asked_for() -> None:
    config = want_config()
    config.networkInstances.append(want_network(OTHER_ID, "other", "10.2.0.0/24"))
    config.apps[0].interfaces.append(NetworkAdapter(name="first", networkId=OTHER_ID, interface_order=0))
    config.apps[0].interfaces[0].interface_order = 1
    assert [interface.name for interface in parse(config).apps[0].interfaces] == ["eth0", "first"]
    config.apps[0].fixedresources.enforce_network_interface_order = True
    assert [interface.name for interface in parse(config).apps[0].interfaces] == ["first", "eth0"]


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("fqdn", "docker://", "BadServer"),
        ("fqdn", "docker://bad host", "BadServer"),
        ("fqdn", "host:port", "BadServer"),
    ],
)
def test_unusable_datastores(field: str, value: str, code: str) -> None:
    config = want_config()
    setattr(config.datastores[0], field, value)
    node = parse(config)
    assert codes(node, ObjectKind.DATASTORE) == [code]
    assert codes(node, ObjectKind.IMAGE) == ["DatastoreMissing"]


@pytest.mark.parametrize(
    ("kind", "fqdn", "server", "plain"),
    [
        (storage_pb2.DsContainerRegistry, "docker://docker.io", "docker.io", False),
        (storage_pb2.DsContainerRegistry, "http://127.0.0.1:5000", "127.0.0.1:5000", True),
        (storage_pb2.DsContainerRegistry, "registry.example", "registry.example", False),
        (storage_pb2.DsHttp, "http://files.example:80", "http://files.example:80", True),
        (storage_pb2.DsHttps, "files.example", "https://files.example", False),
    ],
)
def test_servers_of_datastores(kind: storage_pb2.DsType.ValueType, fqdn: str, server: str, plain: bool) -> None:
    config = want_config()
    config.datastores[0].dType = kind
    config.datastores[0].fqdn = fqdn
    store = parse(config).images[0].datastores[0]
    assert (store.server, store.plain_http) == (server, plain)


@pytest.mark.parametrize(
    ("fqdn", "may_lack_tls"),
    [
        ("docker://192.168.1.20:5050", True),
        ("docker://10.0.0.5", True),
        ("127.0.0.1:5000", True),
        ("docker://[::1]:5000", True),
        ("docker://localhost:5000", True),
        ("docker://registry.local:5000", True),
        ("docker://registry.localhost", True),
        ("https://10.0.0.5:5000", False),
        ("docker://172.32.0.1:5000", False),
        ("docker://registry.example", False),
        ("docker://10.example", False),
    ],
)
def test_registries_nearby_may_lack_tls_unless_the_controller_rules_it_out(fqdn: str, may_lack_tls: bool) -> None:
    config = want_config()
    config.datastores[0].fqdn = fqdn
    assert parse(config).images[0].datastores[0].may_lack_tls is may_lack_tls
    config.datastores[0].eaves.tls_only = True
    assert not parse(config).images[0].datastores[0].may_lack_tls


def test_parts_of_a_config_that_are_not_obeyed_are_told() -> None:
    config = want_config()
    config.edgeview.token = "x.y.z"
    config.local_profile_server = "10.1.0.9"
    config.loc_config.loc_url = "https://loc.example"
    config.disks.SetInParent()
    config.pnacs.add()
    config.scep_profiles.add()
    node = parse(config)
    assert [(problem.element, problem.code, problem.is_fatal) for problem in node.problems] == [
        (f"node {name}", "SectionUnsupported", False)
        for name in (
            "edge-view",
            "local profile server",
            "local operator console",
            "disk layout",
            "802.1X of ports",
            "certificate enrolment",
        )
    ]
    assert node.apps


def test_datastores_keep_their_order_and_missing_ones_are_passed_over() -> None:
    config = want_config()
    second = config.datastores.add()
    second.CopyFrom(config.datastores[0])
    second.id = OTHER_ID
    config.contentInfo[0].ds_ids_list[:] = [OTHER_ID, "70000000-0000-4000-8000-000000000000", STORE_ID]
    assert [store.id for store in parse(config).images[0].datastores] == [OTHER_ID, STORE_ID]


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("sha256", "xyz", "BadDigest"),
        ("URL", "a b", "BadImageReference"),
        ("URL", "../x", "BadImageReference"),
        ("URL", "", "BadImageReference"),
    ],
)
def test_unusable_images(field: str, value: str, code: str) -> None:
    config = want_config()
    setattr(config.contentInfo[0], field, value)
    assert codes(parse(config), ObjectKind.IMAGE) == [code]


def test_digest_is_written_with_its_algorithm() -> None:
    config = want_config()
    config.contentInfo[0].sha256 = "AB" * 32
    assert parse(config).images[0].digest == "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("subnet", "nonsense", "BadSubnet"),
        ("subnet", "", "BadSubnet"),
        ("subnet", "10.1.0.0/31", "BadSubnet"),
        ("subnet", "fd00::/64", "BadSubnet"),
        ("subnet", "127.0.0.0/24", "BadSubnet"),
        ("gateway", "10.2.0.1", "BadAddress"),
        ("gateway", "10.1.0.255", "BadAddress"),
    ],
)
def test_unusable_networks(field: str, value: str, code: str) -> None:
    config = want_config()
    setattr(config.networkInstances[0].ip, field, value)
    node = parse(config)
    assert codes(node, ObjectKind.NETWORK) == [code]
    assert codes(node) == ["NetworkMissing"]


def test_dhcp_range_that_ends_before_it_starts() -> None:
    config = want_config()
    config.networkInstances[0].ip.dhcpRange.end = "10.1.0.1"
    config.networkInstances[0].ip.dhcpRange.start = "10.1.0.9"
    assert codes(parse(config), ObjectKind.NETWORK) == ["BadDhcpRange"]


def test_network_without_details_gets_usual_ones() -> None:
    config = want_config()
    network = config.networkInstances[0]
    network.ip.ClearField("gateway")
    network.ip.ClearField("dhcpRange")
    (parsed,) = parse(config).networks
    assert (parsed.gateway, parsed.dhcp_start, parsed.dhcp_end) == ("10.1.0.1", "10.1.0.2", "10.1.0.254")


def test_second_of_two_overlapping_networks_is_refused() -> None:
    config = want_config()
    config.networkInstances.append(want_network(OTHER_ID, "other", "10.1.0.0/24"))
    node = parse(config)
    assert [network.id for network in node.networks] == [NETWORK_ID]
    assert codes(node, ObjectKind.NETWORK) == ["SubnetOverlap"]


def test_switch_needs_no_addresses_and_dead_types_are_refused() -> None:
    config = want_config()
    config.networkInstances[0].instType = netinst_pb2.ZnetInstSwitch
    config.networkInstances[0].ClearField("ip")
    assert parse(config).networks[0].kind is NetworkKind.SWITCH
    config.networkInstances[0].instType = netinst_pb2.ZnetInstMesh
    assert codes(parse(config), ObjectKind.NETWORK) == ["NetworkTypeUnsupported"]


def acls(*entries: ACE) -> tuple[list[AclAction], list[str]]:
    config = want_config()
    del config.apps[0].interfaces[0].acls[:]
    config.apps[0].interfaces[0].acls.extend(entries)
    node = parse(config)
    return [rule.action for rule in node.apps[0].interfaces[0].acls], codes(node)


def ace(terms: dict[str, str], dir_: int = BOTH, **action: Any) -> ACE:
    actions = [ACEAction(**action)] if action else []
    matches = [ACEMatch(type=kind, value=value) for kind, value in terms.items()]
    entry = ACE(matches=matches, actions=actions, name="rule")
    entry.dir = dir_  # type: ignore[assignment]  # numbers that the enum lacks are wanted too
    return entry


@pytest.mark.parametrize(
    ("entry", "action"),
    [
        (ace({"ip": "10.0.0.1"}, EGRESS), AclAction.ALLOW),
        (ace({"host": "example.com", "protocol": "TCP", "fport": "443"}), AclAction.ALLOW),
        (ace({"ip": "10.0.0.0/8"}, drop=True), AclAction.DROP),
        (ace({"protocol": "udp", "lport": "100-200"}), AclAction.ALLOW),
        (ace({"ip": "0.0.0.0/0"}, limit=True, limitrate=5, limitunit="s"), AclAction.LIMIT),
        (ace({"protocol": "17", "lport": "53"}, portmap=True, appPort=5353), AclAction.PORT_MAP),
    ],
)
def test_good_rules(entry: ACE, action: AclAction) -> None:
    assert acls(entry) == ([action], [])


@pytest.mark.parametrize(
    "entry",
    [
        ace({}),
        ace({"eidset": "x"}),
        ace({"ip": "nonsense"}),
        ace({"host": "-bad-/"}),
        ace({"protocol": "carrier-pigeon"}),
        ace({"lport": "80"}),
        ace({"protocol": "icmp", "lport": "80"}),
        ace({"protocol": "tcp", "lport": "99999"}),
        ace({"protocol": "tcp", "lport": "20-10"}),
        ace({"protocol": "tcp", "lport": "80"}, portmap=True),
        ace({"protocol": "tcp"}, portmap=True, appPort=80),
        ace({"ip": "0.0.0.0/0"}, limit=True),
        ace({"ip": "0.0.0.0/0"}, 7),
    ],
)
def test_rule_that_cannot_be_read_lets_nothing_through(entry: ACE) -> None:
    assert acls(entry) == ([], ["BadFirewallRule"])


def test_dropping_rule_that_can_be_read_only_in_part_still_drops() -> None:
    assert acls(ace({"ip": "10.0.0.0/8", "eidset": "x"}, drop=True)) == ([AclAction.DROP], [])


def test_commands_are_there_only_when_asked_for() -> None:
    config = want_config()
    assert (parse(config).reboot_counter, parse(config).shutdown_counter) == (None, None)
    config.reboot.counter = 3
    config.shutdown.desiredState = True
    assert (parse(config).reboot_counter, parse(config).shutdown_counter) == (3, 0)


# Anything at all


def scramble(message: Message, random_: random.Random, depth: int = 0) -> None:
    """Change random fields of a message and of those in it to random values of their types."""
    for field in message.DESCRIPTOR.fields:
        if random_.random() < 0.7:
            continue
        is_map = field.message_type is not None and field.message_type.GetOptions().map_entry
        if field.type == FieldDescriptor.TYPE_MESSAGE and not is_map:
            if depth < 4:
                value = getattr(message, field.name)
                scramble(value.add() if field.is_repeated else value, random_, depth + 1)
        elif not is_map:
            set_random(message, field, random_)


WORDS = [
    "",
    "x",
    "0",
    "-1",
    "10.0.0.1",
    "10.0.0.0/24",
    "::1",
    "a/b:c",
    "\0",
    "ä" * 300,
    "/",
    "..",
    ROOT_ID,
    NETWORK_ID,
    "=",
    "tcp",
    "80",
    "#cloud-config",
]


def set_random(message: Message, field: Any, random_: random.Random) -> None:
    value: object
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            value = random_.choice(WORDS) if field.type == FieldDescriptor.TYPE_STRING else random_.randbytes(5)
        case FieldDescriptor.CPPTYPE_BOOL:
            value = random_.random() < 0.5
        case FieldDescriptor.CPPTYPE_ENUM:
            value = random_.choice([0, 1, 2, 3, 8, 99])
        case FieldDescriptor.CPPTYPE_UINT32 | FieldDescriptor.CPPTYPE_UINT64:
            value = random_.choice([0, 1, 80, 2**31, 2**32 - 1])
        case FieldDescriptor.CPPTYPE_INT32 | FieldDescriptor.CPPTYPE_INT64:
            value = random_.choice([0, 1, -1, 2**31 - 1, -(2**31)])
        case _:
            value = random_.choice([0.0, -1.5, float("inf")])
    if field.is_repeated:
        getattr(message, field.name).append(value)
    else:
        setattr(message, field.name, value)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32))
def test_no_config_breaks_the_parser(seed: int) -> None:
    config = want_config()
    random_ = random.Random(seed)
    scramble(config, random_)
    for group in (config.apps, config.volumes, config.contentInfo, config.networkInstances, config.datastores):
        for item in group:
            scramble(item, random_)
    node = parse(config)
    known = {network.id for network in node.networks}
    images = {image.id for image in node.images}
    for app in node.apps:
        # A machine may have disks alone that hold no image.
        assert app.image_id in images or (app.vm is not None and not app.image_id)
        assert {interface.network_id for interface in app.interfaces} <= known
        assert app.memory_bytes > 0
    assert len({app.id for app in node.apps}) == len(node.apps)


@given(st.binary(max_size=400))
def test_no_bytes_break_the_parser(data: bytes) -> None:
    try:
        config = EdgeDevConfig.FromString(want_config().SerializeToString() + data)
    except DecodeError:
        return
    parse(config)


def test_vm_size_of_the_largest_number_is_no_overflow() -> None:
    config = want_config()
    config.apps[0].fixedresources.CopyFrom(VmConfig(memory=2**32 - 1, vcpus=2**32 - 1))
    assert parse(config).apps[0].memory_bytes == (2**32 - 1) << 10


def test_mirrors_belong_to_their_datastore_and_are_no_datastores_of_the_image() -> None:
    mirror_id = "30000000-0000-4000-8000-0000000000ff"
    config = want_config()
    config.datastores.add(
        id=mirror_id, dType=storage_pb2.DsContainerRegistry, fqdn="http://10.0.0.5:5000", dpath="cache"
    )
    config.datastores[0].eaves.mirror_ids.extend([mirror_id.upper(), "30000000-0000-4000-8000-00000000dead"])
    config.contentInfo[0].ds_ids_list[:] = [mirror_id, STORE_ID]
    node = parse(config)
    assert node.problems == ()
    (store,) = node.images[0].datastores
    (mirror,) = store.mirrors
    assert (store.id, mirror.server, mirror.path, mirror.plain_http) == (STORE_ID, "10.0.0.5:5000", "cache", True)


@pytest.mark.parametrize(
    ("fqdn", "region", "addressing", "server", "expected"),
    [
        ("", "", "", "https://s3.us-west-2.amazonaws.com", None),
        ("", "eu-west-1", "", "https://s3.eu-west-1.amazonaws.com", None),
        ("http://10.0.0.5:9000", "", "Path", "http://10.0.0.5:9000", S3Addressing.PATH),
        ("s3.example", "", "VirtualHost", "https://s3.example", S3Addressing.VIRTUAL_HOST),
        ("s3.example", "", "Else", "https://s3.example", None),
    ],
)
def test_s3(fqdn: str, region: str, addressing: str, server: str, expected: S3Addressing | None) -> None:
    config = want_config()
    store = config.datastores[0]
    store.dType, store.fqdn, store.region = storage_pb2.DsS3, fqdn, region
    store.eaves.s3_addressing = addressing
    (found,) = parse(config).images[0].datastores
    assert (found.server, found.addressing, found.region) == (server, expected, region or "us-west-2")


def test_an_operating_system_is_not_fetched_and_its_refusal_is_told() -> None:
    config = want_config()
    tree = config.contentInfo.add(uuid=OTHER_ID, dsId=STORE_ID, URL="eve:14.5.0", displayName="eve")
    tree.iformat = storage_pb2.CONTAINER
    config.baseos.content_tree_uuid, config.baseos.base_os_version = OTHER_ID, "14.5.0-kvm-amd64"
    config.baseos.retry_update.counter, config.baseos.activate = 2, True
    node = parse(config)
    assert [image.id for image in node.images] == [TREE_ID]
    assert len(node.apps) == 1
    assert node.base_os is not None
    assert (node.base_os.version, node.base_os.retry_counter) == ("14.5.0-kvm-amd64", 2)
    assert codes(node, ObjectKind.IMAGE) == ["BaseOsUnsupported"]
    assert only(node).is_fatal


def test_an_operating_system_whose_image_an_app_uses_leaves_the_app_alone() -> None:
    config = want_config()
    config.baseos.content_tree_uuid, config.baseos.base_os_version = TREE_ID, "1"
    node = parse(config)
    assert [image.id for image in node.images] == [TREE_ID]
    assert node.problems == ()
