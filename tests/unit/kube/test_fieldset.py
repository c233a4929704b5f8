"""Sets of field paths: their laws, their FieldsV1 form, their order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.kube.fieldset import EMPTY, FieldSet, key_element, make_set, parse_fields, render_fields, render_path

ELEMENTS = st.sampled_from(["f:a", "f:b", "f:c", 'k:{"name":"x"}', 'k:{"name":"y"}', 'v:"1"', "v:2", "i:0"])
PATHS = st.lists(ELEMENTS, min_size=1, max_size=3).map(tuple)
SETS = st.lists(PATHS, max_size=12).map(make_set)


def members(fields: FieldSet) -> set[tuple[str, ...]]:
    return set(fields.paths())


@given(SETS, SETS)
def test_operators_are_those_of_sets_of_paths(a: FieldSet, b: FieldSet) -> None:
    assert members(a | b) == members(a) | members(b)
    assert members(a & b) == members(a) & members(b)
    assert members(a - b) == members(a) - members(b)


@given(SETS, SETS)
def test_equal_sets_have_one_shape(a: FieldSet, b: FieldSet) -> None:
    assert (a == b) is (members(a) == members(b))
    assert (a - b) | (a & b) == a
    assert bool(a) is bool(members(a))


@given(SETS)
def test_renaming_is_at_the_top_alone_and_can_be_taken_back(fields: FieldSet) -> None:
    renamed = fields.rename({"f:a": "f:z"})
    assert members(renamed) == {("f:z", *path[1:]) if path[0] == "f:a" else path for path in members(fields)}
    assert renamed.rename({"f:z": "f:a"}) == fields


@given(SETS)
def test_parsing_what_was_rendered_gives_the_same_set(fields: FieldSet) -> None:
    assert parse_fields(render_fields(fields)) == fields


@given(SETS)
def test_a_set_is_made_of_its_paths(fields: FieldSet) -> None:
    assert make_set(fields.paths()) == fields


def test_a_member_with_members_below_is_marked_by_a_dot() -> None:
    fields = make_set([("f:spec", "f:parts", 'k:{"name":"a"}'), ("f:spec", "f:parts", 'k:{"name":"a"}', "f:image")])

    assert render_fields(fields) == {"f:spec": {"f:parts": {'k:{"name":"a"}': {".": {}, "f:image": {}}}}}


def test_elements_are_rendered_fields_first_then_keys_values_and_indexes_with_numbers_by_size() -> None:
    elements = ["v:10", "v:9", "i:10", "i:2", 'v:"z"', 'k:{"port":443}', 'k:{"port":80}', "f:b", "f:a", "v:true"]

    document = render_fields(make_set([(element,) for element in elements]))

    assert list(document) == [
        "f:a",
        "f:b",
        'k:{"port":80}',
        'k:{"port":443}',
        "v:9",
        "v:10",
        'v:"z"',
        "v:true",
        "i:2",
        "i:10",
    ]


def test_paths_come_with_all_members_of_a_node_before_what_is_below_it() -> None:
    fields = make_set([("f:a", "f:x"), ("f:a",), ("f:b",)])

    assert list(fields.paths()) == [("f:a",), ("f:b",), ("f:a", "f:x")]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"f:a": {}, "x:b": {}, "g": {}, "": {}}, [("f:a",)]),
        ({"k:not json": {}, "k:[1]": {}, "i:x": {}, "v:": {}}, []),
        ({'k:{ "b": 1, "a": 2 }': {".": {}}}, [('k:{"a":2,"b":1}',)]),
        ({'v: "x"': {}}, [('v:"x"',)]),
        ({"f:a": {".": {}, "f:b": {}}}, [("f:a",), ("f:a", "f:b")]),
        ({"f:a": None}, [("f:a",)]),
        ({"f:a": {"x:b": {}}}, []),
        ({".": {}}, []),
    ],
)
def test_clients_write_fields_in_other_spellings(document: dict[str, Any], expected: list[tuple[str, ...]]) -> None:
    assert list(parse_fields(document).paths()) == expected


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("f:spec", "f:replicas"), ".spec.replicas"),
        (("f:spec", "f:parts", key_element({"name": "a"}), "f:image"), '.spec.parts[name="a"].image'),
        (("f:ports", key_element({"protocol": "TCP", "port": 80})), '.ports[port=80,protocol="TCP"]'),
        (("f:metadata", "f:finalizers", 'v:"x/y"'), '.metadata.finalizers[="x/y"]'),
        (("f:a", "i:3"), ".a[3]"),
    ],
)
def test_paths_read_as_in_conflicts_of_a_kube_apiserver(path: tuple[str, ...], text: str) -> None:
    assert render_path(path) == text


def test_the_empty_set_is_false() -> None:
    assert not EMPTY
    assert not FieldSet(frozenset(), {"f:a": EMPTY})
