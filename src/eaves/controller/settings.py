"""Settings of ``eaves controller``: one frozen struct, each value with a default that works on one machine.

Read by :func:`load` from a TOML file and from variables ``EAVES_CONTROLLER_…`` (tables joined by two underscores, as in
``EAVES_CONTROLLER_GATEWAY__LISTEN=0.0.0.0:8443``). An unknown key is an error. Bootstrap is the only reader.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from eaves.kit.settings import SettingsError, load_settings

DEFAULT_FILE = Path("/etc/eaves/controller.toml")
PREFIX = "EAVES_CONTROLLER_"


class ApiSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The operator API."""

    listen: str = "127.0.0.1:6443"
    """Loopback by default: whoever opens it to a network does so knowingly."""
    url: str = ""
    """What goes into the admin kubeconfig; made from ``listen`` and the first host when empty."""


class GatewaySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The device API."""

    listen: str = "0.0.0.0:8443"
    server: str = ""
    """HOST:PORT that devices are told to call; made from ``listen`` and the first host when empty."""
    connections: int = 20_000
    connections_per_address: int = 5_000
    body_memory_mib: int = 64
    """Memory that all request bodies under way may take together."""
    device_requests_per_s: float = 20.0
    device_burst: float = 200.0
    """Requests of one device; a device that returns after months back-fills its logs in bursts."""
    unknown_requests_per_s: float = 5.0
    unknown_burst: float = 50.0
    """Refused requests of one address before it has to wait."""
    config_cache: int = 20_000
    """Devices whose sealed config is kept in memory; others are read from the store."""


class TlsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Certificates brought by the operator; everything empty means an own authority."""

    certificate: str = ""
    key: str = ""
    authority: str = ""
    signing: str = ""
    ecdh: str = ""


class RetentionSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How much telemetry and history is kept."""

    telemetry_days: int = 7
    telemetry_mib: int = 4096
    history_minutes: int = 10
    """Object history for watches and paged lists."""


class AuditSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Who did what through the operator API, in ``audit/audit.log`` of the data folder."""

    enabled: bool = True
    reads: bool = False
    """Also reads of anything but Secrets, which are many."""
    max_mib: int = 100
    """Of one file, before the next is begun."""
    backups: int = 5
    """Former files that are kept."""


class LogSettings(Struct, frozen=True, forbid_unknown_fields=True):
    level: str = "INFO"
    style: str = "auto"


class ControllerSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that can be set."""

    data_dir: str = "/var/lib/eaves-controller"
    hosts: list[str] = []
    """Names and addresses by which devices and operators reach this controller; they go into its server certificate."""
    api: ApiSettings = ApiSettings()
    gateway: GatewaySettings = GatewaySettings()
    tls: TlsSettings = TlsSettings()
    retention: RetentionSettings = RetentionSettings()
    audit: AuditSettings = AuditSettings()
    log: LogSettings = LogSettings()


def load(path: Path | None, environment: Mapping[str, str]) -> ControllerSettings:
    """Read and check the settings. ``path`` None reads :data:`DEFAULT_FILE` if there is one. Raises SettingsError."""
    if path is None and DEFAULT_FILE.exists():
        path = DEFAULT_FILE
    settings = load_settings(ControllerSettings, path, environment, PREFIX)
    check_settings(settings)
    return settings


def check_settings(settings: ControllerSettings) -> None:
    """Find what cannot work before anything is started. Raises SettingsError."""
    parse_listen(settings.api.listen, "api.listen")
    parse_listen(settings.gateway.listen, "gateway.listen")
    tls = settings.tls
    if bool(tls.certificate) != bool(tls.key):
        raise SettingsError("tls.certificate and tls.key come together", resolution="set both or neither")
    if tls.signing and not tls.authority:
        raise SettingsError("tls.signing needs tls.authority", resolution="give the root that devices verify it with")
    for name in ("certificate", "key", "authority", "signing", "ecdh"):
        value: str = getattr(tls, name)
        if value and not Path(value).is_file():
            raise SettingsError(f"no such file: {value}", element=f"tls.{name}")
    _check_positive(settings)


def parse_listen(text: str, element: str) -> tuple[str, int]:
    """``HOST:PORT`` or ``[IPv6]:PORT``; port 0 takes a free one. Raises SettingsError."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise SettingsError(
            f"{text!r} is not HOST:PORT", element=element, resolution="write an address such as 0.0.0.0:8443"
        )
    return host or "0.0.0.0", int(port)  # noqa: S104 - an empty host means every address, as everywhere


def want_hosts(settings: ControllerSettings) -> list[str]:
    """Names for the server certificate: those set, and always those that reach this machine from itself."""
    local = ["localhost", "127.0.0.1", "::1"]
    found = list(settings.hosts)
    if not found:
        found = [_host_name(), *_listen_addresses(settings)]
    return list(dict.fromkeys(host for host in (*found, *local) if host))


def want_api_url(settings: ControllerSettings, port: int) -> str:
    """Where operators reach the API; ``port`` is the one listened on."""
    return settings.api.url or f"https://{_public_address(settings, settings.api.listen, port)}"


def want_gateway_server(settings: ControllerSettings, port: int) -> str:
    """``HOST:PORT`` that devices are told to call."""
    return settings.gateway.server or _public_address(settings, settings.gateway.listen, port)


def _public_address(settings: ControllerSettings, listen: str, port: int) -> str:
    """An address listened on is reached as itself; all addresses by the first name set, or the machine's own."""
    host, _ = parse_listen(listen, "listen")
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        host = next(iter(settings.hosts), "") or _host_name() or "127.0.0.1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _listen_addresses(settings: ControllerSettings) -> list[str]:
    addresses = []
    for text in (settings.gateway.listen, settings.api.listen):
        host, _ = parse_listen(text, "listen")
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            addresses.append(host)
            continue
        if not address.is_unspecified:
            addresses.append(str(address))
    return addresses


def _host_name() -> str:
    try:
        return socket.gethostname().lower()
    except OSError:
        return ""


def _check_positive(settings: ControllerSettings) -> None:
    if settings.audit.max_mib <= 0:
        raise SettingsError(f"must be above 0, is {settings.audit.max_mib}", element="audit.max_mib")
    for table in ("gateway", "retention"):
        values = getattr(settings, table)
        for field in values.__struct_fields__:
            value = getattr(values, field)
            if isinstance(value, int | float) and value <= 0:
                raise SettingsError(f"must be above 0, is {value}", element=f"{table}.{field}")
