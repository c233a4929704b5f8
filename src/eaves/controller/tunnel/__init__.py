"""Streams to nodes. A node only dials out, so each stream is a WebSocket that it opens when the notify channel asks for one.

``abc`` is what users of streams see; ``broker`` matches wishes with nodes that dial back, ``endpoint`` is the gateway's side of such a
WebSocket, ``stream`` its life after the handshake. The protocol is :mod:`eaves.wire.tunnel`.
"""
