"""Kubeconfigs for components and for the administrator."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

from tests.k3s.paths import write


def write_component(path: Path, server: str, authority: Path, certificate: Path, key: Path) -> None:
    """Names the files, so that renewed ones count."""
    user = {"client-certificate": str(certificate), "client-key": str(key)}
    write(path, _render({"server": f"https://{server}", "certificate-authority": str(authority)}, user))


def write_admin(path: Path, server: str, authority: Path, certificate: Path, key: Path, mode: str, group: str) -> None:
    """Holds all that it needs, so that it can be carried away."""
    cluster = {"server": f"https://{server}", "certificate-authority-data": _encode(authority)}
    user = {"client-certificate-data": _encode(certificate), "client-key-data": _encode(key)}
    write(path, _render(cluster, user), int(mode, 8))
    if group:
        shutil.chown(path, group=group)


def _encode(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _render(cluster: dict[str, str], user: dict[str, str]) -> str:
    """JSON is YAML, and one library less at start."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "default", "cluster": cluster}],
        "users": [{"name": "default", "user": user}],
        "contexts": [{"name": "default", "context": {"cluster": "default", "user": "default"}}],
        "current-context": "default",
        "preferences": {},
    }
    return json.dumps(document, indent=2) + "\n"
