"""Between the node's ports and its link: which ways to the controller there are, and whether one leads there.

The daemon makes a :class:`PortLink` where its settings say ``manage_ports``.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from eaves.kit.errors import EavesError
from eaves.node.desired.port_model import PortSetup, PortsSetup, ProxySetup
from eaves.node.images.uplinks import want_no_uplink
from eaves.node.images.ways import Way
from eaves.node.link.calls import Controller
from eaves.node.link.uplinks import Attempt, Uplink, Uplinks, load_addresses, plan_attempts
from eaves.node.portproxies import ProxyFinder
from eaves.node.ports.service import Ports, Times, open_networkmanager
from eaves.node.ports.timeservers import TimeService
from eaves.node.settings import NodeSettings, want_uplinks

log = logging.getLogger(__name__)

STATE_FILE = "ports.json"


class PortLink:
    """Owns the :class:`Ports` and tells the link what they give."""

    def __init__(
        self,
        settings: NodeSettings,
        controller: Controller,
        uplinks: Uplinks,
        parse: Callable[[bytes], Awaitable[PortsSetup]],
        trust: Callable[[tuple[str, ...]], Awaitable[None]],
        reconnect: Callable[[], None],
    ) -> None:
        """``trust``: take these certificates of proxies, and no others, beside those of the settings.

        ``reconnect``: what is open leads nowhere, open it anew.
        """
        self._settings = settings
        self._controller = controller
        self._uplinks = uplinks
        self._trust = trust
        self._trusted: tuple[str, ...] = ()
        self._used: Sequence[PortSetup] = ()
        self._proxies = ProxyFinder(controller.client.server, lambda: controller.client.context)
        self.ports = Ports(
            Path(settings.state_dir) / STATE_FILE,
            instance=settings.instance,
            parse=parse,
            probe=self._probe,
            open_manager=open_networkmanager,
            times=Times(trial_s=settings.port_trial_s, retry_s=settings.port_retry_s),
        )
        self.ports.use = self._use
        self.ports.set_time_servers = TimeService(settings.instance).apply
        self.ports.moved = reconnect

    async def _use(self, setup: PortsSetup) -> None:
        """The ports are as ``setup`` says, or will be in a moment."""
        ports = [port for port in setup.ports if port.is_management]
        ways = [Uplink(port.label, port.interface, port.cost, is_bound=True) for port in ports]
        self._uplinks.configure(ways or want_uplinks(self._settings))
        self._used = ports
        await self._want_proxies(ports)
        wanted = tuple(dict.fromkeys(pem for port in ports for pem in port.proxy.ca_pems))
        if wanted != self._trusted:
            try:
                await self._trust(wanted)
            except EavesError as error:
                log.warning("certificates of proxies cannot be used: error=%s", error)
            self._trusted = wanted

    async def find_ways(self, max_cost: int) -> Sequence[Way] | None:
        """For downloads: by ports for management, each through its own proxy. Raises NoUplinkError, PortError."""
        if not self._used:
            return None
        ports = {port.label: port for port in self._used if port.cost <= max_cost}
        uplinks = [Uplink(port.label, port.interface, port.cost, is_bound=True) for port in ports.values()]
        addresses = await load_addresses() if uplinks else {}
        found: list[Way] = []
        failure: EavesError | None = None
        for attempt in plan_attempts(uplinks, addresses, frozenset(), 0) if uplinks else ():
            port = ports[attempt.label]
            try:
                proxy = None if port.proxy == ProxySetup() else await self._proxies.find_web(port, attempt.source)
            except EavesError as error:
                log.warning("proxy of a port is not known: port=%s error=%s", port.label, error)
                failure = error
            else:
                found.append(Way(attempt.source, attempt.interface, proxy))
        if not found:
            raise failure or want_no_uplink(max_cost)
        return found

    async def _want_proxies(self, ports: Sequence[PortSetup]) -> None:
        """For ports that are up already; a trial asks again when the others are."""
        for label in set(self._controller.proxies) - {port.label for port in ports}:
            del self._controller.proxies[label]
        if all(port.proxy == ProxySetup() for port in ports):
            self._controller.proxies.clear()
            return
        try:
            addresses = await load_addresses()
        except EavesError as error:
            log.warning("addresses of ports cannot be read: error=%s", error)
            return
        for port in ports:
            for source in addresses.get(port.interface, ())[:1]:
                try:
                    await self._choose_proxy(port, source)
                except EavesError as error:
                    log.warning("proxy of a port is not known: port=%s error=%s", port.label, error)

    async def _choose_proxy(self, port: PortSetup, source: str) -> None:
        """Raises EavesError when the port's proxy settings cannot be followed."""
        if port.proxy == ProxySetup():
            self._controller.proxies.pop(port.label, None)
        else:
            self._controller.proxies[port.label] = await self._proxies.find(port, source)

    async def _probe(self, port: PortSetup) -> str:
        try:
            sources = (await load_addresses()).get(port.interface, ())
            failure = "it has no address"
            for source in sources:
                try:
                    await self._choose_proxy(port, source)
                    await self._controller.ping(Attempt(port.label, source, port.interface))
                except EavesError as error:
                    failure = f"the controller does not answer: {error}"
                else:
                    return ""
        except EavesError as error:
            return str(error)
        return failure
