"""What the parts of the metadata server hand to each other."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from msgspec import Struct

from eaves.node.desired.model import DesiredApp, DesiredNode
from eaves.node.networks.model import Layout, WantedBridge, WantedVif

BODY_LIMIT_BYTES = 64 << 10
"""The largest body of all routes, that of the signer."""


class AppDataKind(StrEnum):
    """What an app tells its controller by a POST."""

    KUBECONFIG = "kubeconfig"
    CUSTOM_STATUS = "customStatus"


class Caller(Struct, frozen=True):
    """The app that asks, and by which of its interfaces."""

    app: DesiredApp
    vif: WantedVif
    bridge: WantedBridge
    peer: str
    """Address and port that it asks from."""


class Request(Struct, frozen=True):
    """``path`` is decoded and without query; header names are lower case."""

    method: str
    path: str
    headers: Mapping[str, str] = {}
    body: bytes = b""


class Answer(Struct, frozen=True):
    """``file`` is sent instead of ``body`` when it is given."""

    status: int
    body: bytes = b""
    media_type: str = "text/plain"
    file: Path | None = None
    headers: tuple[tuple[str, str], ...] = ()


class World(Struct, frozen=True):
    """What answers are made from. ``layout`` is the one whose table is in place."""

    desired: DesiredNode = DesiredNode("", "", "")
    layout: Layout = Layout()
    has_fault: Mapping[str, str] = {}
    """Network or app id → what is wrong with it, for people."""
    is_signing: bool = False
    """Whether apps may have payloads signed as the device."""
