"""Asks a server of the cluster whether it can be joined (EVE's status protocol, see :mod:`.statusserver`)."""

from __future__ import annotations

import asyncio

import msgspec
from msgspec import Struct

from eaves.kit.errors import EavesError
from eaves.node.clusters.model import STATUS_PORT
from eaves.node.clusters.statusserver import SharedSettings
from eaves.node.link.client import HttpClient, Server
from eaves.node.link.tls import want_context

_DIAL_TIMEOUT_S = 3.0
_ANSWER_TIMEOUT_S = 5.0
_LIMIT_BYTES = 64 << 10
_PREFIX = "cluster:"


class Answer(Struct, frozen=True):
    """``cluster_id`` empty = it does not answer as a ready server, ``reason`` says why."""

    cluster_id: str = ""
    reason: str = ""
    settings: SharedSettings = SharedSettings()


def judge(answer: Answer, cluster_id: str, restore: int = 0) -> str:
    """Why this server cannot be joined now; empty = it can. ``restore``: number of the restore that it must have behind it."""
    if answer.reason:
        return answer.reason
    if not answer.cluster_id:
        return "it is not ready yet"
    if answer.cluster_id != cluster_id:
        return f"it belongs to another cluster ({answer.cluster_id})"
    if answer.settings.restored < restore:
        return "it has not restored the snapshot yet"
    return ""


async def ask(address: str, *, port: int = STATUS_PORT) -> Answer:
    """What the server at ``address`` says of itself; never raises."""
    client = HttpClient(
        Server(address, port, is_tls=False),
        want_context(b"", use_system=False),
        dial_timeout_s=_DIAL_TIMEOUT_S,
        send_timeout_s=_ANSWER_TIMEOUT_S,
        answer_limit_bytes=_LIMIT_BYTES,
    )
    try:
        status = await client.request("GET", "/status")
        text = status.body.decode(errors="replace").strip()
        if status.status != 200 or not text.startswith(_PREFIX):
            return Answer()
        return Answer(text.removeprefix(_PREFIX).lower(), "", await _ask_settings(client))
    except EavesError as error:
        return Answer(reason=f"it does not answer: {error.message}")
    finally:
        await client.close()


async def ask_all(
    addresses: list[str], cluster_id: str, restore: int = 0, *, port: int = STATUS_PORT
) -> tuple[str, Answer]:
    """The first of ``addresses`` that answers as a ready server of this cluster, with its answer; empty = none does."""
    answers = await asyncio.gather(*(ask(address, port=port) for address in addresses))
    for address, answer in zip(addresses, answers, strict=True):
        if not judge(answer, cluster_id, restore):
            return address, answer
    return "", Answer()


async def _ask_settings(client: HttpClient) -> SharedSettings:
    """Servers of other controllers have none."""
    try:
        answer = await client.request("GET", "/eaves/settings")
        return msgspec.json.decode(answer.body, type=SharedSettings) if answer.status == 200 else SharedSettings()
    except (EavesError, msgspec.DecodeError):
        return SharedSettings()
