"""Proxies of a port."""

from __future__ import annotations

import base64
import binascii

from eaves.node.desired.errors import ObjectError
from eaves.node.desired.port_model import ProxyScheme, ProxyServer, ProxySetup
from eaves.wire.pb.evecommon import netcmn_pb2 as netcmn

_SCHEMES = {
    netcmn.PROXY_HTTP: ProxyScheme.HTTP,
    netcmn.PROXY_HTTPS: ProxyScheme.HTTPS,
    netcmn.PROXY_SOCKS: ProxyScheme.SOCKS,
    netcmn.PROXY_FTP: ProxyScheme.FTP,
}
_USUAL_PORT = 3128
_PORT_LIMIT = 65535


def parse_proxy(config: netcmn.ProxyConfig) -> ProxySetup:
    """``config`` understood. Raises ObjectError when its file is no base64."""
    try:
        pac = base64.b64decode(config.pacfile, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ObjectError(
            "its proxy auto-configuration file is no base64 of a text",
            code="ProxyInvalid",
            resolution="correct the proxy's PAC file",
        ) from error
    return ProxySetup(
        servers=tuple(_parse_server(server) for server in config.proxies if server.proto in _SCHEMES),
        exceptions=tuple(filter(None, (entry.strip() for entry in config.exceptions.split(",")))),
        pac=pac,
        discover=config.networkProxyEnable,
        pac_url=config.networkProxyURL,
        ca_pems=tuple(pem.decode("ascii", "replace") for pem in config.proxyCertPEM),
    )


def _parse_server(server: netcmn.ProxyServer) -> ProxyServer:
    host = server.server.strip().partition("://")[2] or server.server.strip()
    if not host or server.port > _PORT_LIMIT:
        raise ObjectError(f"{server.server[:64]!r} is no proxy server", code="ProxyInvalid")
    return ProxyServer(_SCHEMES[server.proto], host.rstrip("/"), server.port or _USUAL_PORT)
