"""User data of an app: environment and files, in the two forms that containers understand.

Lines ``KEY=VALUE``, or a ``#cloud-config`` document of which ``runcmd`` (assignments) and ``write_files`` are read. Both come in
base64. An assignment is taken as it stands; after the word ``export`` it is shell and its quotes are taken away.
"""

from __future__ import annotations

import base64
import binascii
import posixpath
import re
import shlex
import zlib
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from eaves.node.desired.errors import UserDataError
from eaves.node.desired.model import FileToWrite

COMMAND_VARIABLE = "EVE_ECO_CMD"
"""Replaces the image's command; no variable of the app itself."""

_MARK = "#cloud-config"
_LIMIT_BYTES = 4 << 20
_NAME = re.compile(r"[^=\x00\s]+")
_GZIP_ENCODINGS = {"gz", "gzip", "gz+base64", "gzip+base64", "gz+b64", "gzip+b64"}
_BASE64_ENCODINGS = {"b64", "base64", *_GZIP_ENCODINGS}
_DEFAULT_MODE = 0o644


class UserData(Struct, frozen=True):
    """Environment in the order of appearance, files likewise."""

    env: Mapping[str, str] = {}
    files: tuple[FileToWrite, ...] = ()


def parse_user_data(encoded: str) -> UserData:
    """Read user data as it comes in the config. Raises UserDataError."""
    if not encoded.strip():
        return UserData()
    try:
        text = base64.b64decode("".join(encoded.split()), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise UserDataError("user data is not base64 of a text") from error
    if text.lstrip().startswith(_MARK):
        return _parse_cloud_config(text)
    return UserData(_parse_lines(text))


def parse_command(text: str) -> tuple[str, ...]:
    """Words of a command line. Raises UserDataError for unbalanced quotes."""
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UserDataError(f"{COMMAND_VARIABLE} is no command line: quotes do not match") from error


def _parse_lines(text: str) -> dict[str, str]:
    env: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, value = _parse_assignment(stripped, f"line {number}")
        env[name] = value
    return env


def _parse_assignment(text: str, where: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    name = name.strip()
    if not equals or not _NAME.fullmatch(name) or "\0" in value:
        raise UserDataError(f"user data, {where}: not of the form KEY=VALUE")
    return name, value


def _parse_cloud_config(text: str) -> UserData:
    # Few apps bring such a document; those that do not should not pay for the parser.
    import yaml

    try:
        document: Any = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserDataError("user data is not YAML") from error
    if document is None:
        return UserData()
    if not isinstance(document, dict):
        raise UserDataError("user data is no YAML mapping")
    env: dict[str, str] = {}
    for number, entry in enumerate(_want_list(document, "runcmd"), start=1):
        if not isinstance(entry, str):
            raise UserDataError(f"user data, runcmd {number}: only assignments NAME=VALUE are understood in containers")
        name, value = _parse_runcmd(entry, f"runcmd {number}")
        env[name] = value
    files = tuple(
        _parse_file(entry, f"write_files {number}")
        for number, entry in enumerate(_want_list(document, "write_files"), start=1)
    )
    return UserData(env, files)


def _want_list(document: Mapping[Any, Any], key: str) -> list[Any]:
    value = document.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise UserDataError(f"user data: {key} is no list")
    return value


def _parse_runcmd(entry: str, where: str) -> tuple[str, str]:
    words = entry.strip().split(None, 1)
    if len(words) == 2 and words[0] == "export":
        try:
            entry = "".join(shlex.split(words[1]))
        except ValueError as error:
            raise UserDataError(f"user data, {where}: quotes do not match") from error
    return _parse_assignment(entry, where)


def _parse_file(entry: object, where: str) -> FileToWrite:
    if not isinstance(entry, dict) or not isinstance(entry.get("path"), str):
        raise UserDataError(f"user data, {where}: has no path")
    path = entry["path"]
    if not path.startswith("/") or "\0" in path or posixpath.normpath(path) != path or path == "/":
        raise UserDataError(f"user data, {where}: path is not absolute and plain")
    owner = entry.get("owner", "root:root")
    if not isinstance(owner, str):
        raise UserDataError(f"user data, {where}: owner is no text")
    return FileToWrite(path, _parse_content(entry, where), _parse_mode(entry, where), owner)


def _parse_content(entry: Mapping[Any, Any], where: str) -> bytes:
    content = entry.get("content", "")
    if isinstance(content, int | float):
        content = str(content)
    data = content if isinstance(content, bytes) else content.encode() if isinstance(content, str) else None
    encoding = entry.get("encoding", "")
    if data is None or not isinstance(encoding, str):
        raise UserDataError(f"user data, {where}: content or encoding is no text")
    encoding = encoding.lower()
    if encoding not in {"", "text/plain", *_BASE64_ENCODINGS}:
        raise UserDataError(f"user data, {where}: encoding {encoding[:32]!r} is not known")
    try:
        if encoding in _BASE64_ENCODINGS:
            data = _decode_base64(data, encoding)
        return _unpack(data, where) if encoding in _GZIP_ENCODINGS else data
    except binascii.Error as error:
        raise UserDataError(f"user data, {where}: content is not base64") from error


def _decode_base64(data: bytes, encoding: str) -> bytes:
    # YAML's !!binary hands over gzip bytes as they are, with encoding "gz".
    if encoding in ("gz", "gzip") and data.startswith(b"\x1f\x8b"):
        return data
    return base64.b64decode(data.translate(None, b" \t\r\n"), validate=True)


def _unpack(data: bytes, where: str) -> bytes:
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        content = unpacker.decompress(data, _LIMIT_BYTES + 1)
    except zlib.error as error:
        raise UserDataError(f"user data, {where}: content is not gzip") from error
    if len(content) > _LIMIT_BYTES:
        raise UserDataError(f"user data, {where}: content is larger than {_LIMIT_BYTES} bytes")
    if not unpacker.eof:
        raise UserDataError(f"user data, {where}: content is cut off")
    return content


def _parse_mode(entry: Mapping[Any, Any], where: str) -> int:
    value = entry.get("permissions", _DEFAULT_MODE)
    if isinstance(value, bool):
        value = "no number"
    try:
        # YAML reads 0644 as the octal number that it is and '0644' as text.
        mode = value if isinstance(value, int) else int(str(value).removeprefix("0o"), 8)
    except ValueError as error:
        raise UserDataError(f"user data, {where}: permissions are no octal number") from error
    if not 0 <= mode <= 0o7777:
        raise UserDataError(f"user data, {where}: permissions are out of range")
    return mode
