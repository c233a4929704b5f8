"""A whole Eaves on this machine, made of the real commands: one controller, nodes, kubectl.

Used by ``tests/system``. Each node is an instance of its own (names, folders, bridges, firewall table), so that tests run side by side, and
:meth:`NodeHost.remove` leaves nothing of it. What tests look at through the operator API goes through :class:`Operator`, which costs a
millisecond where a kubectl process costs a hundred.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import secrets
import shutil
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import yaml

from eaves.kube.resource import Object
from eaves.node.instance import Instance
from eaves.testing import power
from eaves.testing.daemons import BIN, WAIT_LIMIT_S, Daemon, find_ports, run_program, wait_for
from eaves.testing.kubectl import Kubectl

T = TypeVar("T")

EAVES = str(BIN / "eaves")
GROUP = "/apis/eaves.dev/v1alpha1"
_PATHS = {
    "edgenodes": f"{GROUP}/edgenodes",
    "onboardingkeys": f"{GROUP}/onboardingkeys",
    "apps": f"{GROUP}/namespaces/{{}}/apps",
    "appsnapshots": f"{GROUP}/namespaces/{{}}/appsnapshots",
    "volumes": f"{GROUP}/namespaces/{{}}/volumes",
    "datastores": f"{GROUP}/namespaces/{{}}/datastores",
    "networks": f"{GROUP}/namespaces/{{}}/networks",
    "k3sclusters": f"{GROUP}/namespaces/{{}}/k3sclusters",
    "k3sreleases": f"{GROUP}/namespaces/{{}}/k3sreleases",
    "configmaps": "/api/v1/namespaces/{}/configmaps",
    "secrets": "/api/v1/namespaces/{}/secrets",
    "events": "/api/v1/namespaces/{}/events",
    "pods": "/api/v1/namespaces/{}/pods",
    "namespaces": "/api/v1/namespaces",
}


class Operator:
    """A client of the operator API with the admin's kubeconfig. Answers are JSON as sent; errors are httpx2's."""

    def __init__(self, kubeconfig: Path) -> None:
        document = yaml.safe_load(kubeconfig.read_text())
        cluster = document["clusters"][0]["cluster"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._client = httpx2.Client(
            base_url=cluster["server"],
            verify=ssl.create_default_context(cadata=authority),
            headers={"Authorization": f"Bearer {document['users'][0]['user']['token']}"},
            timeout=20,
        )

    def close(self) -> None:
        self._client.close()

    def get(self, resource: str, name: str, namespace: str = "default") -> Object | None:
        """The object, None when there is none."""
        answer = self._client.get(f"{_PATHS[resource].format(namespace)}/{name}")
        if answer.status_code == 404:
            return None
        return _object(answer)

    def find(self, resource: str, namespace: str = "default") -> Sequence[Object]:
        found: Sequence[Object] = _object(self._client.get(_PATHS[resource].format(namespace)))["items"]
        return found

    def create(self, resource: str, obj: Object, namespace: str = "default") -> Object:
        return _object(self._client.post(_PATHS[resource].format(namespace), json=obj))

    def patch(self, resource: str, name: str, patch: Object, namespace: str = "default") -> Object:
        """A merge patch."""
        path = f"{_PATHS[resource].format(namespace)}/{name}"
        headers = {"Content-Type": "application/merge-patch+json"}
        return _object(self._client.patch(path, content=json.dumps(patch), headers=headers))

    def delete(self, resource: str, name: str, namespace: str = "default") -> None:
        self._client.delete(f"{_PATHS[resource].format(namespace)}/{name}")

    def logs(self, app: str, namespace: str = "default", *, previous: bool = False) -> list[str]:
        """All log lines of this or of the previous run of an app, oldest first; none while there is no pod."""
        path = f"{_PATHS['pods'].format(namespace)}/{app}/log"
        answer = self._client.get(path, params={"previous": "true"} if previous else {})
        return answer.text.splitlines() if answer.status_code == 200 else []

    def get_raw(self, path: str) -> httpx2.Response:
        """The answer to a GET, whatever it is."""
        return self._client.get(path)

    @contextlib.contextmanager
    def follow_raw(self, path: str) -> Iterator[Iterator[str]]:
        """The lines of an answer as they come."""
        with self._client.stream("GET", path, timeout=60) as answer:
            yield answer.iter_lines()

    def is_ready(self) -> bool:
        try:
            return self._client.get("/readyz").status_code == 200
        except httpx2.HTTPError:
            return False

    def condition(self, resource: str, name: str, kind: str, namespace: str = "default") -> Object:
        """A condition of an object; empty when it has none."""
        obj = self.get(resource, name, namespace) or {}
        conditions = (obj.get("status") or {}).get("conditions") or []
        return next((found for found in conditions if found["type"] == kind), {})


class ControllerHost:
    """A controller in ``folder`` on ports of its own, which stay the same over restarts."""

    def __init__(self, folder: Path, settings: str = "", environment: Mapping[str, str] | None = None) -> None:
        """``settings`` are further lines of its TOML file, tables only."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.data_dir = folder / "controller"
        self.api_port, self.gateway_port = find_ports(2)
        self.kubeconfig = self.data_dir / "admin.kubeconfig"
        self.settings_file = folder / "controller.toml"
        self.settings_file.write_text(
            f'data_dir = "{self.data_dir}"\nhosts = ["127.0.0.1", "localhost"]\n'
            f'[api]\nlisten = "127.0.0.1:{self.api_port}"\n[gateway]\nlisten = "127.0.0.1:{self.gateway_port}"\n{settings}'
        )
        argv = [EAVES, "controller", "run", "--config", str(self.settings_file)]
        self.daemon = Daemon("controller", argv, folder / "controller.log", environment or {})
        self._operator: Operator | None = None

    def __enter__(self) -> ControllerHost:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        if self._operator is not None:
            self._operator.close()
            self._operator = None
        self.daemon.stop()

    @property
    def operator(self) -> Operator:
        if self._operator is None:
            self._operator = Operator(self.kubeconfig)
        return self._operator

    @property
    def kubectl(self) -> Kubectl:
        return Kubectl(self.kubeconfig, self.folder)

    def start(self) -> None:
        """Start it and wait until the operator API is ready."""
        self.daemon.start()
        self.daemon.wait("the kubeconfig", self.kubeconfig.exists)
        self.daemon.wait("the operator API", lambda: self.operator.is_ready())

    def eaves_kubectl(self, *arguments: str) -> str:
        """``kubectl eaves ARGUMENTS``."""
        environment = {
            "KUBECONFIG": str(self.kubeconfig),
            "HOME": str(self.folder),
            "PATH": f"{BIN}:/usr/sbin:/usr/bin:/bin",
        }
        return run_program([str(BIN / "kubectl-eaves"), *arguments], environment=environment)

    def make_token(self, *options: str) -> str:
        """A join token of a fresh onboarding key, which approves by itself."""
        name = f"key-{secrets.token_hex(4)}"
        command = self.eaves_kubectl("onboarding-key", "create", name, "--approval", "automatic", *options)
        found = re.search(r"eaves-join-1\.\S+", command)
        assert found, command
        return found.group(0)


