"""A download whose way out is moved under it: nobody tells its connection, so it has to find out."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from eaves.node.images.download import http
from eaves.node.images.download.protocol import Setup
from eaves.testing.namespaces import Namespace

pytestmark = pytest.mark.contract

URL = "http://10.77.0.1:8080/disk"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nthe begin"


def test_a_connection_ends_soon_when_its_address_has_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_SILENCE_S", 1), ("_ASK_EVERY_S", 1), ("_UNREACHED_MS", 2000)):
        monkeypatch.setattr(http, name, value)
    with Namespace() as node, Namespace() as site:
        node.connect("wan0", site, "lan")
        node.batch("addr flush dev wan0", "addr add 10.77.0.2/24 dev wan0", "link set wan0 up")
        site.batch("addr flush dev lan", "addr add 10.77.0.1/24 dev lan", "link set lan up")
        with site.entered():
            listener = socket.create_server(("10.77.0.1", 8080))
        with listener:
            threading.Thread(target=_serve, args=(listener,), daemon=True).start()
            with node.entered():
                setup = Setup("http", "http://10.77.0.1:8080", "", address="10.77.0.2", interface="wan0")
                with http.Client(setup, "DatastoreUnreachable").get(URL, {}, http.Anonymous()) as answer:
                    assert answer.read(9) == b"the begin"
                    node.batch("addr flush dev wan0", "link add br0 type bridge", "link set wan0 master br0")
                    node.batch("addr add 10.77.0.2/24 dev br0", "link set br0 up")
                    began_at = time.monotonic()
                    with pytest.raises(OSError, match="timed out"):
                        answer.read(1)
    assert time.monotonic() - began_at < 60, "long before the ten minutes that a server may be silent"


def _serve(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    connection.recv(4096)
    connection.sendall(ANSWER)
    threading.Event().wait(120)
    connection.close()
