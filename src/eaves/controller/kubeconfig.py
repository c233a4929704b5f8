"""Writes the kubeconfig by which an operator reaches the controller with kubectl and any other client."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct

from eaves.kit.files import load_file, save_file


class Access(Struct, frozen=True):
    """Where the API is and who calls it. ``ca_pem`` None trusts the system's authorities."""

    server: str
    token: str
    ca_pem: bytes | None
    user: str = "admin"
    context: str = "eaves"
    namespace: str = "default"


def render_kubeconfig(access: Access, known: bytes | None = None) -> bytes:
    """A kubeconfig with one cluster, one user and one context, beside those that somebody added to ``known``."""
    cluster: dict[str, str] = {"server": access.server}
    if access.ca_pem is not None:
        cluster["certificate-authority-data"] = base64.b64encode(access.ca_pem).decode()
    context = {"cluster": access.context, "user": access.user, "namespace": access.namespace}
    before = _parse(known)
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": _join(before.get("clusters"), {"name": access.context, "cluster": cluster}),
        "users": _join(before.get("users"), {"name": access.user, "user": {"token": access.token}}),
        "contexts": _join(before.get("contexts"), {"name": access.context, "context": context}),
        "current-context": before.get("current-context") or access.context,
    }
    return yaml.safe_dump(document, sort_keys=False).encode()


def save_kubeconfig(path: Path, access: Access) -> None:
    """Write it whole, readable by its owner alone; contexts of others, such as of K3s clusters, stay. Raises OSError."""
    save_file(path, render_kubeconfig(access, load_file(path)), mode=0o600)


def _parse(text: bytes | None) -> dict[str, Any]:
    """What is there already; nothing when it cannot be read."""
    try:
        document = yaml.safe_load(text or b"")
    except yaml.YAMLError:
        return {}
    return document if isinstance(document, dict) else {}


def _join(known: Any, own: dict[str, Any]) -> list[Any]:
    """``own`` first, then entries of other names."""
    entries = known if isinstance(known, list) else []
    others = [entry for entry in entries if isinstance(entry, dict) and entry.get("name") not in (None, own["name"])]
    return [own, *others]
