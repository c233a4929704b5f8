"""Settings of the node daemon: a TOML file (``/etc/eaves/node.toml``, written by ``eaves node join``) and ``EAVES_NODE_…`` variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Struct

from eaves.kit.settings import SettingsError, load_settings
from eaves.node.instance import DEFAULT_NAME, Instance
from eaves.node.link.client import Proxy, Server
from eaves.node.link.uplinks import Uplink
from eaves.node.networks.model import Port

SETTINGS_FOLDER = Path("/etc/eaves")
SETTINGS_FILE = SETTINGS_FOLDER / "node.toml"
ENVIRONMENT_PREFIX = "EAVES_NODE_"


class UplinkSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """A way to the controller. The lowest ``cost`` is used first, equal ones take turns."""

    interface: str
    label: str = ""
    """Name that networks refer to; the interface's own when empty."""
    cost: int = 0
    shared_labels: tuple[str, ...] = ()
    """Further names that networks refer to; several ports may have the same."""


RUNROOT_LIMIT = 50
"""Characters of the folder for run-time files that Podman accepts."""


class NodeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """All settings; only ``server`` has no usable default."""

    server: str = ""
    """The controller's device API: ``host``, ``host:port`` or ``https://host:port``."""
    root_certificate_file: str = str(SETTINGS_FOLDER / "root-certificate.pem")
    """Trusted for the controller's certificates and, beside the system's, for its server certificate."""
    trust_system_certificates: bool = True
    onboarding_certificate_file: str = str(SETTINGS_FOLDER / "onboard.cert.pem")
    onboarding_key_file: str = str(SETTINGS_FOLDER / "onboard.key.pem")
    name: str = ""
    """Proposed to the controller as this node's name; the host's own name when empty."""
    serial: str = ""
    """Overrides the serial number of the firmware."""
    proxy: str = ""
    """``http://[user:password@]host:port`` of a proxy that tunnels by CONNECT."""
    proxy_certificate_file: str = ""
    """Certificates of a proxy that looks into TLS."""
    uplinks: tuple[UplinkSettings, ...] = ()
    """Empty = the host's routing decides."""
    manage_ports: bool = False
    """Set the ports up as the controller says, by NetworkManager; else the host's network is left to its owner."""
    port_trial_s: int = 120
    """How long a new config of the ports has to reach the controller before the former one comes back."""
    port_retry_s: int = 600
    """After how long a config of the ports that failed is tried again."""
    notify: bool = True
    """Keep a channel open by which the controller wakes this node; without it changes wait for the next poll."""
    state_dir: str = "/var/lib/eaves"
    run_dir: str = "/run/eaves"
    instance: str = DEFAULT_NAME
    reboot_command: tuple[str, ...] = ("systemctl", "reboot")
    log_level: str = "INFO"
    log_quota_mib: int = 512
    """Most disk space for logs that wait for the controller; the config may lower it."""
    metrics: bool = True
    k3s_binary: str = ""
    """K3s program of this machine, for clusters of controllers that name none; those of Eaves bring their own."""

    @property
    def engine(self) -> Instance:
        """Names and folders of the engine."""
        try:
            return Instance(self.instance, Path(self.state_dir), Path(self.run_dir))
        except ValueError as error:
            raise SettingsError(str(error), element="instance") from error


def load_node_settings(path: Path | None = None, environment: Mapping[str, str] = os.environ) -> NodeSettings:
    """Settings of ``path`` (default: the usual file if it exists) and the environment. Raises SettingsError."""
    if path is None and SETTINGS_FILE.exists():
        path = SETTINGS_FILE
    return load_settings(NodeSettings, path, environment, ENVIRONMENT_PREFIX)


def check_run_dir(settings: NodeSettings) -> None:
    """Raises SettingsError for a path that Podman would refuse: below it go sockets, whose addresses are short."""
    needed = len(str(settings.engine.podman_run_dir))
    if needed > RUNROOT_LIMIT:
        raise SettingsError(
            f"{settings.run_dir} is too long by {needed - RUNROOT_LIMIT} characters for Podman",
            element="run_dir",
            resolution="name a shorter path, such as /run/eaves",
        )


def parse_server(text: str) -> Server:
    """The controller's address. Raises SettingsError."""
    remedy = "write host, host:port or https://host:port; eaves node join does it for you"
    if not text.strip():
        raise SettingsError("this node knows no controller", element="server", resolution=remedy)
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        port = parts.port
    except ValueError as error:
        raise SettingsError(f"{text!r} is no server", element="server", resolution=remedy) from error
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.path not in ("", "/"):
        raise SettingsError(f"{text!r} is no server", element="server", resolution=remedy)
    is_tls = parts.scheme == "https"
    if not is_tls and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise SettingsError("only loopback may be reached without TLS", element="server", resolution="use https")
    return Server(parts.hostname, port or (443 if is_tls else 80), is_tls)


def parse_proxy(text: str) -> Proxy | None:
    """The proxy, None for an empty text. Raises SettingsError."""
    if not text.strip():
        return None
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        port = parts.port
    except ValueError as error:
        raise SettingsError("cannot be read", element="proxy", resolution="write http://host:port") from error
    if parts.scheme != "http" or not parts.hostname:
        raise SettingsError(
            "only proxies that are themselves spoken to by http are supported",
            element="proxy",
            resolution="write http://host:port",
        )
    return Proxy(parts.hostname, port or 3128, unquote(parts.username or ""), unquote(parts.password or ""))


def want_uplinks(settings: NodeSettings) -> list[Uplink]:
    """The configured uplinks."""
    return [Uplink(entry.label or entry.interface, entry.interface, entry.cost) for entry in settings.uplinks]


def want_ports(settings: NodeSettings) -> tuple[Port, ...]:
    """The configured uplinks as ports of networks."""
    return tuple(
        Port(
            label=entry.label or entry.interface,
            interface=entry.interface,
            cost=entry.cost,
            shared_labels=entry.shared_labels,
        )
        for entry in settings.uplinks
    )


def render_settings(settings: NodeSettings) -> str:
    """TOML of everything that differs from the defaults."""
    defaults = msgspec.to_builtins(NodeSettings())
    values = {key: value for key, value in msgspec.to_builtins(settings).items() if value != defaults[key]}
    tables = values.pop("uplinks", [])
    lines = ["# Written by eaves node join; see the settings reference for all keys."]
    lines += [f"{key} = {_render_value(value)}" for key, value in values.items()]
    for table in tables:
        lines += ["", "[[uplinks]]", *(f"{key} = {_render_value(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _render_value(value: object) -> str:
    """JSON's texts, numbers, truth values and lists of them are TOML too."""
    return msgspec.json.encode(value).decode()
