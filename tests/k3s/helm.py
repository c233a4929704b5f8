"""K3s's Helm controller: k3s-io/helm-controller itself, as a process of its own, started with the first HelmChart.

In K3s it runs in every server from the start and elects a leader; here a cluster without charts is spared its memory. Where it has not been
built, HelmCharts stay as they are.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from eaves.testing import kubernetes
from eaves.testing.k3s_images import KLIPPER_HELM
from tests.k3s import log, programs
from tests.k3s.api import Api, ApiError
from tests.k3s.children import Children
from tests.k3s.options import Options

_CHARTS = "/apis/helm.cattle.io/v1/helmcharts?limit=1"


class HelmController:
    """:meth:`start_if_wanted` from the main thread, as all children are started."""

    def __init__(self, api: Api, options: Options, children: Children, node_name: str) -> None:
        self._api = api
        self._image = options.text("helm-job-image") or KLIPPER_HELM
        self._children = children
        self._node_name = node_name
        self._is_done = options.is_on("disable-helm-controller") or kubernetes.find_module("helm-controller") is None

    def start_if_wanted(self, kubeconfig: Path) -> None:
        """Looks for a chart until there is one."""
        if self._is_done:
            return
        with contextlib.suppress(ApiError):
            if not self._api.items(_CHARTS):
                return
            self._is_done = True
            log.info("Starting helm.cattle.io controller")
            arguments = {
                "kubeconfig": kubeconfig,
                "controller-name": "helm-controller",
                "default-job-image": self._image,
                "node-name": self._node_name,
            }
            argv = [f"--{name}={value}" for name, value in arguments.items()]
            self._children.start("helm-controller", programs.program("helm-controller", "helm-controller"), *argv)
