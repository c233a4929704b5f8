"""Bodies become objects; what a plain decoder would swallow is told."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.kube import decode
from eaves.kube.encode import encode_json
from eaves.kube.errors import ApiError


def remarks_of(body: bytes, media_type: str) -> list[str]:
    _, remarks = decode.decode_object(body, media_type, find_duplicates=True)
    return remarks


@pytest.mark.parametrize(
    ("header", "media_type"),
    [
        ("", "application/json"),
        ("application/json; charset=utf-8", "application/json"),
        ("Application/YAML", "application/yaml"),
    ],
)
def test_media_type_is_the_header_without_parameters(header: str, media_type: str) -> None:
    assert decode.media_type(header) == media_type


def test_unknown_media_type_is_415_with_those_that_are_taken() -> None:
    with pytest.raises(ApiError) as caught:
        decode.decode_object(b"{}", "text/plain")
    assert caught.value.status_code == 415
    assert caught.value.message == (
        "the body of the request was in an unknown format - accepted media types include: "
        "application/json, application/yaml, application/vnd.kubernetes.protobuf"
    )


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 5000, b"[]", b"1"])
@pytest.mark.parametrize("media_type", ["application/json", "application/yaml"])
def test_what_is_no_object_is_400(body: bytes, media_type: str) -> None:
    if (body, media_type) == (b"", "application/yaml"):
        assert decode.decode_object(body, media_type) == ({}, [])
        return
    with pytest.raises(ApiError) as caught:
        decode.decode_object(body, media_type, find_duplicates=True)
    assert caught.value.status_code == 400


DUPLICATES = [
    ('{"a": 1, "a": 2}', ["a"]),
    ('{"spec": {"x": 1, "y": 2, "x": 3}}', ["spec.x"]),
    ('{"l": [{"n": 1}, {"n": 1, "n": 2}]}', ["l[1].n"]),
    ('{"a": {"x": 1, "x": 2}, "a": {}}', ["a", "a.x"]),
    ('{"a": {"x": 1, "x": 2, "x": 3}}', ["a.x"]),
    ('{"a": [[{"b": 1, "b": 1}]]}', ["a[0][0].b"]),
    ('{"a": {"x": 1}, "b": {"x": 1}}', []),
]


@pytest.mark.parametrize(("text", "paths"), DUPLICATES)
def test_keys_that_stand_twice_are_found_with_their_path(text: str, paths: list[str]) -> None:
    remarks = remarks_of(text.encode(), "application/json")
    assert sorted(remarks) == sorted(f'duplicate field "{path}"' for path in paths)


def test_keys_that_stand_twice_in_yaml_are_told_with_their_line() -> None:
    text = b"a: 1\nb:\n  c: 1\n  d: 1\n  c: 2\na: 2\n"
    assert remarks_of(text, "application/yaml") == [
        'line 6: key "a" already set in map',
        'line 5: key "c" already set in map',
    ]


@pytest.mark.parametrize(
    ("body", "media_type", "message"),
    [
        (
            b"",
            "application/json",
            "couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)",
        ),
        (b"{", "application/json", "couldn't get version/kind; json parse error: unexpected end of JSON input ({)"),
        (
            b"{} {}",
            "application/json",
            "couldn't get version/kind; json parse error: invalid character '{' after top-level value ({} {})",
        ),
        (b"a: [", "application/yaml", "yaml: line 1: did not find expected node content (613a205b)"),
        (
            b"a:\n\tb: c",
            "application/yaml",
            "yaml: line 2: found character that cannot start any token (613a0a09623a2063)",
        ),
    ],
)
def test_what_cannot_be_read_is_told_as_kubernetes_tells_it(body: bytes, media_type: str, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        decode.decode_object(body, media_type, wanted="App")
    assert caught.value.message == f"the object provided is unrecognized (must be of type App): {message}"


def test_last_of_two_values_counts_and_nothing_is_told_unless_asked() -> None:
    assert decode.decode_object(b'{"a": 1, "a": 2}', "") == ({"a": 2}, [])
    assert decode.decode_object(b"a: 1\na: 2\n", "application/yaml") == ({"a": 2}, [])


def test_deep_body_with_duplicates_is_walked() -> None:
    depth = 500
    body = b'{"a":' * depth + b'{"b":1,"b":2}' + b"}" * depth
    path = ".".join(["a"] * depth) + ".b"
    assert remarks_of(body, "application/json") == [f'duplicate field "{path}"']


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("1e3", 1000),
        ("1.5", 1.5),
        ("2.0", 2),
        ("-7", -7),
        ("+7", 7),
        ("0x1F", 31),
        ("-0x1F", -31),
        ("0o17", 15),
        ("017", 15),
        ("0b101", 5),
        ("1_000", 1000),
        ("08", 8),
        ("12:30", "12:30"),
        ("10.0.0.1", "10.0.0.1"),
        ("1.2.3", "1.2.3"),
        ("2026-01-01", "2026-01-01"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("y", True),
        ("No", False),
        ("on", True),
        ("true", True),
        ("nope", "nope"),
        ("yes please", "yes please"),
        ("~", None),
        ("", None),
        ("null", None),
        ("128Mi", "128Mi"),
        ("500m", "500m"),
        ("'1'", "1"),
        ("!!str 1", "1"),
        ("1:80/tcp", "1:80/tcp"),
        (".5", 0.5),
        ("v1", "v1"),
        ("1e999", "1e999"),
        ("<<", "<<"),
        ("!!binary aGk=", "hi"),
        ("123456789012345678901234567890", 1.2345678901234568e29),
    ],
)
def test_yaml_scalars_are_read_as_kubernetes_reads_them(scalar: str, value: Any) -> None:
    decoded, _ = decode.decode_object(f"a: {scalar}\n".encode(), "application/yaml")
    assert decoded == {"a": value}
    assert type(decoded["a"]) is type(value)


@pytest.mark.parametrize("scalar", [".inf", "-.inf", ".nan", "!!binary /w==", "!!set {a}", "!!python/object:x.Y {}"])
def test_yaml_without_a_form_in_json_is_400(scalar: str) -> None:
    with pytest.raises(ApiError) as caught:
        decode.decode_object(f"a: {scalar}\n".encode(), "application/yaml")
    assert caught.value.status_code == 400


def test_number_that_json_cannot_hold_is_400() -> None:
    with pytest.raises(ApiError) as caught:
        decode.decode_object(b'{"a": 1e999}', "application/json")
    assert caught.value.status_code == 400


def test_yaml_keys_become_text() -> None:
    decoded, _ = decode.decode_object(b"1: a\ntrue: b\n1.5: c\n", "application/yaml")
    assert decoded == {"1": "a", "true": "b", "1.5": "c"}


def test_yaml_key_that_is_a_list_is_400() -> None:
    with pytest.raises(ApiError):
        decode.decode_object(b"? [a]\n: b\n", "application/yaml")


def test_of_two_yaml_documents_the_first_counts() -> None:
    assert decode.decode_object(b"a: 1\n---\na: 2\n", "application/yaml") == ({"a": 1}, [])


def test_yaml_aliases_become_copies() -> None:
    decoded, duplicates = decode.decode_object(
        b"base: &b {x: 1}\none: *b\ntwo: {<<: *b, z: 2}\n", "application/yaml", find_duplicates=True
    )
    assert decoded == {"base": {"x": 1}, "one": {"x": 1}, "two": {"x": 1, "z": 2}}
    assert decoded["one"] is not decoded["base"]
    assert duplicates == []


def test_yaml_that_unfolds_without_end_is_400_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    started = time.perf_counter()
    with pytest.raises(ApiError) as caught:
        decode.decode_object("\n".join(lines).encode(), "application/yaml", find_duplicates=True)
    assert "aliasing" in caught.value.message
    assert time.perf_counter() - started < 5


def test_yaml_that_contains_itself_is_400() -> None:
    with pytest.raises(ApiError):
        decode.decode_object(b"a: &a [*a]\n", "application/yaml", find_duplicates=True)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 62), 1 << 62) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=4))
def test_json_is_read_back_and_has_no_duplicates(value: dict[str, Any]) -> None:
    assert decode.decode_object(encode_json(value), "application/json", find_duplicates=True) == (value, [])


@given(st.binary(max_size=40))
def test_any_bytes_as_yaml_are_an_object_or_400(body: bytes) -> None:
    code = 400
    try:
        decode.decode_object(body, "application/yaml", find_duplicates=True)
    except ApiError as error:
        code = error.status_code
    assert code == 400
