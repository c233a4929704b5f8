"""User data in its two forms, and the kinds of nonsense that must not pass as environment."""

from __future__ import annotations

import base64
import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eaves.node.desired.errors import UserDataError
from eaves.node.desired.model import FileToWrite
from eaves.node.desired.userdata import parse_command, parse_user_data


def encode(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def cloud(body: str) -> str:
    return encode(f"#cloud-config\n{body}")


def test_nothing_is_nothing() -> None:
    assert parse_user_data("").env == {}
    assert parse_user_data(encode("#cloud-config\n")).files == ()


def test_lines_are_variables_with_their_values_as_they_stand() -> None:
    data = parse_user_data(encode('A=1\n\n# a comment\nB=x=y "z" \nEMPTY=\nÄ=ö\n'))
    assert data.env == {"A": "1", "B": 'x=y "z"', "EMPTY": "", "Ä": "ö"}


def test_base64_may_be_wrapped() -> None:
    wrapped = base64.encodebytes(b"A=" + b"x" * 200).decode()
    assert parse_user_data(wrapped).env == {"A": "x" * 200}


def test_cloud_config_gives_variables_and_files() -> None:
    data = parse_user_data(
        cloud(
            "runcmd:\n"
            "  - A=plain 'kept'\n"
            "  - export B='two words'\n"
            '  - "C=two\\nlines"\n'
            "write_files:\n"
            "  - path: /etc/app.conf\n"
            "    content: |\n"
            "      hello\n"
            "    permissions: '0600'\n"
            "    owner: app:app\n"
            f"  - {{path: /bin.dat, encoding: b64, content: {encode(bytes(range(256)))}}}\n"
        )
    )
    assert data.env == {"A": "plain 'kept'", "B": "two words", "C": "two\nlines"}
    assert data.files == (
        FileToWrite("/etc/app.conf", b"hello\n", 0o600, "app:app"),
        FileToWrite("/bin.dat", bytes(range(256))),
    )


@pytest.mark.parametrize("encoding", ["gz+b64", "gzip+base64", "gz", "gz+base64"])
def test_packed_files_are_unpacked(encoding: str) -> None:
    packed = encode(gzip.compress(b"payload"))
    (file,) = parse_user_data(cloud(f"write_files: [{{path: /a, encoding: {encoding}, content: {packed}}}]")).files
    assert file.content == b"payload"


def test_yaml_octal_and_text_permissions_mean_the_same() -> None:
    body = "write_files: [{path: /a, permissions: 0640}, {path: /b, permissions: '0640'}, {path: /c, permissions: '0o640'}]"
    assert [file.mode for file in parse_user_data(cloud(body)).files] == [0o640] * 3


@pytest.mark.parametrize(
    "encoded",
    [
        "not base64!",
        encode(b"\xff\xfe"),
        encode("no assignment"),
        encode("=value"),
        encode("A B=value"),
        encode("#!/bin/sh\necho hi\n"),
        cloud("- a list"),
        cloud("runcmd: ls -l"),
        cloud("runcmd: [[ls, -l]]"),
        cloud("runcmd: ['ls -l']"),
        cloud("write_files: [{content: x}]"),
        cloud("write_files: [{path: relative}]"),
        cloud("write_files: [{path: /a/../../etc/passwd}]"),
        cloud("write_files: [{path: /}]"),
        cloud("write_files: [{path: /a, encoding: rot13}]"),
        cloud("write_files: [{path: /a, encoding: b64, content: '***'}]"),
        cloud("write_files: [{path: /a, encoding: gz+b64, content: aGVsbG8=}]"),
        cloud("write_files: [{path: /a, permissions: rwx}]"),
        cloud("write_files: [{path: /a, permissions: 99999}]"),
        cloud("runcmd: ["),
        cloud("!!python/object/apply:os.system [ls]"),
        cloud("a: &a [x]\n" + "write_files: 5"),
    ],
)
def test_nonsense_is_refused_without_quoting_it(encoded: str) -> None:
    with pytest.raises(UserDataError) as caught:
        parse_user_data(encoded)
    assert "passwd" not in str(caught.value)


def test_file_that_unpacks_without_end_is_refused() -> None:
    bomb = encode(gzip.compress(bytes(64 << 20)))
    with pytest.raises(UserDataError, match="larger"):
        parse_user_data(cloud(f"write_files: [{{path: /a, encoding: gz+b64, content: {bomb}}}]"))


def test_secret_does_not_show_in_the_error() -> None:
    with pytest.raises(UserDataError) as caught:
        parse_user_data(encode("PASSWORD hunter2"))
    assert "hunter2" not in repr(caught.value)


@given(st.text())
def test_any_text_gives_data_or_an_error(text: str) -> None:
    for encoded in (text, encode(text.encode("utf-8", "replace")), cloud(text.encode("utf-8", "replace").decode())):
        try:
            parse_user_data(encoded)
        except UserDataError:
            continue


@given(
    st.dictionaries(
        st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True),
        st.from_regex(r"[!-~]([ -~]*[!-~])?", fullmatch=True),
    )
)
def test_plain_lines_come_back_as_written(env: dict[str, str]) -> None:
    assert parse_user_data(encode("\n".join(f"{name}={value}" for name, value in env.items()))).env == env


def test_command_line_is_split_like_a_shell_does() -> None:
    assert parse_command("") == ()
    assert parse_command("nginx -g 'daemon off;'") == ("nginx", "-g", "daemon off;")
    with pytest.raises(UserDataError):
        parse_command("unbalanced '")
