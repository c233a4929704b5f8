"""A registry with a Helm chart on a :class:`eaves.testing.k3s_machine.Machine`, where pods reach it: Debian's docker-registry, no TLS."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

from eaves.testing import k3s_images, kubernetes
from eaves.testing.k3s import NoK3sError, Release
from eaves.testing.k3s_machine import Machine

PORT = 5000
_CHART = {
    "values.yaml": "replicas: 1\ngreeting: none\n",
    "templates/deployment.yaml": f"""
        apiVersion: apps/v1
        kind: Deployment
        metadata: {{name: web}}
        spec:
          replicas: {{{{ .Values.replicas }}}}
          selector: {{matchLabels: {{app: web}}}}
          template:
            metadata: {{labels: {{app: web}}}}
            spec:
              terminationGracePeriodSeconds: 0
              containers:
              - {{name: web, image: "{k3s_images.BUSYBOX}", command: [sleep, "100000"]}}
        """,
    "templates/configmap.yaml": """
        apiVersion: v1
        kind: ConfigMap
        metadata: {name: greeting}
        data: {greeting: "{{ .Values.greeting }}", version: "{{ .Chart.Version }}"}
        """,
}
"""Values ``replicas`` and ``greeting``; makes Deployment ``web`` and ConfigMap ``greeting``."""


def find_helm_images(release: Release) -> list[Path]:
    """Archives of images that the Helm controller's jobs need beside those of the release. Raises NoK3sError when Helm is not built."""
    if kubernetes.find_module("helm") is None or kubernetes.find_module("helm-controller") is None:
        raise NoK3sError("Helm and its controller are not built: run tools/build_kubernetes.py")
    return [k3s_images.want_helm_bundle()] if release.is_standin else []


def find_helm() -> str:
    """The program."""
    built = kubernetes.find_module("helm")
    assert built is not None, "Helm is not built: ask find_helm_images first"
    return str(built / "helm")


class ChartRegistry:
    """Serves until its machine ends."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._server = f"{machine.address}:{PORT}"
        self.chart = f"oci://{self._server}/charts/shop"
        folder = machine.folder / "registry"
        folder.mkdir()
        storage = {"filesystem": {"rootdirectory": str(folder / "data")}}
        http = {"addr": self._server, "secret": "of-no-use"}
        config = folder / "registry.yml"
        config.write_text(json.dumps({"version": "0.1", "storage": storage, "http": http, "log": {"level": "error"}}))
        daemon = machine.daemon(
            "registry", ["env", "OTEL_TRACES_EXPORTER=none", "docker-registry", "serve", str(config)]
        )
        daemon.start()
        probe = ("curl", "-sf", f"http://{self._server}/v2/")
        daemon.wait("the registry", lambda: machine.run(*probe, check=False) == "{}", 60)

    def push(self, version: str) -> Path:
        """The chart in this version, made and pushed by a real Helm; answers its folder."""
        folder = self._machine.folder / f"chart-{version}" / "shop"
        for name, text in {**_CHART, "Chart.yaml": f"apiVersion: v2\nname: shop\nversion: {version}\n"}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        helm, run = find_helm(), self._machine.run
        run(helm, "package", str(folder), "--destination", str(folder.parent))
        archive = folder.parent / f"shop-{version}.tgz"
        run(helm, "push", str(archive), self.chart.rpartition("/")[0], "--plain-http")
        return folder
