"""managedFields after creates and updates."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from eaves.kube import managed
from eaves.kube.fieldset import make_set, parse_fields
from eaves.kube.managed import APPLY, UPDATE, Manager
from eaves.kube.resource import Object
from eaves.kube.trees import copy_tree
from eaves.testing.gadget_kind import GADGET, make_gadget

T1, T2 = "2026-03-01T10:00:00Z", "2026-03-01T10:00:05Z"


def entries(obj: Object) -> dict[str, Any]:
    """``name`` or ``name/subresource`` to fieldsV1."""
    found = {}
    for entry in obj["metadata"].get("managedFields") or ():
        name = "/".join(filter(None, (entry["manager"], entry.get("subresource", ""))))
        found[name] = entry["fieldsV1"]
    return found


def created(spec: Object, manager: str = "maker", **metadata: Any) -> Object:
    obj = make_gadget(spec, **metadata)
    managed.track_create(GADGET, obj, manager, T1)
    return obj


def updated(old: Object, spec: Object, manager: str = "changer", now: str = T2, **metadata: Any) -> Object:
    new: Object = copy_tree(old)
    new["spec"] = spec
    new["metadata"] |= metadata
    managed.track_update(GADGET, new, old, manager, now)
    return new


def test_a_creator_owns_all_with_a_dot_for_each_map() -> None:
    obj = created({"options": {"a": "1"}, "steps": ["x"]}, labels={"l": "1"}, finalizers=["x/y"])

    assert obj["metadata"]["managedFields"] == [
        {
            "manager": "maker",
            "operation": "Update",
            "apiVersion": "test.eaves.dev/v1",
            "time": T1,
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {
                    "f:finalizers": {".": {}, 'v:"x/y"': {}},
                    "f:labels": {".": {}, "f:l": {}},
                },
                "f:spec": {".": {}, "f:options": {".": {}, "f:a": {}}, "f:steps": {}},
            },
        }
    ]


def test_identity_is_owned_by_nobody_but_a_generated_name_is() -> None:
    obj = created({"color": "red"}, generateName="g-", uid="u", creationTimestamp=T1, generation=1)

    assert entries(obj) == {"maker": {"f:metadata": {"f:generateName": {}}, "f:spec": {".": {}, "f:color": {}}}}


def test_a_creator_does_not_own_a_status_that_it_cannot_write() -> None:
    obj = make_gadget({"color": "red"}, status={"phase": "New"})
    managed.track_create(GADGET, obj, "maker", T1)

    assert "f:status" not in entries(obj)["maker"]


def test_an_updater_takes_what_it_changes_and_everyone_loses_what_is_gone() -> None:
    old = created({"color": "red", "size": 1, "options": {"a": "1", "b": "2"}})

    new = updated(old, {"color": "blue", "size": 1, "options": {"a": "1"}})

    assert entries(new) == {
        "maker": {"f:spec": {".": {}, "f:options": {".": {}, "f:a": {}}, "f:size": {}}},
        "changer": {"f:spec": {"f:color": {}}},
    }


def test_one_manager_keeps_one_entry_with_the_time_of_its_last_change() -> None:
    new = updated(created({"color": "red"}), {"color": "blue", "size": 1}, "maker")

    assert entries(new) == {"maker": {"f:spec": {".": {}, "f:color": {}, "f:size": {}}}}
    assert new["metadata"]["managedFields"][0]["time"] == T2


def test_an_update_that_changes_nothing_leaves_entries_and_times() -> None:
    old = created({"color": "red"})

    assert updated(old, {"color": "red"}, "maker")["metadata"] == old["metadata"]
    assert updated(old, {"color": "red"}, "other")["metadata"] == old["metadata"]


def test_a_manager_that_only_removes_is_not_recorded() -> None:
    new = updated(created({"color": "red", "size": 1}), {"color": "red"}, "remover")

    assert entries(new) == {"maker": {"f:spec": {".": {}, "f:color": {}}}}


def test_a_manager_without_fields_vanishes() -> None:
    new = updated(created({"color": "red"}), {"color": "blue"})
    new = updated(new, {"color": "green"}, "third")

    assert set(entries(new)) == {"maker", "third"}


def test_a_status_write_owns_status_only_under_its_subresource() -> None:
    old = created({"color": "red"})
    new = copy_tree(old)
    new["status"] = {"phase": "Ready"}
    new["metadata"]["labels"] = {"not": "stored"}
    managed.track_update(GADGET, new, old, "maker", T2, "status")

    assert entries(new)["maker/status"] == {"f:status": {".": {}, "f:phase": {}}}
    assert entries(new)["maker"] == entries(old)["maker"]


def test_an_empty_manager_ends_tracking_until_the_next_apply() -> None:
    new = updated(created({"color": "red"}), {"color": "blue"}, managedFields=[{}])
    assert "managedFields" not in new["metadata"]

    assert "managedFields" not in updated(new, {"color": "green"})["metadata"]
    assert "managedFields" not in created({"color": "red"}, managedFields=[{}])["metadata"]


def test_a_request_without_managed_fields_keeps_those_that_are_there() -> None:
    old = created({"color": "red", "size": 1})
    new = make_gadget({"color": "red", "size": 2})
    managed.track_update(GADGET, new, old, "changer", T2)

    assert set(entries(new)) == {"maker", "changer"}


def test_a_request_may_rewrite_entries_as_an_upgrade_from_client_side_apply_does() -> None:
    old = created({"color": "red"}, "kubectl-client-side-apply")
    mine = copy_tree(old["metadata"]["managedFields"])
    mine[0] |= {"manager": "kubectl", "operation": "Apply"}

    new = updated(old, {"color": "red"}, managedFields=mine)

    assert [(e["manager"], e["operation"]) for e in new["metadata"]["managedFields"]] == [("kubectl", "Apply")]


def test_entries_that_a_create_brings_lose_what_the_creator_makes() -> None:
    brought = created({"color": "red"})["metadata"]["managedFields"]
    brought[0]["manager"] = "someone"

    assert set(entries(created({"color": "red"}, managedFields=brought))) == {"maker"}


@pytest.mark.parametrize(
    "entry", [{"manager": "x"}, {"manager": "x", "operation": "Eat", "apiVersion": "v1"}, {"operation": "Apply"}]
)
def test_what_is_no_entry_is_dropped(entry: Object) -> None:
    assert managed.parse_managers(make_gadget(managedFields=[entry])) == []


def test_entries_are_sorted_by_operation_time_manager_version_and_subresource() -> None:
    fields = make_set([("f:spec",)])

    def entry(name: str, operation: str = UPDATE, version: str = "v1", sub: str = "", time: str = T1) -> Manager:
        return Manager(name, operation, version, sub, fields, time)

    ordered = [
        entry("z", APPLY, time=T1),
        entry("a", APPLY, time=T2),
        entry("a"),
        entry("a", sub="status"),
        entry("a", version="v2"),
        entry("b"),
        entry("a", time=T2),
    ]

    rendered = managed.render_managers(reversed(ordered))

    assert rendered == managed.render_managers(ordered)
    assert [(e["manager"], e["operation"], e["apiVersion"], e.get("subresource", ""), e["time"]) for e in rendered] == [
        (m.name, m.operation, m.api_version, m.subresource, m.time) for m in ordered
    ]


def test_an_applier_stays_the_same_in_another_version_and_an_updater_does_not() -> None:
    fields = make_set([("f:spec",)])

    assert Manager("a", APPLY, "v1", "", fields).identity == Manager("a", APPLY, "v2", "", fields).identity
    assert Manager("a", UPDATE, "v1", "", fields).identity != Manager("a", UPDATE, "v2", "", fields).identity
    assert Manager("a", APPLY, "v1", "", fields).identity != Manager("a", APPLY, "v1", "status", fields).identity


def test_the_oldest_updaters_beyond_ten_are_folded_into_one() -> None:
    obj = created({"free": {"f0": 0}}, "m0")
    free = {"f0": 0}
    for number in range(1, 14):
        free = {**free, f"f{number}": number}
        obj = updated(obj, {"free": free}, f"m{number}", f"2026-03-01T10:00:{number:02}Z")

    names = [entry["manager"] for entry in obj["metadata"]["managedFields"]]

    assert names == ["ancient-changes", *(f"m{number}" for number in range(5, 14))]
    assert obj["metadata"]["managedFields"][0]["time"] == "2026-03-01T10:00:04Z"
    owned = parse_fields(entries(obj)["ancient-changes"])
    assert all(("f:spec", "f:free", f"f:f{number}") in set(owned.paths()) for number in range(5))


def test_a_write_that_only_moves_tracking_is_none() -> None:
    one = created({"color": "red"}, resourceVersion="1")
    other = {**one, "metadata": {**one["metadata"], "resourceVersion": "2", "managedFields": []}}

    assert managed.same_but_tracking(one, other)
    assert not managed.same_but_tracking(one, {**one, "spec": {}})
    assert not managed.same_but_tracking(one, {**one, "metadata": {**one["metadata"], "labels": {"a": "b"}}})


OLD_GADGET = structs.replace(GADGET, other_forms={"newer.eaves.dev/v2": {"wish": "spec"}})
"""A kind that another group serves too, where its spec is called a wish."""


def test_an_entry_of_another_form_loses_what_is_changed_in_this_one_and_keeps_its_names() -> None:
    entry = {
        "manager": "maker",
        "operation": "Update",
        "apiVersion": "newer.eaves.dev/v2",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:wish": {"f:color": {}, "f:size": {}}},
    }
    old = make_gadget({"color": "red", "size": 1}, managedFields=[entry])
    new: Object = copy_tree(old)
    new["spec"]["color"] = "blue"
    managed.track_update(OLD_GADGET, new, old, "changer", T2)
    assert entries(new) == {"maker": {"f:wish": {"f:size": {}}}, "changer": {"f:spec": {"f:color": {}}}}
    versions = {each["manager"]: each["apiVersion"] for each in new["metadata"]["managedFields"]}
    assert versions == {"maker": "newer.eaves.dev/v2", "changer": "test.eaves.dev/v1"}
