"""Tells the service manager how a daemon fares (the sd_notify protocol); nothing happens outside systemd."""

from __future__ import annotations

import contextlib
import os
import socket


def notify_systemd(text: str) -> None:
    """Send ``READY=1``, ``STOPPING=1`` or ``STATUS=…`` as one datagram to the socket that the service manager named."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.sendto(text.encode(), address)
