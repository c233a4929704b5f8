"""The clients of a machine's console: any number of them see what the guest writes, and may write to it.

At ``path`` they first get the last of what was written before; at ``live_path`` they only listen, from now on.
"""

from __future__ import annotations

import os
import select
import socket

HISTORY_BYTES = 64 << 10
CLIENTS_LIMIT = 16
CLIENT_BUFFER_BYTES = 256 << 10


class Client:
    """Somebody at the console. What it does not take in time is cut off with it. ``history`` None: one who only listens."""

    def __init__(self, connection: socket.socket, history: bytes | None) -> None:
        self.connection = connection
        self.waiting = bytearray(history or b"")
        self.may_write = history is not None

    def give(self, data: bytes) -> bool:
        self.waiting += data
        return len(self.waiting) <= CLIENT_BUFFER_BYTES

    def send(self) -> bool:
        try:
            sent = self.connection.send(self.waiting[: 64 << 10])
        except BlockingIOError:
            return True
        except OSError:
            return False
        del self.waiting[:sent]
        return True


class Console:
    """``to_guest`` is what clients wrote and the guest has not taken yet."""

    def __init__(self, path: str, live_path: str) -> None:
        self._history = bytearray()
        self._clients: dict[int, Client] = {}
        self.to_guest = bytearray()
        self._listener = _listen(path)
        self._live_listener = _listen(live_path)

    def register(self, poll: select.poll) -> None:
        poll.register(self._listener, select.POLLIN)
        poll.register(self._live_listener, select.POLLIN)
        # A guest that does not read must not let a client fill our memory.
        wanted = select.POLLIN if len(self.to_guest) < CLIENT_BUFFER_BYTES else 0
        for fd, client in self._clients.items():
            poll.register(fd, wanted | (select.POLLOUT if client.waiting else 0))

    def serve(self, found: dict[int, int]) -> None:
        """``found``: descriptor → events, as polled."""
        for fd in [fd for fd in found if fd in self._clients]:
            self._serve(fd, found[fd])
        if self._listener.fileno() in found:
            self._accept(self._listener, bytes(self._history))
        if self._live_listener.fileno() in found:
            self._accept(self._live_listener, None)

    def give(self, data: bytes) -> None:
        """What the guest wrote, to everybody."""
        self._history += data
        del self._history[:-HISTORY_BYTES]
        for fd, client in list(self._clients.items()):
            if not client.give(data):
                self._drop(fd)

    def finish(self) -> None:
        """Send what can still be sent."""
        for client in self._clients.values():
            client.send()

    def _serve(self, fd: int, events: int) -> None:
        client = self._clients[fd]
        if events & select.POLLOUT and not client.send():
            self._drop(fd)
            return
        if events & (select.POLLIN | select.POLLHUP | select.POLLERR):
            data = receive(client.connection)
            if data is None:
                self._drop(fd)
            elif data and client.may_write:
                self.to_guest += data

    def _accept(self, listener: socket.socket, history: bytes | None) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        if len(self._clients) >= CLIENTS_LIMIT:
            connection.close()
            return
        connection.setblocking(False)
        self._clients[connection.fileno()] = Client(connection, history)

    def _drop(self, fd: int) -> None:
        self._clients.pop(fd).connection.close()


def _listen(path: str) -> socket.socket:
    if os.path.exists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    os.chmod(path, 0o600)
    listener.listen(CLIENTS_LIMIT)
    listener.setblocking(False)
    return listener


def receive(connection: socket.socket) -> bytes | None:
    """What is there now; None = the other end has gone."""
    try:
        data = connection.recv(64 << 10)
    except BlockingIOError:
        return b""
    except OSError:
        return None
    return data or None
