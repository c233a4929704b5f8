"""Wi-Fi on virtual air, for tests: radios of mac80211_hwsim, access points by hostapd. Needs a stock kernel, see ``tests/guest``."""

from __future__ import annotations

import subprocess
import tempfile
import time
from enum import StrEnum
from pathlib import Path

from eaves.testing.namespaces import Namespace
from eaves.testing.network_manager import DhcpNetwork

_CONFIG = """interface={interface}
driver=nl80211
ssid={ssid}
hw_mode=g
channel=1
auth_algs=1
"""
_WAIT_S = 60.0


class Security(StrEnum):
    """What an access point asks for, as lines of hostapd.conf; ``{password}`` is to be filled in."""

    OPEN = ""
    WPA2 = "wpa=2\nwpa_key_mgmt=WPA-PSK\nrsn_pairwise=CCMP\nwpa_passphrase={password}\n"
    WPA3 = "wpa=2\nwpa_key_mgmt=SAE\nrsn_pairwise=CCMP\nieee80211w=2\nsae_password={password}\n"


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

    def open(self, ssid: str, security: Security, password: str = "") -> None:
        """Be on the air. Raises AssertionError."""
        config, log = Path(self._folder.name, "hostapd.conf"), Path(self._folder.name, "log")
        text = _CONFIG.format(interface=self.radio, ssid=ssid) + security.format(password=password)
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
