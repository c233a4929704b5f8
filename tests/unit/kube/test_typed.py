"""Values as server-side apply sees them: owned paths, differences, merges, pruning. Cases are worked by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.kube import typed
from eaves.kube.errors import ApiError
from eaves.kube.fieldset import EMPTY, make_set, render_fields
from eaves.testing.gadget_kind import PART, SPEC

NAMES = st.sampled_from("abcdef")
TEXTS = st.text("xyz", max_size=2)
MAPS = st.dictionaries(NAMES, TEXTS, max_size=3)


@st.composite
def parts(draw: st.DrawFn) -> list[dict[str, Any]]:
    names = draw(st.lists(NAMES, unique=True, max_size=4))
    extra = st.fixed_dictionaries({}, optional={"image": TEXTS, "size": st.integers(0, 3), "labels": MAPS})
    return [{"name": name, **draw(extra)} for name in names]


SPECS = st.fixed_dictionaries(
    {},
    optional={
        "color": TEXTS,
        "size": st.integers(0, 3),
        "options": MAPS,
        "nested": st.fixed_dictionaries({}, optional={"left": TEXTS, "map": MAPS}),
        "parts": parts(),
        "tags": st.lists(NAMES, unique=True, max_size=4),
        "steps": st.lists(TEXTS, max_size=3),
        "whole": MAPS,
        "free": st.dictionaries(NAMES, TEXTS | MAPS | st.lists(TEXTS, max_size=2), max_size=2),
    },
)

TYPED_SPECS = SPECS.map(lambda spec: {key: value for key, value in spec.items() if key != "free"})
"""Without fields whose type an applier may change."""


def fields(value: Any) -> dict[str, Any]:
    return render_fields(typed.fields_of(SPEC, value))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"color": "red", "size": 1}, {"f:color": {}, "f:size": {}}),
        ({"options": {"a": "1"}}, {"f:options": {"f:a": {}}}),
        ({"options": {}}, {"f:options": {}}),
        ({"nested": {}}, {"f:nested": {}}),
        ({"nested": {"map": {"k": "v"}}}, {"f:nested": {"f:map": {"f:k": {}}}}),
        ({"color": None}, {"f:color": {}}),
        ({"parts": []}, {}),
        ({"tags": []}, {}),
        ({"steps": []}, {"f:steps": {}}),
        ({"steps": ["a", "b"]}, {"f:steps": {}}),
        ({"whole": {"a": "1"}}, {"f:whole": {}}),
        ({"tags": ["b", "a"]}, {"f:tags": {'v:"a"': {}, 'v:"b"': {}}}),
        (
            {"parts": [{"name": "a", "image": "i"}]},
            {"f:parts": {'k:{"name":"a"}': {".": {}, "f:image": {}, "f:name": {}}}},
        ),
        (
            {"ports": [{"port": 80}]},
            {"f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}}}},
        ),
        (
            {"free": {"a": {"b": [1]}, "c": {}}},
            {"f:free": {"f:a": {".": {}, "f:b": {}}, "f:c": {}}},
        ),
    ],
)
def test_an_applied_configuration_owns_its_leaves(value: Any, expected: Any) -> None:
    assert fields(value) == expected


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"parts": [{"name": "a"}, {"name": "a", "size": 1}]}, '.parts: duplicate entries for key [name="a"]'),
        ({"tags": ["x", "x"]}, '.tags: duplicate entries for key [="x"]'),
        ({"ports": [{"port": 1}, {"port": 1, "protocol": "TCP"}]}, "duplicate entries"),
    ],
)
def test_two_items_with_one_key_are_refused(value: Any, said: str) -> None:
    with pytest.raises(ApiError) as caught:
        typed.fields_of(SPEC, value)

    assert caught.value.status_code == 400
    assert said in caught.value.message


def test_a_container_that_comes_is_a_member_beside_its_content() -> None:
    difference = typed.compare(SPEC, {}, {"nested": {"map": {"k": "v"}}, "parts": [{"name": "a"}]})

    assert render_fields(difference.added) == {
        "f:nested": {".": {}, "f:map": {".": {}, "f:k": {}}},
        "f:parts": {".": {}, 'k:{"name":"a"}': {".": {}, "f:name": {}}},
    }
    assert not difference.changed
    assert not difference.removed


def test_a_difference_names_the_deepest_fields() -> None:
    old = {"color": "red", "nested": {"left": "1", "right": "2"}, "tags": ["a", "b"], "steps": ["s"]}
    new = {"color": "blue", "nested": {"left": "1"}, "tags": ["b", "c"], "steps": ["t"]}

    difference = typed.compare(SPEC, old, new)

    assert render_fields(difference.added) == {"f:tags": {'v:"c"': {}}}
    assert render_fields(difference.changed) == {"f:color": {}, "f:steps": {}}
    assert render_fields(difference.removed) == {"f:nested": {"f:right": {}}, "f:tags": {'v:"a"': {}}}


@pytest.mark.parametrize(("old", "new"), [(1, True), (0, False), ("1", 1), (None, "")])
def test_values_of_different_json_types_differ(old: Any, new: Any) -> None:
    assert render_fields(typed.compare(SPEC, {"size": old}, {"size": new}).changed) == {"f:size": {}}


def test_a_container_that_turns_into_something_else_loses_its_content() -> None:
    difference = typed.compare(SPEC, {"free": {"a": {"b": 1}, "c": [1]}}, {"free": {"a": "text", "c": {"d": 1}}})

    assert render_fields(difference.removed) == {"f:free": {"f:a": {"f:b": {}}}}
    assert render_fields(difference.changed) == {"f:free": {"f:a": {}, "f:c": {}}}
    assert render_fields(difference.added) == {"f:free": {"f:c": {"f:d": {}}}}


def test_order_of_keyed_items_is_no_difference() -> None:
    assert not typed.compare(SPEC, {"tags": ["a", "b"]}, {"tags": ["b", "a"]})


@given(SPECS)
def test_a_value_does_not_differ_from_itself(value: Any) -> None:
    assert not typed.compare(SPEC, value, value)
    assert not typed.compare(SPEC, value, _copy(value))


@given(SPECS, SPECS)
def test_a_difference_read_backwards_swaps_added_and_removed(old: Any, new: Any) -> None:
    there, back = typed.compare(SPEC, old, new), typed.compare(SPEC, new, old)

    assert (there.added, there.changed, there.removed) == (back.removed, back.changed, back.added)


@pytest.mark.parametrize(
    ("live", "applied", "expected"),
    [
        ("ABC", "CAB", "CAB"),
        ("CAB", "DC", "DCAB"),
        ("ABC", "", "ABC"),
        ("", "AB", "AB"),
        ("ABC", "D", "ABCD"),
        ("ABC", "AD", "ABCD"),
        ("ABC", "BA", "BCA"),
        ("ABCD", "DA", "BCDA"),
        ("ABC", "XAYC", "XABYC"),
    ],
)
def test_keyed_lists_interleave(live: str, applied: str, expected: str) -> None:
    merged = typed.merge(SPEC, {"parts": [{"name": n} for n in live]}, {"parts": [{"name": n} for n in applied]})

    assert "".join(part["name"] for part in merged["parts"]) == expected
    assert "".join(typed.merge(SPEC, {"tags": list(live)}, {"tags": list(applied)})["tags"]) == expected


@given(st.lists(NAMES, unique=True), st.lists(NAMES, unique=True))
def test_interleaving_keeps_every_item_once_and_the_order_of_the_applier(live: list[str], applied: list[str]) -> None:
    merged = typed.merge(SPEC, {"tags": live}, {"tags": applied})["tags"]

    assert sorted(merged) == sorted({*live, *applied})
    assert [name for name in merged if name in applied] == applied
    others = [name for name in live if name not in applied]
    assert [name for name in merged if name in others] == others


def test_granular_things_merge_and_atomic_ones_are_replaced() -> None:
    live = {"options": {"a": "1"}, "whole": {"a": "1"}, "steps": ["x"], "free": {"k": {"a": 1}, "l": [1]}}
    applied = {"options": {"b": "2"}, "whole": {"b": "2"}, "steps": ["y"], "free": {"k": {"b": 2}, "l": [2]}}

    assert typed.merge(SPEC, live, applied) == {
        "options": {"a": "1", "b": "2"},
        "whole": {"b": "2"},
        "steps": ["y"],
        "free": {"k": {"a": 1, "b": 2}, "l": [2]},
    }


def test_null_over_a_container_that_merges_takes_nothing_away() -> None:
    live = {"options": {"a": "1"}, "parts": [{"name": "a"}]}

    assert typed.merge(SPEC, live, {"options": None, "parts": None}) == live


@given(SPECS, SPECS)
def test_merging_again_changes_nothing_and_keeps_the_very_object(live: Any, applied: Any) -> None:
    before = _copy(live)
    merged = typed.merge(SPEC, live, applied)

    assert live == before
    assert typed.merge(SPEC, merged, _copy(applied)) is merged


@given(TYPED_SPECS, TYPED_SPECS)
def test_a_merge_only_adds_and_changes_what_is_applied(live: Any, applied: Any) -> None:
    merged = typed.merge(SPEC, live, applied)
    difference = typed.compare(SPEC, live, merged)

    assert not difference.removed
    owned = typed.fields_of(SPEC, applied)
    # A container that comes is a member of the difference, whether or not its applier owns more than its content.
    assert all(
        path in set(owned.paths())
        or any(other[: len(path)] == path for other in owned.paths())
        or _is_empty(path, applied)
        for path in (difference.added | difference.changed).paths()
    )


def _is_empty(path: tuple[str, ...], applied: Any) -> bool:
    value = applied
    schema = SPEC
    for element in path:
        schema, value = next((child, item) for name, child, item in typed.walk(schema, value) if name == element)
    return value in ([], {})


def test_what_is_dropped_and_owned_by_nobody_else_goes_with_all_below_it() -> None:
    value = {"parts": [{"name": "a", "image": "i", "size": 1}, {"name": "b"}], "color": "red", "tags": ["x", "y"]}
    dropped = typed.fields_of(SPEC, {"parts": [{"name": "a"}], "color": "red", "tags": ["x", "y"]})
    owned = make_set([("f:color",), ("f:tags", 'v:"x"'), ("f:parts", 'k:{"name":"b"}')])

    assert typed.prune(SPEC, value, dropped, owned)[0] == {"parts": [{"name": "b"}], "color": "red", "tags": ["x"]}


def test_a_struct_goes_with_its_last_owner_and_stays_for_another() -> None:
    value = {"nested": {"left": "1", "right": "2"}}
    dropped = make_set([("f:nested", "f:left")])

    assert typed.prune(SPEC, value, dropped, EMPTY)[0] == {}
    assert typed.prune(SPEC, value, dropped, make_set([("f:nested", "f:right")]))[0] == {"nested": {"right": "2"}}


def test_a_container_that_loses_its_last_content_goes_but_not_the_one_around_it() -> None:
    value = {"nested": {"map": {"k": "v"}}}
    dropped = make_set([("f:nested", "f:map", "f:k")])
    owned = make_set([("f:nested",), ("f:nested", "f:map")])

    assert typed.prune(SPEC, value, dropped, owned)[0] == {"nested": {}}


@given(SPECS)
def test_dropping_all_that_was_applied_leaves_at_most_empty_lists(value: Any) -> None:
    left, _ = typed.prune(SPEC, value, typed.fields_of(SPEC, value), EMPTY)

    assert all(item == [] for item in left.values())


@given(TYPED_SPECS, TYPED_SPECS)
def test_pruning_takes_nothing_that_another_owns(mine: Any, theirs: Any) -> None:
    merged = typed.merge(SPEC, theirs, mine)
    owned = typed.fields_of(SPEC, theirs)

    left, _ = typed.prune(SPEC, merged, typed.fields_of(SPEC, mine), owned)

    gone = typed.compare(SPEC, merged, left).removed & owned
    # What another owns as an empty container goes all the same when the last content leaves it.
    assert all(_is_empty(path, theirs) for path in gone.paths())


def test_items_of_a_keyed_list_are_found_by_all_their_keys() -> None:
    ports = SPEC.properties["ports"]

    assert typed.list_element(ports, {"port": 80}) == 'k:{"port":80,"protocol":"TCP"}'
    assert typed.list_element(ports, {"protocol": "UDP", "port": 53}) == 'k:{"port":53,"protocol":"UDP"}'
    assert typed.is_container(PART, {"name": "a"})
    assert not typed.is_container(PART, "a")


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value
