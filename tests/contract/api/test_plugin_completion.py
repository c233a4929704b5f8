"""Whoever completes kubectl completes its plugin, with the names that the cluster has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from eaves.testing.kubectl import find_kubectl
from eaves.testing.objects import make_app, make_edgenode, make_vm
from eaves.testing.operator_api import ServedApi

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def named(served: ServedApi) -> ServedApi:
    """An API with a node, a machine and a container."""
    for obj in (make_edgenode("store-17"), make_vm("plc", nodeName="store-17"), make_app("web", nodeName="store-17")):
        served.call(served.bench.put(obj))
    return served


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["con"], ["console"]),
        (["console", ""], ["plc"]),
        (["vnc", "p"], ["plc"]),
        (["flows", ""], ["plc", "web"]),
        (["model-from-node", "st"], ["store-17"]),
        (["approve", ""], ["store-17"]),
        (["reboot", "x"], []),
        (["why", ""], ["app/", "edgenode/"]),
        (["why", "app/w"], ["app/web"]),
        (["-n", "kube-sys"], ["kube-system"]),
        (["flows", "-n", "kube-system", ""], []),
    ],
    ids=" ".join,
)
def test_kubectl_completes_the_plugin(named: ServedApi, tmp_path: Path, typed: list[str], offered: list[str]) -> None:
    environment = {
        **os.environ,
        "KUBECONFIG": str(named.kubeconfig),
        "HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        [find_kubectl(), "__complete", "eaves", *typed], env=environment, capture_output=True, text=True, timeout=120
    )
    *lines, directive = done.stdout.splitlines()
    assert [line.partition("\t")[0] for line in lines] == offered, done
    assert directive in (":4", ":6")
