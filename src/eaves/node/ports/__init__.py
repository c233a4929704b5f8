"""The node's own ports, where its settings say ``manage_ports``: NetworkManager is told how to set them up.

A new config of the ports is tried under a checkpoint of NetworkManager: unless the controller answers in time, everything goes back
to what it was, even when this daemon dies meanwhile. ``render`` and ``plan`` and ``history`` are pure; ``networkmanager`` speaks D-Bus.
"""
