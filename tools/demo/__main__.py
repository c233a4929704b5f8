"""The demo's steps in their order, and how it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys

from eaves.kit.errors import EavesError, render_failure
from eaves.kit.process import check_programs
from eaves.testing import chroot
from tools.demo import apps, cluster
from tools.demo.site import BIN, DemoError, Site, open_site

PROGRAMS = {
    "podman": "podman",
    "nft": "nftables",
    "dnsmasq": "dnsmasq-base",
    "ip": "iproute2",
    "skopeo": "skopeo",
    "umoci": "umoci",
    "docker-registry": "docker-registry",
    "busybox": "busybox-static",
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "swtpm": "swtpm",
    "xorrisofs": "xorriso",
}
STEPS = 10
"""Without those of a cluster."""


def check_machine() -> None:
    """Everything that would fail later, said first. Raises EavesError."""
    if os.geteuid() != 0:
        raise DemoError("a node needs root for containers and networks", resolution="run it as root: sudo make demo")
    check_programs(PROGRAMS)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", apps.APP_PORT))
        except OSError as error:
            raise DemoError(
                f"port {apps.APP_PORT} is in use", resolution="free it, or choose another: DEMO_PORT=8090 make demo"
            ) from error


def run_demo(*, is_once: bool) -> float:
    """All steps; answers the seconds from apply to the first answer."""
    check_machine()
    release = cluster.find_release()
    with open_site(STEPS + (cluster.STEPS if release else 0)) as site:
        registry = apps.start_registry(site)
        site.start_controller()
        site.say("onboarding a node over the EVE device API")
        site.start_node(apps.NODE)
        seconds = apps.run_container(site, registry)
        apps.apply_machine(site)
        if release is not None:
            cluster.apply_cluster(site, release)
        apps.show_apps(site)
        apps.show_machine(site)
        apps.open_console(site)
        if release is not None:
            cluster.show_cluster(site)
        if not is_once:
            print(f"demo: app web answered HTTP 200 after {seconds:.1f} s")
            with contextlib.suppress(KeyboardInterrupt):
                stay(site, has_cluster=release is not None)
            print("\ndemo: stopping and cleaning up", flush=True)
    return seconds


def stay(site: Site, *, has_cluster: bool) -> None:
    """Until Ctrl-C."""
    of_cluster = (
        "  kubectl get k3sclusters\n"
        "  kubectl --context shop get pods -A\n"
        "  kubectl --context shop auth can-i get pods\n"
    )
    print(
        "\nIt runs. Try, in another terminal (each line can be pasted):\n\n"
        f"  export KUBECONFIG={site.kubeconfig} PATH={BIN}:$PATH\n"
        f"  curl http://127.0.0.1:{apps.APP_PORT}/\n"
        "  kubectl get nodes,apps,pods -o wide\n"
        "  kubectl logs -f web\n"
        "  kubectl exec web -- ls /\n"
        "  kubectl get app gateway -o jsonpath='{.status.vm}'\n"
        "  kubectl get appsnapshots\n"
        f"{of_cluster if has_cluster else ''}"
        "  kubectl explain app.spec\n"
        "  kubectl eaves why app/web\n"
        '  kubectl patch app web --type merge -p \'{"spec":{"running":false}}\'\n'
        f"  eaves node status --config {site.folder}/{apps.NODE}/node.toml\n"
        "\nThe machine's serial console and its screen, in terminals of their own:\n\n"
        "    kubectl eaves console gateway    # Ctrl-] leaves it\n"
        "    kubectl eaves vnc gateway\n"
        "\nCtrl-C here stops all of it and removes what it made.",
        flush=True,
    )
    signal.pause()


def _lose_terminal() -> None:
    """End as if by Ctrl-C; nothing can be said any more."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(null, descriptor)
    sys.exit(129)


def main() -> int:
    if chroot.is_chroot():
        # Without it only `kubectl exec` fails, and says so.
        with contextlib.suppress(OSError):
            chroot.enter_root()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: _lose_terminal())
    # Whoever started it may have had Ctrl-C ignored, as shells do for what runs in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    is_once = os.environ.get("DEMO_ONCE") == "1" or not sys.stdout.isatty()
    try:
        seconds = run_demo(is_once=is_once)
    except EavesError as error:
        error.resolution = error.resolution or "mend what the lines above say, and run make demo again"
        print(render_failure("demo", error, seen_lines=60), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted, all stopped and removed", file=sys.stderr)
        return 130
    if is_once:
        print(f"demo: ok: app web answered HTTP 200 after {seconds:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
