"""Writes the kubeconfig by which an operator reaches the controller with kubectl and any other client."""

from __future__ import annotations

import base64
from pathlib import Path

import yaml
from msgspec import Struct

from eaves.kit.files import save_file


class Access(Struct, frozen=True):
    """Where the API is and who calls it. ``ca_pem`` None trusts the system's authorities."""

    server: str
    token: str
    ca_pem: bytes | None
    user: str = "admin"
    context: str = "eaves"
    namespace: str = "default"


def render_kubeconfig(access: Access) -> bytes:
    """A kubeconfig with one cluster, one user and one context."""
    cluster: dict[str, str] = {"server": access.server}
    if access.ca_pem is not None:
        cluster["certificate-authority-data"] = base64.b64encode(access.ca_pem).decode()
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": access.context, "cluster": cluster}],
        "users": [{"name": access.user, "user": {"token": access.token}}],
        "contexts": [
            {
                "name": access.context,
                "context": {"cluster": access.context, "user": access.user, "namespace": access.namespace},
            }
        ],
        "current-context": access.context,
    }
    return yaml.safe_dump(document, sort_keys=False).encode()


def save_kubeconfig(path: Path, access: Access) -> None:
    """Write it whole, readable by its owner alone. Raises OSError."""
    save_file(path, render_kubeconfig(access), mode=0o600)
