"""Names, labels and annotations are checked as a kube-apiserver checks them, with its texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.kube import names

QUALIFIED = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character "
    "(e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end "
    "with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


@pytest.mark.parametrize("name", ["a", "web", "web-1", "1", "a.b-c.d", "x" * 253])
def test_subdomains_are_names(name: str) -> None:
    assert names.check_subdomain(name) == []


@pytest.mark.parametrize("name", ["", "A", "-a", "a-", "a.", ".a", "a..b", "a_b", "a b", "é", "a\n", "..", "a.-b"])
def test_others_are_no_names(name: str) -> None:
    assert names.check_subdomain(name) == [SUBDOMAIN]


def test_long_name_is_told_by_its_length() -> None:
    assert names.check_subdomain("x" * 254) == ["must be no more than 253 characters"]
    assert names.check_label_name("x" * 64) == ["must be no more than 63 characters"]


@pytest.mark.parametrize(
    ("name", "is_label"), [("a-b", True), ("1a", True), ("a.b", False), ("a-", False), ("", False)]
)
def test_labels_have_no_dots(name: str, is_label: bool) -> None:
    assert (names.check_label_name(name) == []) is is_label


@pytest.mark.parametrize(
    ("prefix", "is_good"), [("a-", True), ("a", True), ("a--", True), ("A-", False), ("-", False), ("a.", False)]
)
def test_prefix_of_a_generated_name_may_end_with_a_dash(prefix: str, is_good: bool) -> None:
    assert (names.check_name_prefix(prefix) == []) is is_good


@pytest.mark.parametrize("key", ["a", "A", "a.b_c-d", "example.com/A", "1", "a.b/c"])
def test_qualified_names(key: str) -> None:
    assert names.check_qualified_name(key) == []


@pytest.mark.parametrize(
    ("key", "faults"),
    [
        ("", ["name part must be non-empty", QUALIFIED]),
        ("a/", ["name part must be non-empty", QUALIFIED]),
        ("/a", ["prefix part must be non-empty"]),
        ("A/b", [f"prefix part {SUBDOMAIN}"]),
        ("-a", [QUALIFIED]),
        ("a b", [QUALIFIED]),
        ("x" * 64, ["name part must be no more than 63 bytes"]),
        ("x" * 254 + "/a", ["prefix part must be no more than 253 bytes"]),
    ],
)
def test_faults_of_qualified_names(key: str, faults: list[str]) -> None:
    assert names.check_qualified_name(key) == faults


def test_key_with_two_slashes_is_told_the_form() -> None:
    (fault,) = names.check_qualified_name("a/b/c")
    assert fault.startswith("a valid label key must consist of alphanumeric characters")
    assert fault.endswith("with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')")


@pytest.mark.parametrize("value", ["", "a", "A_b.c-1", "x" * 63])
def test_label_values(value: str) -> None:
    assert names.check_label_value(value) == []


@pytest.mark.parametrize("value", ["-", "a b", "a/b", "_a", "a.", "é", "a\n"])
def test_others_are_no_label_values(value: str) -> None:
    (fault,) = names.check_label_value(value)
    assert fault.startswith("a valid label must be an empty string or consist of alphanumeric characters")


def test_long_label_value_is_told_in_bytes() -> None:
    assert names.check_label_value("x" * 64) == ["must be no more than 63 bytes"]


@pytest.mark.parametrize(
    ("key", "is_good"),
    [
        ("a", True),
        (".a", True),
        ("A_b-c.d", True),
        (".", False),
        ("..", False),
        ("..a", False),
        ("", False),
        ("a/b", False),
    ],
)
def test_keys_of_config_data(key: str, is_good: bool) -> None:
    assert (names.check_config_key(key) == []) is is_good


@given(st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True))
def test_every_label_is_also_a_subdomain_a_key_and_a_value(name: str) -> None:
    checks = (
        names.check_label_name,
        names.check_subdomain,
        names.check_qualified_name,
        names.check_label_value,
        names.check_config_key,
    )
    assert [check(name) for check in checks] == [[]] * 5


def test_a_label_with_dots_is_told_so() -> None:
    assert names.check_label_name("a.b") == ["must not contain dots"]
