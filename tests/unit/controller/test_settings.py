"""Settings of the controller: defaults that start, and faults that name the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from eaves.controller import settings
from eaves.controller.settings import ControllerSettings, GatewaySettings
from eaves.kit.settings import SettingsError


def test_the_defaults_are_valid_and_keep_the_api_on_loopback() -> None:
    defaults = ControllerSettings()
    settings.check_settings(defaults)
    assert defaults.api.listen.startswith("127.0.0.1:")


def test_a_file_and_the_environment_are_merged(tmp_path: Path) -> None:
    path = tmp_path / "controller.toml"
    path.write_text('hosts = ["ctl.example"]\n[gateway]\nlisten = "0.0.0.0:443"\n')
    loaded = settings.load(path, {"EAVES_CONTROLLER_GATEWAY__LISTEN": "[::]:9443", "PATH": "/bin"})
    assert loaded.hosts == ["ctl.example"]
    assert settings.parse_listen(loaded.gateway.listen, "gateway.listen") == ("::", 9443)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[gateway]\nlisten = "nine"\n', "gateway.listen"),
        ('[gateway]\nlisten = "0.0.0.0:70000"\n', "gateway.listen"),
        ("[gateway]\nbody_memory_mib = 0\n", "gateway.body_memory_mib"),
        ("[gateway]\nspeed = 1\n", "gateway.speed"),
        ('[tls]\ncertificate = "/nowhere.pem"\n', "tls.key"),
        ('[tls]\nsigning = "/nowhere.pem"\n', "tls.authority"),
        ('[tls]\necdh = "/nowhere.pem"\n', "tls.ecdh"),
    ],
)
def test_a_fault_names_its_key(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "controller.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        settings.load(path, {})
    assert says in str(caught.value)


def test_own_names_are_always_among_the_hosts() -> None:
    assert {"localhost", "127.0.0.1", "::1"} <= set(settings.want_hosts(ControllerSettings()))
    hosts = settings.want_hosts(
        ControllerSettings(hosts=["ctl.example"], gateway=GatewaySettings(listen="192.0.2.7:8443"))
    )
    assert hosts == ["ctl.example", "localhost", "127.0.0.1", "::1"]
    assert "192.0.2.7" in settings.want_hosts(ControllerSettings(gateway=GatewaySettings(listen="192.0.2.7:8443")))
