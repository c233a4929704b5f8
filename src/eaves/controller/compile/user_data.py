"""Environment and files of an app as the user data that devices understand.

The device API knows two forms for containers: lines ``KEY=VALUE`` (every line must be one, so there is no line end at
the end), and a cloud-config document of which ``runcmd`` with assignments and ``write_files`` are read. Both travel
in base64.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Mapping, Sequence

from msgspec import Struct

CLOUD_CONFIG_MARK = "#cloud-config\n"

_PLAIN_VALUE = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]*")
_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


class UserFile(Struct, frozen=True):
    """A file to place in the app: absolute path, bytes, permissions in octal digits."""

    path: str
    content: bytes
    mode: str


def render_user_data(environment: Mapping[str, str], files: Sequence[UserFile]) -> str:
    """The user data in base64; empty when there is nothing to tell. Order of the environment is kept."""
    if not environment and not files:
        return ""
    text = _render_cloud_config(environment, files)
    if not files and all(_is_plain(value) for value in environment.values()):
        text = "\n".join(f"{name}={value}" for name, value in environment.items())
    return base64.b64encode(text.encode()).decode()


def _is_plain(value: str) -> bool:
    """Whether no reader of lines can take the value for anything else: one line, nothing to trim."""
    return value == value.strip() and _PLAIN_VALUE.fullmatch(value) is not None


def _render_cloud_config(environment: Mapping[str, str], files: Sequence[UserFile]) -> str:
    document: dict[str, object] = {}
    if environment:
        document["runcmd"] = [f"{name}={value}" for name, value in environment.items()]
    if files:
        document["write_files"] = [_file_entry(file) for file in files]
    # JSON is YAML, except for characters that YAML wants escaped and JSON leaves as they are. Escapes for characters
    # beyond
    # 16 bits differ between the two, hence ensure_ascii=False.
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return CLOUD_CONFIG_MARK + _NOT_IN_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n"


def _file_entry(file: UserFile) -> dict[str, str]:
    if file.content:
        encoding, content = "b64", file.content
    else:
        # Devices refuse an entry with empty content; an empty file compressed is not empty.
        encoding, content = "gz+b64", gzip.compress(b"", mtime=0)
    return {
        "path": file.path,
        "content": base64.b64encode(content).decode(),
        "encoding": encoding,
        "permissions": file.mode,
        "owner": "root:root",
    }
