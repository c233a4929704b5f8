"""What is told of the ports. Apart from what sets them up, which is imported only on nodes that do."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from eaves.node.desired.port_model import PortsSetup
from eaves.node.ports.history import Record
from eaves.node.ports.modem_model import SeenModem


class PortsView(Struct, frozen=True):
    """For reports: the configs with what each asks for, and which one is in force."""

    records: tuple[Record, ...] = ()
    index: int = 0
    setups: tuple[PortsSetup, ...] = ()
    """Beside ``records``."""
    is_trying: bool = False
    faults: dict[str, str] = {}
    """Label of a port in force → what is wrong with it now."""
    time_servers: dict[str, tuple[str, ...]] = {}
    """Label of a port in force → those that it has by its config and by DHCP."""
    modems: dict[str, SeenModem] = {}
    """Label of a port in force that is one → the modem."""
    problem: str = ""
    """Why the ports cannot be set up at all."""


def describe_problems(view: PortsView) -> Iterator[str]:
    """What is wrong with the ports as a whole, or with single ones that the newest config cannot have; a line each."""
    if view.problem:
        yield view.problem
    for problem in view.setups[0].problems if view.setups else ():
        yield f"{problem.element}: {problem.message}"
