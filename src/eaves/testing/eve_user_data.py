"""User data of a container as EVE reads them (pillar, cmd/domainmgr: cloud-config or lines, then go-envparse)."""

from __future__ import annotations

import base64
import json
import re

import yaml

_LINE = re.compile(r'([A-Za-z_][A-Za-z0-9/_.]*)="((?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*)"')


def read_like_eve(text: str) -> tuple[dict[str, str], dict[str, str]]:
    """Variables and contents of files. Raises :class:`ValueError` where EVE refuses the app."""
    pairs, files = text.split("\n"), {}
    if text.startswith("#cloud-config"):
        document = yaml.safe_load(text)
        pairs = document.get("runcmd") or []
        for entry in document.get("write_files") or ():
            files[entry["path"]] = base64.b64decode(entry["content"]).decode()
    variables = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        found = _LINE.fullmatch(f'{name.strip(chr(34) + " ")}="{value.strip(chr(34) + " ")}"')
        if not separator or found is None:
            raise ValueError(f"EVE cannot read {pair}")
        variables[found[1]] = json.loads(f'"{found[2]}"')
    return variables, files
