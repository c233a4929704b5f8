"""What an AppSnapshot may ask for, and how it is shown."""

from __future__ import annotations

from typing import Any

import pytest

from eaves.kinds.appsnapshot import RESOURCE, decode
from eaves.kinds.deletion import deletion_fault
from eaves.kube.schema import validate_schema
from eaves.testing.objects import make_snapshot


def faults(new: dict[str, Any], old: dict[str, Any] | None = None) -> list[tuple[str, str]]:
    assert list(validate_schema(RESOURCE.schema, new)) == []
    return [(fault.path, fault.type.name) for fault in RESOURCE.validate(new, old)]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"trigger": "AppUpdate"}, []),
        ({"type": "DiskAndMemory"}, []),
        ({"type": "DiskAndMemory", "trigger": "AppUpdate"}, [("spec.type", "INVALID")]),
        ({"appName": "A_b"}, [("spec.appName", "INVALID")]),
    ],
)
def test_what_may_be_asked_for(spec: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert faults(make_snapshot(**spec)) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"retain": True}, []),
        ({"appName": "other"}, [("spec.appName", "INVALID")]),
        ({"type": "DiskAndMemory"}, [("spec.type", "INVALID")]),
        ({"trigger": "AppUpdate"}, [("spec.trigger", "INVALID")]),
    ],
)
def test_what_is_taken_does_not_change(change: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    old = make_snapshot(type="Disk", trigger="Immediate")
    assert faults(make_snapshot(**{"type": "Disk", "trigger": "Immediate", **change}), old) == expected


def test_a_retained_one_cannot_be_deleted() -> None:
    assert deletion_fault(RESOURCE, make_snapshot()) == ""
    assert "retain" in deletion_fault(RESOURCE, make_snapshot(retain=True))


def test_columns() -> None:
    status = {"phase": "Ready", "size": "4096", "takenAt": "2026-11-24T18:00:00Z"}
    row = {column.name: column.value(make_snapshot(status=status), 1795543200.0 + 60) for column in RESOURCE.columns}
    assert (row["App"], row["Phase"], row["Size"], row["Taken"]) == ("plc", "Ready", "4096", "60s")
    pending = {column.name: column.value(make_snapshot(), 0.0) for column in RESOURCE.columns}
    assert (pending["Phase"], pending["Taken"]) == ("", "")


def test_the_typed_view() -> None:
    assert decode(make_snapshot(retain=True)).spec.retain
