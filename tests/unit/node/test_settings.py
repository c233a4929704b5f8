"""Settings of the node: where they come from and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from eaves.kit.settings import SettingsError
from eaves.node.link.client import Proxy, Server
from eaves.node.settings import (
    NodeSettings,
    UplinkSettings,
    load_node_settings,
    parse_proxy,
    parse_server,
    render_settings,
    want_uplinks,
)


def test_file_and_environment(tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text('server = "edge.example"\n[[uplinks]]\ninterface = "eth0"\ncost = 5\n')
    settings = load_node_settings(path, {"EAVES_NODE_NOTIFY": "false", "HOME": "/root"})
    assert (settings.server, settings.notify) == ("edge.example", False)
    (uplink,) = want_uplinks(settings)
    assert (uplink.label, uplink.interface, uplink.cost) == ("eth0", "eth0", 5)


@pytest.mark.parametrize("text", ['sever = "x"', "log_quota_mib = true", '[[uplinks]]\nintreface = "eth0"'])
def test_what_is_not_known_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "node.toml"
    path.write_text(text)
    with pytest.raises(SettingsError):
        load_node_settings(path, {})


def test_written_settings_are_read_back(tmp_path: Path) -> None:
    settings = NodeSettings(
        server='edge.example:8443"\\',
        name="größe",
        uplinks=(UplinkSettings("eth0", "office", 1), UplinkSettings("wwan0")),
        reboot_command=("echo", "reboot"),
        notify=False,
    )
    path = tmp_path / "node.toml"
    path.write_text(render_settings(settings))
    assert load_node_settings(path, {}) == settings


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("edge.example", Server("edge.example", 443)),
        ("edge.example:8443", Server("edge.example", 8443)),
        ("https://edge.example:8443/", Server("edge.example", 8443)),
        ("[2001:db8::1]:8443", Server("2001:db8::1", 8443)),
        ("http://127.0.0.1:8080", Server("127.0.0.1", 8080, is_tls=False)),
    ],
)
def test_servers(text: str, server: Server) -> None:
    assert parse_server(text) == server


@pytest.mark.parametrize("text", ["", "http://edge.example", "ftp://x", "edge.example/api", "edge:port", "https://"])
def test_servers_that_are_none(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_server(text)
    assert caught.value.resolution


def test_proxies() -> None:
    assert parse_proxy("") is None
    assert parse_proxy("proxy.example") == Proxy("proxy.example", 3128)
    assert parse_proxy("http://joe:s%3Acret@proxy.example:8080") == Proxy("proxy.example", 8080, "joe", "s:cret")
    for text in ("socks5://proxy.example", "http://", "http://proxy:port"):
        with pytest.raises(SettingsError):
            parse_proxy(text)


def test_instance_name_is_checked() -> None:
    with pytest.raises(SettingsError):
        _ = NodeSettings(instance="Not A Name").engine
