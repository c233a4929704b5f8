"""Which messages a port sends, to whom: transmission, protocol migration and edge detection (IEEE 802.1D-2004, 17.24 to 17.26). Pure."""

from __future__ import annotations

from eaves.node.networks.rstp.model import MIGRATE_TIME_S, TRANSMIT_HOLD_COUNT, Kind, Message, Migration, Port, Role


def advance_migration(port: Port) -> bool:
    """A neighbour that speaks the spanning tree of 1998 alone is spoken to in kind."""
    if not port.is_enabled:
        if port.migration is Migration.CHECKING and port.migrate_while == MIGRATE_TIME_S:
            return False
        return _check_rstp(port)
    if port.migration is Migration.SENSING:
        if port.send_rstp and port.received_stp:
            port.migration = Migration.SELECTING
            port.send_rstp = False
            port.migrate_while = MIGRATE_TIME_S
            return True
        if not port.send_rstp and port.received_rstp:
            return _check_rstp(port)
        port.received_rstp = port.received_stp = False
        return False
    if port.migrate_while == 0:
        port.migration = Migration.SENSING
        port.received_rstp = port.received_stp = False
        return True
    return False


def advance_edge(port: Port) -> bool:
    """A port at which no bridge is heard ends the network: nothing can loop there (17.25)."""
    is_alone = port.edge_delay_while == 0 and port.send_rstp and port.proposing
    is_edge = port.oper_edge or is_alone if port.is_enabled else port.has_guard
    if port.oper_edge == is_edge:
        return False
    port.oper_edge = is_edge
    return True


def take_message(port: Port) -> Message | None:
    """The message that is due now, if there is one."""
    if not port.is_settled or not port.is_enabled:
        return None
    if port.hello_when == 0:
        port.hello_when = port.designated_times.hello
        port.new_info = port.new_info or port.role is Role.DESIGNATED or (port.role is Role.ROOT and port.tc_while > 0)
    if not port.new_info or port.transmit_count >= TRANSMIT_HOLD_COUNT:
        return None
    message = _render_message(port)
    if message is not None:
        port.new_info = False
        port.transmit_count += 1
        port.tc_ack = port.tc_ack and message.kind is Kind.TCN
    return message


def _render_message(port: Port) -> Message | None:
    if port.send_rstp:
        return Message(
            Kind.RST,
            port.designated_priority,
            port.designated_times,
            port.role,
            topology_change=port.tc_while != 0,
            proposal=port.proposing,
            agreement=port.agree,
            learning=port.learning,
            forwarding=port.forwarding,
        )
    if port.role is Role.ROOT:
        return Message(Kind.TCN)
    if port.role is Role.DESIGNATED:
        return Message(
            Kind.CONFIG,
            port.designated_priority,
            port.designated_times,
            topology_change=port.tc_while != 0,
            topology_change_ack=port.tc_ack,
        )
    return None


def _check_rstp(port: Port) -> bool:
    port.migration = Migration.CHECKING
    port.send_rstp = True
    port.migrate_while = MIGRATE_TIME_S
    return True
