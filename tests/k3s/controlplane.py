"""The arguments of Kubernetes' control plane as K3s gives them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.k3s import kubeconfig, programs
from tests.k3s.children import Children
from tests.k3s.options import Options
from tests.k3s.paths import DataDir


class ControlPlane:
    """API server, controller manager and scheduler of one server. ``port`` is the API server's own, behind the supervisor's."""

    def __init__(self, data: DataDir, options: Options, address: str, children: Children) -> None:
        self._data = data
        self._options = options
        self._address = address
        self._children = children
        self.port = options.number("https-listen-port") + 1

    @property
    def local(self) -> str:
        return f"127.0.0.1:{self.port}"

    def service_address(self) -> str:
        network = ipaddress.ip_network(self._options.list("service-cidr")[0])
        return str(network[1])

    def start_apiserver(self, store: Mapping[str, str]) -> None:
        """``store`` are its arguments about the datastore."""
        tls = self._data.tls
        domain = self._options.text("cluster-domain")
        arguments: dict[str, object] = {
            **store,
            "advertise-address": self._options.text("advertise-address") or self._address,
            "secure-port": self.port,
            "bind-address": "0.0.0.0",
            "cert-dir": tls / "temporary-certs",
            "service-cluster-ip-range": ",".join(self._options.list("service-cidr")),
            "service-node-port-range": self._options.text("service-node-port-range"),
            "authorization-mode": "Node,RBAC",
            "enable-admission-plugins": "NodeRestriction",
            "enable-bootstrap-token-auth": "true",
            "anonymous-auth": "false",
            "allow-privileged": "true",
            "profiling": "false",
            "client-ca-file": tls / "client-ca.crt",
            "tls-cert-file": tls / "serving-kube-apiserver.crt",
            "tls-private-key-file": tls / "serving-kube-apiserver.key",
            "kubelet-certificate-authority": tls / "server-ca.crt",
            "kubelet-client-certificate": tls / "client-kube-apiserver.crt",
            "kubelet-client-key": tls / "client-kube-apiserver.key",
            "kubelet-preferred-address-types": "InternalIP,ExternalIP,Hostname",
            "service-account-issuer": f"https://kubernetes.default.svc.{domain}",
            "api-audiences": f"https://kubernetes.default.svc.{domain},k3s",
            "service-account-key-file": tls / "service.key",
            "service-account-signing-key-file": tls / "service.key",
            "requestheader-client-ca-file": tls / "request-header-ca.crt",
            "requestheader-allowed-names": "system:auth-proxy",
            "requestheader-username-headers": "X-Remote-User",
            "requestheader-group-headers": "X-Remote-Group",
            "requestheader-extra-headers-prefix": "X-Remote-Extra-",
            "proxy-client-cert-file": tls / "client-auth-proxy.crt",
            "proxy-client-key-file": tls / "client-auth-proxy.key",
        }
        encryption = self._data.credentials / "encryption-config.json"
        if encryption.exists():
            arguments["encryption-provider-config"] = encryption
            arguments["encryption-provider-config-automatic-reload"] = "true"
        self._start("kube-apiserver", arguments, self._options.list("kube-apiserver-arg"))

    def start_others(self, *, has_peers: bool) -> None:
        """Controller manager and scheduler; they elect a leader where several servers may be."""
        tls = self._data.tls
        leader = "true" if has_peers else "false"
        controller = self._write_kubeconfig("controller", "client-controller")
        scheduler = self._write_kubeconfig("scheduler", "client-scheduler")
        self._start(
            "kube-controller-manager",
            {
                "kubeconfig": controller,
                "authentication-kubeconfig": controller,
                "authorization-kubeconfig": controller,
                "bind-address": "127.0.0.1",
                "leader-elect": leader,
                "use-service-account-credentials": "true",
                "service-account-private-key-file": tls / "service.key",
                "root-ca-file": tls / "server-ca.crt",
                "cluster-signing-cert-file": tls / "client-ca.crt",
                "cluster-signing-key-file": tls / "client-ca.key",
                "allocate-node-cidrs": "true",
                "cluster-cidr": ",".join(self._options.list("cluster-cidr")),
                "service-cluster-ip-range": ",".join(self._options.list("service-cidr")),
                "cert-dir": tls / "kube-controller-manager",
                "flex-volume-plugin-dir": self._data.agent / "kubelet-plugins",
                "profiling": "false",
                "controllers": "*,tokencleaner",
            },
            self._options.list("kube-controller-manager-arg"),
        )
        if self._options.is_on("disable-scheduler"):
            return
        arguments: dict[str, object] = {
            "kubeconfig": scheduler,
            "authentication-kubeconfig": scheduler,
            "authorization-kubeconfig": scheduler,
            "bind-address": "127.0.0.1",
            "leader-elect": leader,
            "cert-dir": tls / "kube-scheduler",
            "profiling": "false",
        }
        self._start("kube-scheduler", arguments, self._options.list("kube-scheduler-arg"))

    def start_front(self, socket: Path) -> None:
        tls = self._data.tls
        bind = self._options.text("bind-address") or "0.0.0.0"
        arguments = {
            "listen": f"{bind}:{self._options.number('https-listen-port')}",
            "certificate": tls / "serving-kube-apiserver.crt",
            "key": tls / "serving-kube-apiserver.key",
            "client-ca": tls / "client-ca.crt",
            "server-ca": tls / "server-ca.crt",
            "apiserver": self.local,
            "proxy-certificate": tls / "client-auth-proxy.crt",
            "proxy-key": tls / "client-auth-proxy.key",
            "supervisor": socket,
        }
        argv = [f"-{name}={value}" for name, value in arguments.items()]
        self._children.start("supervisor", programs.program("front", "front"), "supervise", *argv)

    def _write_kubeconfig(self, name: str, certificate: str) -> Path:
        path = self._data.credentials / f"{name}.kubeconfig"
        tls = self._data.tls
        kubeconfig.write_component(
            path, self.local, tls / "server-ca.crt", tls / f"{certificate}.crt", tls / f"{certificate}.key"
        )
        return path

    def _start(self, name: str, arguments: Mapping[str, object], extra: Sequence[str]) -> None:
        merged = {key: str(value) for key, value in arguments.items()}
        for argument in extra:
            key, _, value = argument.removeprefix("--").partition("=")
            merged[key] = value
        argv = [f"--{key}={value}" for key, value in merged.items()]
        self._children.start(name, *programs.kube(name), *argv)
