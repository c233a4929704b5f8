"""What a controller makes at its first start, and keeps right at every later one: namespaces, the admin's access, its announcement.

Called by bootstrap before anything is served.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from pathlib import Path
from typing import Any

import yaml

from eaves.controller.kubeconfig import Access, save_kubeconfig
from eaves.controller.objects import Objects
from eaves.controller.reconcile.namespaces import want_namespaces
from eaves.controller.tokens import encode_token_hash, render_token
from eaves.kinds.times import render_time
from eaves.kit.files import load_file
from eaves.kube.resource import Object
from eaves.store.credentials import CredentialStore, TokenRecord
from eaves.store.errors import ConflictError

log = logging.getLogger(__name__)

ADMIN_USER = "admin"
ADMIN_GROUP = "system:masters"
PUBLIC_NAMESPACE = "kube-public"
ANNOUNCEMENT = "eaves-gateway"
_DESCRIPTION = "admin kubeconfig"
_ATTEMPTS = 5


async def want_first_objects(objects: Objects, server: str, root_pem: bytes) -> None:
    """Namespaces, and the ConfigMap by which ``kubectl eaves onboarding-key create`` learns how devices reach this controller."""
    await want_namespaces(objects)
    data = {"server": server, "root-certificate.pem": root_pem.decode()}
    for _ in range(_ATTEMPTS):
        known = await objects.get("ConfigMap", PUBLIC_NAMESPACE, ANNOUNCEMENT)
        if known is None:
            if await objects.create(_new_announcement(data)):
                return
        elif known.get("data") == data:
            return
        else:
            try:
                await objects.replace({**known, "data": data})
            except ConflictError:
                continue
            return


async def want_admin_access(credentials: CredentialStore, path: Path, server: str, ca_pem: bytes | None) -> None:
    """An admin kubeconfig at ``path`` (mode 0600) that works; its token is kept when only address or authority changed.

    When the file is gone a new token is made and the former one taken back: whoever removed it meant that.
    """
    token = await asyncio.to_thread(_load_token, path)
    if token is None or await credentials.find_token(encode_token_hash(token)) is None:
        for old in await credentials.list_tokens():
            if old.description == _DESCRIPTION:
                await credentials.remove_token(old.token_hash)
        fresh = render_token()
        # The token is known to the store before anybody can use it.
        await credentials.save_token(
            TokenRecord(fresh.hash, ADMIN_USER, (ADMIN_GROUP,), None, time.time(), _DESCRIPTION)
        )
        token = fresh.text
        log.info("admin kubeconfig written: path=%s", path)
    await asyncio.to_thread(save_kubeconfig, path, Access(server, token, ca_pem))


def _load_token(path: Path) -> str | None:
    """The token of an earlier start, None when there is none that can be read."""
    text = load_file(path)
    if text is None:
        return None
    try:
        document: Any = yaml.safe_load(text)
        # Others may have been added, and kubectl sorts them.
        token = next(entry["user"]["token"] for entry in document["users"] if entry["name"] == ADMIN_USER)
    except (yaml.YAMLError, KeyError, TypeError, StopIteration):
        return None
    return token if isinstance(token, str) and token else None


def _new_announcement(data: dict[str, str]) -> Object:
    meta = {
        "name": ANNOUNCEMENT,
        "namespace": PUBLIC_NAMESPACE,
        "uid": str(uuid.uuid4()),
        "creationTimestamp": render_time(time.time()),
    }
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}
