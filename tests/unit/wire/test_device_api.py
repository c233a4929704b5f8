"""The compiled messages against a table of the device API that was written down without the ``.proto`` files.

``device_api.tsv`` has one line for each message (``M``), field (``F``), enum (``E``) and enum value (``V``). Where the written
description of the device API lies beside the checkout (or ``EAVES_REFERENCE`` names it), its tables are read too.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import re
from pathlib import Path
from typing import NamedTuple

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor

from eaves.wire import pb

PREFIX = "org.lfedge.eve."
TABLE = Path(__file__).with_name("device_api.tsv")
CHECKOUT = Path(__file__).resolve().parents[3]
EXTENSIONS = {
    "config.WifiConfig": "eaves.v1.WifiExtension",
    "config.AppInstanceConfig": "eaves.v1.AppExtension",
    "config.DatastoreConfig": "eaves.v1.DatastoreExtension",
    "config.EdgeDevConfig": "eaves.v1.DeviceExtension",
    "config.EdgeNodeCluster": "eaves.v1.ClusterExtension",
    "config.SnapshotDesc": "eaves.v1.SnapshotDescExtension",
    "config.Volume": "eaves.v1.VolumeExtension",
    "config.VolumeRef": "eaves.v1.VolumeRefExtension",
    "info.ZInfoApp": "eaves.v1.AppInfoExtension",
    "evecommon.EncryptionBlock": "eaves.v1.AppSecrets",
    "info.ZInfoDevice": "eaves.v1.DeviceInfoExtension",
    "info.ZInfoKubeCluster": "eaves.v1.ClusterInfoExtension",
    "info.ZInfoNetworkInstance": "eaves.v1.NetworkInfoExtension",
    "info.ZInfoSnapshot": "eaves.v1.SnapshotInfoExtension",
    "info.ZInfoVolume": "eaves.v1.VolumeInfoExtension",
}


class Field(NamedTuple):
    number: int
    name: str
    type: str
    """Scalar, ``Timestamp``, short name of a message or enum, or ``map<key,value>``."""
    label: str
    """``repeated``, ``optional`` or empty."""
    oneof: str


class Api(NamedTuple):
    """Keys are ``dir/file.proto:Name`` with ``Outer.Inner`` for nested names."""

    messages: dict[str, set[Field]]
    enums: dict[str, list[tuple[str, int]]]


def load_table() -> Api:
    api = Api({}, {})
    for line in TABLE.read_text().splitlines():
        kind, key, *rest = line.split("\t")
        if kind == "M":
            api.messages[key] = set()
        elif kind == "F":
            number, name, type_, label, oneof = rest
            api.messages[key].add(Field(int(number), name, type_, label, oneof))
        elif kind == "E":
            api.enums[key] = []
        else:
            api.enums[key].append((rest[0], int(rest[1])))
    return api


def load_descriptors() -> Api:
    api = Api({}, {})
    for file in files():
        if file.package.startswith(PREFIX):
            for message in all_messages(list(file.message_types_by_name.values())):
                api.messages[key_of(message)] = {field_of(a) for a in message.fields if a.number < 100000}
                for enum in message.enum_types:
                    api.enums[key_of(enum)] = values_of(enum)
            for enum in file.enum_types_by_name.values():
                api.enums[key_of(enum)] = values_of(enum)
    return api


def files() -> list[FileDescriptor]:
    names = [info.name for info in pkgutil.walk_packages(pb.__path__, pb.__name__ + ".") if info.name.endswith("_pb2")]
    return [importlib.import_module(name).DESCRIPTOR for name in names]


def all_messages(messages: list[Descriptor]) -> list[Descriptor]:
    found = [message for message in messages if not message.GetOptions().map_entry]
    return [*found, *(inner for message in found for inner in all_messages(list(message.nested_types)))]


def key_of(descriptor: Descriptor | EnumDescriptor) -> str:
    return f"{descriptor.file.name}:{descriptor.full_name.removeprefix(descriptor.file.package + '.')}"


def values_of(enum: EnumDescriptor) -> list[tuple[str, int]]:
    return [(value.name, value.number) for value in enum.values]


def field_of(field: FieldDescriptor) -> Field:
    oneof = field.containing_oneof
    is_optional = oneof is not None and oneof.name == f"_{field.name}"
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key, value = field.message_type.fields
        return Field(field.number, field.name, f"map<{type_of(key)},{type_of(value)}>", "", "")
    label = "repeated" if field.is_repeated else "optional" if is_optional else ""
    return Field(field.number, field.name, type_of(field), label, "" if oneof is None or is_optional else oneof.name)


def type_of(field: FieldDescriptor) -> str:
    target = field.message_type or field.enum_type
    if target is None:
        by_number = {value: name for name, value in descriptor_pb2.FieldDescriptorProto.Type.items()}
        return by_number[descriptor_pb2.FieldDescriptorProto.Type.ValueType(field.type)].removeprefix("TYPE_").lower()
    return str(target.name)


def parse_reference(text: str) -> Api:
    """The tables of a written description: files in backquotes, names in bold, fields in rows or in one ``;`` line."""
    api = Api({}, {})
    file = key = ""
    for line in text.split("\n## 3. ")[1].split("\n## 4. ")[0].splitlines():
        if line.startswith("`proto/"):
            file = line.split("`")[1].removeprefix("proto/")
        elif line.startswith("enum **"):
            name, values = line.removeprefix("enum **").split("**", 1)
            pairs = [value.strip(" *").split("=") for value in values.split(":", 1)[1].split(",")]
            api.enums[f"{file}:{name}"] = [(value, int(number)) for value, number in pairs]
        elif line.startswith("**"):
            name, rest = line[2:].split("**", 1)
            key = f"{file}:{name}"
            inline = re.findall(r"(?:: |; )`(\d+) (\w+)` (optional )?(\S+?)(?: \((.*?)\))?(?=; `\d|$)", rest)
            api.messages[key] = {written_field(*parts) for parts in inline}
        elif re.match(r"\| \d+ \|", line):
            _, number, name, type_, *note = (cell.strip() for cell in line.split("|"))
            optional = "optional " if type_.startswith("optional ") else ""
            api.messages[key].add(
                written_field(number, name, optional, type_.removeprefix("optional "), " ".join(note))
            )
    return api


def written_field(number: str, name: str, optional: str, type_: str, note: str) -> Field:
    label = "repeated" if type_.endswith("[]") else optional.strip()
    oneof = note.split("[oneof ")[1].split("]")[0] if "[oneof " in note else ""
    return Field(int(number), name, type_.removesuffix("[]"), label, oneof)


def test_every_message_and_field_is_as_the_table_says() -> None:
    table, compiled = load_table(), load_descriptors()
    assert compiled.messages.keys() == table.messages.keys()
    for key, fields in table.messages.items():
        assert compiled.messages[key] == fields, key


def test_every_enum_value_is_as_the_table_says() -> None:
    assert load_descriptors().enums == load_table().enums


def test_the_table_covers_the_whole_api() -> None:
    table = load_table()
    assert (len(table.messages), len(table.enums)) == (313, 117)
    assert sum(len(fields) for fields in table.messages.values()) == 1737


def test_types_come_from_the_own_package_or_from_the_only_other_that_has_them() -> None:
    table = load_table()
    homes: dict[str, set[str]] = {}
    for key in [*table.messages, *table.enums]:
        path, name = key.split(":")
        homes.setdefault(name.rsplit(".", 1)[-1], set()).add(path.split("/")[0])
    for file in files():
        for message in all_messages(list(file.message_types_by_name.values())):
            own = file.package.removeprefix(PREFIX)
            for field in message.fields:
                target = field.message_type or field.enum_type
                if target is None or not target.file.package.startswith(PREFIX) or target.containing_type is not None:
                    continue
                possible = homes[target.name]
                # Where several packages other than the own one have the name, the shared one is meant.
                expected = own if own in possible else "evecommon" if "evecommon" in possible else min(possible)
                assert target.file.package == PREFIX + expected, field.full_name


def test_eaves_fields_are_numbered_out_of_the_way() -> None:
    found = {
        message.full_name.removeprefix(PREFIX): (
            field.name,
            field.number,
            field.message_type and field.message_type.full_name,
        )
        for file in files()
        if file.package.startswith(PREFIX)
        for message in all_messages(list(file.message_types_by_name.values()))
        for field in message.fields
        if field.number >= 100000
    }
    assert found == {name: ("eaves", 100000, target) for name, target in EXTENSIONS.items()}


def written_descriptions() -> list[Path]:
    named = os.environ.get("EAVES_REFERENCE")
    return [Path(named)] if named else sorted(CHECKOUT.parent.glob("*/reference/eve-api.md"))


@pytest.mark.skipif(not written_descriptions(), reason="the written device API is not beside the checkout")
def test_the_written_description_says_the_same() -> None:
    for path in written_descriptions():
        written, table = parse_reference(path.read_text()), load_table()
        assert written.messages == table.messages
        assert written.enums == table.enums
