"""Topology changes: the topology change machine (IEEE 802.1D-2004, 17.31). Pure.

A port that begins to forward, and is not an edge, makes the bridges of the tree forget the addresses that they have learnt.
"""

from __future__ import annotations

from eaves.node.networks.rstp.model import Bridge, Changes, Port, Role

_ACTIVE_ROLES = (Role.ROOT, Role.DESIGNATED)


def advance(bridge: Bridge, port: Port) -> bool:
    match port.changes:
        case Changes.INACTIVE:
            if not port.learn:
                return False
            port.changes = Changes.LEARNING
            _forget(port)
        case Changes.LEARNING:
            return _advance_learning(bridge, port)
        case Changes.ACTIVE:
            return _advance_active(bridge, port)
    return True


def _advance_learning(bridge: Bridge, port: Port) -> bool:
    if port.received_tc or port.received_tcn or port.received_tc_ack or port.tc_propagate:
        _forget(port)
        return True
    if port.role in _ACTIVE_ROLES and port.forward and not port.oper_edge:
        port.changes = Changes.ACTIVE
        _begin(bridge, port)
        _propagate(bridge, port)
        port.new_info = True
        return True
    if port.role not in _ACTIVE_ROLES and not (port.learn or port.learning):
        port.changes = Changes.INACTIVE
        port.flush = True
        port.tc_while = 0
        port.tc_ack = False
        return True
    return False


def _advance_active(bridge: Bridge, port: Port) -> bool:
    if port.role not in _ACTIVE_ROLES or port.oper_edge:
        port.changes = Changes.LEARNING
        _forget(port)
    elif port.received_tcn or port.received_tc:
        if port.received_tcn:
            _begin(bridge, port)
            port.tc_ack = port.role is Role.DESIGNATED
        port.received_tc = port.received_tcn = False
        _propagate(bridge, port)
    elif port.tc_propagate:
        _begin(bridge, port)
        port.flush = True
        port.tc_propagate = False
    elif port.received_tc_ack:
        port.tc_while = 0
        port.received_tc_ack = False
    else:
        return False
    return True


def _begin(bridge: Bridge, port: Port) -> None:
    """newTcWhile (17.21.7)"""
    if port.tc_while:
        return
    if port.send_rstp:
        port.tc_while = bridge.times.hello + 1
        port.new_info = True
    else:
        port.tc_while = bridge.root_times.max_age + bridge.root_times.forward_delay


def _propagate(bridge: Bridge, port: Port) -> None:
    for other in bridge.ports.values():
        if other is not port:
            other.tc_propagate = True


def _forget(port: Port) -> None:
    port.received_tc = port.received_tcn = port.received_tc_ack = port.tc_propagate = False
