"""Streams that the controller asks for: this node dials back with a WebSocket for each, and hands it to the handler of its kind.

``dialler`` opens and authenticates, ``stream`` is the open stream, ``abc`` what handlers see. The protocol is :mod:`eaves.wire.tunnel`.
"""
