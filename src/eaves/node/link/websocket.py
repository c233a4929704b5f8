"""Opens WebSockets to the controller, by the way and with the trust that its other calls have. The library is imported at first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from msgspec import Struct

from eaves.node.link.binding import connect_bound
from eaves.node.link.calls import Controller
from eaves.node.link.client import Proxy, Route, Server
from eaves.node.link.errors import DialError, UnreachableError
from eaves.wire.paths import Endpoint, render_path

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

PING_S = 50.0
"""A ping goes out this often: a dead path is noticed, and a NAT on the way keeps its entry for a minute or more."""


class ForeignControllerError(UnreachableError):
    """The controller does not have the extension."""

    code = "NoExtension"


class SocketBounds(Struct, frozen=True):
    """``pong_timeout_s`` None: a peer that does not read is waited for, since only its reading would answer a ping."""

    message_bytes: int
    messages: int
    pong_timeout_s: float | None


async def open_websocket(controller: Controller, extension: str, bounds: SocketBounds) -> ClientConnection:
    """A WebSocket to ``ext/eaves/{extension}`` of this device; the caller limits the time.

    Raises ForeignControllerError, DialError, UnreachableError.
    """
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI

    client = controller.client
    assert controller.device_id is not None
    path = render_path(Endpoint.EXTENSION, controller.device_id, extension=extension)
    route = await controller.route_for_stream()
    scheme = "wss" if client.server.is_tls else "ws"
    try:
        return await connect(
            f"{scheme}://{client.server.authority}{path}",
            ssl=client.context if client.server.is_tls else None,
            **await _want_way(client.server, route),
            compression=None,
            max_size=bounds.message_bytes,
            max_queue=bounds.messages,
            ping_interval=PING_S,
            ping_timeout=bounds.pong_timeout_s,
            open_timeout=None,
            close_timeout=1,
            user_agent_header="eaves-node",
        )
    except InvalidStatus as error:
        status = error.response.status_code
        if status in (400, 404, 405, 426, 501):
            raise ForeignControllerError(f"the controller has no {extension} channel (answers {status})") from error
        raise UnreachableError(f"{extension} channel is refused with {status}") from error
    except (InvalidHandshake, InvalidURI, OSError, EOFError) as error:
        raise DialError(f"{extension} channel cannot be opened: {error}") from error


async def _want_way(server: Server, route: Route) -> dict[str, Any]:
    """Arguments of the library for the way out. Raises OSError."""
    if route.interface and route.source and route.proxy is None:
        return {
            "proxy": None,
            "sock": await connect_bound(server.host, server.port, source=route.source, interface=route.interface),
        }
    # The library opens the way to a proxy by itself; from the port's address, it leaves by the port as far as routes say so.
    return {"proxy": _render_proxy(route.proxy), "local_addr": (route.source, 0) if route.source else None}


def _render_proxy(proxy: Proxy | None) -> str | None:
    if proxy is None:
        return None
    user = f"{quote(proxy.user, safe='')}:{quote(proxy.password, safe='')}@" if proxy.user else ""
    return f"http://{user}{proxy.host}:{proxy.port}"
