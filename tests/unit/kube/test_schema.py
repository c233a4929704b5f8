"""The walks over an object by its schema: unknown fields, defaults, validation with a kube-apiserver's words."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.kube import schema
from eaves.kube.errors import CauseType, FieldError
from eaves.kube.resource import Object
from eaves.kube.schema import ANY, ListType, Schema
from eaves.kube.status import render_field_error
from eaves.kube.trees import copy_tree

TEXT = Schema(type="string")
COUNT = Schema(type="integer")
ITEM = Schema(type="object", properties={"name": TEXT, "v": COUNT}, required=("name",))
PORT = Schema(
    type="object", properties={"port": COUNT, "protocol": Schema(type="string", default="TCP")}, required=("port",)
)
SPEC = Schema(
    type="object",
    properties={
        "text": Schema(type="string", min_length=2, max_length=4, pattern="^[a-z]+$"),
        "word": Schema(type="string", enum=("A", "B")),
        "count": Schema(type="integer", minimum=1, maximum=10),
        "small": Schema(type="integer", format="int32"),
        "share": Schema(type="number", minimum=0.5, maximum=1.5),
        "flag": Schema(type="boolean"),
        "size": Schema(int_or_string=True),
        "free": Schema(type="string", nullable=True),
        "time": Schema(type="string", format="date-time"),
        "inner": Schema(type="object", properties={"x": TEXT, "must": TEXT}, required=("must",)),
        "map": Schema(type="object", additional=TEXT),
        "list": Schema(type="array", items=TEXT, min_length=1, max_length=2),
        "keyed": Schema(type="array", items=ITEM, list_type=ListType.MAP, list_map_keys=("name",)),
        "ports": Schema(type="array", items=PORT, list_type=ListType.MAP, list_map_keys=("port", "protocol")),
        "set": Schema(type="array", items=TEXT, list_type=ListType.SET),
        "any": ANY,
        "open": Schema(type="object", preserve_unknown=True, properties={"known": ITEM}),
        "tuned": Schema(type="object", properties={"level": Schema(type="integer", default=3)}, default={}),
    },
)
TOP = Schema(type="object", properties={"spec": SPEC}, required=("spec",))


def faults(spec: Any) -> list[str]:
    return [render_field_error(error) for error in schema.validate_schema(TOP, {"spec": spec})]


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"text": "ab", "word": "A", "count": 1, "share": 1, "flag": False},
        {"text": "abcd", "word": "B", "count": 10, "share": 0.5, "flag": True},
        {"size": 1},
        {"size": "1Gi"},
        {"free": None},
        {"time": "2026-01-01T00:00:00Z"},
        {"time": "2026-01-01t00:00:00.123456789+01:00"},
        {"inner": {"must": ""}},
        {"map": {}},
        {"map": {"a.b/c": ""}},
        {"list": ["a", "a"]},
        {"keyed": [{"name": "a"}, {"name": "b", "v": 1}]},
        {"ports": [{"port": 1, "protocol": "UDP"}, {"port": 1, "protocol": "TCP"}]},
        {"set": ["a", "b"]},
        {"any": None},
        {"any": [{"x": 1}]},
        {"small": (1 << 31) - 1},
        {"open": {"x": 1}},
    ],
)
def test_what_fits_has_no_faults(spec: Object) -> None:
    assert faults(spec) == []


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"text": 1}, ['spec.text: Invalid value: "integer": spec.text in body must be of type string: "integer"']),
        ({"text": None}, ['spec.text: Invalid value: "null": spec.text in body must be of type string: "null"']),
        ({"text": {}}, ['spec.text: Invalid value: "object": spec.text in body must be of type string: "object"']),
        ({"text": []}, ['spec.text: Invalid value: "array": spec.text in body must be of type string: "array"']),
        ({"text": "abcde"}, ["spec.text: Too long: may not be more than 4 bytes"]),
        ({"text": "A"}, ['spec.text: Invalid value: "A": spec.text in body should be at least 2 chars long']),
        ({"text": "AB"}, ["spec.text: Invalid value: \"AB\": spec.text in body should match '^[a-z]+$'"]),
        ({"text": "ab\n"}, ["spec.text: Invalid value: \"ab\\n\": spec.text in body should match '^[a-z]+$'"]),
        ({"word": "C"}, ['spec.word: Unsupported value: "C": supported values: "A", "B"']),
        (
            {"word": 1},
            [
                'spec.word: Unsupported value: 1: supported values: "A", "B"',
                'spec.word: Invalid value: "integer": spec.word in body must be of type string: "integer"',
            ],
        ),
        ({"count": 0}, ["spec.count: Invalid value: 0: spec.count in body should be greater than or equal to 1"]),
        ({"count": 11}, ["spec.count: Invalid value: 11: spec.count in body should be less than or equal to 10"]),
        ({"count": "5"}, ['spec.count: Invalid value: "string": spec.count in body must be of type integer: "string"']),
        ({"count": 1.5}, ['spec.count: Invalid value: "number": spec.count in body must be of type integer: "number"']),
        (
            {"count": True},
            ['spec.count: Invalid value: "boolean": spec.count in body must be of type integer: "boolean"'],
        ),
        (
            {"small": 1 << 31},
            ['spec.small: Invalid value: 2147483648: spec.small in body must be of type int32: "2147483648"'],
        ),
        ({"share": 0.4}, ["spec.share: Invalid value: 0.4: spec.share in body should be greater than or equal to 0.5"]),
        ({"share": 1.6}, ["spec.share: Invalid value: 1.6: spec.share in body should be less than or equal to 1.5"]),
        ({"flag": "true"}, ['spec.flag: Invalid value: "string": spec.flag in body must be of type boolean: "string"']),
        (
            {"size": 1.5},
            ['spec.size: Invalid value: "number": spec.size in body must be of type integer,string: "number"'],
        ),
        (
            {"size": True},
            ['spec.size: Invalid value: "boolean": spec.size in body must be of type integer,string: "boolean"'],
        ),
        (
            {"size": None},
            ['spec.size: Invalid value: "null": spec.size in body must be of type integer,string: "null"'],
        ),
        ({"inner": {}}, ["spec.inner.must: Required value"]),
        (
            {"map": {"a": 1}},
            ['spec.map.a: Invalid value: "integer": spec.map.a in body must be of type string: "integer"'],
        ),
        ({"list": []}, ["spec.list: Invalid value: 0: spec.list in body should have at least 1 items"]),
        ({"list": ["a", "b", "c"]}, ["spec.list: Too many: 3: must have at most 2 items"]),
        (
            {"list": [None]},
            ['spec.list[0]: Invalid value: "null": spec.list[0] in body must be of type string: "null"'],
        ),
        ({"keyed": [{"name": "a"}] * 3}, ['spec.keyed[1]: Duplicate value: {"name":"a"}']),
        ({"keyed": [{"v": 1}]}, ["spec.keyed[0].name: Required value"]),
        (
            {"ports": [{"port": 1, "protocol": "TCP"}] * 2},
            ['spec.ports[1]: Duplicate value: {"port":1,"protocol":"TCP"}'],
        ),
        (
            {"set": ["a", "b", "a", "a", "b"]},
            ['spec.set[2]: Duplicate value: "a"', 'spec.set[4]: Duplicate value: "b"'],
        ),
        (1, ['spec: Invalid value: "integer": spec in body must be of type object: "integer"']),
    ],
)
def test_faults_are_told_as_a_kube_apiserver_tells_them(spec: Any, told: list[str]) -> None:
    assert faults(spec) == told


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "2026-01-01",
        "2026-01-01 00:00:00Z",
        "2026-01-01T00:00:00",
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:00:60Z",
        "2026-01-01T00:00:00+0100",
        "2026-01-01T00:00:00Z\n",
    ],
)
def test_what_is_no_time_is_a_wrong_type(text: str) -> None:
    (fault,) = schema.validate_schema(TOP, {"spec": {"time": text}})
    assert fault.type is CauseType.TYPE_INVALID
    assert fault.detail.startswith("spec.time in body must be of type date-time: ")


def test_missing_part_is_required() -> None:
    assert schema.validate_schema(TOP, {}) == [FieldError("spec", CauseType.REQUIRED, "")]


def test_classes_of_patterns_know_ascii_alone() -> None:
    digits = Schema(type="object", properties={"x": Schema(type="string", pattern=r"^\d+$")})
    assert schema.validate_schema(digits, {"x": "12"}) == []
    assert len(schema.validate_schema(digits, {"x": "١"})) == 1


UNKNOWN: Object = {
    "spec": {
        "zz": 1,
        "inner": {"must": "a", "u": 2},
        "keyed": [{"name": "a"}, {"name": "b", "u": {"v": 1}}],
        "map": {"x": "y"},
        "any": {"q": {"z": 1}},
        "open": {"x": 1, "known": {"name": "a", "u": 1}},
    },
    "u": {},
}


def test_unknown_fields_are_named_by_their_paths() -> None:
    assert list(schema.find_unknown(TOP, UNKNOWN)) == [
        "spec.zz",
        "spec.inner.u",
        "spec.keyed[1].u",
        "spec.open.known.u",
        "u",
    ]


def test_unknown_fields_are_pruned() -> None:
    before = copy_tree(UNKNOWN)
    assert schema.prune_unknown(TOP, UNKNOWN) == {
        "spec": {
            "inner": {"must": "a"},
            "keyed": [{"name": "a"}, {"name": "b"}],
            "map": {"x": "y"},
            "any": {"q": {"z": 1}},
            "open": {"x": 1, "known": {"name": "a"}},
        }
    }
    assert before == UNKNOWN


def test_object_without_unknown_fields_is_left_as_it_is() -> None:
    obj: Object = {"spec": {"keyed": [{"name": "a"}], "map": {"x": "y"}, "any": {"q": 1}}}
    assert schema.prune_unknown(TOP, obj) is obj
    assert list(schema.find_unknown(TOP, obj)) == []


@pytest.mark.parametrize(
    ("spec", "filled"),
    [
        ({}, {"tuned": {"level": 3}}),
        ({"tuned": {}}, {"tuned": {"level": 3}}),
        ({"tuned": {"level": 0}}, {"tuned": {"level": 0}}),
        ({"tuned": {"level": None}}, {"tuned": {"level": 3}}),
        ({"tuned": None}, {"tuned": {"level": 3}}),
        (
            {"tuned": {}, "ports": [{"port": 1}, {"port": 2, "protocol": None}, {"port": 3, "protocol": "UDP"}]},
            {
                "tuned": {"level": 3},
                "ports": [
                    {"port": 1, "protocol": "TCP"},
                    {"port": 2, "protocol": "TCP"},
                    {"port": 3, "protocol": "UDP"},
                ],
            },
        ),
        ({"tuned": {}, "text": None, "size": None, "any": None}, {"tuned": {"level": 3}}),
        ({"tuned": {}, "map": {"a": None, "b": "c"}}, {"tuned": {"level": 3}, "map": {"b": "c"}}),
        ({"tuned": {}, "free": None}, {"tuned": {"level": 3}, "free": None}),
        ({"tuned": {}, "list": [None]}, {"tuned": {"level": 3}, "list": [None]}),
    ],
)
def test_defaults_fill_what_is_absent_or_a_null_that_may_not_stand(spec: Object, filled: Object) -> None:
    obj = {"spec": spec}
    schema.apply_defaults(TOP, obj)
    assert obj == {"spec": filled}


def test_defaults_are_not_shared_between_objects() -> None:
    one: Object = {"spec": {}}
    other: Object = {"spec": {}}
    schema.apply_defaults(TOP, one)
    schema.apply_defaults(TOP, other)
    one["spec"]["tuned"]["level"] = 9
    assert other["spec"]["tuned"] == {"level": 3}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*SPEC.properties, "name", "must", "port", "x"]), inner, max_size=5)
    ),
    max_leaves=15,
)


@given(VALUES)
def test_pruned_values_have_nothing_unknown_and_defaulting_twice_changes_nothing(value: Any) -> None:
    obj = schema.prune_unknown(TOP, {"spec": copy_tree(value)})
    assert list(schema.find_unknown(TOP, obj)) == []
    obj = copy_tree(obj)
    schema.apply_defaults(TOP, obj)
    once = copy_tree(obj)
    schema.apply_defaults(TOP, obj)
    assert obj == once
    told = schema.validate_schema(TOP, obj)
    assert all(fault.path.startswith("spec") for fault in told)


def test_walks_over_a_usual_object_take_well_under_a_millisecond() -> None:
    obj: Object = {
        "spec": {
            "keyed": [{"name": f"item-{n}", "v": n} for n in range(30)],
            "map": {f"key-{n}": "value" for n in range(30)},
            "inner": {"must": "x"},
        }
    }
    spent = []
    for _ in range(20):
        started = time.process_time()
        for _ in range(10):
            schema.prune_unknown(TOP, obj)
            schema.apply_defaults(TOP, obj)
            schema.validate_schema(TOP, obj)
        spent.append((time.process_time() - started) / 10)
    assert min(spent) < 0.001
