"""Which texts are identities."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.wire import identifiers
from eaves.wire.errors import IdentifierError

NAMESPACE = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"


@given(st.uuids())
def test_every_uuid_passes_in_lower_and_upper_case(value: uuid.UUID) -> None:
    assert identifiers.parse_device_id(str(value)) == str(value)
    assert identifiers.parse_app_id(str(value).upper()) == str(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        NAMESPACE + "\n",
        " " + NAMESPACE,
        NAMESPACE.replace("-", ""),
        "{" + NAMESPACE + "}",
        NAMESPACE[:-1] + "g",
        NAMESPACE[:-1] + "٣",
        "../../" + NAMESPACE,
    ],
)
def test_what_only_looks_like_a_uuid_is_refused(text: str) -> None:
    assert not identifiers.is_uuid(text)
    with pytest.raises(IdentifierError) as caught:
        identifiers.parse_device_id(text)
    assert caught.value.element == "device"


def test_derived_uuid_follows_the_published_example() -> None:
    """The DNS name example that is printed in many places for version 5."""
    assert identifiers.derive_uuid(NAMESPACE, "python.org") == "886313e1-3b8a-5372-9b90-0c9aee199e5d"


def test_derived_uuid_keeps_the_words_apart() -> None:
    assert identifiers.derive_uuid(NAMESPACE, "a", "bc") != identifiers.derive_uuid(NAMESPACE, "ab", "c")
    assert identifiers.derive_uuid(NAMESPACE, "a", "bc") == identifiers.derive_uuid(NAMESPACE, "a", "bc")
