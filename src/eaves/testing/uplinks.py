"""The world behind a node's uplinks: routers with an internet of one server behind them, each in a network stack of its own.

::

    node ── wan0 ── router0 ── net0 ┐
    node ── wan1 ── router1 ── net1 ┴─ server (198.51.100.1 on both sides)

Each router translates nothing; the server sees the address that the node left with, and answers by the router of that address.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from eaves.testing.namespaces import Namespace

SERVER = "198.51.100.1"


class Uplinks:
    """Connects ``node`` by interfaces wan0, wan1 … (address 10.200.N.2, gateway 10.200.N.1, default route of metric N)."""

    def __init__(self, node: Namespace, number: int = 2) -> None:
        self.node = node
        self.server = Namespace()
        self.routers = [Namespace() for _ in range(number)]
        self.server.batch(f"addr add {SERVER}/32 dev lo")
        for index, router in enumerate(self.routers):
            node.connect(f"wan{index}", router, "lan")
            router.connect("net", self.server, f"net{index}")
            router.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
            router.batch(
                f"addr add 10.200.{index}.1/24 dev lan",
                f"addr add 10.201.{index}.2/24 dev net",
                f"route add {SERVER}/32 via 10.201.{index}.1",
            )
            self.server.batch(
                f"addr add 10.201.{index}.1/24 dev net{index}", f"route add 10.200.{index}.0/24 via 10.201.{index}.2"
            )
            node.batch(
                f"addr add 10.200.{index}.2/24 dev wan{index}",
                f"route add default via 10.200.{index}.1 dev wan{index} metric {index + 1}",
            )
        self._listeners: list[socket.socket] = []

    def close(self) -> None:
        for listener in self._listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for namespace in (*self.routers, self.server):
            namespace.close()

    def __enter__(self) -> Uplinks:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def break_way(self, index: int) -> None:
        """The router goes on and leads nowhere, and does not answer either: the link stays up."""
        self.routers[index].batch("link set net down", f"addr del 10.200.{index}.1/24 dev lan")

    def mend_way(self, index: int) -> None:
        self.routers[index].batch(
            f"addr add 10.200.{index}.1/24 dev lan",
            "link set net up",
            f"route replace {SERVER}/32 via 10.201.{index}.1",
        )

    def serve(self, address: str = SERVER, port: int = 80) -> None:
        """A server that tells each caller by which address it came, then repeats what it is told."""
        self._serve(self.server, address, port)

    def serve_in(self, namespace: str, port: int) -> None:
        """The same in the namespace at this path, on every address."""
        with Namespace.at(namespace) as inside:
            self._serve(inside, "", port)

    def _serve(self, namespace: Namespace, address: str, port: int) -> None:
        with namespace.entered():
            listener = socket.create_server((address, port))
        self._listeners.append(listener)
        threading.Thread(target=_serve, args=(listener,), daemon=True, name="server behind uplinks").start()


def _serve(listener: socket.socket) -> None:
    while True:
        try:
            stream, address = listener.accept()
        except OSError:
            return
        threading.Thread(target=_talk, args=(stream, address[0]), daemon=True).start()


def _talk(stream: socket.socket, address: str) -> None:
    with stream, contextlib.suppress(OSError):
        stream.sendall(f"{address}\n".encode())
        while data := stream.recv(1 << 16):
            stream.sendall(data)


class Stream:
    """A TCP connection from inside a namespace."""

    def __init__(self, namespace: str, address: str, port: int, timeout_s: float = 10) -> None:
        self._socket = _inside(namespace, lambda: socket.create_connection((address, port), timeout_s))
        self._file = self._socket.makefile("rb")

    def read_line(self) -> str:
        return self._file.readline().decode().strip()

    def echo(self, text: str) -> str:
        self._socket.sendall(f"{text}\n".encode())
        return self.read_line()

    def close(self) -> None:
        self._file.close()
        self._socket.close()


def _inside(namespace: str, make: Callable[[], socket.socket]) -> socket.socket:
    """``make``'s result, made by a thread in the namespace at this path."""
    found: list[socket.socket | OSError] = []

    def run() -> None:
        with Namespace.at(namespace) as inside, inside.entered():
            try:
                found.append(make())
            except OSError as error:
                found.append(error)

    thread = threading.Thread(target=run, name="inside a namespace")
    thread.start()
    thread.join()
    if isinstance(found[0], OSError):
        raise found[0]
    return found[0]
