"""Environment and command of a container as an EVE device takes them.

EVE puts double quotes around each value and undoes escapes as JSON has them (pillar, cmd/domainmgr parseEnvVariablesFromCloudInit;
go-envparse), so that a quote in a value costs the app its start. It takes a command by a variable, which it splits at white space
alone (containerd/oci.go UpdateEnvVar). For a container with a kernel of its own, values and words go through a shell besides, within
double quotes (containerd/oci.go AddLoader; xen-tools, init-initrd).
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence

from eaves.controller.compile.user_data import UserFile

COMMAND_VARIABLE = "EVE_ECO_CMD"
"""It stands for entrypoint and arguments together."""

COMMAND_FILE = "/.eaves-command"
"""Where a command is put that has spaces within its words."""

_MEANT_BY_SHELLS = re.compile(r'([\\"$`])')


def want_command(words: Sequence[str]) -> tuple[str, list[UserFile]]:
    """The value of :data:`COMMAND_VARIABLE`, and the file that it needs: words with spaces go by way of the image's shell."""
    value = " ".join(words)
    if value.split() == list(words) and value.strip('"') == value:
        return value, []
    script = f"#!/bin/sh\nexec {shlex.join(words)}\n"
    return f"/bin/sh {COMMAND_FILE}", [UserFile(COMMAND_FILE, script.encode(), "0755")]


def escape_environment(environment: Mapping[str, str], *, by_shell: bool) -> dict[str, str]:
    """The values so that the app gets them as they are written."""
    return {name: _escape(value, by_shell=by_shell) for name, value in environment.items()}


def _escape(value: str, *, by_shell: bool) -> str:
    if by_shell:
        value = _MEANT_BY_SHELLS.sub(r"\\\1", value)
    text = json.dumps(value, ensure_ascii=False)[1:-1].replace('\\"', r"\u0022")
    # Spaces at both ends would be taken off.
    inner = text.strip(" ")
    before, after = len(text) - len(text.lstrip(" ")), len(text) - len(text.rstrip(" "))
    return r"\u0020" * before + inner + (r"\u0020" * after if inner else "")