class NodeHost:
    """A node of ``controller`` as an instance of its own. :meth:`join` once, then start, kill, cut as you like."""

    def __init__(
        self,
        folder: Path,
        controller: ControllerHost,
        *,
        state_dir: Path | None = None,
        prefix: Sequence[str] = (),
        name: str = "",
    ) -> None:
        """``prefix`` goes before the daemon's command. ``name``: of an EdgeNode whose box it takes the place of."""
        token = secrets.token_hex(4)
        self.name = name or f"node-{token}"
        self.controller = controller
        self.folder = folder / f"node-{token}"
        self.folder.mkdir(parents=True)
        self.instance = Instance(f"s{token}", state_dir or self.folder / "state", Path(f"/run/eaves-s{token}"))
        self.environment = {
            "EAVES_NODE_STATE_DIR": str(self.instance.data_dir),
            "EAVES_NODE_RUN_DIR": str(self.instance.run_dir),
            "EAVES_NODE_INSTANCE": self.instance.name,
            "EAVES_NODE_SERIAL": f"node-{token}",
            "EAVES_NODE_REBOOT_COMMAND": "false",
        }
        self.settings_file = self.folder / "etc" / "node.toml"
        argv = [EAVES, "node", "run", "--config", str(self.settings_file)]
        self.daemon = Daemon(self.name, argv, self.folder / "node.log", self.environment, prefix=prefix)

    def join(self, token: str | None = None) -> None:
        join = [EAVES, "node", "join", "-", "--no-start", "--name", self.name, "--folder", str(self.folder / "etc")]
        run_program(join, stdin=token or self.controller.make_token("--max-uses", "1"))

    def start(self) -> None:
        self.daemon.start()

    def wait_ready(self, limit_s: float = WAIT_LIMIT_S) -> None:
        def check() -> bool:
            return self.controller.operator.condition("edgenodes", self.name, "Ready").get("status") == "True"

        self.daemon.wait(f"{self.name} to be ready", check, limit_s)

    def wait(self, what: str, condition: Callable[[], T], limit_s: float = WAIT_LIMIT_S) -> T:
        """Wait for what this node and its controller bring about together."""
        return wait_for(what, condition, limit_s, self.explain)

    def cut_power(self) -> None:
        """Daemon, containers, links, firewall and run-time files go at once, as when the mains fail; the disk stays."""
        self.daemon.kill()
        power.cut_power(self.instance)

    def containers(self) -> list[Object]:
        """What podman knows in this node's storage, running or not."""
        host_dir = self.instance.host_dir
        environment = {
            "CONTAINERS_CONF": str(host_dir / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(host_dir / "storage.conf"),
            "PODMAN_IGNORE_CGROUPSV1_WARNING": "1",
        }
        argv = [
            "podman",
            f"--root={self.instance.storage_dir}",
            f"--runroot={self.instance.podman_run_dir / 'storage'}",
        ]
        found: list[Object] = json.loads(run_program([*argv, "ps", "-a", "--format", "json"], environment=environment))
        return found

    def status(self) -> str:
        return run_program([EAVES, "node", "status", "--config", str(self.settings_file)], environment=self.environment)

    def explain(self) -> str:
        """Where everything stands, for the error of a wait that was in vain."""
        status = run_program(
            [EAVES, "node", "status", "--config", str(self.settings_file)], environment=self.environment, check=False
        )
        return f"{status}\n{self.daemon.tail()}\n{self.controller.daemon.tail()}"

    def reset(self) -> str:
        argv = [EAVES, "node", "reset", "--yes", "--config", str(self.settings_file)]
        return run_program(argv, environment=self.environment)

    def remove(self) -> None:
        """Stop it and leave nothing on the machine."""
        self.daemon.stop()
        if self.settings_file.exists():
            self.reset()
        shutil.rmtree(self.folder, ignore_errors=True)


def want_app(node: NodeHost, name: str, image: str, **spec: Any) -> Object:
    """An App object for ``node``; ``spec`` adds to and replaces fields of its spec."""
    values: Object = {
        "nodeName": node.name,
        "image": image,
        "datastoreRef": {"name": "registry"},
        "resources": {"memory": "64Mi"},
        "terminationGracePeriodSeconds": 1,
        **spec,
    }
    return {"apiVersion": "eaves.dev/v1alpha1", "kind": "App", "metadata": {"name": name}, "spec": values}


def want_datastore(server: str) -> Object:
    """The Datastore ``registry`` of a registry on loopback."""
    return {
        "apiVersion": "eaves.dev/v1alpha1",
        "kind": "Datastore",
        "metadata": {"name": "registry"},
        "spec": {"type": "Registry", "url": f"http://{server}"},
    }


def fetch(port: int, path: str = "/") -> str | None:
    """Body of a 200 answer on the node's port; None for anything else."""
    try:
        answer = httpx2.get(f"http://127.0.0.1:{port}{path}", timeout=2)
    except httpx2.HTTPError:
        return None
    return answer.text if answer.status_code == 200 else None


def _object(answer: httpx2.Response) -> Object:
    assert answer.is_success, f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}"
    obj: Object = answer.json()
    return obj
