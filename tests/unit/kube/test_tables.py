"""Tables, partial metadata and ages as kubectl prints them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.kinds.registry import BY_KIND, RESOURCES
from eaves.kube import tables
from eaves.kube.resource import Object, Resource

NOW = 1_767_225_600.0
"""2026-01-01T00:00:00Z."""
APP = BY_KIND["App"]
WEB: Object = {
    "apiVersion": "eaves.dev/v1alpha1",
    "kind": "App",
    "metadata": {"name": "web", "namespace": "default", "creationTimestamp": "2025-12-31T23:58:00Z"},
    "spec": {"image": "a"},
}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (1.9, "1s"),
        (-1, "0s"),
        (-0.5, "0s"),
        (-2, "<invalid>"),
        (119, "119s"),
        (120, "2m"),
        (121, "2m1s"),
        (599, "9m59s"),
        (600, "10m"),
        (601, "10m"),
        (179 * 60 + 59, "179m"),
        (180 * 60, "3h"),
        (181 * 60, "3h1m"),
        (8 * 3600 - 60, "7h59m"),
        (8 * 3600, "8h"),
        (48 * 3600 - 1, "47h"),
        (48 * 3600, "2d"),
        (49 * 3600, "2d1h"),
        (191 * 3600, "7d23h"),
        (192 * 3600, "8d"),
        (729 * 86400, "729d"),
        (730 * 86400, "2y"),
        (731 * 86400, "2y1d"),
        (2919 * 86400, "7y364d"),
        (2920 * 86400, "8y"),
        (4000 * 86400, "10y"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert tables.render_duration(seconds) == text


@given(st.integers(0, 10**10))
def test_durations_are_short(seconds: int) -> None:
    assert len(tables.render_duration(seconds)) <= 7


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2026-01-01T00:00:00Z", NOW),
        ("2026-01-01T01:00:00+01:00", NOW),
        ("2026-01-01T00:00:00.5Z", NOW + 0.5),
        ("2026-01-01T00:00:00", NOW),
        ("x", None),
        ("", None),
        (None, None),
        (5, None),
    ],
)
def test_times_are_read_or_none(value: object, seconds: float | None) -> None:
    assert tables.parse_time(value) == seconds


def test_row_has_a_cell_a_column() -> None:
    table = tables.render_table(APP, [WEB], NOW, {"resourceVersion": "7"})
    names = [column["name"] for column in table["columnDefinitions"]]
    assert names[0] == "Name"
    cells = dict(zip(names, table["rows"][0]["cells"], strict=True))
    assert (cells["Name"], cells["Age"]) == ("web", "2m")
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    assert table["metadata"] == {"resourceVersion": "7"}


@pytest.mark.parametrize(
    ("include", "kind"),
    [("None", None), ("Metadata", "PartialObjectMetadata"), ("", "PartialObjectMetadata"), ("Object", "App")],
)
def test_row_has_as_much_of_its_object_as_asked(include: str, kind: str | None) -> None:
    row = tables.render_row(APP, WEB, NOW, include)
    assert (row["object"] or {}).get("kind") == kind


def test_columns_can_be_left_out() -> None:
    assert tables.render_table(APP, [WEB], NOW, {}, columns=False)["columnDefinitions"] is None


def test_age_of_an_object_without_a_time_is_unknown() -> None:
    assert tables.age_column().value({"metadata": {}}, NOW) == "<unknown>"


def test_partial_objects_have_metadata_alone() -> None:
    assert tables.render_partial(WEB) == {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": WEB["metadata"],
    }
    listed = tables.render_partial_list([WEB], {"resourceVersion": "7"})
    assert (listed["kind"], len(listed["items"])) == ("PartialObjectMetadataList", 1)


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: str(resource.kind))
def test_every_kind_prints_an_object_that_has_only_a_name(resource: Resource) -> None:
    table = tables.render_table(resource, [{"metadata": {"name": "x"}}], NOW, {})
    (row,) = table["rows"]
    assert len(row["cells"]) == len(table["columnDefinitions"])
    assert all(isinstance(cell, str | int) for cell in row["cells"])
