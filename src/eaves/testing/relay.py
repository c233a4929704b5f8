"""A relay from one network namespace into another: what listens on this host's loopback is reached from inside under the same address."""

from __future__ import annotations

import contextlib
import socket
import threading

from eaves.testing.namespaces import Namespace

_CHUNK = 1 << 18


class Relay:
    """``address:port`` inside ``namespace`` leads to ``127.0.0.1:port`` outside, until :meth:`close`, or while it is not cut."""

    def __init__(self, namespace: Namespace, port: int, address: str = "127.0.0.1") -> None:
        self._port = port
        self.is_cut = False
        self.refusals = 0
        """Connections that led nowhere."""
        self._streams: set[socket.socket] = set()
        with namespace.entered():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            self._listener = socket.create_server((address, port), family=family)
        threading.Thread(target=self._accept, name=f"relay {port}", daemon=True).start()

    def cut(self) -> None:
        """End what is open and refuse what comes, until :meth:`mend`."""
        self.is_cut = True
        for stream in [*self._streams]:
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        self.is_cut = False

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                inside, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass, args=(inside,), name=f"relay {self._port}", daemon=True).start()

    def _pass(self, inside: socket.socket) -> None:
        try:
            with inside:
                if self.is_cut:
                    self.refusals += 1
                    return
                with self._connect() as outside:
                    outside.settimeout(None)
                    for end in (inside, outside):
                        # A relay that holds small pieces back would add 40 ms to what daemons answer at once.
                        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._streams |= {inside, outside}
                    back = threading.Thread(target=_pump, args=(outside, inside), daemon=True)
                    back.start()
                    _pump(inside, outside)
                    back.join()
                    self._streams -= {inside, outside}
        except OSError:
            return

    def _connect(self) -> socket.socket:
        try:
            return socket.create_connection(("127.0.0.1", self._port), 10)
        except OSError:
            self.refusals += 1
            raise


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Until the source ends, which the target is told."""
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
