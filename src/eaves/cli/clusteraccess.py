"""``kubectl eaves kubeconfig``: a context for the API of a K3sCluster, through the controller, with the caller's own credential.

Nothing of the cluster's own credentials is in it: the context names the controller's address and the user that the kubeconfig has already.
kubectl writes the file itself, so that its rules for KUBECONFIG, locks and modes hold.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from msgspec import Struct

from eaves.cli.kubectl import Kubectl
from eaves.kit.errors import EavesError
from eaves.kit.files import save_file

EXAMPLES = """Examples:

\b
  kubectl eaves kubeconfig shop-17          # then: kubectl --context shop-17 get pods
  kubectl eaves kubeconfig shop-17 -n stores --name stores-17
  kubectl eaves kubeconfig shop-17 --output shop-17.yaml
  kubectl eaves kubeconfig shop-17 --stdout > shop-17.yaml
"""
_MARK = "/k3sclusters/"


class Caller(Struct, frozen=True):
    """The current context: how the controller is reached, and by whom."""

    cluster: Mapping[str, Any]
    user_name: str
    user: Mapping[str, Any]


def load_caller(kubectl: Kubectl) -> Caller:
    """Raises EavesError when the current context is none of a controller."""
    view = kubectl.config_view(minify=True)
    try:
        cluster, user, context = view["clusters"][0]["cluster"], view["users"][0], view["contexts"][0]["context"]
    except (KeyError, IndexError, TypeError) as error:
        raise EavesError(
            "the kubeconfig has no current context with a cluster and a user",
            resolution="name the controller's kubeconfig by KUBECONFIG or --kubeconfig",
        ) from error
    if _MARK in cluster.get("server", ""):
        raise EavesError(
            f"the current context leads to a K3s cluster ({cluster['server']}), not to the controller",
            resolution="name the controller's context by --context",
        )
    return Caller(cluster, context["user"], user["user"] or {})


def render_cluster(caller: Caller, namespace: str, name: str) -> dict[str, Any]:
    """The cluster entry: all that says how the controller is reached, with the cluster's path behind its address."""
    server = str(caller.cluster["server"]).rstrip("/")
    path = f"/apis/eaves.dev/v1alpha1/namespaces/{namespace}{_MARK}{name}/proxy"
    return {**caller.cluster, "server": server + path}


def render_kubeconfig(caller: Caller, entry: Mapping[str, Any], context: str) -> str:
    """A kubeconfig with this context alone, as YAML. It holds the caller's credential as his own kubeconfig does."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": context, "cluster": dict(entry)}],
        "users": [{"name": caller.user_name, "user": dict(caller.user)}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": caller.user_name}}],
        "current-context": context,
    }
    return yaml.safe_dump(document, sort_keys=False)


def save_kubeconfig(path: Path, text: str) -> None:
    """Readable by its owner alone. Raises EavesError."""
    try:
        save_file(path, text.encode(), mode=0o600)
    except OSError as error:
        raise EavesError(f"cannot be written: {error.strerror}", element=str(path)) from error


def merge_context(kubectl: Kubectl, caller: Caller, entry: Mapping[str, Any], context: str) -> None:
    """Write the context into the kubeconfig in use. Raises EavesError when its name is taken by something else."""
    _check_free(kubectl.config_view(minify=False), entry, context)
    options = [f"--server={entry['server']}"]
    for key, option in (("tls-server-name", "tls-server-name"), ("proxy-url", "proxy-url")):
        if entry.get(key):
            options.append(f"--{option}={entry[key]}")
    if entry.get("insecure-skip-tls-verify"):
        options.append("--insecure-skip-tls-verify=true")
    with tempfile.TemporaryDirectory() as folder:
        if authority := entry.get("certificate-authority-data"):
            file = Path(folder) / "ca.pem"
            file.write_bytes(base64.b64decode(authority))
            options += [f"--certificate-authority={file}", "--embed-certs=true"]
        kubectl.config("set-cluster", context, *options)
    kubectl.config("set-context", context, f"--cluster={context}", f"--user={caller.user_name}")


def _check_free(view: Mapping[str, Any], entry: Mapping[str, Any], context: str) -> None:
    servers = {each["name"]: (each.get("cluster") or {}).get("server", "") for each in view.get("clusters") or ()}
    users = {each["name"]: (each.get("context") or {}).get("cluster", "") for each in view.get("contexts") or ()}
    if servers.get(context, entry["server"]) != entry["server"] or users.get(context, context) != context:
        raise EavesError(
            f"the kubeconfig has a context or cluster {context!r} already, which leads elsewhere",
            resolution="choose another name by --name",
        )
