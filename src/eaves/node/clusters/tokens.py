"""Gives the cluster a new join token: the leader tells K3s, then every member restarts with it.

``k3s token rotate`` takes the tokens as arguments, which every user of the machine could read. So the same request goes to K3s's supervisor
as the command would send it; a K3s that has no such request gets the command with its tokens in a file.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import ssl

import msgspec
import yaml

from eaves.kit import files
from eaves.node.clusters.errors import ClusterError
from eaves.node.clusters.membership import Membership
from eaves.node.clusters.model import API_PORT, ClusterFolders
from eaves.node.clusters.spec import secret_of
from eaves.node.desired.cluster_model import DesiredCluster
from eaves.node.link import tls
from eaves.node.link.client import HttpClient, Server

log = logging.getLogger(__name__)

_PATH = "/v1-k3s/token"
_UNKNOWN = (404, 405, 501)


async def rotate_token(membership: Membership, cluster: DesiredCluster) -> None:
    """Once per order. Raises EavesError, OSError; then it is tried again."""
    record = membership.record
    if not cluster.former_token or cluster.orders.rotate_token <= record.done.rotate_token:
        return
    former, new = cluster.former_token.reveal(), cluster.token.reveal()
    if await asyncio.to_thread(_is_known, membership.own, new):
        # Made known by a daemon that died before it could note that; K3s refuses to go from the former token to it again.
        log.info("the cluster knows the new token already: cluster=%s", record.name)
    elif not await _ask_supervisor(membership, former, new):
        await _run_command(membership, former, new)
    await membership.note_done(rotate_token=cluster.orders.rotate_token)
    log.info("the cluster has a new token: cluster=%s", record.name)


def _is_known(folders: ClusterFolders, token: str) -> bool:
    """Whether the token is the cluster's, as K3s keeps it on a server's disk. Blocking."""
    kept = files.load_file(folders.data / "server" / "token") or b""
    return bool(kept.strip()) and secret_of(kept.decode(errors="replace").strip()) == secret_of(token)


async def _ask_supervisor(membership: Membership, former: str, new: str) -> bool:
    """False when this K3s knows no such request. A token that was made known before is no error."""
    ca = await asyncio.to_thread(files.load_file, membership.own.server_tls / "server-ca.crt")
    if not ca:
        return False
    try:
        client = HttpClient(Server("127.0.0.1", API_PORT), tls.want_context(ca, use_system=False))
    except ssl.SSLError as error:
        raise ClusterError("the cluster's certificate authority cannot be read") from error
    basic = base64.b64encode(f"server:{secret_of(former)}".encode()).decode()
    headers = [("authorization", f"Basic {basic}"), ("content-type", "application/json")]
    try:
        body = msgspec.json.encode({"newToken": secret_of(new)})
        answer = await client.request("PUT", _PATH, headers=headers, body=body)
    finally:
        await client.close()
    if answer.status in _UNKNOWN:
        return False
    if answer.status >= 300:
        raise ClusterError(f"K3s refuses the new token with status {answer.status}", code="TokenRotationFailed")
    return True


async def _run_command(membership: Membership, former: str, new: str) -> None:
    path = membership.own.run / "token-rotation.yaml"
    document = yaml.safe_dump({"token": former, "new-token": new}).encode()
    await asyncio.to_thread(files.save_file, path, document)
    try:
        await membership.run_k3s("token", "rotate", "--config", str(path))
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)
