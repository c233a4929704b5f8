"""Server-side apply: who owns what, what goes, who is in the way. Each rule as its own short story."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.kube import managed
from eaves.kube.apply import LAST_APPLIED, apply_configuration, check_configuration
from eaves.kube.errors import ApiError
from eaves.kube.resource import Object
from eaves.kube.trees import copy_tree
from eaves.testing.gadget_kind import GADGET, make_gadget

T1, T2, T3 = "2026-03-01T10:00:00Z", "2026-03-01T10:00:05Z", "2026-03-01T10:00:09Z"


def applied(live: Object | None, spec: Object, manager: str = "a", now: str = T2, **options: Any) -> Object:
    return apply_configuration(GADGET, live, make_gadget(spec), manager, now, **options)


def posted(spec: Object, manager: str = "poster", **metadata: Any) -> Object:
    obj = make_gadget(spec, **metadata)
    managed.track_create(GADGET, obj, manager, T1)
    return obj


def patched(old: Object, spec: Object, manager: str = "patcher") -> Object:
    new = {**copy_tree(old), "spec": spec}
    managed.track_update(GADGET, new, old, manager, T2)
    return new


def owners(obj: Object) -> dict[str, Any]:
    return {
        f"{e['manager']}:{e['operation']}" + (f"/{e['subresource']}" if "subresource" in e else ""): e["fieldsV1"]
        for e in obj["metadata"].get("managedFields") or ()
    }


def conflicts(live: Object | None, spec: Object, manager: str = "a", **options: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        applied(live, spec, manager, **options)
    assert (caught.value.status_code, caught.value.reason) == (409, "Conflict")
    return caught.value


def names(error: ApiError) -> list[tuple[str, str]]:
    assert error.status_details is not None
    return [(cause["field"], cause["message"]) for cause in error.status_details["causes"]]


# --- Creating and owning -------------------------------------------------------------------------------------------------------


def test_an_apply_creates_what_is_missing_and_owns_what_it_says() -> None:
    obj = applied(None, {"color": "red", "options": {}, "parts": [{"name": "x", "image": "i"}], "tags": []})

    assert obj["spec"] == {"color": "red", "options": {}, "parts": [{"name": "x", "image": "i"}], "tags": []}
    assert owners(obj) == {
        "a:Apply": {
            "f:spec": {
                "f:color": {},
                "f:options": {},
                "f:parts": {'k:{"name":"x"}': {".": {}, "f:image": {}, "f:name": {}}},
            }
        }
    }
    assert obj["metadata"]["managedFields"][0]["time"] == T2


def test_nothing_that_is_given_is_changed() -> None:
    live = posted({"color": "red", "options": {"a": "1"}})
    before = copy_tree(live)
    configuration = make_gadget({"options": {"b": "2"}})
    given_before = copy_tree(configuration)

    apply_configuration(GADGET, live, configuration, "a", T2)

    assert live == before
    assert configuration == given_before


def test_defaults_that_are_added_after_an_apply_belong_to_nobody() -> None:
    obj = applied(None, {"ports": [{"port": 80}]})
    obj["spec"]["ports"][0]["protocol"] = "TCP"

    again = applied(obj, {"ports": [{"port": 80}]}, "b")

    assert again["spec"] == {"ports": [{"port": 80, "protocol": "TCP"}]}
    assert owners(again)["a:Apply"] == owners(again)["b:Apply"]


def test_a_status_on_the_main_path_is_neither_owned_nor_a_conflict() -> None:
    live = posted({"color": "red"})
    with_status = {**copy_tree(live), "status": {"phase": "Ready"}}
    managed.track_update(GADGET, with_status, live, "controller", T2, "status")

    configuration = make_gadget({"size": 1}, status={"phase": "Broken"})
    obj = apply_configuration(GADGET, with_status, configuration, "a", T3)

    assert owners(obj)["a:Apply"] == {"f:spec": {"f:size": {}}}
    assert owners(obj)["controller:Update/status"] == {"f:status": {".": {}, "f:phase": {}}}


def test_an_apply_of_the_status_owns_status_only() -> None:
    live = posted({"color": "red"})
    configuration = make_gadget({"color": "blue"}, status={"phase": "Ready"}, labels={"l": "1"})

    obj = apply_configuration(GADGET, live, configuration, "a", T2, subresource="status")

    assert owners(obj)["a:Apply/status"] == {"f:status": {"f:phase": {}}}
    assert owners(obj)["poster:Update"] == owners(live)["poster:Update"]


def test_metadata_that_the_server_writes_is_taken_from_the_live_object() -> None:
    live = posted({"color": "red"}, resourceVersion="7", creationTimestamp=T1)
    configuration = make_gadget({"color": "red"}, resourceVersion="3", creationTimestamp=None, generation=9)

    obj = apply_configuration(GADGET, live, configuration, "a", T2)

    assert (obj["metadata"]["resourceVersion"], obj["metadata"]["creationTimestamp"]) == ("7", T1)


# --- Conflicts -----------------------------------------------------------------------------------------------------------------


def test_another_value_for_a_field_of_another_applier_is_a_conflict() -> None:
    live = applied(None, {"color": "red", "size": 1}, "b")

    error = conflicts(live, {"color": "blue"})

    assert error.message == 'Apply failed with 1 conflict: conflict with "b": .spec.color'
    assert names(error) == [(".spec.color", 'conflict with "b"')]


def test_the_text_groups_fields_by_manager_and_tells_how_updaters_wrote() -> None:
    live = patched(applied(None, {"color": "red", "options": {"x": "1"}}, "b"), {"color": "red", "options": {"x": "2"}})

    error = conflicts(live, {"color": "blue", "options": {"x": "3"}})

    assert error.message == (
        'Apply failed with 2 conflicts: conflicts with "b":\n- .spec.color\n'
        'conflicts with "patcher" using test.eaves.dev/v1:\n- .spec.options.x'
    )
    assert names(error) == [
        (".spec.color", 'conflict with "b"'),
        (".spec.options.x", 'conflict with "patcher" using test.eaves.dev/v1'),
    ]


def test_the_same_value_is_shared() -> None:
    live = applied(None, {"color": "red"}, "b", T1)

    obj = applied(live, {"color": "red"})

    assert owners(obj) == {"a:Apply": {"f:spec": {"f:color": {}}}, "b:Apply": {"f:spec": {"f:color": {}}}}


def test_sharing_a_value_changes_no_object_and_has_no_time() -> None:
    obj = applied(applied(None, {"color": "red"}, "b", T1), {"color": "red"})

    assert [entry.get("time") for entry in obj["metadata"]["managedFields"]] == [None, T1]


def test_force_takes_the_field_over() -> None:
    live = applied(None, {"color": "red", "size": 1}, "b")

    obj = applied(live, {"color": "blue"}, force=True)

    assert obj["spec"] == {"color": "blue", "size": 1}
    assert owners(obj) == {"a:Apply": {"f:spec": {"f:color": {}}}, "b:Apply": {"f:spec": {"f:size": {}}}}


def test_one_name_with_update_and_apply_is_two_managers() -> None:
    error = conflicts(posted({"color": "red"}, "a"), {"color": "blue"}, "a")

    assert names(error) == [(".spec.color", 'conflict with "a" using test.eaves.dev/v1')]


def test_a_field_that_nobody_owns_may_be_taken() -> None:
    live = posted({"color": "red"})
    live["spec"]["size"] = 1

    assert applied(live, {"size": 2})["spec"] == {"color": "red", "size": 2}


def test_atomic_lists_conflict_as_a_whole_and_keyed_ones_by_item() -> None:
    live = applied(None, {"steps": ["x"], "parts": [{"name": "p", "image": "1"}], "tags": ["t"]}, "b")

    error = conflicts(live, {"steps": ["y"], "parts": [{"name": "p", "image": "2"}, {"name": "q"}], "tags": ["u"]})

    assert [field for field, _ in names(error)] == [".spec.steps", '.spec.parts[name="p"].image']
    assert applied(live, {"parts": [{"name": "q"}], "tags": ["u"]})["spec"] == {
        "steps": ["x"],
        "parts": [{"name": "p", "image": "1"}, {"name": "q"}],
        "tags": ["t", "u"],
    }


def test_an_object_that_nobody_tracked_belonged_to_before_first_apply() -> None:
    live = make_gadget({"color": "red", "size": 1})

    assert names(conflicts(live, {"color": "blue"})) == [
        (".spec.color", 'conflict with "before-first-apply" using test.eaves.dev/v1')
    ]
    assert set(owners(applied(live, {"color": "red"}))) == {"a:Apply", "before-first-apply:Update"}


# --- Dropping ------------------------------------------------------------------------------------------------------------------


def test_a_field_that_its_only_owner_drops_goes() -> None:
    live = applied(posted({"color": "red"}), {"size": 1, "options": {"x": "1"}, "parts": [{"name": "p", "image": "i"}]})

    obj = applied(live, {"size": 1})

    assert obj["spec"] == {"color": "red", "size": 1}
    assert owners(obj)["a:Apply"] == {"f:spec": {"f:size": {}}}


def test_a_field_that_another_owns_too_stays_and_becomes_the_other_ones() -> None:
    live = applied(applied(None, {"color": "red"}, "b"), {"color": "red", "size": 1})

    obj = applied(live, {"size": 1})

    assert obj["spec"] == {"color": "red", "size": 1}
    assert owners(obj)["b:Apply"] == {"f:spec": {"f:color": {}}}


def test_an_item_stays_for_another_owner_without_the_fields_of_the_first() -> None:
    live = applied(None, {"parts": [{"name": "p", "image": "i"}]}, "b")
    live = applied(live, {"parts": [{"name": "p", "size": 1}]})

    assert applied(live, {"parts": []})["spec"] == {"parts": [{"name": "p", "image": "i"}]}


def test_an_updater_that_changed_a_field_keeps_it_when_the_applier_goes() -> None:
    live = patched(applied(None, {"color": "red", "size": 1}), {"color": "blue", "size": 1})

    obj = applied(live, {"size": 1})

    assert obj["spec"] == {"color": "blue", "size": 1}
    assert owners(obj) == {"a:Apply": {"f:spec": {"f:size": {}}}, "patcher:Update": {"f:spec": {"f:color": {}}}}


def test_an_applier_that_drops_everything_is_no_manager_any_more() -> None:
    live = applied(posted({"color": "red"}), {"size": 1})

    obj = apply_configuration(GADGET, live, make_gadget(), "a", T3)

    assert obj["spec"] == {"color": "red"}
    assert set(owners(obj)) == {"poster:Update"}


# --- Again and again -----------------------------------------------------------------------------------------------------------


def test_the_same_apply_again_changes_nothing_not_even_a_time() -> None:
    live = applied(posted({"color": "red"}), {"size": 1, "parts": [{"name": "p"}]}, now=T2)

    assert applied(live, {"size": 1, "parts": [{"name": "p"}]}, now=T3) == live


def _name_of(part: Any) -> str:
    return str(part["name"])


PARTS: st.SearchStrategy[Object] = st.fixed_dictionaries(
    {"name": st.sampled_from("pqr")}, optional={"image": st.sampled_from("12")}
)
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "color": st.sampled_from(["red", "blue"]),
        "options": st.dictionaries(st.sampled_from("ab"), st.sampled_from("12"), min_size=1),
        "parts": st.lists(
            PARTS,
            unique_by=_name_of,
            min_size=1,
        ),
        "tags": st.lists(st.sampled_from("tuv"), unique=True, min_size=1),
        "whole": st.dictionaries(st.sampled_from("ab"), st.sampled_from("12"), min_size=1),
    },
)


@given(SPECS, SPECS)
def test_applying_again_is_no_change(base: Object, mine: Object) -> None:
    live = applied(posted(base), mine, force=True)

    assert applied(live, copy_tree(mine), now=T3) == live


@given(SPECS, SPECS)
def test_applying_and_dropping_what_nobody_had_restores(base: Object, mine: Object) -> None:
    extra = {key: value for key, value in mine.items() if key not in base}
    live = applied(posted(base), {**extra}, force=True)

    obj = apply_configuration(GADGET, live, make_gadget(), "a", T3)

    assert (obj.get("spec") or {}) == base
    assert set(owners(obj)) <= {"poster:Update"}


@given(SPECS, SPECS)
def test_a_conflict_is_where_another_applier_has_another_value(theirs: Object, mine: Object) -> None:
    live = applied(None, theirs, "b")
    expected = {f".spec.{path}" for path, value in _leaves(mine) if dict(_leaves(theirs)).get(path, value) != value}
    try:
        applied(live, mine)
        found = set()
    except ApiError as error:
        found = {field for field, _ in names(error)}

    assert found == expected


def _leaves(spec: Object) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in spec.items():
        if key == "options":
            found.extend((f"options.{name}", item) for name, item in value.items())
        elif key == "parts":
            found.extend((f'parts[name="{part["name"]}"].image', part["image"]) for part in value if "image" in part)
        elif key != "tags":
            found.append((key, value))
    return found


# --- kubectl -------------------------------------------------------------------------------------------------------------------


def client_side(spec: Object) -> Object:
    """As ``kubectl apply`` without ``--server-side`` leaves it."""
    text = msgspec.json.encode(make_gadget(spec)).decode()
    return posted(copy_tree(spec), "kubectl-client-side-apply", annotations={LAST_APPLIED: text})


def test_kubectl_takes_over_what_it_applied_from_the_client_side() -> None:
    live = client_side({"color": "red", "size": 1})

    obj = applied(live, {"color": "blue", "size": 1}, "kubectl")

    assert obj["spec"] == {"color": "blue", "size": 1}
    assert "f:color" not in owners(obj)["kubectl-client-side-apply:Update"]["f:spec"]


def test_kubectl_conflicts_for_what_changed_since_and_for_what_others_own() -> None:
    live = patched(client_side({"color": "red", "size": 1}), {"color": "green", "size": 1, "steps": ["s"]})

    error = conflicts(live, {"color": "blue", "size": 2, "steps": ["t"]}, "kubectl")

    assert [field for field, _ in names(error)] == [".spec.color", ".spec.steps"]


def test_other_managers_do_not_take_over_what_kubectl_applied() -> None:
    conflicts(client_side({"color": "red"}), {"color": "blue"}, "flux")


def test_the_annotation_of_client_side_apply_is_kept_true_where_there_is_one() -> None:
    obj = applied(client_side({"color": "red"}), {"color": "blue"}, "kubectl")

    text = obj["metadata"]["annotations"][LAST_APPLIED]
    assert text == (
        '{"apiVersion":"test.eaves.dev/v1","kind":"Gadget","metadata":{"name":"g","namespace":"default"},"spec":{"color":"blue"}}\n'
    )
    assert LAST_APPLIED not in (applied(posted({}), {"color": "red"}, "kubectl")["metadata"].get("annotations") or {})


def test_an_annotation_that_would_be_too_large_is_dropped() -> None:
    obj = applied(client_side({"color": "red"}), {"options": {"big": "x" * 300_000}}, "kubectl")

    assert obj["metadata"]["annotations"] == {}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"apiVersion":"other/v1","spec":{"color":"red"}}'])
def test_an_annotation_that_says_nothing_of_this_kind_allows_nothing(text: str) -> None:
    live = posted({"color": "red"}, annotations={LAST_APPLIED: text})

    conflicts(live, {"color": "blue"}, "kubectl")


# --- What an apply must not be -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "configuration",
    [
        make_gadget({}, managedFields=[]),
        make_gadget({}, managedFields=[{"manager": "x"}]),
        {**make_gadget({}), "apiVersion": "test.eaves.dev/v2"},
        {**make_gadget({}), "kind": "Widget"},
        {"metadata": {}},
    ],
)
def test_a_configuration_of_another_kind_or_with_managers_is_refused(configuration: Object) -> None:
    with pytest.raises(ApiError) as caught:
        check_configuration(GADGET, configuration)

    assert caught.value.status_code == 400
