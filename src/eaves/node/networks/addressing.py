"""Who gets which bridge, address and MAC: pure functions over the remembered state.

Called by ``layout``. An app keeps its address for as long as the node remembers it: also while the app is away, until the range
is used up.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator

from eaves.node.desired.model import DesiredInterface, DesiredNetwork
from eaves.node.networks.model import NetworkState, Problem

Range = tuple[ipaddress.IPv4Address, ipaddress.IPv4Address]


def derive_mac(app_id: str, network_id: str, name: str) -> str:
    """A stable, locally administered unicast MAC."""
    digest = hashlib.sha256(f"{app_id} {network_id} {name}".encode()).digest()
    return ":".join(f"{octet:02x}" for octet in (0x02, *digest[:5]))


def derive_link(prefix: str, app_id: str, name: str) -> str:
    """Name of the host's end of an app's interface: the prefix and eight hex digits."""
    return prefix + hashlib.sha256(f"{app_id} {name}".encode()).hexdigest()[:8]


def want_bridge_number(state: NetworkState, network_id: str) -> int:
    """The network's number; a new network gets the lowest one free."""
    if network_id not in state.bridges:
        taken = set(state.bridges.values())
        state.bridges[network_id] = next(number for number in range(len(taken) + 1) if number not in taken)
    return state.bridges[network_id]


def forget_networks(state: NetworkState, keep: Iterable[str]) -> None:
    """Forget numbers and addresses of networks that are not in ``keep``."""
    kept = set(keep)
    for network_id in [known for known in state.bridges if known not in kept]:
        del state.bridges[network_id]
    for network_id in [known for known in state.addresses if known not in kept]:
        del state.addresses[network_id]


def check_network(network: DesiredNetwork) -> Problem | None:
    """Why this Local network cannot be made here, or None. Afterwards its texts can be parsed without fear."""
    if not network.subnet:
        return Problem(network.id, "SubnetMissing", f"network {network.name} has no subnet", "give it an IPv4 subnet")
    try:
        subnet = ipaddress.IPv4Network(network.subnet, strict=False)
        texts = (network.gateway, network.dhcp_start, network.dhcp_end, *network.dns_servers)
        for text in filter(None, texts):
            ipaddress.IPv4Address(text)
    except ValueError as error:
        return Problem(network.id, "SubnetInvalid", f"network {network.name}: {error}", "give IPv4 addresses")
    if subnet.prefixlen > 30:
        return Problem(network.id, "SubnetTooSmall", f"network {network.name}: {subnet} has no room for an app")
    if want_gateway(network) not in subnet:
        message = f"network {network.name}: gateway {network.gateway} is outside of {subnet}"
        return Problem(network.id, "SubnetInvalid", message)
    start, end = want_range(network)
    if start > end or start not in subnet or end not in subnet:
        message = f"network {network.name}: DHCP range {start}-{end} is not inside {subnet}"
        return Problem(network.id, "SubnetInvalid", message)
    return None


def want_gateway(network: DesiredNetwork) -> ipaddress.IPv4Address:
    subnet = ipaddress.IPv4Network(network.subnet, strict=False)
    return ipaddress.IPv4Address(network.gateway) if network.gateway else subnet[1]


def want_range(network: DesiredNetwork) -> Range:
    """First and last address for apps; without a range in the config every host address but the first."""
    subnet = ipaddress.IPv4Network(network.subnet, strict=False)
    start = ipaddress.IPv4Address(network.dhcp_start) if network.dhcp_start else subnet[2]
    end = ipaddress.IPv4Address(network.dhcp_end) if network.dhcp_end else subnet[-2]
    return start, end


class Addresses:
    """Hands out the addresses of one network; given ones first, then remembered ones, then fresh ones."""

    def __init__(self, network: DesiredNetwork, state: NetworkState) -> None:
        self._network = network
        self._subnet = ipaddress.IPv4Network(network.subnet, strict=False)
        self._remembered = state.addresses.setdefault(network.id, {})
        self._taken: dict[str, str] = {str(want_gateway(network)): "the gateway"}

    def assign(self, members: list[tuple[str, str, DesiredInterface]]) -> tuple[dict[str, str], list[Problem]]:
        """``members``: (app id, app name, interface). Answers ``app id/interface`` → address, and what could not be."""
        given: dict[str, str] = {}
        problems: list[Problem] = []
        for app_id, app_name, interface in members:
            if interface.address:
                problem = self._give(app_id, app_name, interface, given)
                problems += [problem] if problem else []
        waiting = [(app_id, app_name, interface) for app_id, app_name, interface in members if not interface.address]
        keys = {_key(app_id, interface) for app_id, _, interface in waiting}
        self._keep_remembered(keys, given)
        for app_id, app_name, interface in waiting:
            key = _key(app_id, interface)
            if key not in given and (problem := self._give_fresh(key, app_id, app_name, keys, given)):
                problems.append(problem)
        return given, problems

    def _give(self, app_id: str, app_name: str, interface: DesiredInterface, given: dict[str, str]) -> Problem | None:
        text = interface.address
        try:
            address = ipaddress.IPv4Address(text)
        except ValueError:
            return Problem(app_id, "AddressInvalid", f"app {app_name}: {text} is not an IPv4 address")
        inside = address in self._subnet and address not in (self._subnet[0], self._subnet[-1])
        if not inside:
            message = f"app {app_name}: address {text} is outside of {self._subnet} of network {self._network.name}"
            return Problem(app_id, "AddressInvalid", message)
        if holder := self._taken.get(str(address)):
            message = f"app {app_name}: address {text} is already that of {holder}"
            return Problem(app_id, "AddressTaken", message, "give each app its own address")
        self._taken[str(address)] = f"app {app_name}"
        given[_key(app_id, interface)] = str(address)
        return None

    def _keep_remembered(self, keys: set[str], given: dict[str, str]) -> None:
        start, end = want_range(self._network)
        for key, text in list(self._remembered.items()):
            if key not in keys:
                continue
            if text in self._taken or not start <= ipaddress.IPv4Address(text) <= end:
                del self._remembered[key]
                continue
            self._taken[text] = key
            given[key] = text

    def _give_fresh(
        self, key: str, app_id: str, app_name: str, present: set[str], given: dict[str, str]
    ) -> Problem | None:
        asleep = {text: absent for absent, text in self._remembered.items() if absent not in present}
        text = next(self._free(asleep), None)
        if text is None:
            # The range is used up: take the address of an app that is away, oldest first.
            text = next((old for old in asleep if old not in self._taken), None)
            if text is None:
                message = f"app {app_name}: network {self._network.name} has no free address in its range"
                return Problem(app_id, "NoFreeAddress", message, "widen the network's range or remove apps")
            del self._remembered[asleep[text]]
        self._taken[text] = key
        self._remembered[key] = given[key] = text
        return None

    def _free(self, asleep: dict[str, str]) -> Iterator[str]:
        start, end = want_range(self._network)
        for number in range(int(start), int(end) + 1):
            text = str(ipaddress.IPv4Address(number))
            if text not in self._taken and text not in asleep:
                yield text


def _key(app_id: str, interface: DesiredInterface) -> str:
    return f"{app_id}/{interface.name}"
