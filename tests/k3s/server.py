"""K3s's server: datastore, control plane, supervisor, the node of its own, and the loops that keep them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.k3s import (
    bootstrap,
    helm,
    housekeeping,
    joining,
    kubeconfig,
    log,
    manifests,
    pki,
    secretsencryption,
    supervisor,
    tokencommand,
    tokens,
)
from tests.k3s.agent import Agent, find_address, name_node
from tests.k3s.api import Api, ApiError
from tests.k3s.children import Children
from tests.k3s.controlplane import ControlPlane
from tests.k3s.datastore import Datastore
from tests.k3s.options import Options
from tests.k3s.paths import DataDir, socket_path, write
from tests.k3s.supervisor import SupervisorState

CRITICAL = ("clusterCIDR", "serviceCIDR", "clusterDNS", "clusterDomain", "flannelBackend", "secretsEncryption")
_WATCH_S = 0.3
_CHARTS_S = 2.0


class Server:
    """One start of ``k3s server``."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._data = DataDir(options.text("data-dir"))
        self._children = Children(self._data.agent / "log")
        self._address = (options.list("node-ip") or [""])[0] or find_address()
        self._node_name = name_node(options)
        self._plane = ControlPlane(self._data, options, self._address, self._children)
        self._store = Datastore(self._data, options, self._address, self._node_name, self._children)
        self._is_ended = threading.Event()

    def run(self) -> int:
        """Until a signal; answers the exit status. Raises FatalError."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._is_ended.set())
        try:
            self._start()
            admin = self._data.credentials / "admin.kubeconfig"
            charts = helm.HelmController(self._api("client-admin"), self._options, self._children, self._node_name)
            looked_at = 0.0
            while not self._is_ended.wait(_WATCH_S):
                ended = self._children.find_ended()
                if ended:
                    self._store.note_removal()
                    log.fatal(ended)
                if looked_at + _CHARTS_S < time.monotonic():
                    charts.start_if_wanted(admin)
                    looked_at = time.monotonic()
        except StoppedError:
            pass
        finally:
            self._children.stop_all()
        log.info("Shutdown request received")
        return 0

    def reset(self) -> int:
        """``--cluster-reset``: a cluster of this server alone, out of a snapshot when one is given."""
        try:
            return self._store.reset(tokens.parse(tokens.load_given(self._options)).password)
        finally:
            self._children.stop_all()

    def _start(self) -> None:
        data, options = self._data, self._options
        data.make_server()
        data.reset_flag.unlink(missing_ok=True)
        self._store.bury()
        peer = self._join()
        password = tokens.want_server_token(data, options)
        self._store.check_first(password)
        if self._store.is_shared:
            self._store.start()
            self._children.wait("the datastore", self._or_stop(self._store.is_healthy))
            self._store.share_bootstrap(password)
        pki.make_authorities(data)
        secretsencryption.want_config(data, is_wanted=options.is_on("secrets-encryption"))
        if self._store.is_shared:
            self._store.share_bootstrap(password)
        hosts = [self._address, *options.list("tls-san"), *options.list("node-external-ip"), self._node_name]
        services = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"]
        services.append(f"kubernetes.default.svc.{options.text('cluster-domain')}")
        pki.make_leaves(
            data, [*hosts, options.text("advertise-address") or self._address, *services, self._plane.service_address()]
        )
        agents = tokens.write_tokens(data, password, options)

        api = self._api("client-supervisor")
        state = SupervisorState(data, {"server": password, "node": agents}, self._settings(), api)
        state.load_bootstrap = lambda: bootstrap.load_files(data)
        state.list_etcd = self._store.list_members
        state.rotate = lambda new: tokencommand.rotate(data, password, new)
        socket_file = socket_path(data, "supervisor")
        supervisor.serve(state, socket_file)
        self._plane.start_front(socket_file)

        if not self._store.is_shared:
            self._store.start(peer)
            self._children.wait("the datastore", self._or_stop(self._store.is_healthy))
        self._store.keep_bootstrap(password)
        self._plane.start_apiserver(self._store.arguments())
        self._children.wait("the API server", self._or_stop(api.is_ready))
        self._plane.start_others(has_peers=self._store.has_peers)
        state.is_ready = True
        self._write_kubeconfig()
        self._run_loops(api)
        if not options.is_on("disable-agent"):
            self._start_agent(password)
        _tell_systemd()
        log.info("k3s is up and running")

    def _join(self) -> str:
        """What another server knows of the cluster, for one that has nothing yet; answers where the etcd members are."""
        options, data = self._options, self._data
        url = options.text("server")
        if not url:
            return ""
        has_all = self._store.has_data and (data.tls / "server-ca.key").exists()
        token = tokens.load_given(options) or (data.token.read_text() if data.token.exists() else "")
        if has_all:
            return ""
        if not token:
            log.fatal("starting kubernetes: preparing server: --token is required to join a cluster")
        while True:
            self._raise_if_ended()
            try:
                peer = joining.Supervisor(url, token, "server")
                settings = peer.get_json("/v1-k3s/config")
                _check_critical(settings, self._settings())
                bootstrap.write_files(data, peer.get_json("/v1-k3s/server-bootstrap"))
                members: list[dict[str, Any]] = peer.get_json("/db/info")["members"]
                found = [address for member in members for address in member.get("clientURLs") or []]
                if found:
                    return ",".join(found)
                log.info("Waiting for the server's etcd")
            except joining.JoinError as error:
                if "not authorized" in str(error) or "CA hash" in str(error):
                    log.fatal(f"starting kubernetes: preparing server: failed to bootstrap cluster data: {error}")
                log.info(f"Waiting for {url}: {error}")
            time.sleep(1)

    def _run_loops(self, api: Api) -> None:
        options, data = self._options, self._data
        disabled = options.list("disable")
        values = {"CLUSTER_DOMAIN": options.text("cluster-domain"), "CLUSTER_DNS": options.list("cluster-dns")[0]}
        manifests.write_packaged(data, disabled, values)
        manager = f"deploy@{self._node_name}"
        crds = [
            obj
            for file in sorted(Path(__file__).with_name("crds").glob("*.yaml"))
            for obj in yaml.safe_load_all(file.read_text())
        ]
        for definition in crds:
            with contextlib.suppress(ApiError):
                # The Helm controller makes better ones of its own.
                if api.find(api.path_of(definition)) is None:
                    api.apply(definition, manager)
        self._background("manifests", lambda: manifests.follow(data, api, manager, disabled, self._is_ended.is_set))
        keeper = housekeeping.Housekeeper(api, self._store, self._node_name, self._address)
        self._background("housekeeping", lambda: keeper.follow(self._is_ended.is_set))
        if self._store.has_etcd and not options.is_on("etcd-disable-snapshots"):
            self._background("snapshots", lambda: self._store.follow_schedule(self._is_ended.is_set))

    def _start_agent(self, password: str) -> None:
        port = self._options.number("https-listen-port")
        token = tokens.Token("", "server", password).format((self._data.tls / "server-ca.crt").read_bytes())
        agent = Agent(self._data, self._options, self._children, f"127.0.0.1:{port}", token)
        settings = agent.prepare(self._raise_if_ended)
        agent.start(settings)
        self._background("network", lambda: agent.follow_network(settings, self._is_ended.is_set))

    def _write_kubeconfig(self) -> None:
        tls, options = self._data.tls, self._options
        server = f"127.0.0.1:{options.number('https-listen-port')}"
        files = (tls / "server-ca.crt", tls / "client-admin.crt", tls / "client-admin.key")
        mode, group = options.text("write-kubeconfig-mode"), options.text("write-kubeconfig-group")
        path = Path(options.text("write-kubeconfig"))
        kubeconfig.write_admin(path, server, *files, mode, group)
        write(self._data.credentials / "admin.kubeconfig", path.read_bytes())

    def _settings(self) -> dict[str, Any]:
        options = self._options
        return {
            "clusterCIDR": options.list("cluster-cidr"),
            "serviceCIDR": options.list("service-cidr"),
            "clusterDNS": options.list("cluster-dns"),
            "clusterDomain": options.text("cluster-domain"),
            "flannelBackend": options.text("flannel-backend"),
            "secretsEncryption": options.is_on("secrets-encryption"),
            "disableKubeProxy": options.is_on("disable-kube-proxy"),
        }

    def _api(self, certificate: str) -> Api:
        tls = self._data.tls
        return Api(self._plane.local, tls / "server-ca.crt", tls / f"{certificate}.crt", tls / f"{certificate}.key")

    def _background(self, name: str, work: Callable[[], None]) -> None:
        threading.Thread(target=work, name=name, daemon=True).start()

    def _or_stop(self, condition: Callable[[], bool]) -> Callable[[], bool]:
        def check() -> bool:
            self._raise_if_ended()
            return condition()

        return check

    def _raise_if_ended(self) -> None:
        if self._is_ended.is_set():
            raise StoppedError


class StoppedError(Exception):
    """A signal came while starting."""


def _check_critical(theirs: dict[str, Any], ours: dict[str, Any]) -> None:
    different = [name for name in CRITICAL if theirs.get(name) != ours.get(name)]
    if different:
        log.fatal(
            "failed to validate server configuration: critical configuration value mismatch between servers: "
            + ", ".join(different)
        )


def _tell_systemd() -> None:
    """``READY=1`` to who asked to be told (sd_notify)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel, contextlib.suppress(OSError):
            channel.sendto(b"READY=1\n", f"\0{address[1:]}" if address.startswith("@") else address)
