"""Wi-Fi on virtual air, for tests: radios of mac80211_hwsim, access points by hostapd. Needs a stock kernel, see ``tests/guest``."""

from __future__ import annotations

import subprocess
import tempfile
import time
from enum import StrEnum
from pathlib import Path

from eaves.testing.authority import Authority, encode_key
from eaves.testing.namespaces import Namespace
from eaves.testing.network_manager import DhcpNetwork
from eaves.wire import certificates

_CONFIG = """interface={interface}
driver=nl80211
ssid={ssid}
hw_mode=g
channel=1
auth_algs=1
"""
_WAIT_S = 60.0


class Security(StrEnum):
    """What an access point asks for, as lines of hostapd.conf; ``{password}`` and ``{folder}`` are to be filled in."""

    OPEN = ""
    WPA2 = "wpa=2\nwpa_key_mgmt=WPA-PSK\nrsn_pairwise=CCMP\nwpa_passphrase={password}\n"
    WPA3 = "wpa=2\nwpa_key_mgmt=SAE\nrsn_pairwise=CCMP\nieee80211w=2\nsae_password={password}\n"
    ENTERPRISE = (
        "wpa=2\nwpa_key_mgmt=WPA-EAP\nrsn_pairwise=CCMP\nieee8021x=1\neap_server=1\neap_user_file={folder}/users\n"
        "ca_cert={folder}/ca.pem\nserver_cert={folder}/server.pem\nprivate_key={folder}/server.key\n"
    )
    """802.1X by PEAP and MSCHAPv2, with the EAP server that is in hostapd."""


class Radios:
    """Virtual radios that hear each other: interfaces ``wlan0``, ``wlan1``, … until they are given away. A context manager."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __enter__(self) -> Radios:
        # Radios that an earlier test gave away come back only once its namespace is gone: made anew they are here at once.
        self._remove()
        subprocess.run(["modprobe", "mac80211_hwsim", f"radios={self._count}"], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def give(self, number: int, namespace: Namespace) -> str:
        """Let only that namespace have the radio; answers its interface."""
        interface = f"wlan{number}"
        phy = Path(f"/sys/class/net/{interface}/phy80211/name").read_text().strip()
        subprocess.run(["iw", "phy", phy, "set", "netns", "name", namespace.path], check=True)
        return interface

    def _remove(self) -> None:
        subprocess.run(["modprobe", "--remove", "--quiet", "mac80211_hwsim"], check=False)


class AccessPoint(DhcpNetwork):
    """A wireless network with a DHCP server behind it. ``radio``: the interface, once it is in :attr:`namespace`."""

    def __init__(self, radios: Radios, number: int, subnet: str) -> None:
        super().__init__(subnet)
        self.radio = radios.give(number, self.namespace)
        self._folder = tempfile.TemporaryDirectory(prefix="eaves-ap.")
        self.authority = Authority()
        """Vouches for ``localhost``, its EAP server."""

    def open(self, ssid: str, security: Security, password: str = "", user: str = "") -> None:
        """Be on the air; ``user`` has the password where the network asks for one. Raises AssertionError."""
        folder = Path(self._folder.name)
        config, log = folder / "hostapd.conf", folder / "log"
        if security is Security.ENTERPRISE:
            _write_eap(folder, self.authority, user, password)
        text = _CONFIG.format(interface=self.radio, ssid=ssid) + security.format(password=password, folder=folder)
        config.write_text(text)
        with log.open("wb") as output:
            point = subprocess.Popen(
                self.namespace.argv("hostapd", str(config)), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self._servers.append(point)
        ends_at = time.monotonic() + _WAIT_S
        while "AP-ENABLED" not in log.read_text():
            if point.poll() is not None or time.monotonic() > ends_at:
                raise AssertionError(f"hostapd does not come up: {log.read_text()}")
            time.sleep(0.05)
        self.take_address(self.radio)
        self.start_dhcp(self.radio)

    def close(self) -> None:
        super().close()
        self._folder.cleanup()


def _write_eap(folder: Path, authority: Authority, user: str, password: str) -> None:
    """What hostapd's own EAP server reads: one user, and a certificate by which the network shows who it is."""
    (folder / "users").write_text(f'* PEAP\n"{user}" MSCHAPV2 "{password}" [2]\n')
    (folder / "ca.pem").write_bytes(authority.root_pem)
    (folder / "server.pem").write_bytes(certificates.encode_certificate_pem(authority.server))
    (folder / "server.key").write_bytes(encode_key(authority.server_key))
