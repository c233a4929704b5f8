"""Wi-Fi on virtual air: NetworkManager and wpa_supplicant as they are, radios of the kernel's own, access points by hostapd."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from eaves.node.ports.service import Times
from eaves.testing.authority import Authority
from eaves.testing.network_manager import ManagedHost
from eaves.testing.port_sections import CONTROLLER, SectionsMaker
from eaves.testing.ports_stage import PortsStage
from eaves.testing.radios import AccessPoint, Radios, Security

TIMES = Times(trial_s=60, margin_s=30, settle_s=20, recheck_s=1)
"""A guest without hardware virtualisation takes its time."""
LIMIT_S = 180
SSID, PASSWORD = "Shop floor", "correct horse battery"
USER = "till-17"


@pytest.fixture
def radios() -> Iterator[Radios]:
    with Radios(2) as found:
        yield found


@pytest.fixture
def box(radios: Radios) -> Iterator[ManagedHost]:
    with ManagedHost(has_radio=True) as found:
        radios.give(0, found.namespace)
        yield found


@pytest.fixture
def point(radios: Radios) -> Iterator[AccessPoint]:
    with AccessPoint(radios, 1, "10.77.0") as found:
        found.namespace.batch(f"addr add {CONTROLLER}/32 dev lo")
        yield found


@pytest.mark.parametrize("security", [Security.WPA2, Security.WPA3], ids=["wpa2", "wpa3"])
async def test_a_wireless_uplink_has_an_address_and_reaches_the_controller(
    box: ManagedHost, point: AccessPoint, tmp_path: Path, security: Security
) -> None:
    point.open(SSID, security, PASSWORD)
    async with PortsStage(box, tmp_path, times=TIMES) as stage:
        await stage.applied(SectionsMaker().wifi("wlan0", SSID, PASSWORD).dhcp("wlan0").sections(), LIMIT_S)
        assert "10.77.0." in box.addresses("wlan0")
        box.namespace.run("busybox", "ping", "-c", "1", "-W", "5", CONTROLLER)


@pytest.mark.soak
async def test_a_wrong_password_is_named_and_the_former_network_comes_back(
    box: ManagedHost, point: AccessPoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wrong_password = "wrong horse battery"
    point.open(SSID, Security.WPA2, PASSWORD)
    right = SectionsMaker().wifi("wlan0", SSID, PASSWORD).dhcp("wlan0").sections()
    wrong = SectionsMaker().wifi("wlan0", SSID, wrong_password).dhcp("wlan0").sections()
    async with PortsStage(box, tmp_path, times=TIMES) as stage:
        await stage.applied(right, LIMIT_S)
        view = await stage.failed(wrong, LIMIT_S)
        error = view.records[0].last_error
        assert error == "wlan0: wlan0 is not up: a password is missing or wrong"
        await stage.until(lambda view: view.index == 1 and "10.77.0." in box.addresses("wlan0"), LIMIT_S)
        box.namespace.run("busybox", "ping", "-c", "1", "-W", "5", CONTROLLER)
        commands = box.namespace.run("ps", "-eww", "-o", "args")
        for password in (PASSWORD, wrong_password):
            assert password not in caplog.text + box.log() + box.profiles() + commands


@pytest.mark.soak
async def test_a_user_of_802_1x_is_let_in(
    box: ManagedHost, point: AccessPoint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    point.open(SSID, Security.ENTERPRISE, PASSWORD, USER)
    ca_pem = point.authority.root_pem.decode()
    wanted = SectionsMaker().wifi("wlan0", SSID, PASSWORD, user=USER, ca_pem=ca_pem, server_name="localhost")
    async with PortsStage(box, tmp_path, times=TIMES) as stage:
        await stage.applied(wanted.dhcp("wlan0").sections(), LIMIT_S)
        assert "10.77.0." in box.addresses("wlan0")
        box.namespace.run("busybox", "ping", "-c", "1", "-W", "5", CONTROLLER)
        assert PASSWORD not in caplog.text + box.log() + box.profiles() + box.namespace.run("ps", "-eww", "-o", "args")


@pytest.mark.soak
@pytest.mark.parametrize(
    ("user", "password", "server_name", "is_known"),
    [
        (USER, "wrong horse battery", "", True),
        ("nobody-9", PASSWORD, "", True),
        (USER, PASSWORD, "other.example", True),
        (USER, PASSWORD, "", False),
    ],
    ids=["wrong password", "nobody", "wrong server", "wrong authority"],
)
async def test_a_login_of_802_1x_that_fails_is_told(
    box: ManagedHost,
    point: AccessPoint,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    user: str,
    password: str,
    server_name: str,
    is_known: bool,
) -> None:
    point.open(SSID, Security.ENTERPRISE, PASSWORD, USER)
    authority = point.authority if is_known else Authority()
    wanted = SectionsMaker().wifi(
        "wlan0", SSID, password, user=user, ca_pem=authority.root_pem.decode(), server_name=server_name
    )
    async with PortsStage(box, tmp_path, times=TIMES) as stage:
        view = await stage.failed(wanted.dhcp("wlan0").sections(), LIMIT_S)
        assert view.records[0].last_error.startswith("wlan0: wlan0 is not up: ")
        if is_known and not server_name:
            assert view.records[0].last_error.endswith("a password is missing or wrong")
        assert password not in caplog.text + box.log() + box.profiles() + box.namespace.run("ps", "-eww", "-o", "args")
