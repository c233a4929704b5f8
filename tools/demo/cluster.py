"""The demo's K3s cluster: one node on a machine of its own inside this one, and kubectl to it through the controller.

K3s takes fixed ports and folders on the machine it runs on, so its node has namespaces of its own and nothing of this machine is touched.
"""

from __future__ import annotations

import platform
from hashlib import sha256

from eaves.testing.file_server import FileServer
from eaves.testing.k3s import NoK3sError, Release, find_releases
from eaves.testing.k3s_machine import Lan, Machine
from eaves.testing.namespaces import Namespace
from eaves.testing.relay import Relay
from tools.demo.site import BIN, DemoError, Site

NODE = "edge-2"
STEPS = 4
"""That :func:`apply_cluster` and :func:`show_cluster` tell of."""
READY_LIMIT_S = 240
_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
_WAITS_FOR = "jsonpath={.status.phase}: {.status.conditions[?(@.type=='Ready')].message}"


def find_release() -> Release | None:
    """The K3s to run, None where there is none, which is said."""
    try:
        return find_releases()[0]
    except NoK3sError as error:
        print(f"demo: without a K3s cluster: {error}", flush=True)
        return None


def apply_cluster(site: Site, release: Release) -> None:
    """Join a second node and ask for a cluster of it; :func:`show_cluster` waits for it."""
    site.say("onboarding another node, on a machine of its own")
    files = {"/k3s": release.program.read_bytes(), "/images.tar": release.images.read_bytes()}
    server = site.cleanups.enter_context(FileServer(files))
    lan = Lan()
    site.cleanups.callback(lan.close)
    machine = Machine(site.folder, f"machine-{NODE}", lan)
    site.cleanups.callback(machine.close)
    with Namespace.at(f"/proc/{machine.pid}/ns/net") as inside:
        for port in (site.gateway_port, int(server.url.rpartition(":")[2])):
            site.cleanups.callback(Relay(inside, port).close)
    site.start_node(NODE, machine.prefix)
    changes = {
        "https://k3s.example": server.url,
        "v1.34.2+k3s1/k3s-airgap-images-amd64.tar.zst": "images.tar",
        "v1.34.2+k3s1/k3s": "k3s",
        "v1.34.2+k3s1": release.version,
        "v1.34.2-k3s1": release.version.replace("+", "-"),
        "architecture: amd64": f"architecture: {_ARCHITECTURE}",
        64 * "0": sha256(files["/k3s"]).hexdigest(),
        64 * "1": sha256(files["/images.tar"]).hexdigest(),
    }
    site.apply_example("cluster.yaml", changes)


def show_cluster(site: Site) -> None:
    site.say("waiting for the cluster")
    told = ""

    def is_ready() -> bool:
        nonlocal told
        state = site.kubectl("get", "k3scluster", "shop", "-o", _WAITS_FOR).strip()
        if state != told:
            print(f"  {state}", flush=True)
            told = state
        return state.startswith("Ready")

    try:
        site.wait("the cluster", is_ready, READY_LIMIT_S)
    except DemoError as error:
        error.details = f"{site.kubectl('describe', 'k3scluster', 'shop')[-1500:]}\n{error.details}"
        raise
    print(site.kubectl("get", "k3sclusters"), end="", flush=True)
    site.say(
        "kubectl eaves kubeconfig shop, then kubectl --context shop get nodes: through the controller and the tunnel"
    )
    site.run([str(BIN / "kubectl-eaves"), "kubeconfig", "shop"])
    print(site.kubectl("--context", "shop", "get", "nodes", "-o", "wide"), end="", flush=True)
