"""Environment and files as user data, read back as they were written."""

from __future__ import annotations

import base64
import gzip
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from eaves.controller.compile.user_data import UserFile, render_user_data


def decode(data: str) -> str:
    return base64.b64decode(data, validate=True).decode()


def read_cloud_config(text: str) -> dict[str, Any]:
    assert text.startswith("#cloud-config\n")
    document = yaml.safe_load(text)
    assert isinstance(document, dict)
    return document


def test_nothing_is_nothing() -> None:
    assert render_user_data({}, []) == ""


def test_plain_environment_is_lines_without_a_last_line_end() -> None:
    assert decode(render_user_data({"A": "1", "B": "x = y", "EMPTY": ""}, [])) == "A=1\nB=x = y\nEMPTY="


@pytest.mark.parametrize(
    "value", ["two\nlines", " padded", "padded ", "tab\tinside", "bell\x07", "line\u2028separator"]
)
def test_values_that_lines_would_spoil_go_into_a_cloud_config(value: str) -> None:
    document = read_cloud_config(decode(render_user_data({"A": "1", "B": value}, [])))
    assert document == {"runcmd": ["A=1", f"B={value}"]}


def test_files_are_base64_with_their_permissions() -> None:
    files = [UserFile("/etc/web.conf", b"\xff\x00", "0600")]
    document = read_cloud_config(decode(render_user_data({"A": "1"}, files)))
    assert document["runcmd"] == ["A=1"]
    entry = document["write_files"][0]
    assert base64.b64decode(entry["content"]) == b"\xff\x00"
    assert (entry["path"], entry["encoding"], entry["permissions"]) == ("/etc/web.conf", "b64", "0600")


def test_an_empty_file_has_content_that_devices_accept() -> None:
    entry = read_cloud_config(decode(render_user_data({}, [UserFile("/a", b"", "0644")])))["write_files"][0]
    assert entry["content"]
    assert entry["encoding"] == "gz+b64"
    assert gzip.decompress(base64.b64decode(entry["content"])) == b""


names = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True)
values = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)


@given(st.dictionaries(names, values, max_size=5), st.lists(st.binary(max_size=30), max_size=3))
def test_whatever_goes_in_can_be_read_back(environment: dict[str, str], contents: list[bytes]) -> None:
    files = [UserFile(f"/f{index}", content, "0644") for index, content in enumerate(contents)]
    data = render_user_data(environment, files)
    if not data:
        assert not environment
        return
    text = decode(data)
    if not text.startswith("#cloud-config"):
        assert not files
        assert dict(line.split("=", 1) for line in text.split("\n")) == environment
        return
    document = read_cloud_config(text)
    assert dict(item.split("=", 1) for item in document.get("runcmd", [])) == environment
    read = [
        gzip.decompress(base64.b64decode(entry["content"]))
        if entry["encoding"] == "gz+b64"
        else base64.b64decode(entry["content"])
        for entry in document.get("write_files", [])
    ]
    assert read == contents
