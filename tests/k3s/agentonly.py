"""``k3s agent``: a node without a control plane, which reaches the servers through a load balancer of its own."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
import urllib.parse
from typing import Any

from tests.k3s import log, programs, tokens
from tests.k3s.agent import Agent
from tests.k3s.api import Api, ApiError
from tests.k3s.children import Children
from tests.k3s.options import Options
from tests.k3s.paths import DataDir, write
from tests.k3s.supervisor import list_apiservers

_WATCH_S = 0.3
_SERVERS_S = 5.0


class AgentOnly:
    """One start of ``k3s agent``."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._data = DataDir(options.text("data-dir"))
        self._children = Children(self._data.agent / "log")
        self._is_ended = threading.Event()
        self._balancer = self._data.etc / "k3s-agent-load-balancer.json"

    def run(self) -> int:
        """Until a signal; answers the exit status. Raises FatalError."""
        token = tokens.load_given(self._options)
        if not token:
            log.fatal("--token is required")
        if not self._options.text("server"):
            log.fatal("--server is required")
        tokens.parse(token)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._is_ended.set())
        try:
            self._start(token)
            while not self._is_ended.wait(_WATCH_S):
                ended = self._children.find_ended()
                if ended:
                    log.fatal(ended)
        except _EndedError:
            pass
        finally:
            self._children.stop_all()
        log.info("Shutdown request received")
        return 0

    def _start(self, token: str) -> None:
        self._data.make_agent()
        local = f"127.0.0.1:{self._options.number('lb-server-port')}"
        self._save_servers([])
        argv = ["-listen", local, "-servers", str(self._balancer)]
        self._children.start("load-balancer", programs.program("front", "front"), "balance", *argv)
        agent = Agent(self._data, self._options, self._children, local, token)
        settings = agent.prepare(self._raise_if_ended)
        agent.start(settings)
        self._background(lambda: agent.follow_network(settings, self._is_ended.is_set))
        self._background(lambda: self._follow_servers(local))
        log.info("k3s agent is up and running")

    def _follow_servers(self, local: str) -> None:
        """The servers that there are now, for the time when the one that was joined is gone."""
        folder = self._data.agent
        certificate, key = folder / "client-k3s-controller.crt", folder / "client-k3s-controller.key"
        api = Api(local, folder / "server-ca.crt", certificate, key)
        while not self._is_ended.is_set():
            with contextlib.suppress(ApiError):
                self._save_servers(list_apiservers(api))
            time.sleep(_SERVERS_S)

    def _save_servers(self, found: list[str]) -> None:
        """That which was joined comes first, then those that are known."""
        url = urllib.parse.urlsplit(self._options.text("server"))
        joined = f"{url.hostname}:{url.port or 443}"
        state: dict[str, Any] = json.loads(self._balancer.read_text()) if self._balancer.exists() else {}
        known = found or [address for address in state.get("ServerAddresses") or [] if address != joined]
        wanted = {"ServerURL": self._options.text("server"), "ServerAddresses": list(dict.fromkeys([joined, *known]))}
        if wanted != state:
            write(self._balancer, json.dumps(wanted, indent=2))

    def _raise_if_ended(self) -> None:
        if self._is_ended.is_set():
            raise _EndedError

    def _background(self, work: Any) -> None:
        threading.Thread(target=work, daemon=True).start()


class _EndedError(Exception):
    """A signal came while it waited for a server."""
