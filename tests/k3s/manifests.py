"""K3s's deploy controller: what lies in the manifest directory is applied, and again whenever a file changes.

Objects that leave a file go; objects of a file that is removed stay, as K3s has it; ``FILE.skip`` keeps a file from being applied. Each
file is an ``Addon`` in ``kube-system``, whose status tells of its objects and its last failure (https://docs.k3s.io/add-ons); one whose
checksum is that of the file is not applied again before K3s starts anew, whatever has become of its objects.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.k3s import log
from tests.k3s.api import Api, ApiError, Object
from tests.k3s.paths import DataDir, write

PACKAGED = Path(__file__).with_name("manifests")
DISABLE = ("coredns", "servicelb", "traefik", "local-storage", "metrics-server", "runtimes")
_POLL_S = 1.0
_RETRY_S = 5.0
_OWNER_HASH = "objectset.rio.cattle.io/hash"
_OWNER = {
    "objectset.rio.cattle.io/owner-gvk": "k3s.cattle.io/v1, Kind=Addon",
    "objectset.rio.cattle.io/owner-namespace": "kube-system",
}
_OWNER_NAME = "objectset.rio.cattle.io/owner-name"
_ADDONS = "/apis/k3s.cattle.io/v1/namespaces/kube-system/addons"
_LAST = "eaves.dev/stand-in-objects"


def write_packaged(data: DataDir, disabled: list[str], values: dict[str, str]) -> None:
    """K3s's own files, with the cluster's values in them; those that are disabled go, with what they made."""
    for source in sorted(PACKAGED.glob("*.yaml")):
        target = data.manifests / source.name
        skip = target.with_name(target.name + ".skip")
        if source.stem in disabled or skip.exists():
            target.unlink(missing_ok=True)
            continue
        text = source.read_text()
        for name, value in values.items():
            text = text.replace(f"%{{{name}}}%", value)
        if not target.exists() or target.read_text() != text:
            write(target, text)


def follow(data: DataDir, api: Api, manager: str, disabled: list[str], is_stopping: Callable[[], bool]) -> None:
    """Until K3s stops."""
    applied: dict[Path, int] = {}
    failed: dict[Path, float] = {}
    is_starting = True
    for name in disabled:
        _disable(api, name)
    while not is_stopping():
        for file in sorted(data.manifests.rglob("*")):
            if file.suffix not in (".yaml", ".yml", ".json") or file.with_name(file.name + ".skip").exists():
                continue
            with contextlib.suppress(OSError):
                changed = file.stat().st_mtime_ns
                if applied.get(file) == changed or failed.get(file, 0.0) > time.monotonic():
                    continue
                if _apply_file(api, file, manager, is_forced=is_starting):
                    applied[file] = changed
                    failed.pop(file, None)
                else:
                    failed[file] = time.monotonic() + _RETRY_S
        is_starting = is_starting and bool(failed)
        time.sleep(_POLL_S)


def _apply_file(api: Api, file: Path, manager: str, *, is_forced: bool) -> bool:
    name = file.stem.lower().replace("_", "-")
    content = file.read_bytes()
    if not is_forced and _load_checksum(api, name) == hashlib.sha256(content).hexdigest():
        return True
    try:
        objects = [obj for document in yaml.safe_load_all(content.decode()) for obj in _flatten(document)]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        log.error(f"Failed to process config: failed to process {file}: {error}")
        _note(api, manager, name, file, content, None, str(error))
        return True  # Nothing changes until the file does.
    owner = hashlib.sha1(f"k3s.cattle.io/v1/Addon/kube-system/{name}".encode(), usedforsecurity=False).hexdigest()
    failure = ""
    paths: list[str] = []
    for obj in objects:
        metadata = obj.setdefault("metadata", {})
        metadata.setdefault("labels", {})[_OWNER_HASH] = owner
        metadata.setdefault("annotations", {}).update({**_OWNER, _OWNER_NAME: name})
        try:
            paths.append(api.path_of(obj))
            api.apply(obj, manager)
        except ApiError as error:
            failure = failure or f"{obj.get('kind')} {metadata.get('name')}: {error}"
    if failure:
        log.error(f"Failed to process config: failed to process {file}: {failure}")
    else:
        for path in _load_paths(api, name) - set(paths):
            _remove(api, path, owner)
    return _note(api, manager, name, file, content, None if failure else paths, failure) and not failure


def _note(
    api: Api, manager: str, name: str, file: Path, content: bytes, paths: list[str] | None, failure: str = ""
) -> bool:
    """Keep in the Addon what the file made; None leaves the list of a failed attempt as it was."""
    addon: Object = {
        "apiVersion": "k3s.cattle.io/v1",
        "kind": "Addon",
        "metadata": {"name": name, "namespace": "kube-system", "annotations": {}},
        "spec": {"source": str(file)},
    }
    if paths is not None:
        # Of what was applied with success last.
        addon["spec"]["checksum"] = hashlib.sha256(content).hexdigest()
    kept = sorted(_load_paths(api, name)) if paths is None else paths
    addon["metadata"]["annotations"][_LAST] = json.dumps(kept)
    try:
        api.apply(addon, manager)
    except ApiError as error:
        log.error(f"Failed to process config: {error}")
        return False
    _tell(api, manager, name, failure)
    return True


def _tell(api: Api, manager: str, name: str, failure: str) -> None:
    event: dict[str, Any] = {
        "metadata": {"generateName": f"{name}.", "namespace": "kube-system"},
        "involvedObject": {"apiVersion": "k3s.cattle.io/v1", "kind": "Addon", "name": name, "namespace": "kube-system"},
        "reason": "ApplyManifestFailed" if failure else "AppliedManifest",
        "message": failure or f"Applied manifest of {name}",
        "type": "Warning" if failure else "Normal",
        "source": {"component": manager},
    }
    with contextlib.suppress(ApiError):
        api.call("POST", "/api/v1/namespaces/kube-system/events", event)


def _disable(api: Api, name: str) -> None:
    with contextlib.suppress(ApiError):
        for path in _load_paths(api, name):
            api.delete(path)
        api.delete(f"{_ADDONS}/{name}")


def _load_checksum(api: Api, name: str) -> str:
    try:
        return str(((api.find(f"{_ADDONS}/{name}") or {}).get("spec") or {}).get("checksum", ""))
    except ApiError:
        return ""


def _load_paths(api: Api, name: str) -> set[str]:
    try:
        found = api.find(f"{_ADDONS}/{name}")
    except ApiError:
        return set()
    return set(json.loads(((found or {}).get("metadata", {}).get("annotations") or {}).get(_LAST, "[]")))


def _remove(api: Api, path: str, owner: str) -> None:
    """Only while it is still this file's: another may have taken it over."""
    with contextlib.suppress(ApiError):
        found = api.find(path)
        if found is not None and (found["metadata"].get("labels") or {}).get(_OWNER_HASH) == owner:
            api.delete(path)


def _flatten(document: Any) -> list[Object]:
    if not document:
        return []
    if isinstance(document, dict) and str(document.get("kind", "")).endswith("List") and "items" in document:
        return [obj for obj in document["items"] if obj]
    if not isinstance(document, dict) or "kind" not in document or "apiVersion" not in document:
        raise yaml.YAMLError("Object 'Kind' is missing")
    return [document]
