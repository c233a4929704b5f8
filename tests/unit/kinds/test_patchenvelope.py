"""What a PatchEnvelope may ask for."""

from __future__ import annotations

from typing import Any

import pytest

from eaves.kinds.patchenvelope import RESOURCE, decode
from eaves.kube.schema import validate_schema
from eaves.testing.objects import make_patch


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, []),
        ({"apps": ["A_b"]}, [("spec.apps[0]", "INVALID")]),
        ({"files": [{"name": "a"}]}, [("spec.files[0]", "REQUIRED")]),
        (
            {"files": [{"name": "a", "content": "x", "secretKeyRef": {"name": "s", "key": "k"}}]},
            [("spec.files[0]", "FORBIDDEN")],
        ),
        ({"files": [{"name": "a", "volumeName": "model"}]}, []),
        ({"files": [{"name": "a", "volumeName": "a/b"}]}, [("spec.files[0].volumeName", "INVALID")]),
        ({"files": [{"name": "a", "volumeName": "model", "content": ""}]}, [("spec.files[0]", "FORBIDDEN")]),
        ({"files": [{"name": "a", "content": "x" * 10_241}]}, [("spec.files[0].content", "TOO_LONG")]),
    ],
)
def test_what_may_be_asked_for(spec: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    new = make_patch(**spec)
    assert list(validate_schema(RESOURCE.schema, new)) == []
    assert [(fault.path, fault.type.name) for fault in RESOURCE.validate(new, None)] == expected
    decode(new)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "ä"])
def test_names_that_are_no_names_of_files_are_refused(name: str) -> None:
    assert list(validate_schema(RESOURCE.schema, make_patch(files=[{"name": name, "content": ""}])))


@pytest.mark.parametrize(
    ("spec", "warned"),
    [
        ({}, []),
        ({"files": []}, ["spec.files"]),
        ({"apps": []}, ["spec.apps"]),
        ({"files": [], "apps": []}, ["spec.files", "spec.apps"]),
        ({"files": [{"name": "marker", "content": ""}]}, []),
    ],
)
def test_an_envelope_that_brings_nobody_anything_is_warned_of(spec: dict[str, Any], warned: list[str]) -> None:
    new = make_patch(**spec)
    assert list(RESOURCE.validate(new, None)) == []
    assert [warning.partition(":")[0] for warning in RESOURCE.warn(new)] == warned


def test_an_envelope_without_a_spec_is_warned_of() -> None:
    new = make_patch()
    del new["spec"]
    assert [warning.partition(":")[0] for warning in RESOURCE.warn(new)] == ["spec.files", "spec.apps"]
