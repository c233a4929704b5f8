"""Versions of K3s and which may follow which."""

from __future__ import annotations

import pytest

from eaves.kinds.k3s_version import K3sVersion, check_k3s_version, explain_skew, find_span, parse_k3s_version


def version(text: str) -> K3sVersion:
    parsed = parse_k3s_version(text)
    assert parsed is not None
    return parsed


@pytest.mark.parametrize("text", ["v1.34.2+k3s1", "v1.28.0+k3s12", "v2.0.0+k3s1"])
def test_versions_are_read_and_written_alike(text: str) -> None:
    assert str(version(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1.34.2+k3s1",
        "v1.34.2",
        "v1.34+k3s1",
        "v1.34.2+k3s0",
        "v1.34.2+rke2r1",
        "v1.34.2-k3s1",
        "v01.3.2+k3s1",
        "v1.34.2+k3s1 ",
    ],
)
def test_another_form_is_no_version(text: str) -> None:
    assert parse_k3s_version(text) is None
    (fault,) = check_k3s_version("spec.version", text)
    assert "v1.34.2+k3s1" in fault.detail


def test_a_later_packaging_patch_or_minor_is_greater() -> None:
    texts = ["v1.9.0+k3s1", "v1.34.2+k3s1", "v1.34.2+k3s2", "v1.34.10+k3s1", "v1.35.0+k3s1"]
    assert sorted(map(version, reversed(texts))) == [version(text) for text in texts]


@pytest.mark.parametrize(
    ("lowest", "highest", "wanted", "words"),
    [
        ("v1.34.2+k3s1", "v1.34.2+k3s1", "v1.34.2+k3s1", ""),
        ("v1.34.2+k3s1", "v1.34.2+k3s1", "v1.34.9+k3s1", ""),
        ("v1.34.2+k3s1", "v1.34.2+k3s1", "v1.35.0+k3s1", ""),
        ("v1.34.2+k3s1", "v1.35.0+k3s1", "v1.35.0+k3s1", ""),
        ("v1.34.2+k3s1", "v1.34.2+k3s1", "v1.36.0+k3s1", "v1.35 first"),
        ("v1.34.2+k3s1", "v1.35.0+k3s1", "v1.36.0+k3s1", "v1.35 first"),
        ("v1.34.2+k3s1", "v1.34.2+k3s1", "v1.34.1+k3s1", "cannot go back"),
        ("v1.34.2+k3s1", "v1.35.0+k3s1", "v1.34.9+k3s1", "cannot go back"),
        ("v1.34.2+k3s1", "v1.34.2+k3s1", "v2.0.0+k3s1", "v1.35 first"),
    ],
)
def test_no_minor_is_left_out_and_nothing_goes_back(lowest: str, highest: str, wanted: str, words: str) -> None:
    text = explain_skew(version(lowest), version(highest), version(wanted))
    assert (words in text) if words else text == ""


@pytest.mark.parametrize(
    ("members", "span"),
    [
        ([], None),
        ([("", "")], None),
        ([("v1.34.2+k3s1", "v1.35.0+k3s1")], ("v1.34.2+k3s1", "v1.34.2+k3s1")),
        ([("", "v1.34.2+k3s1")], ("v1.34.2+k3s1", "v1.34.2+k3s1")),
        ([("v1.34.2+k3s1", ""), ("", "v1.33.9+k3s1")], ("v1.33.9+k3s1", "v1.34.2+k3s1")),
        ([("v1.34.2+k3s1", ""), ("", "v1.35.0+k3s1")], ("v1.34.2+k3s1", "v1.34.2+k3s1")),
        ([("v1.34.2+k3s1", ""), ("v1.35.0+k3s1", "")], ("v1.34.2+k3s1", "v1.35.0+k3s1")),
    ],
)
def test_the_span_of_a_cluster(members: list[tuple[str, str]], span: tuple[str, str] | None) -> None:
    assert find_span(members) == (None if span is None else (version(span[0]), version(span[1])))
