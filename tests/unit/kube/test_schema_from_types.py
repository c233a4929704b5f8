"""A Struct says everything of a kind's schema."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import UNSET, Meta, Struct, UnsetType

from eaves.kube.schema import ListType, MapType, Schema
from eaves.kube.schema_from_types import replace_fields, schema_of
from eaves.kube.schema_openapi import references, render_child, render_openapi

Size = Annotated[int | str, Meta(extra_json_schema={"x-kubernetes-int-or-string": True, "reference": "io.Size"})]


class Colour(StrEnum):
    RED = "Red"
    BLUE = "Blue"


class Part(Struct, frozen=True, rename="camel", kw_only=True):
    """One part."""

    part_name: Annotated[str, Meta(description="Its name.", min_length=1, max_length=9, pattern="^a")]
    weight: Annotated[int, Meta(ge=1, lt=10)] = 2


class Thing(Struct, frozen=True, rename="camel", kw_only=True):
    """A thing.

    With more said of it.
    """

    colour: Colour
    other_colour: Colour = Colour.BLUE
    parts: Annotated[
        list[Part],
        Meta(extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["partName"]}),
    ] = []
    tags: Annotated[list[str], Meta(extra_json_schema={"x-kubernetes-list-type": "set"})] = []
    labels: dict[str, str] = {}
    size: Annotated[Size | None, Meta(description="How large.")] = None
    ratio: float = 0.5
    is_good: bool = True
    is_bad: bool = False
    text: str = ""
    maybe: str | None = None
    unset: int | UnsetType = UNSET
    raw: bytes = b""
    free: dict[str, Any] = {}
    whatever: Any = None
    atom: Annotated[dict[str, str], Meta(extra_json_schema={"x-kubernetes-map-type": "atomic"})] = {}
    moment: Annotated[str | None, Meta(extra_json_schema={"format": "date-time", "nullable": True})] = None


THING = schema_of(Thing, reference="dev.example.Thing")


def test_docstring_is_the_description() -> None:
    assert THING.description == "A thing.\n\nWith more said of it."
    assert (THING.type, THING.reference) == ("object", "dev.example.Thing")


def test_names_are_those_of_the_wire_and_required_those_without_a_default() -> None:
    assert list(THING.properties)[:3] == ["colour", "otherColour", "parts"]
    assert THING.required == ("colour",)


def test_enums_are_texts_with_their_values() -> None:
    assert THING.properties["colour"].enum == ("Red", "Blue")
    assert THING.properties["otherColour"].default == "Blue"


def test_limits_come_from_annotations() -> None:
    part = THING.properties["parts"].items
    assert part is not None
    name, weight = part.properties["partName"], part.properties["weight"]
    assert (name.description, name.min_length, name.max_length, name.pattern) == ("Its name.", 1, 9, "^a")
    assert (weight.minimum, weight.maximum, weight.default) == (1, 9, 2)
    assert (part.required, part.description) == (("partName",), "One part.")


def test_lists_and_maps_say_how_they_merge() -> None:
    parts = THING.properties["parts"]
    assert (parts.list_type, list(parts.list_map_keys)) == (ListType.MAP, ["partName"])
    assert THING.properties["tags"].list_type is ListType.SET
    assert THING.properties["atom"].map_type is MapType.ATOMIC
    labels = THING.properties["labels"]
    assert (labels.map_type, labels.additional) == (MapType.GRANULAR, Schema(type="string"))


@pytest.mark.parametrize(("name", "default"), [("ratio", 0.5), ("isGood", True), ("otherColour", "Blue")])
def test_defaults_that_say_something_are_defaults_of_the_schema(name: str, default: Any) -> None:
    assert THING.properties[name].default == default


@pytest.mark.parametrize("name", ["isBad", "text", "maybe", "unset", "labels", "tags", "raw", "size"])
def test_empty_defaults_are_none_of_the_schema(name: str) -> None:
    assert THING.properties[name].default is None


def test_types_of_scalars() -> None:
    types = {name: THING.properties[name].type for name in ("ratio", "isGood", "text", "unset", "maybe")}
    assert types == {"ratio": "number", "isGood": "boolean", "text": "string", "unset": "integer", "maybe": "string"}
    assert (THING.properties["raw"].type, THING.properties["raw"].format) == ("string", "byte")
    moment = THING.properties["moment"]
    assert (moment.format, moment.nullable) == ("date-time", True)


def test_annotations_of_a_type_and_of_a_field_both_count() -> None:
    size = THING.properties["size"]
    assert (size.int_or_string, size.reference, size.description) == (True, "io.Size", "How large.")


def test_any_value_may_stand_where_the_type_says_so() -> None:
    assert THING.properties["whatever"].preserve_unknown
    free = THING.properties["free"].additional
    assert free is not None
    assert free.preserve_unknown


def test_type_without_a_schema_is_a_mistake_of_the_kind() -> None:
    class Odd(Struct):
        value: int | float | str

    class Stranger(Struct):
        value: complex

    class Open(Struct):
        value: Annotated[float, Meta(gt=0)]

    for kind in (Odd, Stranger, Open):
        with pytest.raises(TypeError, match="no schema"):
            schema_of(kind)


def test_fields_can_be_replaced() -> None:
    changed = replace_fields(THING, text=Schema(type="integer"))
    assert changed.properties["text"].type == "integer"
    assert changed.properties["colour"] == THING.properties["colour"]


def test_rendered_schema_has_the_extensions() -> None:
    document = render_openapi(THING)
    assert document["required"] == ["colour"]
    properties = document["properties"]
    assert properties["parts"]["x-kubernetes-list-type"] == "map"
    assert properties["parts"]["x-kubernetes-list-map-keys"] == ["partName"]
    assert properties["tags"]["x-kubernetes-list-type"] == "set"
    assert properties["atom"]["x-kubernetes-map-type"] == "atomic"
    assert properties["whatever"] == {"x-kubernetes-preserve-unknown-fields": True}
    assert properties["size"] == {"allOf": [{"$ref": "#/components/schemas/io.Size"}], "description": "How large."}
    assert properties["labels"] == {"type": "object", "additionalProperties": {"type": "string"}}


def test_references_are_found_at_any_depth() -> None:
    inner = Schema(
        type="object", reference="io.Inner", properties={"size": Schema(int_or_string=True, reference="io.S")}
    )
    outer = Schema(
        type="object", properties={"list": Schema(type="array", items=inner), "map": Schema(additional=inner)}
    )
    assert [found.reference for found in references(outer)] == ["io.Inner", "io.S", "io.Inner", "io.S"]
    assert render_child(msgspec.structs.replace(inner, default={}), "#/")["default"] == {}
